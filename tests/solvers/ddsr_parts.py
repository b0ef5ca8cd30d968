"""Small problems for DDSR."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metasr.degradation.pipeline import Degradation
from metasr.degradation.published_ddsr import PublishedDraws
from metasr.solvers.ddsr.data_term import DataTerm
from metasr.solvers.ddsr.loop import Loop
from metasr.solvers.ddsr.options import DDSROptions
from metasr.solvers.ddsr.random_kernels import Centre, RandomKernels
from metasr.solvers.ddsr.solver import DDSRSolver
from small_problems import picture

TINY: dict[str, Any] = {"width": 4, "skip": 2, "levels": 2, "hidden": 16, "warmup_steps": 4, "precision": "float32"}


def tiny(**changes: Any) -> DDSRSolver:
    return DDSRSolver(**({"steps": 7} | TINY | changes))


def problem(height: int = 34, width: int = 26, *, scale: int = 2) -> tuple[Tensor, Tensor, Degradation]:
    """LR, HR and the degradation between them, by the published program's draws."""
    hr = picture(height * scale // 2, width * scale // 2)
    drawn = PublishedDraws(scale).draw(hr)
    return drawn.lr, hr, drawn.degradation


class Canvas(nn.Module):
    """An image net without a net: the image's own logits."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(1, 3, height, width))
        self.calls = 0

    def forward(self, noise: Tensor) -> Tensor:
        self.calls += 1
        return torch.sigmoid(self.logits + noise)


class FewTaps(nn.Module):
    """A kernel net without a net."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.logits = nn.Parameter(torch.zeros(size, size))

    def forward(self, code: Tensor) -> Tensor:
        return (self.logits + code.sum()).flatten().softmax(0).view(self.size, self.size)


def canvas_loop(choices: DDSROptions, *, lr: Tensor | None = None, seed: int = 0, centre: Centre = "published") -> Loop:
    """A loop over nets that cost nothing, at x2 with kernels of 5×5."""
    lr = picture(6, 5) if lr is None else lr
    return Loop(
        DataTerm(lr, scale=2),
        Canvas(2 * lr.shape[-2], 2 * lr.shape[-1]),
        FewTaps(5),
        random_kernels=RandomKernels(scale=2, size=5, variance=(0.5, 2.0), centre=centre),
        choices=choices,
        generator=torch.Generator().manual_seed(seed),
        code=3,
    )


def write_mask(path: Path, mask: Tensor) -> Path:
    """A mask as a file, .npy or an image."""
    import numpy as np
    from PIL import Image

    if path.suffix == ".npy":
        np.save(path, mask.numpy())
    else:
        Image.fromarray((255 * mask.numpy()).astype("uint8")).save(path)
    return path
