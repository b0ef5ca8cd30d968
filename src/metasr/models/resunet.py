"""A small residual U-Net that looks at an image half as fine: what images look like, at little cost per pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.errors import InputError
from metasr.models.conv import Conv2d, ConvTranspose2d


class ResUNet(nn.Module):
    """Two levels of residual blocks; the first sees the image's pixels in groups of 2×2, as channels.

    Grouping pixels (FFDNet, Zhang et al., 2018) makes each convolution four times cheaper than at full size; the second
    level halves the size once more. Its output is added to the image, and begins at 0.

    Attributes:
        multiple: sizes are mirrored up to multiples of this, and cut again.
        receptive_radius: how far, in pixels, an output pixel sees.

    Args:
        widths: channels of the two levels.
        blocks: residual blocks on each way: down, below, up.
        conditions: numbers about the whole image, each given as one even map beside it.
    """

    multiple = 4

    def __init__(self, widths: tuple[int, int] = (64, 96), blocks: int = 2, *, conditions: int = 2) -> None:
        super().__init__()
        if len(widths) != 2 or min(widths) < 1 or blocks < 1 or conditions < 0:
            raise InputError(f"ResUNet needs two widths and at least 1 block, got {tuple(widths)} and {blocks}")
        fine, coarse = widths
        self.conditions = conditions
        self.receptive_radius = 2 * (2 * 2 * blocks + 2) + 4 * (2 * blocks + 2)
        self.head = Conv2d(12 + conditions, fine, 3, padding=1)
        self.down = nn.Sequential(*(Residual(fine) for _ in range(blocks)))
        self.shrink = Conv2d(fine, coarse, 2, stride=2)
        self.below = nn.Sequential(*(Residual(coarse) for _ in range(blocks)))
        self.enlarge = ConvTranspose2d(coarse, fine, 2, stride=2)
        self.up = nn.Sequential(*(Residual(fine) for _ in range(blocks)))
        self.tail = Conv2d(fine, 12, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        """Improve an image.

        Args:
            image: ``(B, 3, H, W)``, about [0, 1], any size.
            condition: ``(B, conditions)``.

        Returns:
            ``(B, 3, H, W)``, not clipped.
        """
        height, width = image.shape[-2:]
        padded = F.pad(image, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        pixels = F.pixel_unshuffle(padded, 2)  # (B, 12, H/2, W/2)
        maps = condition[:, : self.conditions, None, None].expand(-1, -1, *pixels.shape[-2:])
        told = torch.cat([pixels, maps.to(pixels)], 1).contiguous(memory_format=torch.channels_last)  # fast on CPUs
        fine = self.down(self.head(told))
        coarse = self.below(self.shrink(fine))  # (B, coarse, H/4, W/4)
        residual = self.tail(self.up(fine + self.enlarge(coarse)))
        return image + F.pixel_shuffle(residual, 2)[..., :height, :width]


class Residual(nn.Module):
    """conv 3×3 - ReLU - conv 3×3, added to its input; the second begins at a tenth of He's size.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = Conv2d(width, width, 3, padding=1)
        self.second = Conv2d(width, width, 3, padding=1)
        for conv in (self.first, self.second):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.second.weight.mul_(0.1)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, width, H, W)`` to the same."""
        return features + self.second(F.relu(self.first(features)))
