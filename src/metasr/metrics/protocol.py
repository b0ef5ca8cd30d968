"""The protocol that makes one number from one image: PSNR and SSIM on Y, borders shaved."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from metasr.errors import InputError
from metasr.metrics.color import luma_bt601
from metasr.metrics.high_frequency import filter_radius, high_frequency_error
from metasr.metrics.psnr_ssim import psnr, ssim, to_8bit_levels


@dataclass(frozen=True)
class Score:
    """What one super-resolved image scores.

    Attributes:
        psnr_y: in dB.
        ssim_y: at most 1.
        hf_error_y: see ``metrics.high_frequency.high_frequency_error``; nan for an image too small for
            its filter.
    """

    psnr_y: float
    ssim_y: float
    hf_error_y: float = math.nan


@dataclass(frozen=True, kw_only=True)
class LumaProtocol:
    """PSNR and SSIM on the Y channel, as published tables of the field compute them.

    Both images are rounded to 8 bits, Y (BT.601, studio range) is taken and rounded, ``shave`` pixels are cut from each
    border; PSNR with peak 255, SSIM with an 11×11 Gaussian window over the valid region. A grey image is compared by
    its grey values as they are, as published tables of grey images are made: a grey image's Y is itself.

    Attributes:
        shave: border in pixels; none for the scale, rounded up.
        round_luma: round Y to whole levels before comparing.
    """

    shave: int | None = None
    round_luma: bool = True

    def crop_reference(self, hr: Tensor, scale: float) -> Tensor:
        """Cut an HR image at the bottom and right so that the scale divides its sides (at whole scales).

        Args:
            hr: ``(..., H, W)``.
            scale: the factor between HR and LR.
        """
        if scale != int(scale):
            return hr
        step = int(scale)
        height, width = (n - n % step for n in hr.shape[-2:])
        if height == 0 or width == 0:
            raise InputError(f"HR image of {hr.shape[-2]}x{hr.shape[-1]} is smaller than the scale {step}")
        return hr[..., :height, :width]

    def luma(self, image: Tensor, *, scale: float, grey: bool = False) -> Tensor:
        """What is compared: the shaved levels of Y, or grey values, ``(B, 1, H - 2 shave, W - 2 shave)``."""
        if grey:
            y = to_8bit_levels(image.double().mean(-3, keepdim=True))
        else:
            y = luma_bt601(to_8bit_levels(image.double()) / 255)
        y = y.round() if self.round_luma else y
        border = math.ceil(scale) if self.shave is None else self.shave
        if min(y.shape[-2:]) <= 2 * border:
            raise InputError(f"image of {y.shape[-2]}x{y.shape[-1]} has nothing left after shaving {border} pixels")
        return y[..., border : y.shape[-2] - border, border : y.shape[-1] - border]

    def __call__(self, sr: Tensor, hr: Tensor, *, scale: float, grey: bool = False) -> Score:
        """Score one image.

        Args:
            sr: ``(1, 3, H, W)`` in [0, 1].
            hr: the truth, same shape.
            scale: decides the shaved border.
            grey: whether the truth is a grey image in three equal channels; the mean of ``sr``'s is compared with it.

        Raises:
            InputError: if the shapes differ or the image is too small for the window.
        """
        if sr.shape != hr.shape or sr.shape[0] != 1:
            raise InputError(f"sr and hr must both be (1, 3, H, W), got {tuple(sr.shape)} and {tuple(hr.shape)}")
        a, b = (self.luma(image, scale=scale, grey=grey) for image in (sr, hr))
        large = min(a.shape[-2:]) > 2 * filter_radius(scale)
        return Score(
            psnr(a, b).item(),
            ssim(a, b).item(),
            high_frequency_error(a, b, scale=scale).item() if large else math.nan,
        )
