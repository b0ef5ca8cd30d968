"""How close an estimated blur kernel is to the true one."""

from __future__ import annotations

import torch
from torch import Tensor

from metasr.errors import InputError


def kernel_psnr(kernel: Tensor, reference: Tensor) -> Tensor:
    """20 log10(1 / RMSE) over the raw taps in dB, peak 1, one per kernel.

    Taps are small numbers, so the values look large: a uniform kernel of 19×19 already has 39 to 46 dB against a
    Gaussian. They can only be compared between kernels of one size.

    Args:
        kernel: ``(kH, kW)`` or ``(B, kH, kW)``.
        reference: same size.

    Returns:
        ``()`` or ``(B,)`` float64; infinite for equal kernels.

    Raises:
        InputError: if the sizes differ.
    """
    if kernel.shape[-2:] != reference.shape[-2:] or kernel.ndim not in (2, 3) or reference.ndim not in (2, 3):
        raise InputError(
            f"kernels to compare must have one size, got {tuple(kernel.shape)} and {tuple(reference.shape)}; cut or "
            "pad one of them with kernel_metrics.resized"
        )
    error = (kernel.detach().double().cpu() - reference.detach().double().cpu()).square().mean((-2, -1))
    return -10 * torch.log10(error)


def resized(kernel: Tensor, size: int) -> Tensor:
    """A kernel cut or padded with zeros about its middle to an odd size, without being normalised again.

    Args:
        kernel: ``(kH, kW)`` with odd sides.
        size: odd.

    Raises:
        InputError: for an even size or side.
    """
    if size % 2 == 0 or any(n % 2 == 0 for n in kernel.shape):
        raise InputError(f"kernels need odd sides, got {tuple(kernel.shape)} and {size}")
    rows, columns = ((size - n) // 2 for n in kernel.shape)
    return torch.nn.functional.pad(kernel, (columns, columns, rows, rows))


def kernel_moments(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Centre of mass (row, column, from 0) and the covariance's eigenvalues in pixels², ascending; both float64.

    Args:
        kernel: ``(kH, kW)`` of sum about 1.
    """
    kernel = kernel.detach().double().cpu()
    kernel = kernel / kernel.sum()
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in kernel.shape)
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))  # (2, kH, kW)
    centre = (places * kernel).sum((1, 2))
    away = places - centre[:, None, None]
    covariance = torch.einsum("ihw,jhw,hw->ij", away, away, kernel)
    return centre, torch.linalg.eigvalsh(covariance)
