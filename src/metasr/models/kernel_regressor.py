"""A small network that tells from an LR image alone how it was blurred, and how noisy it is."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.checks import check_image, check_scale
from metasr.degradation.jpeg import Jpegs, told_numbers
from metasr.errors import InputError, require_at_least
from metasr.models.weight_net import high_pass

_LUMA = (0.299, 0.587, 0.114)
_LEVEL = 1 / 255  # one grey level
_DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1))  # row and column steps that differences are taken over
_ORDERS = 6
_EXPONENTS = (-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 4.0)
_MARGIN = 4  # pixels, more than half the highest order
_LOG_VARIANCES = (-6.0, 4.0)  # of the variances in LR pixels² that are told
_TINY = 1e-12

STATISTICS = len(_EXPONENTS) * _ORDERS * (1 + len(_DIRECTIONS))
"""How many statistics of an image there are."""

OBSERVED = STATISTICS + 3
"""How many numbers a ``KernelRegressor`` is shown of an image: with scale, grid and compression."""


class Blur(NamedTuple):
    """What was seen of a batch of images.

    Attributes:
        log_covariance: ``(B, 3)``, p, q, r of log Σ = [[p + q, r], [r, p - q]], x first, in HR pixels².
        noise_std: ``(B,)`` standard deviation of the noise on the [0, 1] scale, as it was before any compression.
        doubt: ``(B,)`` by how much the kernel is probably wrong: Σ |k̂ - k|, 0 to 2.
    """

    log_covariance: Tensor
    noise_std: Tensor
    doubt: Tensor


def covariance_of(log_covariance: Tensor) -> Tensor:
    """Σ from its logarithm, in closed form: e^p (cosh m · I + sinh m / m · [[q, r], [r, -q]]), m² = q² + r².

    Args:
        log_covariance: ``(..., 3)``, p, q and r (see ``Blur``).

    Returns:
        ``(..., 2, 2)``, symmetric with positive eigenvalues e^(p ± m), differentiable everywhere.
    """
    p, q, r = log_covariance.unbind(-1)
    m = (q.square() + r.square() + _TINY).sqrt()
    same, other = p.exp() * m.cosh(), p.exp() * m.sinh() / m
    rows = [torch.stack([same + other * q, other * r], -1), torch.stack([other * r, same - other * q], -1)]
    return torch.stack(rows, -2)


def axes_of(log_covariance: Tensor) -> tuple[float, float, float]:
    """Variances along and across the longer axis, in HR pixels², and its angle in radians in (-π/2, π/2].

    The numbers that ``degradation.kernels.anisotropic`` takes.

    Args:
        log_covariance: ``(3,)``, p, q and r (see ``Blur``).
    """
    p, q, r = (float(v) for v in log_covariance)
    m = math.hypot(q, r)
    return math.exp(p + m), math.exp(p - m), 0.5 * math.atan2(r, q)


def gaussians_of(log_covariance: Tensor, *, size: int) -> Tensor:
    """Gaussian kernels of some covariances, differentiable in them.

    Args:
        log_covariance: ``(B, 3)`` (see ``Blur``).
        size: odd side of the kernels.

    Returns:
        ``(B, size, size)`` of sum 1.
    """
    p, q, r = log_covariance.unbind(-1)
    inverse = covariance_of(torch.stack([-p, -q, -r], -1))  # (B, 2, 2)
    axis = torch.arange(size, dtype=p.dtype, device=p.device) - size // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    xx, xy, yy = (inverse[:, i, j, None, None] for i, j in ((0, 0), (0, 1), (1, 1)))
    kernels = torch.exp(-0.5 * (xx * x * x + 2 * xy * x * y + yy * y * y))
    return kernels / kernels.sum((-2, -1), keepdim=True)


class KernelRegressor(nn.Module):
    """Blur covariance, noise level and their doubtfulness, for kernels before direct or bicubic subsampling.

    It is shown statistics of the luminance's derivatives (see ``statistics``), of any image size, and passes them
    through three fully connected layers. On equal data and in a tenth of the time this told kernels better than a
    convolutional network that had to find such statistics itself. Which grid the image was sampled on cannot be seen in
    it, and is an input beside the scale; so is how it was compressed, which its file tells. 121,861 parameters of
    width 256.

    Args:
        width: of the two hidden layers.
    """

    smallest = 24
    """Side in LR pixels below which an image shows too little."""

    def __init__(self, *, width: int = 256) -> None:
        super().__init__()
        require_at_least(1, width=width)
        self.layers = nn.Sequential(
            nn.Linear(OBSERVED, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 5)
        )

    def forward(self, lr: Tensor, *, scale: float, direct: bool, jpeg: Jpegs | None = None) -> Blur:
        """Look at a batch of images that were all sampled alike.

        Args:
            lr: ``(B, 3, h, w)`` in [0, 1], both sides at least ``smallest``.
            scale: factor between HR and LR.
            direct: whether every s-th pixel was kept; else the image was resized bicubically.
            jpeg: how the images were compressed, all alike or each in its way.

        Raises:
            InputError: for a malformed or too small image.
        """
        return self.tell(self.observe(lr, scale=scale, direct=direct, jpeg=jpeg))

    def observe(self, lr: Tensor, *, scale: float, direct: bool, jpeg: Jpegs | None = None) -> Tensor:
        """What the layers are shown of some images, before anything is learned; takes what ``forward`` takes.

        Returns:
            ``(B, OBSERVED)``: the statistics, log2(scale) - 1, whether every s-th pixel was kept, and how coarsely luma
            was compressed.

        Raises:
            InputError: for a malformed or too small image.
        """
        check_image(lr, name="lr")
        check_scale(scale)
        if lr.shape[1] != 3 or min(lr.shape[-2:]) < self.smallest:
            raise InputError(
                f"the kernel is estimated from RGB images of at least {self.smallest}x{self.smallest}, got "
                f"{tuple(lr.shape)}; give a larger image, or name the kernel"
            )
        grid = lr.new_tensor([math.log2(scale) - 1, float(direct)]).expand(len(lr), 2)
        coded = told_numbers(jpeg, len(lr))[:, :1].to(lr)  # of luma, which alone is looked at
        return torch.cat([statistics(lr), grid, coded], 1)

    def tell(self, observed: Tensor) -> Blur:
        """What the layers make of that, for images of any mixture of scales and grids.

        Args:
            observed: ``(B, OBSERVED)``, as ``observe`` gives it.
        """
        outputs = self.layers(observed)  # (B, 5)
        log_scale = math.log(2) * (observed[:, STATISTICS] + 1)
        p = outputs[:, 0].clamp(*_LOG_VARIANCES) + 2 * log_scale  # from LR to HR pixels²
        q, r = (3 * torch.tanh(outputs[:, 1:3] / 3)).unbind(1)
        noise = torch.expm1(F.softplus(outputs[:, 3]).clamp_max(8)) * _LEVEL
        return Blur(torch.stack([p, q, r], 1), noise, 2 * torch.sigmoid(outputs[:, 4]))


def statistics(lr: Tensor) -> Tensor:
    """How strong an image's derivatives are, where there is little contrast and where there is much.

    Blur weakens high derivatives against low ones, along its longer axis more than across it; noise strengthens them,
    most visibly in flat places. So the mean squares of the first six derivatives in four directions are taken, over all
    places weighted by powers of the local contrast from -2 (flat places alone) to 4 (the strongest edges alone).

    Args:
        lr: ``(B, 3, h, w)`` in [0, 1], sides at least 24.

    Returns:
        ``(B, STATISTICS)``: for each weighting the logarithm of the first derivative's strength, of each further one's
        against the one before (the mean over directions), and how much each direction differs from their mean.
    """
    luma = (lr * lr.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
    contrast = (_local_power(high_pass(luma)) + _LEVEL**2 / 4).flatten(2)  # (B, 1, places)
    strengths = []
    for dy, dx in _DIRECTIONS:
        derivative = luma
        for order in range(1, _ORDERS + 1):
            derivative = derivative - derivative.roll((-dy, -dx), (-2, -1))  # wraps around into the margin alone
            half = order // 2
            strengths.append(_local_power(derivative.roll((dy * half, dx * half), (-2, -1))))
    powers = torch.cat(strengths, 1).flatten(2)  # (B, 4 * 6, places)
    relative = contrast / contrast.mean(-1, keepdim=True)
    features = []
    for exponent in _EXPONENTS:
        weights = relative**exponent
        mean = (powers * weights).sum(-1) / weights.sum(-1)
        logs = (mean + _LEVEL**2 / 50).log().unflatten(1, (len(_DIRECTIONS), _ORDERS))
        level = logs.mean(1)  # (B, 6)
        features += [(level[:, :1] + 8) / 3, level.diff(dim=1), 3 * (logs - level[:, None]).flatten(1)]
    return torch.cat(features, 1)


def _local_power(image: Tensor) -> Tensor:
    """Mean squares over windows of 5×5, every 4 pixels, without the image's margin: ``(B, 1, h', w')``."""
    return F.avg_pool2d(image[..., _MARGIN:-_MARGIN, _MARGIN:-_MARGIN].square(), 5, stride=4)
