"""A network for photographs as people have them: blurred a little, noisy and compressed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.degradation.told import CONDITIONS, conditions, with_maps
from metasr.errors import InputError
from metasr.models.conv import Conv2d, ConvTranspose2d
from metasr.models.resunet import Residual


class PhotoNet(nn.Module):
    """Residual blocks on the LR image's own pixels and on a level half as fine; pixels are shuffled up at the end.

    What is learned is added to the bicubic enlargement, and begins at 0. The network is told the noise level and how
    the image was compressed (``metasr.degradation.told``), as even maps; blur it has to see by itself. 1.6 million
    parameters, of which the last layers alone depend on the scale.

    Attributes:
        multiple: sizes are repeated at the border up to multiples of this, and cut again.
        receptive_radius: how far, in LR pixels, an output pixel sees.

    Args:
        scales: whole factors above 1, each with a last layer of its own.
        widths: channels of the two levels.
        blocks: residual blocks before and after the coarse level, each; and of that level.
    """

    multiple = 2

    def __init__(
        self, scales: Sequence[int] = (2,), *, widths: tuple[int, int] = (64, 128), blocks: tuple[int, int] = (2, 4)
    ) -> None:
        super().__init__()
        if not scales or min(scales) < 2 or any(s != int(s) for s in scales) or len(set(scales)) < len(scales):
            raise InputError(f"PhotoNet needs different whole scales above 1, got {list(scales)}")
        if len(widths) != 2 or len(blocks) != 2 or min(*widths, *blocks) < 1:
            raise InputError(f"PhotoNet needs two widths and two numbers of blocks, all at least 1, got {list(widths)} "
                             f"and {list(blocks)}")  # fmt: skip
        (fine, coarse), (outer, inner) = widths, blocks
        self.scales = tuple(map(int, scales))
        self.receptive_radius = 2 + 4 * outer + 2 * (2 * inner + 1)
        self.head = Conv2d(3 + CONDITIONS, fine, 3, padding=1)
        self.down = nn.Sequential(*(Residual(fine) for _ in range(outer)))
        self.shrink = Conv2d(fine, coarse, 2, stride=2)
        self.below = nn.Sequential(*(Residual(coarse) for _ in range(inner)))
        self.enlarge = ConvTranspose2d(coarse, fine, 2, stride=2)
        self.up = nn.Sequential(*(Residual(fine) for _ in range(outer)))
        self.tails = nn.ModuleDict(
            {f"x{scale}": Conv2d(fine, 3 * scale * scale, 3, padding=1) for scale in self.scales}
        )
        for tail in self.tails.values():
            nn.init.zeros_(tail.weight)  # type: ignore[arg-type]
            nn.init.zeros_(tail.bias)  # type: ignore[arg-type]

    def forward(self, lr: Tensor, degradation: Degradation | None = None) -> Tensor:
        """Super-resolve.

        Args:
            lr: ``(B, 3, h, w)`` in [0, 1], any size; a part of an image is treated as the whole would be. Without a
                degradation ``(B, 3 + CONDITIONS, h, w)``, as ``metasr.degradation.told.told`` makes them.
            degradation: its scale, noise and compression are looked at, one for all images or one each.

        Returns:
            ``(B, 3, scale · h, scale · w)`` on the bicubic grid, not clipped; without a degradation the first scale's.

        Raises:
            InputError: for a scale that the network has no layer for.
        """
        if degradation is None:
            image, numbers, scale = lr[:, :3], lr[:, 3:, 0, 0], float(self.scales[0])
        else:
            image, numbers, scale = lr, conditions(degradation, count=len(lr)).to(lr), degradation.scale
        return imresize(image, scale) + self.residual(image, numbers, scale=scale)

    def residual(self, lr: Tensor, numbers: Tensor, *, scale: float) -> Tensor:
        """What is added to the bicubic enlargement.

        Args:
            lr: ``(B, 3, h, w)``.
            numbers: what is told of each image (``metasr.degradation.told.conditions``), ``(B, CONDITIONS)``.
            scale: one of the network's.
        """
        name = f"x{scale:g}"
        if name not in self.tails:
            known = ", ".join(f"x{one}" for one in self.scales)
            raise InputError(f"these weights enlarge by {known}, but scale {scale:g} was asked for; take others")
        height, width = lr.shape[-2:]
        padded = F.pad(lr, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        seen = with_maps(padded, numbers).contiguous(memory_format=torch.channels_last)  # fast on CPUs
        fine = self.down(self.head(seen))
        coarse = self.below(self.shrink(fine))  # (B, coarse, h/2, w/2)
        residual = F.pixel_shuffle(self.tails[name](self.up(fine + self.enlarge(coarse))), int(scale))
        return residual[..., : int(scale) * height, : int(scale) * width]
