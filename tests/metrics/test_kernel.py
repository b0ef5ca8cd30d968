"""How close kernels are."""

import math
from pathlib import Path

import pytest
import torch

from metasr.degradation.kernel_files import load_kernel
from metasr.degradation.kernels import anisotropic
from metasr.errors import InputError
from metasr.metrics.kernel import kernel_moments, kernel_psnr, resized


def test_by_its_formula() -> None:
    one, two = torch.rand(3, 5, dtype=torch.float64), torch.rand(3, 5, dtype=torch.float64)
    rmse = math.sqrt(float(((one - two) ** 2).sum()) / 15)
    assert float(kernel_psnr(one, two)) == pytest.approx(20 * math.log10(1 / rmse))
    assert kernel_psnr(torch.stack((one, two)), two)[1] == math.inf


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "want"), [("baby", 45.16), ("bird", 39.41), ("butterfly", 45.76), ("head", 45.71), ("woman", 41.81)]
)
def test_a_uniform_kernel_against_the_published_ones(name: str, want: float, shared_data: Path) -> None:
    truth = load_kernel(shared_data / "ddsr_set5_x4" / f"kernel_{name}.mat")
    assert float(kernel_psnr(torch.full((19, 19), 1 / 361), truth)) == pytest.approx(want, abs=0.006)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(InputError, match=r"must have one size, got \(3, 3\) and \(5, 5\); cut or pad"):
        kernel_psnr(torch.rand(3, 3), torch.rand(5, 5))


@pytest.mark.parametrize("size", [3, 7, 9, 13])
def test_resizing_keeps_the_middle(size: int) -> None:
    kernel = torch.rand(7, 9)
    made = resized(kernel, size)
    assert made.shape == (size, size)
    assert made[size // 2, size // 2] == kernel[3, 4]
    assert made[size // 2 - 1, size // 2 + 1] == kernel[2, 5]
    if size >= 9:
        torch.testing.assert_close(made.sum(), kernel.sum())
    with pytest.raises(InputError, match="kernels need odd sides"):
        resized(kernel, size + 1)


def test_moments_of_a_gaussian() -> None:
    kernel = torch.roll(anisotropic(3.0, 1.0, 0.7, size=25), (2, -1), (0, 1))
    centre, widths = kernel_moments(kernel)
    torch.testing.assert_close(centre, torch.tensor([14.0, 11.0], dtype=torch.float64), rtol=0, atol=1e-3)
    torch.testing.assert_close(widths, torch.tensor([1.0, 3.0], dtype=torch.float64), rtol=0, atol=2e-2)
