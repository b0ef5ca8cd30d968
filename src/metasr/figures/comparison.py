"""Pictures of results, by matplotlib, without a display."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metasr.io.files import whole_file

_COLUMNS = 4
_CAPTION = 38  # letters that fit above a picture


def pyplot() -> Any:
    """Matplotlib's ``pyplot``, loaded when it is needed, drawing to files alone."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def pixels(image: Tensor) -> np.ndarray:
    """``(H, W, 3)`` in [0, 1] of an image ``(3, H, W)`` or ``(1, 3, H, W)``; what lies beyond is clipped."""
    return image.detach().float().cpu().clamp(0, 1).reshape(3, *image.shape[-2:]).permute(1, 2, 0).numpy()


def comparison(
    images: Mapping[str, Tensor], path: Path, *, title: str = "", crop: int = 96, corner: tuple[int, int] | None = None
) -> Path:
    """Versions of one picture side by side: above the whole picture with the region marked, below the region enlarged.

    More than four are wrapped to further lines, so that the captions stay legible at a page's width.

    Args:
        images: ``(1, 3, H, W)`` or ``(3, H, W)`` by caption, all of one size.
        path: PNG to write.
        title: above all.
        crop: side of the region in pixels.
        corner: row and column of its upper left corner; by default where the last image has most detail.
    """
    plt = pyplot()
    pictures = {k: pixels(v) for k, v in images.items()}
    last = next(reversed(pictures.values()))
    height, width = last.shape[:2]
    crop = min(crop, height, width)
    y, x = corner or _busiest(last, crop)
    columns = min(_COLUMNS, len(pictures))
    lines = -(-len(pictures) // columns)
    figure, axes = plt.subplots(
        2 * lines, columns, figsize=(2.6 * columns, (2.6 * (1 + height / width) + 0.6) * lines), squeeze=False,
        height_ratios=[height / width, 1] * lines, layout="constrained",
    )  # fmt: skip
    for axis in axes.flat:
        axis.axis("off")
    step = max(1, max(height, width) // 800)  # the overview of a large picture needs no more
    for number, (caption, picture) in enumerate(pictures.items()):
        line, column = divmod(number, columns)
        top, bottom = axes[2 * line, column], axes[2 * line + 1, column]
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        top.imshow(picture[::step, ::step], interpolation="antialiased", extent=extent)
        top.add_patch(plt.Rectangle((x - 0.5, y - 0.5), crop, crop, fill=False, color="yellow", linewidth=1))
        top.set_title(textwrap.fill(literal(caption), _CAPTION), fontsize=9)
        bottom.imshow(picture[y : y + crop, x : x + crop], interpolation="nearest")
        for axis in (top, bottom):
            axis.axis("on")
            axis.set_xticks([])
            axis.set_yticks([])
    if title:
        figure.suptitle(literal(title), fontsize=10)
    return save(figure, path)


def _busiest(picture: np.ndarray, crop: int) -> tuple[int, int]:
    """Corner of the region with the largest mean gradient."""
    grey = torch.from_numpy(picture.mean(2))[None, None]
    detail = torch.nn.functional.pad((grey[..., 1:, :-1] - grey[..., :-1, :-1]).abs(), (0, 1, 0, 1))
    detail = detail + torch.nn.functional.pad((grey[..., :-1, 1:] - grey[..., :-1, :-1]).abs(), (0, 1, 0, 1))
    means = torch.nn.functional.avg_pool2d(detail, crop, stride=max(1, crop // 8))[0, 0]
    row, column = divmod(int(means.argmax()), means.shape[1])
    return row * max(1, crop // 8), column * max(1, crop // 8)


def adaptation_curves(
    psnr: Mapping[str, Mapping[int, float]], losses: Mapping[str, Sequence[float]], path: Path
) -> Path:
    """PSNR, where it is known by number of updates, and the solver's own loss against the number of updates."""
    plt = pyplot()
    count = 2 if psnr else 1
    figure, axes = plt.subplots(1, count, figsize=(4 * count, 3), squeeze=False, layout="constrained")
    for label, points in psnr.items():
        steps = sorted(points)
        axes[0, 0].plot(steps, [points[s] for s in steps], marker="o", markersize=3, label=label)
    for label, values in losses.items():
        axes[0, -1].plot(range(len(values)), values, label=label)
    if psnr:
        axes[0, 0].set(xlabel="updates", ylabel="PSNR on Y in dB")
    axes[0, -1].set(xlabel="updates", ylabel="the solver's own loss", yscale="log")
    axes[0, 0].legend(fontsize=8)
    for axis in axes[0]:
        axis.grid(alpha=0.3)
    return save(figure, path)


def kernels(pictures: Mapping[str, Tensor], path: Path) -> Path:
    """Blur kernels side by side, each scaled to its own largest value; ``(kH, kW)`` by caption."""
    plt = pyplot()
    figure, axes = plt.subplots(
        1, max(1, len(pictures)), figsize=(1.8 * max(1, len(pictures)), 2.1), squeeze=False, layout="constrained"
    )
    for axis in axes[0]:
        axis.axis("off")
    for axis, (caption, kernel) in zip(axes[0], pictures.items(), strict=False):
        axis.imshow(kernel.detach().cpu().numpy(), cmap="magma")
        axis.set_title(literal(caption), fontsize=9)
    return save(figure, path)


def save(figure: Any, path: Path) -> Path:
    """Write a figure, making its folder, and close it.

    Raises:
        OutputError: if the file cannot be written; nothing is left of it.
    """
    try:
        with whole_file(path) as temporary:
            # No software version and no date in the file: the same picture is the same bytes.
            figure.savefig(temporary, format=path.suffix[1:], dpi=110, metadata={"Software": None})
    finally:
        pyplot().close(figure)
    return path


def literal(text: str) -> str:
    """A text that matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")
