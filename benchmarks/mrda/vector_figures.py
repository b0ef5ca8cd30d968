"""Pictures of degradation vectors: where they lie, what swapping them costs, and what adaptation gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metasr.figures.comparison import literal, pyplot, save


def projections(
    panels: Mapping[str, Tensor], labels: Sequence[str], path: Path, *, widths: Mapping[str, float] | None = None
) -> Path:
    """Vectors in two dimensions side by side, a point for each image and degradation, coloured by degradation.

    Args:
        panels: ``(N, 2)`` by title.
        labels: N names of degradations.
        path: PNG to write.
        widths: a number for each degradation, for a continuous scale of colours; otherwise each has a colour and a
            mark of its own, with its name beside.
    """
    plt = pyplot()
    kinds = list(dict.fromkeys(labels))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.2 * len(panels) + 1, 3.9), squeeze=False, layout="constrained"
    )
    for axis, (title, points) in zip(axes[0], panels.items(), strict=True):
        if widths:
            numbers = [widths[label] for label in labels]
            drawn = axis.scatter(*points.T.numpy(), c=numbers, s=9, linewidths=0, cmap="viridis")
        for i, kind in enumerate(() if widths else kinds):
            chosen = points[torch.tensor([label == kind for label in labels])]
            mark = "osD^v<>Ph"[i // 10 % 9]
            axis.scatter(*chosen.T.numpy(), s=11, linewidths=0, color=f"C{i % 10}", marker=mark, label=literal(kind))
        axis.set_title(literal(title), fontsize=9)
        axis.set(xlabel="first component", ylabel="second component", xticks=[], yticks=[])
    if widths:
        figure.colorbar(drawn, ax=axes[0, -1], label="standard deviation of the blur in HR pixels")
    else:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return save(figure, path)


def swap_cost(cost: Tensor, labels: Sequence[str], path: Path) -> Path:
    """What is lost, in dB, where an image is enlarged by the vector of another blur: ``(K, K)``, vectors in rows."""
    plt = pyplot()
    count = len(labels)
    figure, axis = plt.subplots(figsize=(0.62 * count + 2.2, 0.5 * count + 1.6), layout="constrained")
    bound = max(float(cost.abs().max()), 1e-3)
    drawn = axis.imshow(cost.numpy(), cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto")
    for i, row in enumerate(cost.tolist()):
        for j, value in enumerate(row):
            dark = abs(value) > 0.6 * bound
            axis.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if dark else "black")
    named = [literal(label) for label in labels]
    axis.set_xticks(range(count), named, rotation=45, ha="right", fontsize=8)
    axis.set_yticks(range(count), named, fontsize=8)
    axis.set(xlabel="degradation of the image", ylabel="degradation of the vector")
    figure.colorbar(drawn, label="loss in dB")
    return save(figure, path)


def other_patch_curves(
    curves: Mapping[str, Mapping[str, Sequence[float]]], path: Path, *, wrong: Mapping[str, Mapping[str, str]]
) -> Path:
    """PSNR on patches that the steps were not taken on, against the number of steps: a panel for each degradation.

    Args:
        curves: by panel and line, PSNR after 0, 1, ... steps.
        path: PNG to write.
        wrong: by panel and line, of those that were adapted to another degradation, the line whose colour they share;
            they are drawn dashed.
    """
    plt = pyplot()
    figure, axes = plt.subplots(1, len(curves), figsize=(3.3 * len(curves), 3.4), squeeze=False, layout="constrained")
    names = [n for panel, lines in curves.items() for n in lines if n not in wrong.get(panel, {})]
    colours = {name: f"C{i}" for i, name in enumerate(dict.fromkeys(names))}
    handles: dict[str, Any] = {}
    for axis, (panel, lines) in zip(axes[0], curves.items(), strict=True):
        for name, values in lines.items():
            owner = wrong.get(panel, {}).get(name)
            (line,) = axis.plot(
                range(len(values)), values, color=colours[owner or name], marker="o", markersize=3,
                linestyle="--" if owner else "-",
            )  # fmt: skip
            handles.setdefault(name, line)
        axis.set_title(literal(panel), fontsize=9)
        axis.set(xlabel="SGD steps")
        axis.grid(alpha=0.3)
    axes[0, 0].set(ylabel="PSNR on Y in dB, other patches")
    figure.legend(
        list(handles.values()), [literal(n) for n in handles], loc="outside lower center", ncols=3, fontsize=8
    )
    return save(figure, path)
