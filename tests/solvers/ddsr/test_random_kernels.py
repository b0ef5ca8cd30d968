"""Random kernel learning: where the kernels come from and what they count."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from metasr.degradation.pipeline import Degradation
from metasr.degradation.published_ddsr import gaussian_kernel
from metasr.errors import InputError
from metasr.metrics.kernel import kernel_moments
from metasr.solvers.ddsr.random_kernels import RandomKernels, centre_of, shift_of, teaching_weights, variance_range


def drawn(count: int = 40, seed: int = 0, **changes: Any) -> torch.Tensor:
    choices: dict[str, Any] = {"scale": 3, "size": 25, "variance": (1.0, 4.0), "centre": "middle"} | changes
    return RandomKernels(**choices).sample(count, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("scale", "size", "want"), [(2, 11, 4.5), (3, 15, 6.0), (4, 19, 7.5)])
def test_the_published_centre(scale: int, size: int, want: float) -> None:
    assert centre_of("published", scale=scale, size=size) == want == (scale + 1) * 1.5


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_where_an_lr_pixel_looks(scale: int) -> None:
    size = 4 * scale + 3
    looks = {c: centre_of(c, scale=scale, size=size) - size // 2 for c in ("published", "middle", "correct")}  # type: ignore[arg-type]
    assert looks == {"published": -(scale - 1) / 2, "middle": 0, "correct": (scale - 1) / 2}


@pytest.mark.parametrize("centre", ["published", "middle", "correct"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_shift_is_that_of_a_degradation_by_such_a_kernel(centre: Any, scale: int) -> None:
    kernel = drawn(1, scale=scale, variance=(1.0, 1.0), centre=centre)[0]
    given = Degradation(scale=scale, kernel=kernel, downsample="direct")
    assert given.shift == pytest.approx((shift_of(centre, scale=scale),) * 2, abs=0.01)


def test_an_unknown_centre() -> None:
    for ask in (lambda: shift_of("left", scale=2), lambda: centre_of("left", scale=2, size=11)):  # type: ignore[arg-type]
        with pytest.raises(InputError, match="centre must be one of published, middle, correct, got 'left'"):
            ask()


@pytest.mark.parametrize(("scale", "wide", "data"), [(2, (1.35, 13), (0.35, 5)), (3, (2.525, 16.5), (0.525, 7.5)),
                                                     (4, (3.7, 20), (0.7, 10)), (8, (8.4, 24), (1.4, 10))])  # fmt: skip
def test_the_published_ranges(scale: int, wide: tuple[float, float], data: tuple[float, float]) -> None:
    assert variance_range("wide", scale=scale) == pytest.approx(wide)
    assert variance_range("data", scale=scale) == pytest.approx(data)
    assert variance_range("both", scale=scale) == pytest.approx((data[0], wide[1]))


@pytest.mark.parametrize("centre", ["published", "middle", "correct"])
def test_kernels_sit_at_their_centre_with_the_widths_drawn(centre: str) -> None:
    kernels = drawn(centre=centre)
    torch.testing.assert_close(kernels.sum((1, 2)), torch.ones(40))
    want = centre_of(centre, scale=3, size=25)  # type: ignore[arg-type]
    moments = [kernel_moments(k) for k in kernels]
    for place, widths in moments:
        np.testing.assert_allclose(place, want, atol=0.02)
        assert 0.99 < widths[0] <= widths[1] < 4.01
    both = torch.stack([w for _, w in moments])
    assert both[:, 0].min() < 1.5
    assert both[:, 1].max() > 3.5


def test_angles_go_half_round() -> None:
    kernels = drawn(count=300, variance=(1.0, 6.0))
    axis = torch.arange(25.0) - 12
    product = torch.einsum("nyx,y,x->n", kernels, axis, axis)  # above 0 where the long axis falls to the right
    assert 0.35 < float((product > 0).float().mean()) < 0.65


def test_the_published_law_is_the_published_kernel() -> None:
    kernels = RandomKernels.published(4).sample(3, generator=torch.Generator().manual_seed(5))
    uniform = torch.rand(3, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64).numpy()
    for kernel, (a, b, c) in zip(kernels, uniform, strict=True):
        want = gaussian_kernel(4, 3.7 + 16.3 * a, 3.7 + 16.3 * b, math.pi * c)
        np.testing.assert_allclose(kernel, want, atol=1e-7)
    assert kernels[:, -3:].abs().max() < 1e-7  # the shift leaves the last rows empty


def test_one_seed_is_one_draw() -> None:
    assert torch.equal(drawn(seed=3), drawn(seed=3))
    assert not torch.equal(drawn(seed=3), drawn(seed=4))


def test_the_weights_of_two_kinds() -> None:
    weights = teaching_weights(torch.tensor([0.02, 0.02, 0.02, 0.02, 5.0]))
    torch.testing.assert_close(weights[:4], torch.full((4,), 6.9078), rtol=0, atol=1e-4)
    assert weights[4].abs() < 1e-3


def test_the_weights_by_their_formula() -> None:
    errors = torch.tensor([0.3, 0.1, 0.2, 0.9], dtype=torch.float64)
    share = (errors.numpy() - 0.1) / (1e-5 + 1.1)
    np.testing.assert_allclose(teaching_weights(errors), -((1 - share) ** 2) * np.log(share + 1e-3))


def test_the_weights_have_no_history() -> None:
    errors = torch.tensor([0.3, 0.1], requires_grad=True)
    assert not teaching_weights(errors).requires_grad


def test_equal_errors_teach_alike() -> None:
    weights = teaching_weights(torch.full((3,), 0.2))
    assert (weights == weights[0]).all()
    assert weights.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 8}, "kernel size must be odd and at least 1, got 8"),
        ({"variance": (0.0, 1.0)}, r"variance must be a range \(low, high\) with 0 < low <= high, got \(0.0, 1.0\)"),
        ({"variance": (3.0, 1.0)}, "variance must be a range"),
        ({"centre": "left"}, "centre must be one of published, middle, correct, got 'left'"),
    ],
)
def test_impossible_laws(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        drawn(**arguments)


def test_unknown_widths() -> None:
    with pytest.raises(InputError, match="widths must be one of wide, data, both, got 'narrow'"):
        variance_range("narrow", scale=2)  # type: ignore[arg-type]
