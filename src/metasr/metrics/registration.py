"""How far an LR image lies from where bicubic resizing would have put it, in HR pixels, from an LR/HR pair.

Sign and unit are those of ``Degradation.shift`` and ``imresize(shift=...)``: with offset (a, b), what stands at HR row
p comes out at row p + a when the LR image is enlarged plainly (a, b > 0: it lies below and to the right), and
``imresize(lr, scale, shift=(a, b))`` puts it back.

The LR image is blurrier than the HR, by a kernel that nobody knows, and may be darker. So both are first smoothed well
below the LR grid's own frequencies, and gain, level and shift are fitted together by least squares::

    smooth(hr) ~ gain · imresize(smooth(lr), scale, shift) + level

A first guess comes from phase correlation (Kuglin and Hines, 1975), the rest by Gauss and Newton. A blur whose centre
of mass is off its middle counts as an offset, as it does for whoever compares images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from metasr.checks import check_image, check_pair, check_scale
from metasr.degradation.blur import blur
from metasr.degradation.kernels import isotropic
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import InputError

TOLERANCE = 0.2  # HR pixels within which an offset counts as a convention's

_SMOOTHING = 1.0  # standard deviation in LR pixels
_STEPS = 12
_SMALLEST = 12  # LR pixels a side
_LARGEST = 768  # HR pixels a side that are looked at, in the middle


@dataclass(frozen=True)
class Offset:
    """Where an LR image lies.

    Attributes:
        down: HR pixels below bicubic alignment.
        right: HR pixels to the right of it.
        scale: factor between the images.
        correlation: of the two smoothed images once aligned, at most 1; low where they show different things.
        gain: brightness of the LR image over that of the HR.
    """

    down: float
    right: float
    scale: float
    correlation: float
    gain: float

    @property
    def shift(self) -> tuple[float, float]:
        """For ``imresize``, to two digits."""
        return round(self.down, 2) + 0.0, round(self.right, 2) + 0.0

    @property
    def convention(self) -> str | None:
        """The name of the convention that has this offset, if any does."""
        fits = {name: max(abs(self.down - at), abs(self.right - at)) for name, at in conventions(self.scale).items()}
        name = min(fits, key=lambda key: fits[key])
        return name if fits[name] <= TOLERANCE else None

    def __str__(self) -> str:
        if max(abs(self.down), abs(self.right)) < TOLERANCE / 2:
            place = "LR is aligned as bicubic resizing aligns"
        else:
            vertical = f"{abs(self.down):.2f} px {'down' if self.down >= 0 else 'up'}"
            horizontal = f"{abs(self.right):.2f} px {'right' if self.right >= 0 else 'left'}"
            place = f"LR sits {vertical} and {horizontal} (HR pixels) of bicubic alignment"
        convention = self.convention
        matches = f"as {_TOLD[convention]}" if convention else f"which is no known convention ({_list(self.scale)})"
        shift = "({:.2f}, {:.2f})".format(*self.shift)
        return f"{place}, {matches}; enlarge with shift={shift}; correlation {self.correlation:.3f}"


_TOLD = {
    "centre": "bicubic resizing and shift=centre have it",
    "direct": "direct subsampling (0::s) by a kernel in the middle has it",
    "ddsr": "DDSR's published files have it",
}


def conventions(scale: float) -> dict[str, float]:
    """The offset, the same in both axes, of each known convention."""
    return {"centre": 0.0, "direct": (scale - 1) / 2, "ddsr": scale - 1}


def _list(scale: float) -> str:
    return ", ".join(f"{name} {at:g}" for name, at in conventions(scale).items())


def scale_between(lr: Tensor, hr: Tensor, *, scale: float | None = None) -> float:
    """The factor between two images.

    Args:
        lr: ``(..., h, w)``.
        hr: ``(..., H, W)``.
        scale: what it is said to be; by default the whole factor above 1 that fits both sides, rounded up or down.

    Raises:
        InputError: if the LR image is not the smaller one, or no factor fits.
    """
    small, large = tuple(lr.shape[-2:]), tuple(hr.shape[-2:])
    if scale is not None:
        check_scale(scale)
        if any(n // scale != m for n, m in zip(large, small, strict=True)):  # an HR image not cut to a multiple
            check_pair(lr, hr, scale)
        return scale
    if any(m >= n for m, n in zip(small, large, strict=True)):
        raise InputError(
            f"the LR image must be smaller than the HR one, got {small[0]}x{small[1]} and {large[0]}x{large[1]}; are "
            "they exchanged?"
        )
    for whole in range(2, min(large) + 1):
        if all(m in (n // whole, math.ceil(n / whole)) for m, n in zip(small, large, strict=True)):
            return float(whole)
    raise InputError(
        f"HR of {large[0]}x{large[1]} is no whole multiple of LR of {small[0]}x{small[1]}; give the factor: scale=1.5"
    )


def find_offset(lr: Tensor, hr: Tensor, *, scale: float | None = None, reach: float | None = None) -> Offset:
    """Find an LR image's offset.

    Args:
        lr: ``(1, C, h, w)`` in [0, 1], C of 1 or 3.
        hr: ``(1, C, H, W)``.
        scale: factor between them; by default from the sizes.
        reach: largest offset looked for, in HR pixels; by default 2 LR pixels.

    Returns:
        The offset, to about 0.05 HR pixels on images with detail in both directions; to 0.1 where nothing was blurred
        before subsampling, since an aliased pattern really is displaced.

    Raises:
        InputError: for images of unlike channels or sizes that do not fit, below 12 LR pixels a side, without structure
            in both directions, or that show different things.
    """
    check_image(lr, name="lr")
    check_image(hr, name="hr")
    if lr.shape[0] != 1 or lr.shape[:2] != hr.shape[:2]:
        raise InputError(f"lr and hr must both be (1, C, H, W) of as many channels, got {lr.shape[:2]}, {hr.shape[:2]}")
    scale = scale_between(lr, hr, scale=scale)
    if min(lr.shape[-2:]) < _SMALLEST:
        raise InputError(
            f"an LR image of {lr.shape[-2]}x{lr.shape[-1]} is too small to tell its offset; it takes at least "
            f"{_SMALLEST}x{_SMALLEST} pixels"
        )
    low, high = _middle(lr.double().mean(1, keepdim=True), hr.double().mean(1, keepdim=True), scale)
    height, width = (min(n, round(m * scale)) for n, m in zip(high.shape[-2:], low.shape[-2:], strict=True))
    low, target = _smooth(low, _SMOOTHING), _smooth(high, _SMOOTHING * scale)[..., :height, :width]
    reach = min(2 * scale if reach is None else reach, min(height, width) / 4)
    border = math.ceil(reach + scale)
    inside = (..., slice(border, height - border), slice(border, width - border))
    if target[inside].numel() == 0 or float(target[inside].std()) < 1e-4 or float(low.std()) < 1e-4:
        raise InputError("the images have no structure that could tell an offset; take a pair with more detail")

    def enlarged(shift: Tensor) -> Tensor:
        image = imresize(low, scale, size=(height, width), shift=(float(shift[0]), float(shift[1])))
        return image[inside].flatten()

    wanted = target[inside].flatten()
    shift = _guess(imresize(low, scale, size=(height, width)), target, reach)
    gain = 1.0
    for _ in range(_STEPS):
        now = enlarged(shift)
        step = torch.eye(2, dtype=torch.float64) * 0.25
        slopes = [(enlarged(shift + s) - enlarged(shift - s)) / 0.5 for s in step]
        system = torch.stack([now, torch.ones_like(now), *slopes], 1)  # (n, 4)
        if float(torch.linalg.cond(system.T @ system)) > 1e12:
            raise InputError("the images vary in one direction only, which leaves the other's offset open")
        fitted = torch.linalg.lstsq(system, wanted[:, None]).solution[:, 0]
        gain = float(fitted[0])
        move = (fitted[2:] / gain).clamp(-1, 1) if abs(gain) > 1e-6 else torch.zeros(2, dtype=torch.float64)
        shift = (shift + move).clamp(-reach, reach)
        if float(move.abs().max()) < 1e-4:
            break
    correlation = float(torch.corrcoef(torch.stack([enlarged(shift), wanted]))[0, 1])
    if not correlation > 0.5:
        raise InputError(
            f"the images do not show the same (correlation {correlation:.2f} at best, within {reach:g} HR pixels); "
            "check the pair"
        )
    return Offset(float(shift[0]), float(shift[1]), scale, correlation, 1 / gain)


def _middle(low: Tensor, high: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The middle of both images, where their grids begin together; all of them where that is nowhere else."""
    for axis in (-2, -1):
        count = math.ceil(_LARGEST / scale)
        spare = low.shape[axis] - count
        starts = [n for n in range(spare // 2, -1, -1) if abs(n * scale - round(n * scale)) < 1e-9] if spare > 0 else []
        if starts and starts[0] > 0:
            low = low.narrow(axis, starts[0], count)
            begin = round(starts[0] * scale)
            high = high.narrow(axis, begin, min(high.shape[axis] - begin, math.ceil(count * scale)))
    return low, high


def _smooth(image: Tensor, std: float) -> Tensor:
    for axis in (0, 1):  # one after the other: a Gaussian is separable
        side = image.shape[axis - 2]
        taps = min(2 * math.ceil(3 * std) + 1, side - 1 + side % 2)
        weights = isotropic(std**2, size=taps)[taps // 2]
        image = blur(image, (weights / weights.sum()).unsqueeze(1 - axis))
    return image


def _guess(image: Tensor, target: Tensor, reach: float) -> Tensor:
    """The whole-pixel offset within reach with the largest phase correlation, of images under a Hann window."""
    height, width = target.shape[-2:]
    window = torch.hann_window(height, dtype=torch.float64)[:, None] * torch.hann_window(width, dtype=torch.float64)
    spectra = [torch.fft.rfft2((x[0, 0] - x.mean()) * window) for x in (image, target)]
    cross = spectra[0] * spectra[1].conj()
    # Whitened down to a floor: what was smoothed away has no phase.
    surface = torch.fft.irfft2(cross / (cross.abs() + 1e-3 * cross.abs().max()), s=(height, width))
    rows, columns = (torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) for n in (height, width))
    far = (rows.abs()[:, None] > reach) | (columns.abs() > reach)
    best = int(surface.masked_fill(far, -math.inf).argmax())
    return torch.stack([rows[best // width], columns[best % width]])


@dataclass(frozen=True)
class Consistency:
    """How well a degradation explains an LR image, in levels of 255, where no border convention reaches.

    Attributes:
        largest: absolute difference.
        mean: mean absolute difference.
        bias: mean difference, LR less what the degradation gives.
        degradation: its name.
    """

    largest: float
    mean: float
    bias: float
    degradation: str

    def __str__(self) -> str:
        hint = ""
        if self.largest <= 1.01 and -0.6 < self.bias < -0.4:
            hint = ", as truncation to 8 bits leaves it"
        elif self.largest <= 0.51:
            hint = ", as rounding to 8 bits leaves it"
        return (
            f"HR degraded by {self.degradation} differs from LR by {self.largest:.2f} levels of 255 at most, "
            f"{self.mean:.2f} on average, {self.bias:+.2f} in the mean{hint}"
        )


def consistency(lr: Tensor, hr: Tensor, degradation: Degradation) -> Consistency:
    """Degrade the HR image, without noise and rounding, and compare.

    Args:
        lr: ``(1, C, h, w)`` in [0, 1].
        hr: ``(1, C, H, W)``; what it has beyond a multiple of the scale is cut off if the LR lacks it.
        degradation: what is thought to have made the LR image. Its border is not looked at: methods differ there.

    Raises:
        InputError: if the sizes do not fit, or nothing is left without the border.
    """
    check_image(lr, name="lr")
    check_image(hr, name="hr")
    again = degradation.linear(hr.double()).clamp(0, 1)[..., : lr.shape[-2], : lr.shape[-1]]
    if again.shape != lr.shape:
        check_pair(lr, hr, degradation.scale)
    half = 2 * degradation.scale if degradation.kernel is None else max(degradation.kernel.shape[-2:]) // 2
    border = math.ceil(half / degradation.scale) + (2 if degradation.downsample == "bicubic" else 0)
    if min(lr.shape[-2:]) <= 2 * border:
        raise InputError(
            f"an LR image of {lr.shape[-2]}x{lr.shape[-1]} has nothing left without a border of {border} pixels, where "
            "the blur reaches beyond the image"
        )
    error = (lr.double() - again)[..., border:-border, border:-border] * 255
    return Consistency(float(error.abs().max()), float(error.abs().mean()), float(error.mean()), str(degradation))
