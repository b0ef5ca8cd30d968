"""Every solver, for the properties that all of them have."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from metasr.meta.rates import FixedRates, MetaSGDRates, PerStepRates
from metasr.models.blind import BlindSR
from metasr.models.den import DegradationEncoder
from metasr.models.kernel_regressor import KernelRegressor
from metasr.models.maml_sr_net import MAMLSRNet
from metasr.models.plain_cnn import ConditionedCNN, PlainCNN
from metasr.models.rdan import RDAN
from metasr.models.resunet import ResUNet
from metasr.models.unfolded import UnfoldedNet
from metasr.solvers.auto.solver import AutoSolver, Method
from metasr.solvers.back_project import BackProjectSolver
from metasr.solvers.base import Solver
from metasr.solvers.blind.parametric import ParametricEstimator
from metasr.solvers.data_step import DataStepSolver
from metasr.solvers.ddsr.solver import DDSRSolver
from metasr.solvers.interpolate import InterpolateSolver, LanczosSolver
from metasr.solvers.maml_sr.solver import MAMLSRSolver
from metasr.solvers.mzsr.solver import MZSRSolver
from metasr.solvers.network import NetworkSolver
from metasr.solvers.unfolded import UnfoldedSolver
from metasr.solvers.zssr.solver import ZSSRSolver


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


def blind() -> BlindSR:
    torch.manual_seed(0)
    return BlindSR(DegradationEncoder(width=2), RDAN(scale=2, width=4, blocks=1, vector=8))


def attentive() -> MAMLSRNet:
    torch.manual_seed(0)
    return MAMLSRNet(width=2)


def unfolded(*, strided: bool = False) -> UnfoldedNet:
    torch.manual_seed(0)
    return UnfoldedNet(ResUNet((4, 6), blocks=1) if strided else ConditionedCNN(4, 3), rounds=2)


def auto() -> AutoSolver:
    torch.manual_seed(0)
    estimator = ParametricEstimator(KernelRegressor(width=4), scales=(1.0, 9.0))
    return AutoSolver([Method("network", "tiny", 2, lambda: NetworkSolver(tiny(), tile=7))], estimator)


DDSR_TINY = {"width": 4, "skip": 2, "levels": 1, "hidden": 8, "warmup_steps": 2}
RATES = FixedRates((0.05, 0.02))

SOLVERS: dict[str, Callable[[], Solver]] = {
    "interpolate": InterpolateSolver,
    "interpolate_aligned": lambda: InterpolateSolver(aligned=True),
    "lanczos": LanczosSolver,
    "auto": auto,
    "back_project": lambda: BackProjectSolver(rounds=2),
    "data_step": DataStepSolver,
    "unfolded": lambda: UnfoldedSolver(unfolded()),
    "unfolded_adapted": lambda: UnfoldedSolver(unfolded(), steps=3, adapt_pixels=60, least_gain=None),
    "unfolded_tiled": lambda: UnfoldedSolver(unfolded(strided=True), tile=12, ensemble=True),
    "network": lambda: NetworkSolver(tiny()),
    "network_tiled": lambda: NetworkSolver(tiny(), tile=7),
    "network_ensemble": lambda: NetworkSolver(tiny(), ensemble=True, back_projection=2),
    "network_doubling": lambda: NetworkSolver(doubling(), enlarge_first=False, tile=6),
    "network_blind": lambda: NetworkSolver(blind(), enlarge_first=False, tile=6),
    "adapt_published_rates": lambda: MZSRSolver(tiny(), steps=3),
    "adapt_no_steps": lambda: MZSRSolver(tiny(), steps=0),
    "adapt_learned_rates": lambda: MZSRSolver(tiny(), rates=PerStepRates(2, 6, initial=0.02), steps=3),
    "adapt_meta_sgd": lambda: MZSRSolver(tiny(), rates=MetaSGDRates(list(tiny().parameters())), steps=2),
    "adapt_tiled": lambda: MZSRSolver(tiny(), rates=RATES, steps=2, tile=5, adapt_pixels=60),
    "adapt_everything": lambda: MZSRSolver(
        tiny(), rates=RATES, steps=2, son_noise=10.0, ensemble=True, back_projection=2
    ),
    "zssr": lambda: ZSSRSolver(channels=4, layers=3, max_steps=3, crop=7),
    "zssr_everything": lambda: ZSSRSolver(
        channels=4,
        layers=3,
        max_steps=4,
        batch=2,
        crop=6,
        schedule="published",
        son_noise=10.0,
        tile=9,
        adapt_pixels=60,
    ),
    "ddsr": lambda: DDSRSolver(steps=3, kernel_size=5, **DDSR_TINY),
    "ddsr_faithful": lambda: DDSRSolver(steps=2, mode="faithful", kernel_size=5, **DDSR_TINY),
    "metric_constrained": lambda: MAMLSRSolver(attentive(), max_steps=2),
    "metric_constrained_tiled": lambda: MAMLSRSolver(
        attentive(), max_steps=2, stop="consistency", tile=16, adapt_pixels=300
    ),
}
OF_ONE_SCALE = ("network_doubling", "network_blind")
ANY_SCALE = [name for name in SOLVERS if name not in OF_ONE_SCALE and not name.startswith("ddsr")]
ANY_SIZE = [name for name in SOLVERS if not name.startswith("ddsr")]
