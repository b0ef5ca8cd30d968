"""Small images, networks and tasks that several tests share."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.data.tasks import Task
from metasr.degradation.kernels import anisotropic
from metasr.degradation.pipeline import Degradation


def picture(height: int, width: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """An image with structure at every width: disks and stripes on a slope, ``(1, 3, height, width)`` in [0, 1]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = np.stack([0.3 + 0.2 * x / width, 0.4 + 0.2 * y / height, 0.5 - 0.2 * x / width])
    widest = max(3, min(height, width) / 3)
    for _ in range(12):
        cy, cx, radius = (
            random.uniform(0, height),
            random.uniform(0, width),
            random.uniform(2, widest),
        )
        inside = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        image[:, inside] = random.uniform(0.05, 0.95, (3, 1))
    angle = random.uniform(0, np.pi)
    image += 0.08 * np.sign(np.sin((np.cos(angle) * x + np.sin(angle) * y) * 0.9))
    return torch.from_numpy(image).clamp(0, 1)[None].to(dtype)


def bits(module: nn.Module) -> dict[str, bytes]:
    """Every parameter and buffer of a module, as bytes."""
    return {k: v.detach().numpy().tobytes() for k, v in module.state_dict().items()}


class SmoothCNN(nn.Module):
    """A small residual network without kinks, so that finite differences have a derivative to agree with."""

    def __init__(self, channels: int = 4, layers: int = 3) -> None:
        super().__init__()
        widths = [3, *[channels] * (layers - 1), 3]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))

    def forward(self, image: Tensor) -> Tensor:
        features = image
        for i, conv in enumerate(self.convs):
            features = conv(F.softplus(features) if i else features)
        return image + features


def random_task(*, seed: int, dtype: torch.dtype = torch.float64, side: int = 12, scale: int = 2) -> Task:
    """A task of random patches, 2 for support and 3 for query; LR and HR have nothing to do with each other."""
    generator = torch.Generator().manual_seed(seed)
    low = side // scale

    def draw(count: int, side: int) -> Tensor:
        return torch.rand(count, 3, side, side, generator=generator, dtype=dtype)

    return Task(draw(2, low), draw(2, side), draw(3, low), draw(3, side), Degradation(scale=scale, downsample="direct"))


def real_task(*, seed: int, side: int = 16, scale: int = 2) -> Task:
    """A task that can be learned: pictures and their degraded versions, 2 for support and 2 for query."""
    hr = torch.cat([picture(side, side, seed=100 * seed + i) for i in range(4)])
    kernel = anisotropic(1.0 + seed % 3, 1.0, 0.3 * seed, size=5).float()
    degradation = Degradation(scale=scale, kernel=kernel, downsample="direct", quantise=None)
    lr = degradation(hr)
    return Task(lr[:2], hr[:2], lr[2:], hr[2:], degradation)
