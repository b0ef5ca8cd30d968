"""The slow kernel estimator: DDSR's kernel net, learned on the middle of the image for a few steps."""

from __future__ import annotations

from torch import Tensor

from metasr.degradation.pipeline import Degradation, Downsample
from metasr.degradation.resize import middle
from metasr.errors import InputError
from metasr.solvers.base import check_problem, clock
from metasr.solvers.ddsr import DDSRSolver
from metasr.solvers.estimate import Estimate


class DDSREstimator:
    """A kernel of any shape, learned together with the image (see :class:`metasr.solvers.ddsr.DDSRSolver`).

    DDSR's model keeps every s-th pixel of the blurred image. So the estimate for a bicubically resized image is the
    blur and the resizing in one kernel, off its middle by as much as the pixels lie off, before direct subsampling: the
    same LR image, told in another way. Noise is not estimated.

    Args:
        solver: learns the kernel; its ``steps`` decide how long that takes.
        crop: side in LR pixels of the image's middle that is learned; none for all of it.

    Raises:
        InputError: for a crop below 1.
    """

    def __init__(self, solver: DDSRSolver, *, crop: int | None = 48) -> None:
        if crop is not None and crop < 1:
            raise InputError(f"crop must be at least 1 pixel, or none for the whole image, got {crop}")
        self.solver = solver
        self.crop = crop

    def estimate(self, lr: Tensor, *, scale: float, downsample: Downsample = "bicubic", seed: int = 0) -> Estimate:
        """See :meth:`metasr.solvers.estimate.Estimator.estimate`.

        Raises:
            InputError: for a malformed or too small image, or a scale that is not whole.
        """
        check_problem(lr, scale, None)
        if downsample not in ("direct", "bicubic"):
            raise InputError(f"a kernel is estimated for direct or bicubic subsampling, got {downsample!r}; name it")
        start = clock(lr.device)
        side = max(lr.shape[-2:]) if self.crop is None else self.crop
        part = middle(lr, (min(side, lr.shape[-2]), min(side, lr.shape[-1])))
        solution = self.solver.solve(
            part, scale=scale, degradation=Degradation(scale=scale, downsample=downsample), seed=seed
        )
        assert solution.kernel is not None
        degradation = Degradation(scale=scale, kernel=solution.kernel.detach(), downsample="direct")
        size = f"{solution.kernel.shape[-2]}x{solution.kernel.shape[-1]}"
        resized = "" if downsample == "direct" else ", with the bicubic resizing in it"
        return Estimate(
            degradation=degradation, noise_std=0.0, seconds=clock(lr.device) - start, fallback=False,
            told=f"learned in {solution.updates} steps: {size} taps before direct subsampling{resized}",
        )  # fmt: skip
