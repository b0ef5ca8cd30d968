"""The slow kernel estimator: DDSR's kernel net, learned on the middle of the image for a few steps."""

from __future__ import annotations

from torch import Tensor

from metasr.degradation import names
from metasr.degradation.pipeline import Degradation, Downsample
from metasr.errors import InputError, require_at_least
from metasr.io.jpeg import Jpeg
from metasr.solvers.base import check_problem, clock
from metasr.solvers.blind.base import Estimate, assume
from metasr.solvers.blind.parametric import unfit
from metasr.solvers.ddsr.solver import DDSRSolver, published_scale
from metasr.solvers.ddsr.windows import Windows
from metasr.solvers.tiles import Tile


class DDSREstimator:
    """A kernel of any shape, learned together with the image (see ``solvers.ddsr.solver.DDSRSolver``).

    DDSR's model keeps every s-th pixel of the blurred image. So the estimate for a bicubically resized image is the
    blur and the resizing in one kernel, off its middle by as much as the pixels lie off, before direct subsampling: the
    same LR image, told in another way. Noise is not estimated.

    Of the middle's own edge no more is compared than the kernel reaches within it: DDSR's model continues what it is
    given from the other side, and so the pixels there would speak of another picture. Of images that show nothing (too
    small, constant, saturated) plain subsampling is assumed, as the estimate says.

    Args:
        solver: learns the kernel; its ``steps`` decide how long that takes.
        crop: side in LR pixels of the image's middle that is learned; none for all of it.

    Raises:
        InputError: for a crop below 1.
    """

    def __init__(self, solver: DDSRSolver, *, crop: int | None = 48) -> None:
        require_at_least(1, crop=crop)
        self.solver = solver
        self.crop = crop

    def estimate(
        self,
        lr: Tensor,
        *,
        scale: float,
        downsample: Downsample = "bicubic",
        jpeg: Jpeg | None = None,
        seed: int = 0,
    ) -> Estimate:
        """See ``solvers.blind.base.Estimator.estimate``.

        Raises:
            InputError: for a malformed image, a crop too small for the kernel, or a scale other than 2, 3, 4 and 8.
        """
        check_problem(lr, scale, None)
        whole = published_scale(scale)
        if downsample not in ("direct", "bicubic"):
            raise InputError(f"a kernel is estimated for direct or bicubic subsampling, got {downsample!r}; name it")
        start = clock(lr.device)
        need, reach = self.solver.least_side(whole), self.solver.reach(whole)
        if self.crop is not None and self.crop < need + 2 * reach:
            raise InputError(
                f"crop must be at least {need + 2 * reach} pixels at x{whole}, of which {reach} on each side are not "
                f"compared, or none for the whole image; got {self.crop}"
            )
        tile = _middle(*lr.shape[-2:], side=self.crop)
        part = lr[..., tile.outer[0], tile.outer[1]]
        reason = unfit(lr, smallest=need) or unfit(part, smallest=need)
        if reason:
            return assume(names.parse(downsample, scale=scale), reason, seconds=clock(lr.device) - start)
        seen = Windows([tile], reach, whole).seen(tile, *lr.shape[-2:])  # beyond a cut there is more image
        known = Degradation(scale=scale, downsample=downsample, mask=None if bool(seen.all()) else seen.to(lr))
        solution = self.solver.solve(part, scale=scale, degradation=known, seed=seed)
        assert solution.kernel is not None
        degradation = Degradation(scale=scale, kernel=solution.kernel.detach(), downsample="direct")
        size = f"{solution.kernel.shape[-2]}x{solution.kernel.shape[-1]}"
        resized = "" if downsample == "direct" else ", with the bicubic resizing in it"
        return Estimate(
            degradation=degradation, noise_std=0.0, seconds=clock(lr.device) - start, fallback=False,
            told=f"learned in {solution.updates} steps: {size} taps before direct subsampling{resized}",
        )  # fmt: skip


def _middle(height: int, width: int, *, side: int | None) -> Tile:
    """The middle of an image, at most ``side`` pixels high and wide."""
    rows, columns = (
        slice((n - kept) // 2, (n - kept) // 2 + kept)
        for n, kept in ((n, n if side is None else min(n, side)) for n in (height, width))
    )
    return Tile((rows, columns), (rows, columns))
