# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2. The inner loop: learning to be adapted
#
# Meta-learning in the manner of MAML looks for weights $\theta$ from which *a few gradient steps* on a new problem lead
# to a good network. There are two losses: the **support** loss $\ell$ drives the steps, the **query** loss $L$ judges
# the result.
#
# $$ \varphi_0 = \theta, \qquad \varphi_{j+1} = \varphi_j - \alpha_j \nabla \ell(\varphi_j), \qquad
#    \min_\theta L(\varphi_J(\theta)) $$
#
# To minimise over $\theta$, the query loss is differentiated *through the steps*. This notebook takes that apart, first
# with one weight, then with a network.

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn.functional import mse_loss

from metasr.data.catalog import image_set
from metasr.data.patches import PatchPool
from metasr.data.tasks import Task, TaskSampler
from metasr.degradation.kernels import GaussianSampler
from metasr.degradation.pipeline import DegradationSampler
from metasr.meta.inner_loop import Trace, inner_loop
from metasr.meta.meta_gradient import meta_gradient, meta_parameters
from metasr.meta.rates import FixedRates, PerStepRates
from metasr.meta.step_weights import StepWeights
from metasr.models.plain_cnn import PlainCNN
from metasr.paths import weights_folder
from metasr.runs.weights import from_release
from metasr.seeds import generator_from

# %% [markdown]
# ## One weight
#
# Let the network be a single number $w$, the support loss $(w - a)^2$ and the query loss $(w - b)^2$. A step takes $w -
# a$ to $(1 - 2\alpha)(w - a)$, so that after $J$ steps
#
# $$ \varphi_J = a + (1 - 2\alpha)^J (\theta - a), \qquad
#    \frac{dL}{d\theta} = 2 (\varphi_J - b) \, (1 - 2\alpha)^J . $$
#
# The factor $(1 - 2\alpha)^J$ is what is called *second order*: the Hessian of the support loss is 2, and each step
# multiplies by $1 - \alpha \cdot 2$. The **first-order** approximation takes the inner gradients for constants and
# leaves the factor out.

# %%
a, b, alpha, steps = 1.0, 0.3, 0.1, 3
one = torch.ones(1, 1, dtype=torch.float64)
theta = nn.Linear(1, 1, bias=False, dtype=torch.float64)
nn.init.constant_(theta.weight, 2.0)

trace = Trace()
gradients = {}
for order in ("second", "first"):
    adapted = inner_loop(
        theta,
        lambda net: (net(one) - a).square().sum(),
        steps=steps,
        rates=FixedRates([alpha]),
        order=order,
        trace=trace,
    )
    query = (adapted(one) - b).square().sum()
    gradients[order] = float(torch.autograd.grad(query, theta.weight)[0])

factor = (1 - 2 * alpha) ** steps
phi = a + factor * (2.0 - a)
print(f"adapted weight   {adapted.weight.item():.6f}   by hand {phi:.6f}")
print(f"second order     {gradients['second']:.6f}   by hand {2 * (phi - b) * factor:.6f}")
print(f"first order      {gradients['first']:.6f}   by hand {2 * (phi - b):.6f}, too long by {1 / factor:.2f}")
print(f"support losses   {[round(v, 4) for v in trace.losses[:steps]]}")
print(f"the original     {theta.weight.item()}, untouched")

# %% [markdown]
# ## A network, against finite differences
#
# Now a small convolutional network and a real task: patches of a photograph, all blurred by one random kernel and
# subsampled. `meta_gradient` gives what training uses. To see whether it is right, walk a little way along it: the
# slope $\big(L(\theta + h v) - L(\theta - h v)\big) / 2h$ with $v = g / |g|$ must equal $|g|$.

# %%
pool = PatchPool([image_set("samples", split="train").load(8)], patch_size=24)
tasks = TaskSampler(
    meta_batch=4,
    support=4,
    query=4,
    degradations=DegradationSampler(kernels=GaussianSampler(variance=(1.0, 5.0)), downsample="direct"),
)
drawn = tasks.draw(pool, generator=generator_from(1, "a task"))[0]
task = Task(*(patches.double() for patches in drawn[:4]), drawn.degradation)  # in float64 differences are exact enough

torch.manual_seed(0)
network = PlainCNN(8, 3).double()
rates = PerStepRates(3, len(list(network.parameters())), initial=0.05).double()
last_step_only = [0.0, 0.0, 1.0]
found = {
    order: meta_gradient(network, rates, [task], steps=3, order=order, step_weights=last_step_only, loss=mse_loss)
    for order in ("second", "first")
}

# %%
weights = list(network.parameters())
direction = torch.cat([g.flatten() for g in found["second"].gradients[: len(weights)]])
length, direction = direction.norm(), direction / direction.norm()
start, h = nn.utils.parameters_to_vector(weights).detach(), 1e-5
losses = {}
for sign in (1, -1):
    nn.utils.vector_to_parameters(start + sign * h * direction, weights)
    losses[sign] = meta_gradient(
        network, rates, [task], steps=3, order="first", step_weights=last_step_only, loss=mse_loss
    ).loss.detach()
nn.utils.vector_to_parameters(start, weights)

slope = (losses[1] - losses[-1]) / (2 * h)
first = torch.cat([g.flatten() for g in found["first"].gradients[: len(weights)]])
print(f"slope by finite differences  {float(slope):.8f}")
print(f"second order                 {float(length):.8f}")
print(f"first order, same direction  {float(first @ direction):.8f}")
print(f"angle between the two        {float(torch.rad2deg(torch.acos(first @ direction / first.norm()))):.1f} degrees")

# %% [markdown]
# ## Learned rates
#
# How long each step is to be can be learned too: one rate $\alpha_{j,i}$ for step $j$ and tensor $i$. Its gradient
# comes out of the same pass. Some hundred meta-steps on small patches, and the rates have left the 0.05 they began at:
# the first step has become the longest, and the last layer is moved less than the others.

# %%
torch.manual_seed(0)
network = PlainCNN(8, 3)
names = [name for name, _ in network.named_parameters()]
rates = PerStepRates(3, len(names), initial=0.05)
learned = meta_parameters(network, rates)
adam = torch.optim.Adam(
    [{"params": list(network.parameters()), "lr": 1e-3}, {"params": list(rates.parameters()), "lr": 2e-3}]
)
schedule = StepWeights(anneal_steps=100)
generator = generator_from(1, "meta-training")
history = []
for iteration in range(150):
    found = meta_gradient(
        network,
        rates,
        tasks.draw(pool, generator=generator),
        steps=3,
        order="second",
        step_weights=schedule.at(iteration, 3),
    )
    for parameter, gradient in zip(learned, found.gradients, strict=True):
        parameter.grad = gradient
    adam.step()
    rates.clamp_()
    history.append(float(found.loss))

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
left.plot(history)
left.set(xlabel="meta-step", ylabel="query loss (L1)", yscale="log")
drawn_rates = right.imshow(rates.inner_rates.detach(), aspect="auto", cmap="magma")
right.set(
    xticks=range(len(names)), yticks=range(3), yticklabels=range(1, 4), ylabel="inner step", title="learned rates"
)
right.set_xticklabels(names, rotation=60, ha="right", fontsize=8)
figure.colorbar(drawn_rates)
plt.show()

# %% [markdown]
# The released weights were trained longer, five steps deep. Their steps take turns: the first, second and fourth are
# long (many rates lie at the upper bound, 0.1), the third and fifth are short; the last bias is left alone (at the
# lower bound, $10^{-4}$).

# %%
released = from_release(weights_folder(), "mzsr_x2_meta").state["inner_rates"]  # (5 steps, 16 tensors)
names = [name.removeprefix("conv") for name, _ in PlainCNN().named_parameters()]
figure, axis = plt.subplots(figsize=(9, 2.6), layout="constrained")
drawn_rates = axis.imshow(released, aspect="auto", cmap="magma")
axis.set(xticks=range(len(names)), yticks=range(5), yticklabels=range(1, 6), ylabel="inner step")
axis.set_xticklabels(names, rotation=60, ha="right", fontsize=8)
figure.colorbar(drawn_rates)
plt.show()

# %% [markdown]
# ## Step weights
#
# Judging only the last step makes training unsteady at first, and leaves what comes out after *one* step to chance. So
# all steps count at the beginning, $\sum_j w_j L(\varphi_j)$ with $w_j = 1/J$, and the weight moves to the last one as
# training goes on.

# %%
schedule = StepWeights(kind="annealed", anneal_steps=1000, floor=0.03)
figure, axis = plt.subplots(figsize=(6, 2.6), layout="constrained")
iterations = range(0, 1500, 10)
axis.plot(iterations, [schedule.at(i, 5)[0] for i in iterations], label="each of the steps 1 to 4")
axis.plot(iterations, [schedule.at(i, 5)[4] for i in iterations], label="step 5")
axis.set(xlabel="meta-step", ylabel="weight of the query loss")
axis.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## What to try
#
# * One weight: at which $\alpha$ does the second-order gradient vanish, and why is that right?
# * Finite differences with `h=1e-2` and `h=1e-9`: both are worse, for different reasons.
# * `loss=torch.nn.functional.l1_loss` in the network's check: its kinks cost digits.
# * Meta-training with `order="first"`, or with `StepWeights(kind="final")`: what happens to the rates of the first
#   step?
# * `python src/run.py +experiment=mzsr_x2 order=first` does the same with the real network.
