"""The plain residual network of ZSSR and MZSR: 3×3 convolutions and ReLU, added to its input."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.errors import InputError
from metasr.models.conv import Conv2d


class PlainCNN(nn.Module):
    """Convolutions 3×3 with ReLU between them, none at the end, and the input added to the output.

    With 8 layers of 64 channels it has 225,091 parameters (ZSSR, section 3.2; MZSR, section 5.1). It works at the size
    of the HR image: its input is the LR image, already enlarged bicubically.

    Initialised as He et al. (2015) but for the last layer, which starts at a tenth of that: a departure from the
    papers' plain He initialisation, whose residual at first swamps the image and costs a short schedule its first
    hundred steps.

    Attributes:
        receptive_radius: how far, in pixels, an output pixel sees: tiles that overlap by this much have no seams.

    Args:
        channels: width of the hidden layers.
        layers: number of convolutions, at least 2.
        last_gain: what the last layer's initial weights are multiplied by; 1 is the papers' initialisation.
    """

    def __init__(self, channels: int = 64, layers: int = 8, *, last_gain: float = 0.1) -> None:
        super().__init__()
        if layers < 2 or channels < 1:
            raise InputError(f"PlainCNN needs at least 2 layers and 1 channel, got {layers} and {channels}")
        self.layers = layers
        self.receptive_radius = layers
        widths = [3, *[channels] * (layers - 1), 3]
        for i in range(layers):
            conv = Conv2d(widths[i], widths[i + 1], 3, padding=1)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
            self.add_module(f"conv{i + 1}", conv)
        with torch.no_grad():  # start close to the identity: a residual of He's size would swamp the image
            last: nn.Conv2d = self.get_submodule(f"conv{layers}")  # type: ignore[assignment]
            last.weight.mul_(last_gain)

    def forward(self, image: Tensor) -> Tensor:
        """Sharpen an enlarged image.

        Args:
            image: ``(B, 3, H, W)`` in [0, 1], any size.

        Returns:
            ``(B, 3, H, W)``, not clipped.
        """
        features = image
        for i in range(1, self.layers + 1):
            features = getattr(self, f"conv{i}")(features)
            if i < self.layers:
                features = F.relu(features)  # (B, channels, H, W)
        return image + features


class ConditionedCNN(PlainCNN):
    """The same network, told a few numbers about the whole image: they shift the first layer's biases.

    That is what even maps beside the image would do. It begins by not heeding them, and takes a plain network's
    weights.

    Args:
        channels: width of the hidden layers.
        layers: number of convolutions, at least 2.
        conditions: how many numbers.
        last_gain: as in ``PlainCNN``.
    """

    def __init__(self, channels: int = 64, layers: int = 8, *, conditions: int = 2, last_gain: float = 0.1) -> None:
        super().__init__(channels, layers, last_gain=last_gain)
        self.told = nn.Linear(conditions, channels, bias=False)
        nn.init.zeros_(self.told.weight)

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:  # type: ignore[override]
        """Improve an image ``(B, 3, H, W)``, any size, told a condition ``(B, conditions)``."""
        features = image
        for i in range(1, self.layers + 1):
            features = getattr(self, f"conv{i}")(features)
            if i == 1:
                features = features + self.told(condition)[:, :, None, None]
            if i < self.layers:
                features = F.relu(features)  # (B, channels, H, W)
        return image + features
