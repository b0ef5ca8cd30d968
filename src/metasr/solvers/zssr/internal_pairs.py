"""Pairs to learn from that one image alone gives: fathers, and the sons that its own degradation makes of them.

A father is the LR image, or a smaller version of it, turned and flipped; its son is the father degraded once more. To
bring sons back to their fathers is what is learned, and then done to the LR image (ZSSR, Shocher et al., CVPR 2018,
sections 3.1 and 3.2).

Fathers are turned *before* they are degraded. So a son is always made by the degradation itself, its kernel upright and
its sampling grid where it is, and all eight turns and flips may be used whatever the kernel. (Only the output's
self-ensemble is limited to those that commute with it.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metasr.checks import check_kernel
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize, output_size
from metasr.errors import InputError
from metasr.solvers.ensemble import SYMMETRIES, transform


@dataclass(frozen=True)
class Pair:
    """A father and its enlarged son, ``(3, h, w)`` each."""

    father: Tensor
    source: Tensor


class InternalPairs:
    """All fathers and sons of some images, made beforehand: a draw is a crop.

    Of each image there are ``1 + sizes`` fathers in eight orientations. The sizes are drawn evenly between
    ``smallest`` and 1, each for itself. Of images with more than ``pixels`` pixels, each father is made of another
    window of that area, at a random place: 8·(1 + sizes) of them see about all of the image, in bounded memory.

    Args:
        images: ``(1, 3, H, W)`` in [0, 1]; the LR image, and larger ones that were made of it.
        degradation: what makes the sons: its kernel and subsampling; noise is added by ``draw``.
        sizes: number of reduced fathers of each image and orientation.
        smallest: the least size of a father, as a share of the image's.
        pixels: largest area of a father.
        crop: side of the crops to come; no father is made smaller than that by choice.
        generator: on the CPU.

    Raises:
        InputError: for an image that is smaller than the kernel.
    """

    def __init__(
        self,
        images: Sequence[Tensor],
        degradation: Degradation,
        *,
        sizes: int,
        smallest: float,
        pixels: int,
        crop: int,
        generator: torch.Generator,
    ) -> None:
        self.degradation = degradation.for_son()
        self.crop = crop
        self.whole: list[Pair] = []
        self.reduced: list[Pair] = []
        least = max(crop, *(degradation.kernel.shape[-2:] if degradation.kernel is not None else (1,)))
        for image in images:
            require_room(image, degradation)
            shortest = min(image.shape[-2:])
            low = max(smallest, min(1.0, least / shortest))
            for symmetry in SYMMETRIES:
                shares = torch.rand(sizes, generator=generator, dtype=torch.float64).tolist()
                for i, u in enumerate([1.0, *shares]):
                    share = 1.0 if i == 0 else low + (1 - low) * (i - 1 + u) / sizes
                    if i > 0 and low >= 1:
                        continue
                    part = transform(self._window(image, share, pixels, least, generator), symmetry)
                    father = part if i == 0 else imresize(part, share).clamp(0, 1)
                    source = enlarged_son(father, self.degradation)
                    (self.reduced if i else self.whole).append(Pair(father[0].contiguous(), source[0]))

    @property
    def contrast(self) -> float:
        """Largest difference between a father and its enlarged son: 0 where there is nothing to learn."""
        return max(float((p.father - p.source).abs().max()) for p in [*self.whole, *self.reduced])

    def draw(
        self, count: int, *, generator: torch.Generator, whole_share: float = 0.5, noise_std: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Cut random crops.

        Args:
            count: how many, each from a father of its own.
            generator: on the CPU, so that a seed means the same crops on every device.
            whole_share: of crops from fathers of the image's own size.
            noise_std: of Gaussian noise on the sons, on the [0, 1] scale; drawn anew each time, and not clipped.

        Returns:
            Enlarged sons and fathers, ``(count, 3, h, w)``: squares of side ``crop``, less where a father is smaller.
        """
        drawn = torch.rand(count, 4, generator=generator, dtype=torch.float64).tolist()
        pairs = []
        for group, which, *_ in drawn:
            pool = self.whole if group < whole_share or not self.reduced else self.reduced
            pairs.append(pool[min(int(which * len(pool)), len(pool) - 1)])
        height, width = (min(self.crop, *(p.father.shape[axis] for p in pairs)) for axis in (-2, -1))
        sons, fathers = [], []
        for pair, (_, _, down, right) in zip(pairs, drawn, strict=True):
            room = [n - side for n, side in zip(pair.father.shape[-2:], (height, width), strict=True)]
            top, left = (min(int(u * (n + 1)), n) for u, n in zip((down, right), room, strict=True))
            sons.append(pair.source[:, top : top + height, left : left + width])
            fathers.append(pair.father[:, top : top + height, left : left + width])
        source, target = torch.stack(sons), torch.stack(fathers)  # (count, 3, h, w)
        if noise_std > 0:
            source = source + self._enlarged_noise(count, (height, width), noise_std, generator).to(source)
        return source, target

    def _enlarged_noise(
        self, count: int, size: tuple[int, int], noise_std: float, generator: torch.Generator
    ) -> Tensor:
        """Noise of a son, enlarged as sons are, begun at a random place between its pixels."""
        scale = self.degradation.scale
        margin = math.ceil(2 * scale)  # the border of what is enlarged is mirrored: it would be louder there
        room = math.ceil(scale)
        wanted = tuple(n + 2 * margin + room for n in size)
        small = output_size((wanted[0], wanted[1]), 1 / scale)
        noise = torch.randn(count, 3, *small, generator=generator) * noise_std
        large = imresize(noise, scale, size=(wanted[0], wanted[1]))
        top, left = torch.randint(0, room, (2,), generator=generator).tolist()
        return large[..., margin + top :, margin + left :][..., : size[0], : size[1]]

    @staticmethod
    def _window(image: Tensor, share: float, pixels: int, least: int, generator: torch.Generator) -> Tensor:
        """A part of an image of which a father of at most ``pixels`` is made; all of it where that is small enough."""
        height, width = image.shape[-2:]
        ratio = math.sqrt(height * width * share**2 / pixels)
        down, right = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        if ratio <= 1:
            return image
        needed = math.ceil(least / share)
        tall, wide = (min(n, max(needed, round(n / ratio))) for n in (height, width))
        top, left = int(down * (height - tall + 1)), int(right * (width - wide + 1))
        return image[..., top : top + tall, left : left + wide]


def enlarge(lr: Tensor, degradation: Degradation, *, size: tuple[int, int] | None = None) -> Tensor:
    """The network's input: the LR enlarged bicubically, put where its pixels came from.

    Args:
        lr: ``(B, 3, H, W)``.
        degradation: its scale, and the displacement of its grid.
        size: of the result; ``ceil(scale * size)`` by default.
    """
    return imresize(lr, degradation.scale, size=size, shift=degradation.shift)


def enlarged_son(father: Tensor, degradation: Degradation) -> Tensor:
    """What a father is to be recovered from: degraded (without noise), then enlarged to its own size again.

    Args:
        father: ``(B, 3, H, W)``.
        degradation: what makes sons.
    """
    son = degradation.for_son()(father)
    return enlarge(son, degradation, size=(father.shape[-2], father.shape[-1]))


def at_scale(degradation: Degradation, scale: float) -> Degradation:
    """The degradation of the same LR image as seen from an image between it and the HR image.

    A blur that is k on the HR grid is k on a grid of ``scale`` over the HR image's scale, on which it is that much
    narrower: the kernel is sampled there, and normalised.

    Args:
        degradation: from the HR image to the LR image.
        scale: of the image between, over the LR image; above 1 and below the degradation's.
    """
    kernel = degradation.kernel
    if kernel is None:
        return replace(degradation, scale=scale, name="")
    share = scale / degradation.scale
    middles = [n // 2 for n in kernel.shape[-2:]]
    halves = [math.ceil(m * share) for m in middles]
    shifts = [share * (m + 0.5) - h - 0.5 for m, h in zip(middles, halves, strict=True)]  # middle falls on middle
    size = (2 * halves[0] + 1, 2 * halves[1] + 1)
    narrower = imresize(kernel, share, size=size, shift=(shifts[0], shifts[1])).clamp_min(0)
    return replace(degradation, scale=scale, kernel=check_kernel(narrower, normalise=True), name="")


def require_room(image: Tensor, degradation: Degradation) -> None:
    """Require an image that its own degradation can be applied to once more.

    Raises:
        InputError: naming both sizes.
    """
    kernel = degradation.kernel
    if kernel is not None and any(n < k for n, k in zip(image.shape[-2:], kernel.shape[-2:], strict=True)):
        raise InputError(
            f"an image of {image.shape[-2]}x{image.shape[-1]} is too small to be degraded once more by a kernel of "
            f"{kernel.shape[-2]}x{kernel.shape[-1]}; crop the kernel, or take kernel=bicubic"
        )
