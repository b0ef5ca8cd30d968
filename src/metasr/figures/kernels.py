"""Pictures of estimated kernels, and of how they came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from metasr.figures.comparison import literal, pyplot, save
from metasr.metrics.kernel import kernel_moments, kernel_psnr, resized


@dataclass
class Course:
    """What happened to one image, step by step.

    Attributes:
        losses: the solver's own before each step.
        kernel_psnr: of the kernel before each step in dB, where the truth is known; else empty.
        seconds: since the first step, at the end of each.
        psnr: of the image on Y in dB, by the number of steps, where it was looked at.
    """

    losses: Sequence[float] = ()
    kernel_psnr: Sequence[float] = ()
    seconds: Sequence[float] = ()
    psnr: dict[int, float] = field(default_factory=dict)


def likeness(estimate: Tensor, truth: Tensor) -> float:
    """Kernel PSNR in dB over the estimate's taps, the truth cut or padded to them."""
    size = max(estimate.shape[-2:])
    return float(kernel_psnr(resized(estimate, size), resized(truth, size)))


def estimates(pairs: Mapping[str, tuple[Tensor, Tensor | None]], path: Path) -> Path:
    """Estimated kernels above the true ones, a column each, with kernel PSNR, centre and widths.

    Both kernels of a column have one scale of colours and one size, so that a pedestal or a displacement shows.

    Args:
        pairs: estimate ``(kH, kW)`` and truth, none where there is none, by caption.
        path: PNG to write.
    """
    plt = pyplot()
    figure, axes = plt.subplots(2, len(pairs), figsize=(2.2 * len(pairs), 5.2), squeeze=False, layout="constrained")
    for column, (caption, (estimate, truth)) in enumerate(pairs.items()):
        size = max(estimate.shape[-2:])
        shown = [resized(estimate, size), None if truth is None else resized(truth, size)]
        top = max(float(kernel.max()) for kernel in shown if kernel is not None)
        score = "" if truth is None else f"\nkernel PSNR {likeness(estimate, truth):.2f} dB"
        for row, (axis, kernel) in enumerate(zip(axes[:, column], shown, strict=True)):
            axis.set(xticks=[], yticks=[])
            if kernel is None:
                axis.axis("off")
                axis.text(0.5, 0.5, "no true kernel", ha="center", va="center", fontsize=8)
                continue
            axis.imshow(kernel.detach().cpu().numpy(), cmap="magma", vmin=0, vmax=top)
            axis.plot(size // 2, size // 2, "+", color="white", alpha=0.6, markersize=7)  # the middle of the array
            axis.set_xlabel(_told_of(kernel), fontsize=7)
            axis.set_title(literal(caption) + score if row == 0 else "true", fontsize=8)
    axes[0, 0].set_ylabel("estimated", fontsize=8)
    return save(figure, path)


def _told_of(kernel: Tensor) -> str:
    centre, widths = kernel_moments(kernel)
    row, column = (round(float(c) - n // 2, 1) + 0.0 for c, n in zip(centre, kernel.shape, strict=True))
    return f"centre ({row:+.1f}, {column:+.1f}), variances {float(widths[0]):.1f}, {float(widths[1]):.1f}"


def courses(lines: Mapping[str, Course], path: Path) -> Path:
    """The image's PSNR, the solver's loss and the kernel's PSNR (measured, never used) by number of updates."""
    plt = pyplot()
    figure, axes = plt.subplots(1, 3, figsize=(12, 3), layout="constrained")
    for label, course in lines.items():
        (line,) = axes[1].plot(range(len(course.losses)), course.losses, linewidth=0.8, label=literal(label))
        steps = sorted(course.psnr)
        axes[0].plot(steps, [course.psnr[s] for s in steps], marker="o", markersize=3, color=line.get_color())
        axes[2].plot(range(len(course.kernel_psnr)), course.kernel_psnr, color=line.get_color())
    titles = ("PSNR on Y in dB", "the solver's own loss", "kernel PSNR in dB")
    for axis, title in zip(axes, titles, strict=True):
        axis.set(xlabel="updates", ylabel=title)
        axis.ticklabel_format(useOffset=False)
        axis.grid(alpha=0.3)
    axes[1].set_yscale("log")
    axes[1].legend(fontsize=7)
    return save(figure, path)
