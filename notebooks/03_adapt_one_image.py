# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3. Adapting to one image
#
# MZSR at test time, in two sentences. The low-resolution image $y$ is degraded *once more* by its own kernel, which
# makes a "son" $y_s$, and the network takes a few gradient steps to bring the son back to $y$. Then, with these
# weights, it enlarges $y$ itself.
#
# $$ y_s = (y * k)\downarrow_s, \qquad \min_\varphi \big\| f_\varphi(y_s) - y \big\|_1, \qquad \hat x = f_\varphi(y) $$
#
# No other image is needed, and no truth. The steps are few because the weights were meta-learned for it.

# %%
import tempfile
from pathlib import Path

from IPython.display import Image

import metasr
from metasr.data.catalog import image_set
from metasr.figures import comparison as figures
from metasr.metrics.protocol import LumaProtocol

pictures = Path(tempfile.mkdtemp())
protocol = LumaProtocol()

# %% [markdown]
# ## The problem
#
# Part of a photograph, blurred by a Gaussian of variance 2.0, every second pixel kept. The solver sees the small image
# and is told the degradation; the truth is for scoring alone.

# %%
hr = image_set("samples", split="test").load(0)[None, :, 12:204, 64:256]  # (1, 3, 192, 192)
degradation = "g2.0d"
lr = metasr.degrade(hr, degradation, scale=2)  # (1, 3, 96, 96)

# %% [markdown]
# ## Released weights
#
# They come with a card that says what made them, and with one learned rate per inner step and tensor. What `load`
# gives is called with images, `solver(lr, degradation="g2.0d")`; here it is asked for more than the image.

# %%
solver = metasr.load("mzsr_x2")
print(solver)

# %% [markdown]
# ## Ten updates
#
# `snapshots` adapts once and shows the result after several numbers of updates. The loss is all that the solver goes
# by; the PSNR is computed afterwards.

# %%
updates = [0, 1, 2, 3, 4, 5, 6, 8, 10]
solutions = solver.snapshots(lr, updates=updates, degradation=degradation)
bicubic = {
    name: metasr.load(solver=name)(lr, degradation=degradation) for name in ("interpolate", "interpolate_aligned")
}
for name, sr in bicubic.items():
    print(f"{name:20} {protocol(sr, hr, scale=2).psnr_y:.2f} dB")
psnr = {count: protocol(solution.sr, hr, scale=2).psnr_y for count, solution in solutions.items()}
for count, value in psnr.items():
    print(f"{count:2} updates           {value:.2f} dB after {solutions[count].seconds:.2f} s")

# %%
Image(
    figures.adaptation_curves({degradation: psnr}, {degradation: solutions[10].trace.losses}, pictures / "curves.png")
)

# %% [markdown]
# Before any update the meta-learned weights are *worse* than interpolation: they were trained to be a good place to
# start from, not a good place to stay. The given weights are untouched, a clone was adapted.

# %%
shown = {
    "bicubic, aligned": bicubic["interpolate_aligned"],
    "0 updates": solutions[0].sr,
    "1 update": solutions[1].sr,
    "10 updates": solutions[10].sr,
    "truth": hr,
}
Image(figures.comparison(shown, pictures / "sides.png", title=f"{degradation}, x2", crop=64))

# %% [markdown]
# ## A wrong kernel
#
# The method stands and falls with what it is told. Here the same image is adapted to under other assumptions. Too
# narrow a kernel leaves the image soft; too wide a one sharpens it too far; assuming bicubic downsampling misses the
# half pixel too.

# %%
assumed = ["g0.2d", "iso_1_d", "g2.0d", "iso_3_d", "gani_d", "bicubic"]
wrong = {name: solver.solve(lr, degradation=name) for name in assumed}
for name, solution in wrong.items():
    told = "  <- the truth" * (name == degradation)
    print(f"assumed {name:8} {protocol(solution.sr, hr, scale=2).psnr_y:6.2f} dB{told}")
Image(
    figures.comparison(
        {f"assumed {name}": wrong[name].sr for name in ("g0.2d", "g2.0d", "iso_3_d")} | {"truth": hr},
        pictures / "wrong.png",
        crop=64,
    )
)

# %% [markdown]
# The loss on the image itself does not tell which assumption is right: `iso_1_d`, too narrow, ends lower than the
# truth, three dB behind it.

# %%
for name, solution in wrong.items():
    print(f"assumed {name:8} loss {solution.trace.losses[0]:.4f} -> {solution.trace.losses[-1]:.4f}")

# %% [markdown]
# ## Rates
#
# Without its learned rates the same network follows MZSR's published schedule of shorter steps. After one update it is
# ahead, after ten behind: the learned rates were trained for what comes after five steps.

# %%
for rates in ("learned", "published"):
    adapted = metasr.load("mzsr_x2", rates=rates).snapshots(lr, updates=[1, 5, 10], degradation=degradation)
    row = ", ".join(f"{count}: {protocol(s.sr, hr, scale=2).psnr_y:.2f}" for count, s in adapted.items())
    print(f"{rates:20} PSNR by updates  {row}")
    print(f"{'':20} mean rates       {', '.join(f'{rate:.3f}' for rate in adapted[10].trace.rates)}")

# %% [markdown]
# ## The table
#
# The same over whole photographs and several degradations, beside interpolation, is one call.

# %%
print(metasr.evaluate(solver, image_set("samples", split="test").subset(1), ["g0.2d", "g2.0d"], updates=[0, 1, 10]))

# %% [markdown]
# ## What to try
#
# * 20 or 50 updates: does the loss still fall, and does the PSNR still rise?
# * Noise: make `lr` by `metasr.degrade(hr, "g2.0d_n10")`. Then adapt once told of the noise, and once told `g2.0d`
#   only: adaptation sharpens the noise that it does not know of.
# * `ensemble=True` and `back_projection=4` as options of `metasr.load`.
# * A photo of your own, with a guess of its kernel: `metasr.upscale("photo.jpg", kernel="g2.0d")`, or `metasr upscale
#   photo.jpg -k g2.0d` from the command line.
