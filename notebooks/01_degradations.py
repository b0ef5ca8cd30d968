# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1. Degradations: how an image became small
#
# Super-resolution undoes a **degradation**. All of them have one form here:
#
# $$ y = m \cdot \big( (x * k)\downarrow_s + n \big) $$
#
# The sharp image $x$ is blurred by a kernel $k$, every $s$-th value is kept in some way, noise $n$ is added, and a mask
# $m$ says where anything was seen at all. A method that knows $k$ and how the values were kept does much better than
# one that guesses wrong, so this is where to begin.

# %%
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from IPython.display import Image

from metasr.data.catalog import image_set
from metasr.degradation import kernels
from metasr.degradation.kernels import GaussianSampler
from metasr.degradation.names import parse
from metasr.degradation.pipeline import Degradation, DegradationSampler
from metasr.evaluation.evaluate import evaluate
from metasr.evaluation.printing import format_pivot
from metasr.figures import comparison as figures
from metasr.figures.maps import draw_maps
from metasr.metrics.protocol import LumaProtocol
from metasr.seeds import generator_from

pictures = Path(tempfile.mkdtemp())
photos = image_set("samples", split="test")
hr = photos.load(0)[None, :, 12:204, 64:256]  # (1, 3, 192, 192), RGB in [0, 1]

# %% [markdown]
# ## Kernels
#
# A Gaussian kernel is given by its covariance, the *variances* $\lambda_1, \lambda_2$ along and across an angle
# $\theta$:
#
# $$ k(p) \propto e^{-\frac12 p^\top \Sigma^{-1} p}, \qquad
#    \Sigma = R(\theta) \begin{pmatrix} \lambda_1 & 0 \\ 0 & \lambda_2 \end{pmatrix} R(\theta)^\top $$
#
# Papers differ: some give the standard deviation $\sqrt\lambda$ instead. `g2.0` below has variance 2.0, so a standard
# deviation of 1.41.

# %%
shown = {
    "no blur": kernels.delta(size=21),
    "g0.2": kernels.isotropic(0.2),
    "g2.0": kernels.isotropic(2.0),
    "gani": kernels.anisotropic(4.0, 1.0, -0.5),
}
Image(figures.kernels({name: kernel[3:-3, 3:-3] for name, kernel in shown.items()}, pictures / "kernels.png"))

# %% [markdown]
# That a kernel has the covariance of its name can be computed from its weights. Cut off at 21×21 pixels and sampled at
# whole ones, a narrow kernel comes out narrower than it should: 0.2 is hardly a blur at all.

# %%
axis = torch.arange(21.0, dtype=torch.float64) - 10
for name, kernel in shown.items():
    along_x, along_y = (kernel.sum(0) * axis**2).sum(), (kernel.sum(1) * axis**2).sum()
    both = (kernel * axis[:, None] * axis).sum()
    print(f"{name:8} sum {kernel.sum():.3f}   variances {along_x:.3f} (x) {along_y:.3f} (y), covariance {both:+.3f}")

# %% [markdown]
# ## Three ways to keep every s-th value
#
# * **direct**: pixels 0, s, 2s, ... and nothing else. What is finer than the new grid turns into false patterns
#   (aliasing); the blur before it has to prevent that.
# * **bicubic**: MATLAB's `imresize`. It brings a blur of its own, as wide as the scale asks for.
# * **area**: the mean of each s × s block.
#
# On stripes that grow finer to the right, direct subsampling shows coarse stripes where there are none.

# %%
x = torch.linspace(0, 1, 192)
stripes = (0.5 + 0.5 * torch.cos(300 * x**2)).expand(1, 3, 64, 192)
small = {way: Degradation(scale=2, downsample=way)(stripes) for way in ("direct", "bicubic", "area")}
Image(draw_maps({"stripes": stripes, **small}, pictures / "stripes.png"))

# %% [markdown]
# On a photograph they differ at the edges. Red and blue: how much brighter or darker than bicubic.

# %%
small = {way: Degradation(scale=2, downsample=way)(hr) for way in ("direct", "bicubic", "area")}
differences = {f"{way} - bicubic": (small[way] - small["bicubic"]).mean(1)[0] for way in ("direct", "area")}
Image(draw_maps({"bicubic": small["bicubic"], **differences}, pictures / "ways.png"))

# %% [markdown]
# ## The half pixel
#
# Bicubic resizing keeps the *borders* of the image where they are, direct subsampling keeps the centre of its first
# *pixel*. So the LR grid of direct subsampling lies $(s - 1) / 2$ HR pixels up and left of the bicubic one, and
# enlarging it bicubically shows the image shifted. A network learns that shift in passing; the bicubic baseline cannot,
# and loses decibels that have nothing to do with resolution.

# %%
for name in ("bicubic", "direct", "g2.0d"):
    print(f"{name:8} shift at x2: {parse(name, scale=2).shift}   at x4: {parse(name, scale=4).shift}")

# %% [markdown]
# Tables of this project therefore have two rows without a network. `interpolate` is what published tables show,
# `interpolate_aligned` undoes the shift. Compare with the latter. Means over two test photographs, without any network:

# %%
protocol = LumaProtocol()  # PSNR on Y, 8 bits, borders shaved, as in published tables
table = evaluate(
    photos.subset(2),
    ["direct", "g0.2d", "g2.0d", "gani_d", "bicubic", "area"],
    lambda degradation: [],
    scale=2,
    seed=1,
    protocol=protocol,
)
print(format_pivot(table, title="PSNR on Y in dB"))

# %% [markdown]
# ## Noise and 8 bits
#
# `_n10` is Gaussian noise of standard deviation 10 on the 0-255 scale. Every random draw takes a generator, so that an
# experiment can be repeated: the seed of a test image is made of the run's seed and the image's name, and neither the
# order of images nor the number of processes matters. At the end stand 256 levels, as in a file.

# %%
noisy = parse("g2.0d_n10", scale=2)
draws = [noisy(hr, generator=generator_from(seed, "astronaut")) for seed in (1, 1, 2)]
clean = parse("g2.0d", scale=2)(hr)
print(f"same seed, same noise:       {torch.equal(draws[0], draws[1])}")
print(f"other seed, other noise:     {not torch.equal(draws[0], draws[2])}")
print(f"standard deviation:          {255 * (draws[0] - clean).std():.2f} (dark and bright pixels are clipped)")
print(f"distance from whole levels:  {(255 * clean - (255 * clean).round()).abs().max():.1e}")
unrounded = replace(parse("g2.0d", scale=2), quantise=None)
print(f"rounding alone moves by:     {255 * (unrounded(hr) - clean).abs().mean():.2f} levels on average")

# %% [markdown]
# ## Samplers
#
# Meta-learning needs many different problems. A sampler draws their kernels: the angle evenly, the larger variance
# evenly from a range, the smaller one between the range's lower end and the larger.

# %%
sampler = GaussianSampler(size=15, variance=(1.0, 5.0))
drawn = sampler.sample(6, generator=generator_from(7))
Image(figures.kernels({f"draw {i + 1}": kernel for i, kernel in enumerate(drawn)}, pictures / "drawn.png"))

# %%
problems = DegradationSampler(kernels=sampler, downsample="direct", noise_std=(0.0, 0.04))
problem = problems.sample(1, generator=generator_from(8))
print(problem)
Image(draw_maps({"HR": hr, "LR": problem(hr, generator=generator_from(9))}, pictures / "problem.png"))

# %% [markdown]
# ## What to try
#
# * `parse("aniso_8_0.5_0.8_d", scale=2)`: a long, thin kernel. From which variance across it on does direct subsampling
#   begin to alias?
# * The half pixel at `scale=4`: how much is it worth there?
# * `parse("sig_1.6_b", scale=2)` gives the width as a standard deviation. Which `iso_..._b` is the same?
# * A photo of your own: `metasr.io.images.read_image("photo.png")[None]`.
# * The next notebook shows what learning from many such problems means.
