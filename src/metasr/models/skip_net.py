"""The image generator of deep-image-prior methods: an hourglass with skip connections and non-local blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metasr.errors import InputError


class SkipNet(nn.Module):
    """Image from noise: ``levels`` halvings with a narrow skip connection each (DDSR's G_x; Deep Image Prior).

    Each level halves by a strided convolution, and puts what comes back from below (bilinearly enlarged) beside its
    own skip connection. Where a side is odd the two are cropped to the smaller of them in the middle. Borders are
    reflected. Normalisation is by the image's own statistics, in training and after it: with one image in the batch
    there are no others, and nothing is stored. With three levels or more, all but the upper two hold a
    ``NonLocal`` block.

    With its default arguments it has the 2,359,939 parameters of the public program's network.

    Args:
        channels: of the noise and of the image.
        width: feature maps of every level.
        skip: feature maps of the skip connections.
        levels: number of halvings.
        slope: of the leaky ReLU.

    Raises:
        InputError: for a number below 1.
    """

    def __init__(
        self, *, channels: int = 3, width: int = 128, skip: int = 16, levels: int = 5, slope: float = 0.2
    ) -> None:
        super().__init__()
        if min(channels, skip, levels) < 1 or width < 2:
            raise InputError(
                f"channels, skip and levels must be at least 1 and width at least 2, got {channels}, {skip}, {levels} "
                f"and {width}"
            )
        self.levels = nn.ModuleList(
            _Level(channels if i == 0 else width, width, skip, slope=slope, non_local=i >= 2) for i in range(levels)
        )
        self.head = nn.Conv2d(width, channels, 1)

    @property
    def minimum_side(self) -> int:
        """Least side of the image in pixels: the lowest level must have more than one pixel to normalise over."""
        return 2 ** len(self.levels) + 1

    def forward(self, noise: Tensor) -> Tensor:
        """Make the image.

        Args:
            noise: ``(1, channels, H, W)``.

        Returns:
            ``(1, channels, H, W)`` in (0, 1).
        """
        here, skips = noise, []
        for module in self.levels:
            level = cast(_Level, module)
            skips.append(level.skip(here))
            here = level.down(here)  # (1, width, ceil(h / 2), ceil(w / 2))
        for module in reversed(self.levels):
            here = cast(_Level, module).up(here, skips.pop())
        with torch.autocast(noise.device.type, enabled=False):  # 8 bits of mantissa are too few for an image
            return torch.sigmoid(self.head(here.to(noise.dtype)))


class _Level(nn.Module):
    def __init__(self, incoming: int, width: int, skip: int, *, slope: float, non_local: bool) -> None:
        super().__init__()
        self.skip = _block(incoming, skip, 1, slope=slope)
        self.down = nn.Sequential(
            _block(incoming, width, 3, stride=2, slope=slope),
            *([NonLocal(width)] if non_local else []),
            _block(width, width, 3, slope=slope),
        )
        self.joined = _norm(skip + width)
        self.out = nn.Sequential(_block(skip + width, width, 3, slope=slope), _block(width, width, 1, slope=slope))

    def up(self, below: Tensor, skip: Tensor) -> Tensor:
        larger = F.interpolate(below, scale_factor=2, mode="bilinear", align_corners=False)
        return self.out(self.joined(concat_cropped((skip, larger))))


class NonLocal(nn.Module):
    """Every position sees every other (Non-local Neural Networks, CVPR 2018, the dot-product form).

    x + N(W((θ φᵀ) g / n)), with θ, φ, g and W 1×1 convolutions, φ and g pooled 2×2 to n positions, and N a
    normalisation whose scale and shift start at 0, so that the block starts as the identity. As there is no softmax,
    (θ φᵀ) g is computed as θ (φᵀ g): the same sums in another order, with memory and time in proportion to the
    pixels instead of their square.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = width // 2
        self.theta, self.phi, self.g = (nn.Conv2d(width, inner, 1) for _ in range(3))
        self.back = nn.Conv2d(inner, width, 1)
        self.norm = _norm(width)
        nn.init.zeros_(self.norm.weight)
        nn.init.zeros_(self.norm.bias)

    def forward(self, image: Tensor) -> Tensor:
        """``(1, width, h, w)`` to the same shape."""
        height, width = image.shape[-2:]
        theta, phi, g = self.theta(image), self.phi(image), self.g(image)
        if min(height, width) >= 2:
            phi, g = F.max_pool2d(phi, 2), F.max_pool2d(g, 2)
        phi, g = phi.flatten(2), g.flatten(2)  # (1, inner, n)
        summary = g @ phi.transpose(1, 2) / phi.shape[-1]  # (1, inner, inner)
        seen = (summary @ theta.flatten(2)).unflatten(2, (height, width))
        return image + self.norm(self.back(seen))


def concat_cropped(parts: Sequence[Tensor]) -> Tensor:
    """Feature maps ``(1, C_i, h_i, w_i)`` one above the other, cut in the middle to the smallest of their sizes."""
    height, width = (min(p.shape[axis] for p in parts) for axis in (-2, -1))
    cut = []
    for part in parts:
        top, left = (part.shape[-2] - height) // 2, (part.shape[-1] - width) // 2
        cut.append(part[..., top : top + height, left : left + width])
    return torch.cat(cut, 1)


def _block(incoming: int, outgoing: int, size: int, *, slope: float, stride: int = 1) -> nn.Sequential:
    conv = _ReflectedConv(incoming, outgoing, size, stride=stride)
    return nn.Sequential(conv, _norm(outgoing), nn.LeakyReLU(slope, inplace=True))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, track_running_stats=False)


class _ReflectedConv(nn.Conv2d):
    """A convolution that reflects the image at its border; a side of one pixel, which cannot be, is repeated."""

    def forward(self, input: Tensor) -> Tensor:
        """``(1, C, h, w)`` to ``(1, C', ceil(h / stride), ceil(w / stride))``."""
        reach = self.kernel_size[0] // 2
        if reach:
            mode = "reflect" if min(input.shape[-2:]) > reach else "replicate"
            input = F.pad(input, (reach,) * 4, mode=mode)
        return super().forward(input)
