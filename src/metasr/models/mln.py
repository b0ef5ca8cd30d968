"""The meta-learning network of MRDA: a small SR network that a few SGD steps make specific to a degradation."""

from __future__ import annotations

from torch import Tensor, nn

from metasr.degradation.resize import imresize
from metasr.errors import InputError
from metasr.models.conv import Conv2d
from metasr.models.upsampling import check_trained_scale, pixel_shuffle_tail


class MLN(nn.Module):
    """Convolutions at LR size, pixel shuffle, and the bicubically enlarged LR added (Xia et al., MRDA, 2023).

    With 128 channels, 6 layers and x4 it has 2,073,219 parameters: head 3,584, body 885,504, tail 1,184,131. Once
    adapted to an (LR, HR) pair, its ``features`` carry the pair's degradation. LR images may have any size from
    1×1 up: every convolution pads with zeros.

    Where we depart from the published code: it is given the LR alone and enlarges what it is given, 8-bit like all that
    a user has; the published network was handed an enlargement of the LR before rounding, rounded on its own.

    Attributes:
        scale: by which it enlarges.
        receptive_radius: how far, in LR pixels, an output pixel sees: tiles that overlap by this much have no seams.

    Args:
        scale: 2, 3 or 4.
        width: channels of all hidden layers.
        depth: number of convolutions in the body.

    Raises:
        InputError: for another scale, or a width or depth below 1.
    """

    def __init__(self, *, scale: int = 4, width: int = 128, depth: int = 6) -> None:
        super().__init__()
        if width < 1 or depth < 1:
            raise InputError(f"MLN needs at least 1 channel and 1 layer, got width {width} and depth {depth}")
        self.scale = check_trained_scale(scale)
        self.receptive_radius = depth + 3
        self.head = nn.Sequential(Conv2d(3, width, 3, padding=1), nn.LeakyReLU(0.1))
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [Conv2d(width, width, 3, padding=1), nn.LeakyReLU(0.1)]
        self.body = nn.Sequential(*layers)
        self.tail = pixel_shuffle_tail(width, scale=self.scale, conv=Conv2d)

    def features(self, lr: Tensor) -> Tensor:
        """What the teacher's encoder reads, D'_T: the body's output after its last activation.

        Args:
            lr: ``(B, 3, h, w)`` in [0, 1].

        Returns:
            ``(B, width, h, w)``.
        """
        return self.body(self.head(lr))

    def forward(self, lr: Tensor) -> Tensor:
        """Enlarge.

        Args:
            lr: ``(B, 3, h, w)`` in [0, 1], any size.

        Returns:
            ``(B, 3, scale * h, scale * w)``, not clipped.
        """
        return self.tail(self.features(lr)) + imresize(lr, float(self.scale))
