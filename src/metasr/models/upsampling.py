"""From features at LR size to an image at HR size: convolutions and pixel shuffles."""

from __future__ import annotations

from torch import nn

from metasr.errors import InputError

_SHUFFLES = {2: (2,), 3: (3,), 4: (2, 2)}


def pixel_shuffle_tail(width: int, *, scale: int, conv: type[nn.Conv2d] = nn.Conv2d) -> nn.Sequential:
    """Conv3×3 and pixel shuffle, once for x2 and x3 and twice for x4, then conv3×3 to RGB; no activation between.

    ``(B, width, h, w)`` to ``(B, 3, scale * h, scale * w)``. An output pixel sees two LR pixels around its own.

    Args:
        width: channels that come in, and that each shuffle leaves.
        scale: 2, 3 or 4.
        conv: the convolution's class.

    Raises:
        InputError: for another scale.
    """
    layers: list[nn.Module] = []
    for factor in _SHUFFLES[check_trained_scale(scale)]:
        layers += [conv(width, width * factor**2, 3, padding=1), nn.PixelShuffle(factor)]
    return nn.Sequential(*layers, conv(width, 3, 3, padding=1))


def check_trained_scale(scale: int) -> int:
    """Require a scale that there is a tail for, and give it back as a whole number.

    Raises:
        InputError: naming what came.
    """
    if scale not in _SHUFFLES:
        raise InputError(
            f"this network enlarges by 2, 3 or 4, got scale {scale!r}; train one for the nearest of these and resize"
        )
    return int(scale)
