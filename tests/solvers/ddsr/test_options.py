"""What DDSR's modes choose."""

import pytest

from metasr.errors import InputError
from metasr.solvers.ddsr.options import BETTER, FAITHFUL, PER_OUTER, options_of


def test_the_published_constants() -> None:
    assert (FAITHFUL.warmup_steps, FAITHFUL.warmup_rate, FAITHFUL.widths) == (200, 1e-4, "wide")
    assert (FAITHFUL.random_kernels, FAITHFUL.accumulate, FAITHFUL.ssim_steps, PER_OUTER) == (5, 3, 405, 5)
    assert (FAITHFUL.prior_weight, FAITHFUL.optimisers, FAITHFUL.drop_losses) == (1e-3, "shared", True)
    assert (FAITHFUL.average, FAITHFUL.stop, FAITHFUL.share_forward, FAITHFUL.precision) == (
        0,
        "none",
        False,
        "float32",
    )


def test_changes_to_a_mode() -> None:
    assert options_of("better", {}) == BETTER
    assert options_of("faithful", {"average": None, "accumulate": 2}).accumulate == 2
    assert options_of("better", {"average": 0.0}).average == 0


def test_unknown_modes() -> None:
    with pytest.raises(InputError, match="mode must be one of faithful, better, got 'paper'"):
        options_of("paper", {})  # type: ignore[arg-type]


@pytest.mark.parametrize("accumulate", [1, 2, 3, 5, 7])
def test_without_dropping_every_loss_is_seen_once(accumulate: int) -> None:
    choices = options_of("better", {"accumulate": accumulate})
    pending, seen = 0, 0
    for step in range(1, 4 * PER_OUTER + 1):
        pending += choices.gradient_kept(step)
        if choices.kernel_step_due(step):
            seen, pending = seen + pending, 0
    assert (seen, pending) == (4 * PER_OUTER, 0)
