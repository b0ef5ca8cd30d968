"""The hyper-Laplacian prior."""

import pytest
import torch

from metasr.solvers.ddsr.sparse_prior import published_prior, sparse_prior


def test_of_a_constant_image() -> None:
    image = torch.full((1, 3, 12, 20), 0.4, dtype=torch.float64)
    scale, low = 4, 3 * 3 * 5
    want = 1e-3 * 0.2 * 1e-8**0.67 * 4 * scale**2
    assert float(published_prior(image, low_values=low, weight=1e-3)) == pytest.approx(want, rel=1e-9)


def test_of_a_step_edge() -> None:
    height, width, step = 7, 10, 0.3
    image = torch.zeros(1, 1, height, width, dtype=torch.float64)
    image[..., 4:] = step
    # three of the four neighbours lie to the left: each row has three differences, but for those that leave the image
    # above and below, which the reflection brings back
    want = 3 * height * (step + 1e-8) ** 0.67 + (4 * height * width - 3 * height) * 1e-8**0.67
    assert float(sparse_prior(image)) == pytest.approx(want, rel=1e-9)


def test_of_a_single_pixel_and_which_neighbours_count() -> None:
    image = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    image[0, 0, 2, 2] = 1.0
    # its own four differences, and those of the pixels that have it for a neighbour
    want = 8 * (1 + 1e-8) ** 0.67 + (100 - 8) * 1e-8**0.67
    assert float(sparse_prior(image)) == pytest.approx(want, rel=1e-9)
    ramp = torch.arange(6.0, dtype=torch.float64).view(1, 1, 6, 1).expand(1, 1, 6, 4).contiguous()
    # down a ramp of rows: above 1, above left 1, left 0, below left 1 (at the border the reflection: 1 as well)
    want = 3 * 24 * (1 + 1e-8) ** 0.67 + 24 * 1e-8**0.67
    assert float(sparse_prior(ramp)) == pytest.approx(want, rel=1e-9)


def test_gradient_by_finite_differences() -> None:
    image = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sparse_prior, (image,))


def test_a_flat_image_has_a_finite_gradient() -> None:
    image = torch.zeros(1, 1, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(sparse_prior(image), image)
    assert gradient.isfinite().all()
