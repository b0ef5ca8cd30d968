"""Networks as one graph of plain operations, from an LR image to an SR image of any size: what an ONNX file holds.

A graph holds what the solver does around its network too: the bicubic enlargement, the data steps, the clipping. It
takes one image at a time, whole. Two things are computed otherwise than in ``degradation``, to the same numbers: a
resize gathers its taps one by one, and the Fourier transforms of the data step, which are of the LR grid alone, are
products with matrices of cosines and sines, as runtimes transform few sizes and real images not at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.degradation import names
from metasr.degradation.data_step import BORDER, resize_filter
from metasr.degradation.kernels import isotropic
from metasr.degradation.pipeline import Degradation, Downsample
from metasr.degradation.told import conditions
from metasr.errors import InputError
from metasr.models.photo import PhotoNet
from metasr.models.unfolded import UnfoldedNet
from metasr.solvers.base import Solver
from metasr.solvers.mzsr.solver import MZSRSolver
from metasr.solvers.network import NetworkSolver
from metasr.solvers.unfolded import UnfoldedSolver

KERNEL_SIDE = 25
"""Side of the kernel that a graph is given; smaller ones lie in its middle."""


@dataclass(frozen=True)
class Graph:
    """A solver as a module of plain operations.

    Attributes:
        module: of the inputs in their order, to the SR image, ``(1, 3, scale · h, scale · w)``, clipped.
        inputs: the inputs by name, for an LR image ``(1, 3, h, w)`` in [0, 1] and its degradation; ``lr`` is the first.
        degradation: one that the graph is for, to show and to test it with.
    """

    module: nn.Module
    inputs: Callable[[Tensor, Degradation], dict[str, Tensor]]
    degradation: Degradation


def graph_of(solver: Solver, *, scale: float, downsample: Downsample) -> Graph:
    """A solver's graph, for one scale and sampling grid.

    Args:
        solver: with its weights.
        scale: the factor of enlargement.
        downsample: how LR images were sampled; an unfolded network alone asks for it.

    Raises:
        InputError: for a solver that is no graph: it adapts to the image, searches, or changes its result; and for a
            scale that is not whole.
    """
    if scale != int(scale) or scale < 2:
        raise InputError(f"a graph enlarges by a whole factor from 2 on, got {scale:g}; choose such a scale")
    if isinstance(solver, MZSRSolver):
        raise InputError(
            "these weights are made to be adapted to each image by gradient steps, which no graph of a network holds, "
            "and give poor images without; export their pretrained stage (--stage pretrain, or mzsr_x2_pretrain)"
        )
    if not isinstance(solver, NetworkSolver | UnfoldedSolver):
        raise InputError(
            f"{type(solver).__name__} works on each image by itself, which no graph of a network holds; export weights "
            "of a network that is run once: pretrained, unfolded, or a student"
        )
    whole = int(scale)
    clean = Degradation(scale=scale, downsample=downsample)
    if isinstance(solver, UnfoldedSolver):
        blurred = replace(clean, kernel=isotropic(2.0), name="")
        return Graph(_Unfolded(solver.network, whole, downsample), _told_kernel, blurred)
    if solver.enlarge_first:
        return Graph(_EnlargeFirst(solver.network, whole), _told_nothing, clean)
    if isinstance(solver.network, PhotoNet):
        coded = names.parse("bicubic_n5_q85c", scale=scale)
        return Graph(_Photo(solver.network, whole), _told_conditions, coded)
    trained = getattr(solver.network, "scale", None)
    if trained is not None and trained != whole:
        raise InputError(f"these weights enlarge by {trained:g}, got scale {scale:g}; leave --scale out")
    return Graph(_Itself(solver.network), _told_nothing, clean)


def _told_nothing(lr: Tensor, degradation: Degradation) -> dict[str, Tensor]:
    return {"lr": lr}


def _told_conditions(lr: Tensor, degradation: Degradation) -> dict[str, Tensor]:
    """Noise and compression as ``degradation.told.conditions`` tells them, ``(1, 4)``."""
    return {"lr": lr, "conditions": conditions(degradation, count=1)}


def _told_kernel(lr: Tensor, degradation: Degradation) -> dict[str, Tensor]:
    """The kernel in the middle of ``(25, 25)``, a single 1 for none; and the noise level, ``(1,)``."""
    kernel = torch.ones(1, 1) if degradation.kernel is None else degradation.kernel.float()
    if max(kernel.shape) > KERNEL_SIDE or kernel.ndim != 2:
        raise InputError(
            f"a graph takes one kernel of up to {KERNEL_SIDE}x{KERNEL_SIDE}, got {tuple(kernel.shape)}; cut its border"
        )
    rows, columns = ((KERNEL_SIDE - n) // 2 for n in kernel.shape)
    placed = F.pad(kernel, (columns, columns, rows, rows))
    return {"lr": lr, "kernel": placed, "noise_std": torch.tensor([degradation.noise_level])}


class _Itself(nn.Module):
    """A network that takes the LR image and enlarges it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, lr: Tensor) -> Tensor:
        return self.network(lr).clamp(0, 1)


class _EnlargeFirst(nn.Module):
    """A network that takes the bicubically enlarged LR image."""

    def __init__(self, network: nn.Module, scale: int) -> None:
        super().__init__()
        self.network = network
        self.scale = scale

    def forward(self, lr: Tensor) -> Tensor:
        nowhere = torch.zeros((), dtype=torch.float64)
        return self.network(enlarged(lr, self.scale, (nowhere, nowhere))).clamp(0, 1)


class _Photo(nn.Module):
    """A network for photos, told noise and compression."""

    def __init__(self, network: PhotoNet, scale: int) -> None:
        super().__init__()
        self.network = network
        self.scale = scale

    def forward(self, lr: Tensor, conditions: Tensor) -> Tensor:
        (height, width), multiple = lr.shape[-2:], self.network.multiple
        even = F.pad(lr, (0, -width % multiple, 0, -height % multiple), mode="replicate")  # as in solvers.tiles
        nowhere = torch.zeros((), dtype=torch.float64)
        first = enlarged(even, self.scale, (nowhere, nowhere))
        sr = first + self.network.residual(even, conditions, scale=self.scale)
        return sr[..., : self.scale * height, : self.scale * width].clamp(0, 1)


class _Unfolded(nn.Module):
    """An unfolded network with its data steps."""

    def __init__(self, network: UnfoldedNet, scale: int, downsample: Downsample) -> None:
        super().__init__()
        self.network = network
        self.scale = scale
        self.direct = downsample == "direct"
        self.resize: Tensor | None
        self.register_buffer("resize", None if self.direct else resize_filter(scale, downsample).float())

    def forward(self, lr: Tensor, kernel: Tensor, noise_std: Tensor) -> Tensor:
        base = (self.scale - 1) / 2 if self.direct else 0.0
        position = torch.arange(KERNEL_SIDE, dtype=torch.float64) - KERNEL_SIDE // 2
        shift = []
        for axis in (0, 1):  # see Degradation.off_centre
            mass = kernel.double().sum(1 - axis)
            off = (mass * position).sum() / mass.sum()
            shift.append(base - torch.where(off.abs() > 1e-3, off, torch.zeros_like(off)))
        taps = kernel[None, None]
        if self.resize is not None:  # a correlation by one and then by the other
            reach = self.resize.shape[-1] - 1
            taps = F.conv2d(F.pad(taps, (reach,) * 4), self.resize.flip((0, 1))[None, None])
        step = _MatrixStep(lr, taps, self.scale)
        first = enlarged(lr, self.scale, (shift[0], shift[1]))
        return self.network.refine(first, step, noise_std, scale=float(self.scale)).clamp(0, 1)


class _MatrixStep:
    """The data step of ``degradation.data_step.FourierStep``, by convolutions and matrices; these in float64.

    Args:
        lr: ``(1, 3, h, w)``.
        taps: the whole filter before direct subsampling, ``(1, 1, n, n)``, n odd.
        scale: whole.
    """

    def __init__(self, lr: Tensor, taps: Tensor, scale: int) -> None:
        self.lr, self.taps, self.scale = lr, taps, scale
        self.centre = taps.shape[-1] // 2
        self.border = min(max(math.ceil(KERNEL_SIDE // 2 / scale) + 2, BORDER[0]), BORDER[1])
        height, width = lr.shape[-2] + 2 * self.border, lr.shape[-1] + 2 * self.border
        self.size = (height, width)
        rows, columns = torch.arange(height), torch.arange(width // 2 + 1)  # of the spectrum, half of it
        tap, alias = torch.arange(taps.shape[-1]), torch.arange(scale)
        every_row = (alias[:, None] * height + rows).reshape(-1)  # of the HR spectrum, by what they alias to
        every_column = (alias[:, None] * width + columns).reshape(-1)
        down, across = _waves(every_row, tap, height * scale), _waves(every_column, tap, width * scale)
        half = taps[0, 0].double() @ across[0].T, taps[0, 0].double() @ across[1].T
        otf = down[0] @ half[0] - down[1] @ half[1], down[0] @ half[1] + down[1] @ half[0]
        gain = (otf[0].square() + otf[1].square()).reshape(scale, height, scale, width // 2 + 1)
        self.power = gain.mean((0, 2))  # (h', w' / 2 + 1)
        self.down = _waves(rows, rows, height)
        self.across = _waves(columns, torch.arange(width), width)
        last = columns * 2 == width
        self.twice = torch.where((columns == 0) | last, 1.0, 2.0)  # what the other half of the spectrum adds

    def __call__(self, image: Tensor, mu: Tensor | float) -> Tensor:
        s, b, c = self.scale, self.border, self.centre
        planes = mirrored(image, c).transpose(0, 1)  # (3, 1, ...)
        seen = F.conv2d(planes, self.taps, stride=s).transpose(0, 1)
        z = self._solve(mirrored(self.lr - seen, b), mu)
        change = F.conv_transpose2d(z.transpose(0, 1), self.taps, stride=s).transpose(0, 1)
        first, (height, width) = c + s * b, image.shape[-2:]
        return image + change[..., first : first + height, first : first + width]

    def _solve(self, residual: Tensor, mu: Tensor | float) -> Tensor:
        """(H Hᵀ + mu)⁻¹ on the periodic LR grid."""
        (cos_down, sin_down), (cos, sin) = self.down, self.across
        exact = residual.double()
        real, imaginary = exact @ cos.T, -(exact @ sin.T)
        real, imaginary = cos_down @ real + sin_down @ imaginary, cos_down @ imaginary - sin_down @ real
        weight = self.twice / ((self.power + mu) * (self.size[0] * self.size[1]))
        real, imaginary = real * weight, imaginary * weight
        real, imaginary = cos_down @ real - sin_down @ imaginary, cos_down @ imaginary + sin_down @ real
        return (real @ cos - imaginary @ sin).to(residual)

    def blind_share(self, mu: Tensor) -> Tensor:
        """See ``degradation.data_step.FourierStep.blind_share``; ``(1,)``."""
        return 1 - (self.power / (self.power + mu)).mean().reshape(1).to(mu) / self.scale**2


def _waves(frequencies: Tensor, places: Tensor, period: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of 2π · frequency · place / period, ``(frequencies, places)``, exact for any size."""
    turns = _remainder(frequencies[:, None] * places[None, :], period)
    angle = turns.double() * (2 * math.pi) / period
    return angle.cos(), angle.sin()


def mirrored(image: Tensor, border: int) -> Tensor:
    """``degradation.resize.pad_symmetric`` by the same border all around."""
    for axis in (-2, -1):
        n = image.shape[axis]
        image = image.index_select(axis, _mirror(torch.arange(-border, n + border), n))
    return image


def enlarged(image: Tensor, scale: int, shift: tuple[Tensor, Tensor]) -> Tensor:
    """``degradation.resize.imresize`` by a whole factor above 1, with a shift that is known when it is run.

    Args:
        image: ``(1, 3, h, w)``.
        scale: whole.
        shift: down and right, in enlarged pixels; float64 scalars.
    """
    for axis, by in ((-2, shift[0]), (-1, shift[1])):
        n = image.shape[axis]
        centre = (torch.arange(n * scale, dtype=torch.float64) + by + 0.5) / scale - 0.5
        before = centre.floor()
        at = centre - before  # [0, 1) behind the second of four taps
        weights = (_outer(1 + at), _inner(at), _inner(1 - at), _outer(2 - at))
        taps = [image.index_select(axis, _mirror(before.long() + offset, n)) for offset in (-1, 0, 1, 2)]
        view = (-1, 1) if axis == -2 else (-1,)
        image = sum((tap * w.to(image).view(view) for tap, w in zip(taps, weights, strict=True)), 0 * taps[0])
    return image


def _inner(x: Tensor) -> Tensor:
    """The cubic kernel (a = -0.5) on [0, 1]."""
    return (1.5 * x - 2.5) * x * x + 1


def _outer(x: Tensor) -> Tensor:
    """The cubic kernel on [1, 2]."""
    return ((-0.5 * x + 2.5) * x - 4) * x + 2


def _mirror(index: Tensor, n: int) -> Tensor:
    index = _remainder(index, 2 * n)
    return torch.where(index < n, index, 2 * n - 1 - index)


def _remainder(values: Tensor, by: int) -> Tensor:
    """``values.remainder(by)``, which is exported for a tensor alone where ``by`` depends on the image's size."""
    return values.remainder(torch.full((1,), by, dtype=values.dtype))
