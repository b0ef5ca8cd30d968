"""MAML-SR's network: a U-Net with cross-scale spectro-spatial attention and deeply supervised coarse levels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.degradation.resize import pad_symmetric
from metasr.errors import InputError, require_one_of
from metasr.models.attention import Attention, CrossScaleAttention
from metasr.models.blocks import Bridge, DeepHead, FeatureEncoder, Norm, UpJoin, enlarge_features
from metasr.models.conv import Conv2d

Residual = Literal["global", "none"]

_MULTIPLE = 16
_FACTORS = (8, 4, 2)  # of the three coarse levels, coarse to fine


class Outputs(NamedTuple):
    """What the network makes of an image, each ``(B, 3, H, W)``.

    Attributes:
        final: the result.
        deep: the intermediate images asked for, from 1/8, 1/4 and 1/2 of the resolution, coarse to fine.
    """

    final: Tensor
    deep: tuple[Tensor, ...]


class MAMLSRNet(nn.Module):
    """U-Net of four levels (w, 2w, 4w, 8w channels) and a bridge, at the size of the HR image.

    With ``width=32`` it has 8,489,058 parameters, without attention and heads 6,665,955. Sizes that are not multiples
    of 16 are mirrored at the lower and right border, and the result is cropped.

    Departures from the published form (Pattern Recognition Letters 2023), each an option:

    - The input is added to the output, and nothing is squashed (``residual="global"``). A sigmoid at the end
      (``"none"``, as published) has to learn the image itself first, and lies below bicubic interpolation for the first
      thousands of steps. The intermediate images follow the same rule: with the input added they are images from the
      start, so that the inner step does not spend itself on making them such, and the difference between the final and
      an intermediate image, which test-time adaptation looks at, is about detail.
    - GroupNorm instead of BatchNorm. Running statistics would leak between tasks, since clones share buffers. The
      batch's own statistics (``norm="batch"``) do not, but make an image's result depend on its neighbours in training
      and differ at test time, where it is alone; GroupNorm sees one image in both.
    - The layers that end in RGB start at a tenth of their usual weights, close to the identity.

    Spectral attention and normalisation look at the whole image, so tiles cannot be exact: there is no
    ``receptive_radius`` after which nothing changes. ``receptive_radius`` is how far tiles overlap: far enough that
    their convolutions do not see the cut. What remains is each tile's own statistics; tiles of at least the patches of
    training keep those familiar.

    Attributes:
        receptive_radius: overlap of tiles in pixels.
        deep_supervision: whether there are intermediate images.

    Args:
        width: channels of the finest level, even.
        residual: ``global`` adds the input to the output; ``none`` ends in a sigmoid.
        attention: on the three finest levels: ``both``, one half of it, or ``none``.
        deep_supervision: give intermediate images from the three coarse levels.
        norm: ``group``, ``batch`` (statistics of the batch at hand) or ``none``.
        last_gain: what the initial weights of the layers that end in RGB are multiplied by; 1 leaves them.
    """

    receptive_radius = 32

    def __init__(
        self,
        width: int = 32,
        *,
        residual: Residual = "global",
        attention: Attention = "both",
        deep_supervision: bool = True,
        norm: Norm = "group",
        last_gain: float = 0.1,
    ) -> None:
        super().__init__()
        if width < 2 or width % 2:
            raise InputError(f"width must be an even number of at least 2, got {width}")
        require_one_of(residual, Residual, name="residual")
        require_one_of(attention, Attention, name="attention")
        self.residual = residual
        self.deep_supervision = deep_supervision
        self.smallest = 2 * _MULTIPLE if norm == "batch" else _MULTIPLE  # statistics need more than one value
        widths = [width, 2 * width, 4 * width, 8 * width]
        below = [*widths[1:], widths[-1]]
        self.down = nn.ModuleList(FeatureEncoder(a, b, norm=norm) for a, b in zip([3, *widths], widths, strict=False))
        self.bridge = Bridge(widths[-1], norm=norm)
        self.attention = nn.ModuleList(
            CrossScaleAttention(widths[i], widths[i + 1 :], kind=attention, norm=norm)
            for i in range(3 if attention != "none" else 0)
        )
        self.up = nn.ModuleList(UpJoin(a, b) for a, b in zip(below, widths, strict=True))
        self.decode = nn.ModuleList(FeatureEncoder(2 * w, w, norm=norm) for w in widths)
        self.heads = nn.ModuleList(
            DeepHead(2 * factor * width, 2 * width, factor=factor, norm=norm)
            for factor in (_FACTORS if deep_supervision else ())
        )
        self.output = Conv2d(width, 3, 3, padding=1)
        with torch.no_grad():
            for last in (self.output, *(head.get_submodule("conv3") for head in self.heads)):
                for parameter in last.parameters():
                    parameter.mul_(last_gain)

    def forward(self, image: Tensor) -> Tensor:
        """Sharpen an enlarged image.

        Args:
            image: ``(B, 3, H, W)`` in [0, 1], any size.

        Returns:
            ``(B, 3, H, W)``; not clipped with a global residual, in (0, 1) without.
        """
        return self.forward_all(image, heads=()).final

    def forward_all(self, image: Tensor, *, heads: Sequence[int] | None = None) -> Outputs:
        """The final image and intermediate ones.

        Args:
            image: ``(B, 3, H, W)`` in [0, 1].
            heads: which of the intermediate images to make, 0 for the coarsest; none for all there are.
        """
        wanted = range(len(self.heads)) if heads is None else heads
        padded = self._pad(image)
        deep, features = [], padded
        for i, features in enumerate(self._features(padded)):  # the last are those of the output
            if i in wanted:
                deep.append(self._image(padded, self.heads[i](features), like=image))
        return Outputs(self._image(padded, self.output(features), like=image), tuple(deep))

    def deep(self, image: Tensor) -> tuple[Tensor, ...]:
        """All intermediate images, coarse to fine, without the cost of the final one; empty where there are no heads.

        Args:
            image: ``(B, 3, H, W)`` in [0, 1].
        """
        padded = self._pad(image)
        levels = islice(self._features(padded), len(self.heads))
        return tuple(self._image(padded, head(f), like=image) for head, f in zip(self.heads, levels, strict=True))

    def attention_maps(self, image: Tensor) -> dict[str, Tensor]:
        """What attention multiplies by, at the levels' own resolution.

        Args:
            image: ``(B, 3, H, W)`` in [0, 1].

        Returns:
            ``spatial 1``, ``1/2``, ``1/4`` (B, 1, ceil(H / n), ceil(W / n)) and ``spectral ...`` (B, C, 1, 1), in
            (0, 1); empty where there is no attention.
        """
        levels = self._encode(self._pad(image))
        gain_maps: dict[str, Tensor] = {}
        for i, part in enumerate(self.attention):
            assert isinstance(part, CrossScaleAttention)
            rows, columns = (-(-n // 2**i) for n in image.shape[-2:])
            for name, gains in part.gains(levels[i:]).items():
                gain_maps[f"{name} {_fraction(i)}"] = gains[..., :rows, :columns]
        return gain_maps

    def activation_maps(self, image: Tensor) -> dict[str, Tensor]:
        """How strongly the coarse levels respond: mean absolute activation over channels, at the image's size.

        Args:
            image: ``(B, 3, H, W)`` in [0, 1].

        Returns:
            ``1/8``, ``1/4``, ``1/2``: the features that the intermediate images are made of; where there is attention
            also those of the encoder ``before`` and ``after attention`` at 1/4 and 1/2. Each ``(B, 1, H, W)``.
        """
        padded = self._pad(image)
        watched: dict[str, Tensor] = {}
        for factor, features in zip(_FACTORS, self._features(padded, watched), strict=False):
            watched[f"1/{factor}"] = features
        rows, columns = image.shape[-2:]
        strengths: dict[str, Tensor] = {}
        for name in sorted(watched, key=lambda name: " " in name):
            strength = watched[name].abs().mean(1, keepdim=True)
            strengths[name] = enlarge_features(strength, padded.shape[-1] // strength.shape[-1])[..., :rows, :columns]
        return strengths

    def _encode(self, padded: Tensor) -> list[Tensor]:
        """Features of the four levels on the way down."""
        levels: list[Tensor] = []
        for i, encode in enumerate(self.down):
            levels.append(encode(F.max_pool2d(levels[-1], 2) if i else padded))
        return levels

    def _features(self, padded: Tensor, watched: dict[str, Tensor] | None = None) -> Iterator[Tensor]:
        """The joined features of the four levels, coarse to fine, then those of the output; made when asked for."""
        levels = self._encode(padded)
        features = self.bridge(F.max_pool2d(levels[-1], 2))  # (B, 8w, H/16, W/16)
        for i in reversed(range(len(levels))):
            attended = self.attention[i](levels[i:]) if i < len(self.attention) else levels[i]
            if watched is not None and i < len(self.attention):
                watched[f"{_fraction(i)} before attention"] = levels[i]
                watched[f"{_fraction(i)} after attention"] = attended
            joined = self.up[i](features, attended)  # (B, 2 · 2^i w, H / 2^i, W / 2^i)
            yield joined
            features = self.decode[i](joined)
        yield features  # (B, w, H, W)

    def _pad(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        down, right = (max(self.smallest, -(-n // _MULTIPLE) * _MULTIPLE) - n for n in (height, width))
        return pad_symmetric(image, (0, right, 0, down)) if down or right else image

    def _image(self, padded: Tensor, raw: Tensor, *, like: Tensor) -> Tensor:
        image = padded + raw if self.residual == "global" else torch.sigmoid(raw)
        return image[..., : like.shape[-2], : like.shape[-1]]


def _fraction(level: int) -> str:
    return f"1/{2**level}" if level else "1"
