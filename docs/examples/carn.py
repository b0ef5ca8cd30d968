"""CARN (Ahn, Kang and Sohn, ECCV 2018), written from the paper with the names of the authors' files.

With the file as FOLDER/carn.pth, and docs/examples in PYTHONPATH:
python src/run.py +experiment=comparison_x2 weights=FOLDER +networks.carn._target_=carn.CARN
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MEAN = (0.4488, 0.4371, 0.4040)


class CARN(nn.Module):
    """Cascading residual network: 1,591,963 parameters, 24 of them constants, with tails for x2, x3 and x4.

    Args:
        scale: 2, 3 or 4: whose tail is run. The file holds all three.
        width: channels.
    """

    def __init__(self, scale: int = 2, *, width: int = 64) -> None:
        super().__init__()
        self.scale = scale
        self.receptive_radius = 22
        self.sub_mean, self.add_mean = _shift(-1), _shift(1)
        self.entry = nn.Conv2d(3, width, 3, padding=1)
        self.b1, self.b2, self.b3 = (_Cascade(width) for _ in range(3))
        self.c1, self.c2, self.c3 = (_join(width, parts) for parts in (2, 3, 4))
        self.upsample = nn.ModuleDict({"up2": _tail(width, 2), "up3": _tail(width, 3), "up4": _tail(width, 2, 2)})
        self.exit = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        """``(B, 3, h, w)`` in [0, 1] to ``(B, 3, scale * h, scale * w)``."""
        features = _cascade(self, self.entry(self.sub_mean["shifter"](lr)))
        enlarged = self.upsample[f"up{self.scale}"]["body"](features)
        return self.add_mean["shifter"](self.exit(enlarged))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.body = nn.Sequential(first, nn.ReLU(), second)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(features + self.body(features))


class _Cascade(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.b1, self.b2, self.b3 = (_Residual(width) for _ in range(3))
        self.c1, self.c2, self.c3 = (_join(width, parts) for parts in (2, 3, 4))

    def forward(self, features: Tensor) -> Tensor:
        return _cascade(self, features)


def _cascade(module: nn.Module, features: Tensor) -> Tensor:
    """Each block's output beside all before it, joined to one by a 1x1 convolution."""
    output, seen = features, features
    for i in (1, 2, 3):
        seen = torch.cat([seen, getattr(module, f"b{i}")(output)], 1)
        output = getattr(module, f"c{i}")["body"](seen)
    return output


def _join(width: int, parts: int) -> nn.ModuleDict:
    return nn.ModuleDict({"body": nn.Sequential(nn.Conv2d(parts * width, width, 1), nn.ReLU())})


def _tail(width: int, *factors: int) -> nn.ModuleDict:
    layers: list[nn.Module] = []
    for factor in factors:
        layers += [nn.Conv2d(width, width * factor**2, 3, padding=1), nn.ReLU(), nn.PixelShuffle(factor)]
    return nn.ModuleDict({"body": nn.Sequential(*layers)})


def _shift(sign: int) -> nn.ModuleDict:
    shifter = nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        shifter.weight.copy_(torch.eye(3)[..., None, None])
        assert shifter.bias is not None
        shifter.bias.copy_(sign * torch.tensor(MEAN))
    return nn.ModuleDict({"shifter": shifter})
