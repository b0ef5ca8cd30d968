"""The fast kernel estimator: a Gaussian's covariance and the noise level, told by a small network in one look."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from metasr.degradation import names
from metasr.degradation.pipeline import Degradation, Downsample
from metasr.degradation.resize import middle
from metasr.errors import InputError, require_at_least
from metasr.io.jpeg import Jpeg
from metasr.io.levels import to_levels
from metasr.models.kernel_regressor import Blur, KernelRegressor, axes_of
from metasr.models.weight_net import high_pass
from metasr.solvers.back_project import BackProjectSolver
from metasr.solvers.base import check_problem, clock
from metasr.solvers.blind.base import BlindSolver, Estimate, assume
from metasr.solvers.ensemble import SYMMETRIES, transform

_ROUND = 1.1  # ratio of the variances under which a kernel is called isotropic
_FLAT = 0.5  # grey levels of detail (standard deviation) under which there is nothing to see
_CLIPPED = 0.5  # share of pixels at 0 or 255 from which the image is taken to be saturated


class ParametricEstimator:
    """Blur as a Gaussian of any covariance, and white noise.

    The middle of the image is looked at in its eight turns and flips, and the median of what was seen is taken. Where
    the blur is too weak to be told from none, plain subsampling is assumed, and so it is for images that show nothing
    (too small, constant, saturated); the estimate says so.

    Args:
        network: trained by ``recipes.kernel_regression.KernelRegression``; never changed.
        scales: the range of scales that it was trained for.
        weakest: variance in LR pixels² (the mean of both axes') below which bicubic subsampling is taken to be all.
        doubtful: doubt (see ``models.kernel_regressor.Blur``) above which it is, too.
        coarsest: mean quantisation step of luma above which it is, too: to undo a blur then magnifies what compression
            left. Quality 80 has 23.
        quietest: noise on the 0-255 scale below which the image is taken to be clean.
        look: side in LR pixels of the image's middle that is looked at.

    Raises:
        InputError: for a number out of its range.
    """

    def __init__(
        self,
        network: KernelRegressor,
        *,
        scales: Sequence[float] = (2.0, 4.0),
        weakest: float = 0.07,
        doubtful: float = 0.7,
        coarsest: float = 23.5,
        quietest: float = 2.0,
        look: int = 512,
    ) -> None:
        if not isinstance(network, KernelRegressor):
            raise InputError(
                f"kernels are told by a KernelRegressor, got {type(network).__name__}; choose "
                "+experiment=kernel_regressor, or model=kernel_regressor"
            )
        require_at_least(0, weakest=weakest, quietest=quietest, doubtful=doubtful, coarsest=coarsest)
        if look < network.smallest:
            raise InputError(f"look must be at least {network.smallest} pixels, got {look}")
        self.network = network
        self.scales = (min(scales), max(scales))
        self.weakest = weakest
        self.quietest = quietest
        self.doubtful = doubtful
        self.coarsest = coarsest
        self.look = look

    def estimate(
        self,
        lr: Tensor,
        *,
        scale: float,
        downsample: Downsample = "bicubic",
        jpeg: Jpeg | None = None,
        seed: int = 0,
    ) -> Estimate:
        """See ``solvers.blind.base.Estimator.estimate``; nothing is drawn.

        Raises:
            InputError: for a malformed image, or a scale or grid that the network was not trained for.
        """
        plain = check_problem(lr, scale, None)
        if downsample not in ("direct", "bicubic"):
            raise InputError(f"a kernel is estimated for direct or bicubic subsampling, got {downsample!r}; name it")
        if not self.scales[0] <= scale <= self.scales[1]:
            raise InputError(
                f"the kernel estimator was trained for scales {self.scales[0]:g} to {self.scales[1]:g}, got "
                f"{scale:g}; name the kernel, or take estimator=ddsr"
            )
        start = clock(lr.device)
        plain = names.parse(downsample, scale=scale)
        reason = unfit(lr, smallest=self.network.smallest)
        if reason:
            return assume(plain, reason, seconds=clock(lr.device) - start)
        height, width = (min(n, self.look) for n in lr.shape[-2:])
        part = middle(lr, (height, width))
        seen = look(self.network, part, scale=scale, direct=downsample == "direct", jpeg=jpeg)
        noise = float(seen.noise_std) * 255
        noise = round(noise, 1) if noise >= self.quietest else 0.0
        coarse = jpeg is not None and sum(jpeg.luma) / 64 > self.coarsest
        doubt = math.inf if coarse else float(seen.doubt)
        degradation, fallback = self._decide(seen.log_covariance[0], doubt, plain, noise)
        verdict = "too strongly compressed to undo a blur" if coarse else "no blur found" if fallback else "estimated"
        return Estimate(
            degradation=degradation, noise_std=degradation.noise_level, seconds=clock(lr.device) - start,
            fallback=fallback, told=f"{verdict}: {degradation}",
        )  # fmt: skip

    def _decide(
        self, log_covariance: Tensor, doubt: float, plain: Degradation, noise: float
    ) -> tuple[Degradation, bool]:
        """The degradation of what was seen, by a name that anyone can type, and whether it is the fallback."""
        long, short, theta = axes_of(log_covariance)
        suffix = f"_n{noise:g}" if noise else ""
        weak = (long + short) / 2 < self.weakest * plain.scale**2 or doubt > self.doubtful
        if plain.downsample == "bicubic" and weak:
            return names.parse(f"{plain}{suffix}", scale=plain.scale), True
        end = plain.downsample[0]
        if long / short < _ROUND:
            name = f"iso_{_short(math.sqrt(long * short))}_{end}"
        else:
            name = f"aniso_{_short(long)}_{_short(short)}_{_short(theta)}_{end}"
        return names.parse(name + suffix, scale=plain.scale), False


@torch.no_grad()
def look(network: KernelRegressor, lr: Tensor, *, scale: float, direct: bool, jpeg: Jpeg | None = None) -> Blur:
    """The median of what a regressor sees in an image's eight turns and flips, each turned back.

    Args:
        network: the regressor.
        lr: ``(1, 3, H, W)``.
        scale: factor between HR and LR.
        direct: whether every s-th pixel was kept.
        jpeg: how the image was compressed, if it was.

    Returns:
        A batch of one. A quarter turn swaps the axes (q and r change sign), a flip mirrors them (r does).
    """
    network.eval()
    blurs: list[Blur] = []
    signs: list[tuple[float, float, float]] = []
    for turned in (False, True):  # images of one shape go together
        views = [s for s in SYMMETRIES if s[0] % 2 == turned]
        images = torch.cat([transform(lr, s) for s in views])
        blurs.append(network(images, scale=scale, direct=direct, jpeg=jpeg))
        signs += [(1.0, (-1.0) ** turns, (-1.0) ** (turns + flip)) for turns, flip in views]
    upright = torch.cat([blur.log_covariance for blur in blurs]) * lr.new_tensor(signs)  # (8, 3)
    noise = torch.cat([blur.noise_std for blur in blurs])
    doubt = torch.cat([blur.doubt for blur in blurs])
    return Blur(_median(upright)[None], _median(noise[:, None]), _median(doubt[:, None]))


def unfit(lr: Tensor, *, smallest: int) -> str:
    """Why nothing can be estimated from an image, in a few words; empty where something can."""
    height, width = lr.shape[-2:]
    if min(height, width) < smallest:
        return f"{width}x{height} pixels are too few to see a blur in ({smallest}x{smallest} at least)"
    if float(high_pass(lr).std()) * 255 < _FLAT:
        return "the image is nearly constant"
    levels = to_levels(lr)
    clipped = float(((levels <= 0) | (levels >= 255)).float().mean())
    if clipped >= _CLIPPED:
        return f"{clipped:.0%} of the image is saturated"
    return ""


class BlindBackProjectSolver(BlindSolver):
    """Back-projection with the kernel that a regressor sees: what training a regressor is judged by.

    Args:
        network: the regressor.
        rounds: of back-projection.
    """

    def __init__(self, network: KernelRegressor, *, rounds: int = 10) -> None:
        super().__init__(BackProjectSolver(rounds=rounds), ParametricEstimator(network))


def _median(values: Tensor) -> Tensor:
    """``(n, k)`` to ``(k,)``; of an even number the mean of the middle two."""
    ordered, n = values.sort(0).values, len(values)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


def _short(number: float) -> str:
    return f"{number:.3g}"
