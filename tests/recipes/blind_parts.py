"""Small networks and batches that tests of teacher and student share."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metasr.data.tasks import Pairs
from metasr.degradation.kernels import isotropic
from metasr.degradation.pipeline import Degradation
from metasr.models.blind import BlindSR
from metasr.models.den import DegradationEncoder
from metasr.models.kdsr import KDSRBody, KDSREncoder
from metasr.models.mln import MLN
from metasr.models.rdan import RDAN
from metasr.models.teacher import AdaptedFeatures, PairView, View
from small_problems import picture

WIDTH, MLN_WIDTH, SCALE = 4, 6, 2


def mln(*, seed: int = 5) -> MLN:
    torch.manual_seed(seed)
    return MLN(scale=SCALE, width=MLN_WIDTH, depth=2)


def blind(*, channels: int = 3, seed: int = 1, blocks: int = 1, scale: int = SCALE) -> BlindSR:
    """MRDA's network, small: a student, or with the MLN's channels a teacher."""
    torch.manual_seed(seed)
    encoder = DegradationEncoder(channels=channels, width=WIDTH)
    return BlindSR(encoder, RDAN(scale=scale, width=WIDTH, blocks=blocks, vector=4 * WIDTH))


def teacher_net(*, seed: int = 1, blocks: int = 1) -> BlindSR:
    return blind(channels=MLN_WIDTH, seed=seed, blocks=blocks)


def pair_net(*, channels: int = 3, seed: int = 1) -> BlindSR:
    """KDSR's network, small."""
    torch.manual_seed(seed)
    return BlindSR(KDSREncoder(channels=channels, width=WIDTH, blocks=1), KDSRBody(scale=SCALE, width=WIDTH, blocks=1))


def pairs(*, seed: int = 0, count: int = 2, side: int = 16, variance: float = 2.0) -> Pairs:
    hr = torch.cat([picture(side, side, seed=10 * seed + i) for i in range(count)])
    degradation = Degradation(scale=SCALE, kernel=isotropic(variance, size=5).float(), name=f"blur {variance}")
    return Pairs(degradation(hr), hr, degradation)


def mixed(batch: Pairs) -> Pairs:
    """The same batch with another kernel for each image."""
    kernels = torch.stack([isotropic(v, size=5).float() for v in (1.0, 3.0)])
    degradation = Degradation(scale=SCALE, kernel=kernels)
    return Pairs(degradation(batch.hr), batch.hr, degradation)


def adapting(**options: object) -> View:
    return AdaptedFeatures(**{"rates": (0.05, 0.02), **options})


PAIR: View = PairView()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


def cloned(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> Sequence[str]:
    return [k for k, v in before.items() if not torch.equal(v, after[k])]
