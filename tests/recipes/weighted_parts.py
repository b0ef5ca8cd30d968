"""What tests of weighted training share: small networks, batches and recipes."""

from typing import Any

import torch
from torch import Tensor

from metasr.data.meta_set import WeightedBatch
from metasr.data.tasks import Pairs
from metasr.degradation.pipeline import Degradation
from metasr.models.plain_cnn import PlainCNN
from metasr.models.weight_net import WeightNet
from metasr.recipes.weightnet import WeightNetRecipe
from small_problems import picture

DEGRADATION = Degradation(scale=2, quantise=None)


def small() -> PlainCNN:
    return PlainCNN(channels=4, layers=3)


def net(**options: Any) -> WeightNet:
    return WeightNet(**({"channels": 3, "layers": 2, "last_gain": 3.0} | options))


def pairs(count: int, *, seed: int = 0, side: int = 15) -> Pairs:
    hr = torch.cat([picture(side, side + 2, seed=100 * seed + i) for i in range(count)])
    return Pairs(DEGRADATION(hr), hr, DEGRADATION)


def batch(*, seed: int = 0, count: int = 2, candidates: int = 2) -> WeightedBatch:
    return WeightedBatch(pairs(candidates, seed=seed), pairs(3, seed=50 + seed), count)


def made(**options: Any) -> WeightNetRecipe:
    torch.manual_seed(0)
    return WeightNetRecipe(small(), **({"steps": 4, "weight_net": net(), "inner_rate": 0.1} | options))


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())
