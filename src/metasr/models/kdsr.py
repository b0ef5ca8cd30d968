"""The networks of KDSR (Xia et al., ICLR 2023): an encoder of residual blocks, and an SR network it steers.

Two sizes are published: M (width 64, 53 blocks, 9 in the encoder) and L (width 128, 28 blocks, 5 in the encoder). At
x4 encoder and body together have 5,795,099 and 14,191,003 parameters, the 24 constants of the mean colour among them;
with the teacher's encoder, which reads the LR and the HR image folded to its size (3 + 48 channels), 5,822,747 and
14,246,299.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from metasr.errors import InputError
from metasr.models.conditioned import ConditionedSR, KernelMaker


class ResidualBlock(nn.Module):
    """x + conv3×3(LeakyReLU(conv3×3(x))).

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, width, h, w)`` to the same shape."""
        return features + self.conv2(F.leaky_relu(self.conv1(features), 0.1))


class KDSREncoder(nn.Module):
    """Residual blocks, three widening convolutions, the mean over the image, and two linear layers.

    The vector, 4 * width numbers after a last LeakyReLU, is what is distilled. Images may have any size from 1×1 up.

    Args:
        channels: of what it reads: 3 for the student, 3 + 3 * scale² for the teacher.
        width: channels of the first layers.
        blocks: residual blocks.

    Raises:
        InputError: if channels or width are below 1, or blocks below 0.
    """

    def __init__(self, *, channels: int = 3, width: int = 64, blocks: int = 9) -> None:
        super().__init__()
        if channels < 1 or width < 1 or blocks < 0:
            raise InputError(
                f"KDSREncoder needs at least 1 channel, got channels {channels}, width {width}, blocks {blocks}"
            )
        self.channels = channels
        self.head = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.1))
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        layers: list[nn.Module] = []
        for inputs, outputs in ((width, 2 * width), (2 * width, 2 * width), (2 * width, 4 * width)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(0.1)]
        self.widen = nn.Sequential(*layers)
        self.mlp = nn.Sequential(
            nn.Linear(4 * width, 4 * width), nn.LeakyReLU(0.1), nn.Linear(4 * width, 4 * width), nn.LeakyReLU(0.1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Describe the degradation of each image.

        Args:
            x: ``(B, channels, h, w)``, any size.

        Returns:
            ``(B, 4 * width)``.
        """
        return self.mlp(self.widen(self.blocks(self.head(x))).mean((2, 3)))


class KDSRBlock(nn.Module):
    """A depthwise convolution by kernels made of the vector, LeakyReLU, conv3×3, and the input added.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.aware = KernelMaker(width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor, vector: Tensor) -> Tensor:
        """``(B, width, h, w)`` and vectors ``(B, width)`` to ``(B, width, h, w)``."""
        return features + self.conv(F.leaky_relu(self.aware(features, vector), 0.1))


class KDSRBody(ConditionedSR):
    """The SR network: ``blocks`` blocks in one chain.

    The linear layer from the distilled vector (4 * width) to the blocks' (width) is this network's, so that what comes
    from the encoder is what is distilled; it has a bias, as the published sizes tell.

    Args:
        scale: 2, 3 or 4.
        width: channels; the vector it is given has four times as many numbers.
        blocks: how many.

    Raises:
        InputError: for another scale, or a number below 1.
    """

    def __init__(self, *, scale: int = 4, width: int = 64, blocks: int = 53) -> None:
        if width < 1 or blocks < 1:
            raise InputError(f"KDSRBody needs at least 1 channel and 1 block, got width {width} and blocks {blocks}")
        super().__init__(
            [KDSRBlock(width) for _ in range(blocks)],
            scale=scale,
            width=width,
            compress=nn.Linear(4 * width, width),
            reach=2 * blocks,
        )
