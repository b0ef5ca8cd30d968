# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4. Methods side by side
#
# Every method here is a **solver**: it makes an image from one low-resolution image. What it was given beforehand
# (weights) and what it does at test time (updates) is all that differs, so that one table compares them all.
#
# | method | learns beforehand | does at test time |
# | --- | --- | --- |
# | bicubic, as published and aligned | nothing | interpolates |
# | network | on bicubic pairs | one forward pass |
# | MZSR | to be adapted, over many blur kernels | some steps on the image's own son |
# | MAML-SR | to be good after a step on its coarse images | steps on its self-consistency, until told to stop |

# %%
import logging
import tempfile
import warnings
from pathlib import Path

from hydra import compose, initialize_config_dir
from IPython.display import Image

from metasr.config.chain import chain
from metasr.config.entries import learned_entries
from metasr.config.schema import register
from metasr.data.catalog import image_set
from metasr.data.meta_set import MetaSet
from metasr.degradation.names import parse
from metasr.degradation.resize import imresize
from metasr.evaluation.evaluate import Entry, evaluate
from metasr.evaluation.printing import format_rows
from metasr.figures.maps import draw_maps, map_distance
from metasr.figures.picture_book import PictureBook
from metasr.meta.rates import rates_from_state
from metasr.metrics.protocol import LumaProtocol
from metasr.models.plain_cnn import PlainCNN
from metasr.paths import conf_folder, weights_folder
from metasr.recipes.weightnet_rewards import error_weights, meta_direction, pixel_losses, pixel_rewards
from metasr.runs.folder import register_resolvers
from metasr.runs.weights import from_release
from metasr.solvers.maml_sr.stopping import decide
from metasr.solvers.mzsr.solver import MZSRSolver
from metasr.solvers.network import NetworkSolver
from metasr.training.chain import run_chain

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="pytorch_lightning")
pictures = Path(tempfile.mkdtemp())
photos = image_set("samples", split="test").subset(1)

# %% [markdown]
# ## Two networks with released weights
#
# Both have the same shape. One was trained on bicubic pairs alone; the other went on from there, to be adapted.

# %%
pretrained = from_release(weights_folder(), "mzsr_x2_pretrain")
meta = from_release(weights_folder(), "mzsr_x2_meta")
network = NetworkSolver(pretrained.load_into(PlainCNN()))
adapt = MZSRSolver(meta.load_into(PlainCNN()), rates=rates_from_state(meta.state))

# %% [markdown]
# ## A network trained here and now
#
# MAML-SR has no released weights yet, so it is trained in this cell, by what the command line runs: `python src/run.py
# +experiment=maml_sr_x2`. A few seconds of a network of width 4 are enough to see it run, not to see it win. The config
# is composed from the same files, and changed by the same overrides.

# %%
register()
register_resolvers()
with initialize_config_dir(str(conf_folder()), version_base="1.3"):
    config = compose(
        "config",
        overrides=["+experiment=maml_sr_x2", "profile=smoke", "logger=none", "stages.maml_sr.steps=150"],
    )
trained = run_chain(chain(config, Path(tempfile.mkdtemp())))
maml_sr = learned_entries(config, trained)[:2]  # with steps on the image, and the network as it is
print(f"{sum(t.numel() for t in trained.network.values()):,} weights, {trained.card['steps']} steps")

# %% [markdown]
# ## The table
#
# `evaluate` takes a data set, degradations, and for each degradation the solvers to compare. The two interpolations
# come by themselves.

# %%
entries = [Entry("network", "pretrained", network), Entry("adapt", "mzsr", adapt, (1, 10)), *maml_sr]
book = PictureBook(images=1)
protocol = LumaProtocol()
table = evaluate(
    photos, ["g2.0d", "bicubic"], lambda degradation: entries, scale=2, seed=1, protocol=protocol, watch=book
)
print(format_rows(table, title=f"{photos.names[0]}, x2: PSNR in dB and SSIM on Y"))

# %% [markdown]
# Each method is good at what it was made for. On the blurred image the pretrained network sharpens as if nothing had
# been blurred and does not know of the half pixel; MZSR, told the kernel, is several dB ahead after ten updates. On
# plain bicubic it is the other way round: that is the pretrained network's own problem, and the meta-learned weights,
# made for direct subsampling, fall behind it. MAML-SR's few seconds of training end close to interpolation, half a
# pixel and all, and its steps on the image cannot add what was not learned.

# %%
drawn = {path.stem: path for path in book.draw(pictures, {})}
Image(drawn[f"{photos.names[0]}_g2.0d"])

# %% [markdown]
# ## When to stop
#
# MAML-SR's solver has no truth to look at. It compares each output with the last one it kept, by PSNR and SSIM: not for
# quality, but for how much still changes. What follows from the two is a small table.

# %%
print("PSNR   SSIM    keep   stop   why")
for psnr in (31.0, 30.0, 29.0):
    for ssim in (0.91, 0.90, 0.89):
        keep, stop, why = decide((psnr, ssim), (30.0, 0.90), mixed="continue")
        print(f"{psnr:.1f}   {ssim:.2f}   {keep!s:5}  {stop!s:5}  {why}")

# %% [markdown]
# And this is how it went for the image above, in its bicubic version: the numbers rise as long as the changes become
# smaller.

# %%
degradation = parse("bicubic", scale=2)
hr = protocol.crop_reference(photos.load(0)[None], 2)
lr = degradation(hr)
solution = maml_sr[0].made_by.solve(lr, scale=2, degradation=degradation)
for step, (found, verdict) in enumerate(zip(solution.trace.measured, solution.trace.verdicts, strict=True)):
    print(f"step {step:2}   {'   '.join(f'{k} {v:.4f}' for k, v in found.items()):32} {verdict}")
print(f"given back: the output after {solution.trace.kept} steps ({solution.stopped})")

# %% [markdown]
# ## What a pixel is worth
#
# Content-aware loss weighting asks another question: which pixels' losses should count in training? A few images, the
# *meta-data set*, stand for what is wanted. With $\ell_p$ the loss of pixel $p$ and $L$ the meta-data set's, both by
# the weights $\theta$, the reward of a pixel is
#
# $$ r_p = \langle \nabla_\theta \ell_p, \nabla_\theta L \rangle , $$
#
# how much a step on that pixel brings down what we care for. It is exact and costs one forward-mode pass for all
# pixels. Below: rewards (red: helps, blue: harms) for two meta-data sets, beside weights in proportion to the error.

# %%
source = imresize(lr, 2)
model = pretrained.load_into(PlainCNN())
wanted = {
    "texture": MetaSet(images=["grass", "leaves"], crops=4),
    "structure": MetaSet(images=["brick", "ascent"], crops=4),
}
rewards = {}
for name, chosen in wanted.items():
    truth = chosen.patches(48).float() / 255
    direction = meta_direction(model, imresize(degradation(truth), 2), truth, layers=["conv8"])
    rewards[name] = pixel_rewards(model, source, hr, direction)
losses = pixel_losses(model(source), hr).detach()
maps = {"image": hr, "weight by error": error_weights(losses), **{f"reward for {k}": v for k, v in rewards.items()}}
Image(draw_maps(maps, pictures / "maps.png"))

# %%
positive = {name: reward.clamp_min(0)[0] for name, reward in rewards.items()}
by_error = error_weights(losses)[0]
for name, pair in {
    "texture and structure": (positive["texture"], positive["structure"]),
    "texture and error": (positive["texture"], by_error),
}.items():
    distance = map_distance(*pair)
    print(f"{name:22} {distance.total_variation:.0%} of the weight lies elsewhere, rank distance {distance.rank:.2f}")
for name, reward in rewards.items():
    print(f"{name:22} a step on {(reward < 0).float().mean():.0%} of the pixels would do harm")

# %% [markdown]
# ## What to try
#
# * `["g0.2d", "gani_d", "area"]` as degradations. Which method wins where, and is it ever interpolation?
# * `mzsr_x2_bicubic_meta` instead of `mzsr_x2_meta`: meta-learned for bicubic subsampling.
# * `stages.maml_sr.steps=1500` and `model.width=8`, some minutes of training.
# * `solver.stop=consistency` among the overrides: stop when the LR error stops falling.
# * The whole of it from the command line, with a report of all methods: `python src/run.py task=report runs=[...]`.
