"""IKC (Gu, Lu, Zuo and Dong, CVPR 2019), written from the paper with the names of the authors' files.

Their three files become one, which is then compared like any other, with docs/examples in PYTHONPATH:
python docs/examples/ikc.py SFTMD_G.pth Predictor_G.pth Corrector_G.pth FOLDER/ikc.pth
python src/run.py +experiment=comparison_x4 weights=FOLDER +networks.ikc._target_=ikc.IKC
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 64


class IKC(nn.Module):
    """A code of the blur is predicted from the LR image, then corrected by looking at what it makes, seven times.

    Args:
        scale: 2, 3 or 4.
        code: length of the code: principal components of the kernel.
        blocks: of the network that enlarges.
        rounds: how often image and code are made.
    """

    looks_at_all = True  # the code is of the whole image: it is not cut into tiles

    def __init__(self, scale: int = 4, *, code: int = 10, blocks: int = 16, rounds: int = 7) -> None:
        super().__init__()
        self.scale, self.rounds = scale, rounds
        self.sftmd = SFTMD(scale, code=code, blocks=blocks)
        self.predictor = Predictor(code)
        self.corrector = Corrector(code)

    def forward(self, lr: Tensor) -> Tensor:
        """``(B, 3, h, w)`` in [0, 1] to ``(B, 3, scale * h, scale * w)``."""
        code = self.predictor(lr)
        sr = self.sftmd(lr, code)
        for _ in range(self.rounds - 1):
            code = self.corrector(sr, code)
            sr = self.sftmd(lr, code)
        return sr


class Predictor(nn.Module):
    """The code of an LR image, the mean over all places."""

    def __init__(self, code: int) -> None:
        super().__init__()
        plan = [
            (3, WIDTH, 1),
            (WIDTH, WIDTH, 1),
            (WIDTH, WIDTH, 1),
            (WIDTH, WIDTH, 2),
            (WIDTH, WIDTH, 1),
            (WIDTH, code, 1),
        ]
        self.ConvNet = _convolutions(plan)

    def forward(self, lr: Tensor) -> Tensor:
        """``(B, 3, h, w)`` to ``(B, code)``."""
        return self.ConvNet(lr).mean((2, 3))


class Corrector(nn.Module):
    """A better code, of an SR image and the code that it was made with."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.ConvNet = _convolutions([(3, WIDTH, 1), *((WIDTH, WIDTH, stride) for stride in (2, 1, 2, 1, 1, 1))])
        self.code_dense = nn.Sequential(
            nn.Linear(code, WIDTH), nn.LeakyReLU(0.2), nn.Linear(WIDTH, WIDTH), nn.LeakyReLU(0.2)
        )
        self.global_dense = nn.Sequential(
            nn.Conv2d(2 * WIDTH, 2 * WIDTH, 1), nn.LeakyReLU(0.2), nn.Conv2d(2 * WIDTH, WIDTH, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(WIDTH, code, 1),
        )  # fmt: skip

    def forward(self, sr: Tensor, code: Tensor) -> Tensor:
        """``(B, 3, H, W)`` and ``(B, code)`` to ``(B, code)``."""
        seen = self.ConvNet(sr)
        told = self.code_dense(code)[:, :, None, None].expand_as(seen)
        return code + self.global_dense(torch.cat([seen, told], 1)).mean((2, 3))


class SFTMD(nn.Module):
    """The network that enlarges: residual blocks whose features are scaled and shifted as the code tells."""

    def __init__(self, scale: int, *, code: int, blocks: int) -> None:
        super().__init__()
        self.blocks = blocks
        self.conv1 = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.conv2, self.conv3, self.conv_mid = (nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(3))
        self.sft_branch = nn.Sequential(*(Block(code) for _ in range(blocks)))  # in the files, and never run
        for i in range(blocks):
            self.add_module(f"SFT-residual{i + 1}", Block(code))
        self.sft = Transform(code)
        layers: list[nn.Module] = []
        for factor in (2, 2) if scale == 4 else (scale,):
            layers += [nn.Conv2d(WIDTH, WIDTH * factor**2, 3, padding=1), nn.PixelShuffle(factor), nn.LeakyReLU(0.2)]
        self.upscale = nn.Sequential(*layers)
        self.conv_output = nn.Conv2d(WIDTH, 3, 9, padding=4)

    def forward(self, lr: Tensor, code: Tensor) -> Tensor:
        """``(B, 3, h, w)`` and ``(B, code)`` to ``(B, 3, scale * h, scale * w)`` in [0, 1]."""
        told = code[:, :, None, None].expand(*code.shape, *lr.shape[-2:])
        start = self.conv3(F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(lr), 0.2)), 0.2))
        features = start
        for i in range(self.blocks):
            features = self.get_submodule(f"SFT-residual{i + 1}")(features, told)
        features = self.conv_mid(self.sft(features + start, told))
        return self.conv_output(self.upscale(features)).clamp(0, 1)


class Transform(nn.Module):
    """features · sigmoid(m) + a, both made of features and code."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.mul_conv1, self.add_conv1 = (nn.Conv2d(code + WIDTH, 32, 3, padding=1) for _ in range(2))
        self.mul_conv2, self.add_conv2 = (nn.Conv2d(32, WIDTH, 3, padding=1) for _ in range(2))

    def forward(self, features: Tensor, told: Tensor) -> Tensor:
        """Features ``(B, 64, h, w)``, the code at each place."""
        both = torch.cat([features, told], 1)
        gain = torch.sigmoid(self.mul_conv2(F.leaky_relu(self.mul_conv1(both), 0.2)))
        return features * gain + self.add_conv2(F.leaky_relu(self.add_conv1(both), 0.2))


class Block(nn.Module):
    """Two convolutions, a transform before each, and the input added."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.sft1, self.sft2 = Transform(code), Transform(code)
        self.conv1, self.conv2 = (nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(2))

    def forward(self, features: Tensor, told: Tensor) -> Tensor:
        """Features ``(B, 64, h, w)``, the code at each place."""
        inner = self.conv1(F.relu(self.sft1(features, told)))
        return features + self.conv2(F.relu(self.sft2(inner, told)))


def _convolutions(plan: list[tuple[int, int, int]]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs, stride in plan:
        layers += [nn.Conv2d(inputs, outputs, 5, stride=stride, padding=2), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers)


def main(sftmd: str, predictor: str, corrector: str, target: str) -> None:
    """Put the tensors of the three files into one."""
    joined = {}
    for part, file in (("sftmd", sftmd), ("predictor", predictor), ("corrector", corrector)):
        for name, tensor in torch.load(file, map_location="cpu", weights_only=True).items():
            joined[f"{part}.{name.removeprefix('module.')}"] = tensor
    torch.save(joined, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
