"""An off-centre kernel displaces the image: every solver that knows the kernel puts it back."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from metasr.degradation.kernel_samplers import moved_by
from metasr.degradation.kernels import isotropic
from metasr.degradation.pipeline import Degradation, Downsample
from metasr.meta.rates import rates_from_state
from metasr.models.plain_cnn import PlainCNN
from metasr.paths import weights_folder
from metasr.runs.weights import from_release
from metasr.solvers.back_project import BackProjectSolver
from metasr.solvers.base import Solver
from metasr.solvers.data_step import DataStepSolver
from metasr.solvers.interpolate import InterpolateSolver
from metasr.solvers.maml_sr.solver import MAMLSRSolver
from metasr.solvers.mzsr.solver import MZSRSolver
from metasr.solvers.network import NetworkSolver
from metasr.solvers.unfolded import UnfoldedSolver
from small_problems import picture
from solvers.solver_list import attentive, doubling, unfolded

MOVES = ((1, 0), (0, -1), (2, -2), (-1, 1))
SHAVE = 12
STRIDED = 0.3  # dB that a network with strides may lose or gain, which sees a moved image in other groups of pixels


def mzsr(downsample: str, steps: int, *, tile: int | None = 256, ensemble: bool = False) -> MZSRSolver:
    name = "mzsr_x2_meta" if downsample == "direct" else "mzsr_x2_bicubic_meta"
    weights = from_release(weights_folder(), name)
    network = weights.load_into(PlainCNN())
    return MZSRSolver(network, rates=rates_from_state(weights.state), steps=steps, tile=tile, ensemble=ensemble)


SOLVERS: dict[str, Callable[[str], Solver]] = {
    "interpolate_aligned": lambda _: InterpolateSolver(aligned=True),
    "back_project": lambda _: BackProjectSolver(rounds=3),
    "data_step": lambda _: DataStepSolver(),
    "unfolded": lambda _: UnfoldedSolver(unfolded(strided=True)),
    "unfolded_ensemble": lambda _: UnfoldedSolver(unfolded(), ensemble=True),
    "network_doubling": lambda _: NetworkSolver(doubling(), enlarge_first=False),
    "metric_constrained": lambda _: MAMLSRSolver(attentive(), max_steps=1),
    "mzsr_0": lambda downsample: mzsr(downsample, 0),
    "mzsr_2": lambda downsample: mzsr(downsample, 2),
    "mzsr_2_tiled": lambda downsample: mzsr(downsample, 2, tile=40),
    "mzsr_1_ensemble": lambda downsample: mzsr(downsample, 1, ensemble=True),
}


def psnr(sr: Tensor, hr: Tensor) -> float:
    error = (sr - hr)[..., SHAVE:-SHAVE, SHAVE:-SHAVE].square().mean()
    return float(-10 * torch.log10(error))


@pytest.mark.parametrize("downsample", ["direct", "bicubic"])
@pytest.mark.parametrize("name", SOLVERS)
def test_a_moved_kernel_moves_the_result(name: str, downsample: Downsample) -> None:
    """One LR image, told to come from a moved kernel, comes from the moved truth."""
    hr = picture(72, 64)
    kernel = F.pad(isotropic(2.0, size=13), (2, 2, 2, 2))
    centred = Degradation(scale=2, kernel=kernel, downsample=downsample)
    lr = centred(hr)
    solver = SOLVERS[name](downsample)
    wanted = psnr(solver.solve(lr, scale=2, degradation=centred).sr, hr)
    tolerance = STRIDED if name == "metric_constrained" else 0.1
    for down, right in MOVES:
        told = replace(centred, kernel=moved_by(kernel, (down, right)))
        sr = solver.solve(lr, scale=2, degradation=told).sr
        assert abs(psnr(sr.roll((-down, -right), (-2, -1)), hr) - wanted) < tolerance, (down, right)


def test_an_even_kernel_is_as_good_as_the_odd_one() -> None:
    """A Gaussian between the taps, as a file of even sides holds it, padded to odd ones."""
    hr = picture(72, 64)
    axis = torch.arange(14, dtype=torch.float64) - 6.5
    line = torch.exp(-axis.square() / 4)
    even = F.pad(line[:, None] * line / line.sum() ** 2, (0, 1, 0, 1))
    for name, loss in (("data_step", 0.2), ("unfolded", 0.2), ("mzsr_2", 0.4)):  # MZSR never saw such interpolation
        solver = SOLVERS[name]("direct")
        scores = []
        for kernel in (isotropic(2.0, size=15), even):
            degradation = Degradation(scale=2, kernel=kernel, downsample="direct")
            scores.append(psnr(solver.solve(degradation(hr), scale=2, degradation=degradation).sr, hr))
        assert scores[1] > scores[0] - loss, (name, scores)
