"""The degradation extraction network of MRDA: an image, or features of one, to a vector that tells its degradation."""

from __future__ import annotations

from torch import Tensor, nn

from metasr.errors import InputError


class DegradationEncoder(nn.Module):
    """Six convolutions, two of them of stride 2, the mean over the image, and two linear layers (MRDA's DEN).

    At width 64 the student's, which reads the LR image (3 channels), has 1,276,992 parameters, and the teacher's, which
    reads 128 feature maps of the adapted MLN, 1,348,992. The vector is what is distilled; no activation follows it.

    Images may have any size from 1×1 up: convolutions pad with zeros, so that stride 2 leaves ceil(n / 2) pixels.

    Args:
        channels: of what it reads.
        width: channels of the first layers; the vector has four times as many numbers.

    Raises:
        InputError: if either is below 1.
    """

    def __init__(self, *, channels: int = 3, width: int = 64) -> None:
        super().__init__()
        if channels < 1 or width < 1:
            raise InputError(f"DegradationEncoder needs at least 1 channel, got channels {channels} and width {width}")
        self.channels = channels
        plan = [(channels, width, 1), (width, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 1),
                (2 * width, 4 * width, 2), (4 * width, 4 * width, 1)]  # fmt: skip
        layers: list[nn.Module] = []
        for inputs, outputs, stride in plan:
            layers += [nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.LeakyReLU(0.1)]
        self.convs = nn.Sequential(*layers)
        self.mlp = nn.Sequential(nn.Linear(4 * width, 4 * width), nn.LeakyReLU(0.1), nn.Linear(4 * width, 4 * width))

    def forward(self, x: Tensor) -> Tensor:
        """Describe the degradation of each image.

        Args:
            x: ``(B, channels, h, w)``, any size.

        Returns:
            ``(B, 4 * width)``, of any range.
        """
        return self.mlp(self.convs(x).mean((2, 3)))
