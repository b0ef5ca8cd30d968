"""Every solver, for the properties that all of them have."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from metasr.meta.rates import FixedRates, MetaSGDRates, PerStepRates
from metasr.models.maml_sr_net import MamlSRNet
from metasr.models.plain_cnn import PlainCNN
from metasr.solvers.adapt import AdaptSolver
from metasr.solvers.base import Solver
from metasr.solvers.interpolate import InterpolateSolver
from metasr.solvers.metric_constrained import MetricConstrainedSolver
from metasr.solvers.network import NetworkSolver


class Doubling(nn.Module):
    """A network that enlarges by 2 itself."""

    receptive_radius = 1

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.conv(image), 2) + nn.functional.interpolate(image, scale_factor=2)


def tiny(*, channels: int = 4, layers: int = 3) -> PlainCNN:
    torch.manual_seed(0)
    return PlainCNN(channels=channels, layers=layers)


def doubling() -> Doubling:
    torch.manual_seed(0)
    return Doubling()


def attentive() -> MamlSRNet:
    torch.manual_seed(0)
    return MamlSRNet(width=2)


RATES = FixedRates((0.05, 0.02))

SOLVERS: dict[str, Callable[[], Solver]] = {
    "interpolate": InterpolateSolver,
    "interpolate_aligned": lambda: InterpolateSolver(aligned=True),
    "network": lambda: NetworkSolver(tiny()),
    "network_tiled": lambda: NetworkSolver(tiny(), tile=7),
    "network_ensemble": lambda: NetworkSolver(tiny(), ensemble=True, back_projection=2),
    "network_doubling": lambda: NetworkSolver(doubling(), enlarge_first=False, tile=6),
    "adapt_published_rates": lambda: AdaptSolver(tiny(), steps=3),
    "adapt_no_steps": lambda: AdaptSolver(tiny(), steps=0),
    "adapt_learned_rates": lambda: AdaptSolver(tiny(), rates=PerStepRates(2, 6, initial=0.02), steps=3),
    "adapt_meta_sgd": lambda: AdaptSolver(tiny(), rates=MetaSGDRates(list(tiny().parameters())), steps=2),
    "adapt_tiled": lambda: AdaptSolver(tiny(), rates=RATES, steps=2, tile=5, adapt_pixels=60),
    "adapt_everything": lambda: AdaptSolver(
        tiny(), rates=RATES, steps=2, son_noise=10.0, ensemble=True, back_projection=2
    ),
    "metric_constrained": lambda: MetricConstrainedSolver(attentive(), max_steps=2),
    "metric_constrained_tiled": lambda: MetricConstrainedSolver(
        attentive(), max_steps=2, stop="consistency", tile=16, adapt_pixels=300
    ),
}
ANY_SCALE = [name for name in SOLVERS if name != "network_doubling"]
