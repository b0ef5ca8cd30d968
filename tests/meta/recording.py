"""What stands for CUDA's capture in tests of the engine, and a step to capture.

Without a GPU a recording that is played back by Python stands for the CUDA graph: like one, it works on the tensors it
was recorded with, and hands out the same results each time.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from metasr.meta.cuda_graph import Replay

Run = Callable[[], list[Tensor]]


class Recorder:
    """Stands for CUDA's capture, and counts; ``spoil`` changes what is played back."""

    def __init__(self, spoil: Callable[[list[Tensor]], None] = lambda outputs: None) -> None:
        self.captured = self.played = 0
        self.spoil = spoil

    def __call__(self, run: Run) -> Replay:
        self.captured += 1
        held = [t.clone() for t in run()]

        def replay() -> list[Tensor]:
            self.played += 1
            for into, value in zip(held, run(), strict=True):
                into.copy_(value)
            self.spoil(held)
            return held

        return replay


class Step:
    """x, y ↦ p·x + y and Σx: counts its calls, and remembers whether it was to work side by side."""

    def __init__(self, parameter: Tensor) -> None:
        self.parameter = parameter
        self.calls: list[bool] = []

    def __call__(self, inputs: Sequence[Tensor], side_by_side: bool) -> list[Tensor]:
        self.calls.append(side_by_side)
        x, y = inputs
        return [self.parameter * x + y, x.sum()]


def inputs(count: int = 3, *, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(count, 2, generator=generator) for _ in range(2)]
