"""SSIM as a loss."""

import numpy as np
import torch
from scipy.ndimage import correlate

from metasr.solvers.ddsr.ssim_loss import SSIM, window
from small_problems import picture


def test_against_scipy_with_zeros_beyond_the_border() -> None:
    one, two = picture(17, 23, dtype=torch.float64), picture(17, 23, seed=3, dtype=torch.float64)
    taps = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    filter2d = np.outer(taps, taps) / taps.sum() ** 2

    def smooth(x: np.ndarray) -> np.ndarray:
        return correlate(x, filter2d, mode="constant")

    values = []
    for a, b in zip(one[0].numpy(), two[0].numpy(), strict=True):
        ma, mb = smooth(a), smooth(b)
        va, vb, cab = smooth(a * a) - ma**2, smooth(b * b) - mb**2, smooth(a * b) - ma * mb
        values.append((2 * ma * mb + 1e-4) * (2 * cab + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    torch.testing.assert_close(float(SSIM(two)(one)), float(np.mean(values)), rtol=1e-9, atol=1e-9)


def test_of_itself_it_is_one_and_gradients_are_right() -> None:
    reference = picture(9, 12, dtype=torch.float64)
    loss = SSIM(reference)
    torch.testing.assert_close(float(loss(reference)), 1.0)
    image = picture(9, 12, seed=1, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(loss, (image,))


def test_the_window() -> None:
    row = window()
    torch.testing.assert_close(float(row.sum()), 1.0)
    torch.testing.assert_close(float(row[6] / row[5]), float(np.exp(-0.5 / 1.5**2)))
