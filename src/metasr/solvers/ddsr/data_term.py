"""What DDSR knows of an image: its low-resolution version, what of it can be seen, and how bright it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metasr.errors import DataError, InputError
from metasr.io.images import read_photo
from metasr.solvers.ddsr.ssim_loss import SSIM


def blur_circular(image: Tensor, kernel: Tensor, *, step: int) -> Tensor:
    """Correlate with a kernel, the image repeated beyond its border, and keep rows and columns 0, step, 2 step, ...

    Only what is kept is computed.

    Args:
        image: ``(1, C, H, W)``, no side smaller than the kernel's half.
        kernel: ``(K, K)``, odd.
        step: the scale.

    Returns:
        ``(1, C, ceil(H / step), ceil(W / step))``, differentiable in both.
    """
    reach = kernel.shape[-1] // 2
    padded = F.pad(image, (reach,) * 4, mode="circular").transpose(0, 1)  # (C, 1, H + 2 reach, W + 2 reach)
    return F.conv2d(padded.contiguous(), kernel[None, None], stride=step).transpose(0, 1)


class DataTerm:
    """The data term: m ⊙ gain · (x ⊛ k)↓s against m ⊙ y.

    Whatever stands in ``lr`` where the mask is 0 is dropped at once; it has no part in anything.

    Args:
        lr: ``(1, 3, h, w)``.
        scale: whole factor.
        mask: ``(1, 1, h, w)``, 1 where the image is seen, 0 elsewhere; none for all of it.
        gain: known brightness in (0, 1].

    Raises:
        InputError: for a mask of another size, with other values, or that hides everything; or a gain out of range.
    """

    def __init__(self, lr: Tensor, *, scale: int, mask: Tensor | None = None, gain: float = 1.0) -> None:
        if not 0 < gain <= 1:
            raise InputError(f"gain must be in (0, 1], got {gain}; brighter than the scene is no darkening")
        self.scale, self.gain = scale, gain
        self.mask = None if mask is None else check_mask(mask, lr).to(lr)
        self.lr = lr if self.mask is None else torch.where(self.mask > 0, lr * self.mask, 0.0)
        self._ssim: SSIM | None = None

    def degrade(self, image: Tensor, kernel: Tensor) -> Tensor:
        """What an image would look like, ``(1, 3, h, w)``; differentiable in image and kernel."""
        seen = blur_circular(image, kernel, step=self.scale)
        if self.gain != 1:
            seen = seen * self.gain
        return seen if self.mask is None else seen * self.mask

    def mse(self, seen: Tensor) -> Tensor:
        """Mean squared error over all LR values (the hidden ones count as right, as in the public program)."""
        return (seen - self.lr).square().mean()

    def dissimilarity(self, seen: Tensor) -> Tensor:
        """1 - SSIM."""
        if self._ssim is None:
            self._ssim = SSIM(self.lr)
        return 1 - self._ssim(seen)

    def errors(self, image: Tensor, kernels: Tensor) -> Tensor:
        """Mean squared error of each of several kernels ``(n, K, K)``, ``(n,)``, without history."""
        with torch.no_grad():
            return torch.stack([self.mse(self.degrade(image, kernel)) for kernel in kernels])

    def window(self, rows: slice, columns: slice, *, seen: Tensor) -> DataTerm:
        """A part of it.

        Args:
            rows: of the LR image.
            columns: of the LR image.
            seen: ``(1, 1, h, w)`` of the part, what of it is to count.
        """
        mask = seen.to(self.lr) if self.mask is None else seen.to(self.lr) * self.mask[..., rows, columns]
        return DataTerm(self.lr[..., rows, columns], scale=self.scale, mask=mask, gain=self.gain)


def check_mask(mask: Tensor, lr: Tensor) -> Tensor:
    """Require a mask for an LR image.

    Returns:
        ``(1, 1, h, w)``.

    Raises:
        InputError: if it has another size, holds anything but 0 and 1, or hides the whole image.
    """
    height, width = lr.shape[-2:]
    if mask.ndim not in (2, 3, 4) or mask.shape[-2:] != lr.shape[-2:] or mask.numel() != height * width:
        raise InputError(f"the mask must have the LR image's size {height}x{width}, got {tuple(mask.shape)}")
    mask = mask.reshape(1, 1, height, width)
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise InputError("the mask must hold 1 where the image is seen and 0 elsewhere, and nothing between")
    if not bool(mask.any()):
        raise InputError("the mask hides the whole image: it is 0 everywhere; 1 stands for what is seen")
    return mask


def read_mask(path: str | Path) -> Tensor:
    """A mask from a file: ``.npy`` of two dimensions, or an image; of values 0 and 1, or 0 and white.

    An image may be off by 8 of 255 levels, as compressed ones are.

    Returns:
        ``(h, w)`` float32, 1 where the image is seen.

    Raises:
        DataError: if there is no such file, or it cannot be read or holds something else.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"no mask file {path}; give an existing image or .npy file of the LR image's size")
    if path.suffix.lower() != ".npy":
        photo = read_photo(path)
        white = 2**photo.bits - 1
        return _two_valued(photo.rgb.mean(0) * white, white=white, tolerance=8 / 255, path=path)
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read a mask from {path}: {error}") from error
    if array.ndim != 2 or not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise DataError(f"{path} must hold a 2-D array of 0 and 1, got shape {array.shape} of {array.dtype}")
    values = torch.from_numpy(array.astype(np.float32))
    return _two_valued(values, white=255.0 if bool((values > 1).any()) else 1.0, tolerance=0.0, path=path)


def _two_valued(values: Tensor, *, white: float, tolerance: float, path: Path) -> Tensor:
    """0 and 1 for values of 0 and 1, or near (by a share of it) 0 and ``white``; anything else is refused."""
    if bool((values <= 1).all()) and bool(((values == 0) | ((values - 1).abs() < 1e-4)).all()):
        return values.round()
    off = torch.minimum(values.abs(), (values - white).abs())
    wrong = ~(off <= tolerance * white * (1 + 1e-6))  # NaN too
    if bool(wrong.any()):
        seen = "1" if white == 1 else f"1 or {white:g}"
        worst = float(values[wrong][off[wrong].argmax()])
        raise DataError(
            f"the mask {path} must hold 0 (black) where the image is hidden, {seen} (white) where it is seen, "
            f"and nothing between, got {worst:.4g} among {int(wrong.sum())} such pixels; decide on a threshold, "
            f"{white / 2:g} would be the middle, and write the mask by it"
        )
    return (values > white / 2).float()
