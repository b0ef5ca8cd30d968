"""The feed-forward solver."""

import pytest
import torch
from torch import nn

from metasr.degradation.names import parse
from metasr.degradation.resize import imresize
from metasr.errors import InputError
from metasr.solvers.ensemble import back_project
from metasr.solvers.network import NetworkSolver, apply_scaling
from small_problems import picture
from solvers.solver_list import doubling, tiny


def test_is_the_network_on_the_enlarged_image() -> None:
    net, lr = tiny(), picture(13, 10)
    with torch.no_grad():
        want = net(imresize(lr, 3)).clamp(0, 1)
    torch.testing.assert_close(NetworkSolver(net).solve(lr, scale=3).sr, want, rtol=0, atol=1e-6)


def test_is_the_network_itself_where_it_enlarges() -> None:
    net, lr = doubling(), picture(13, 10)
    with torch.no_grad():
        want = net(lr).clamp(0, 1)
    got = NetworkSolver(net, enlarge_first=False).solve(lr, scale=2).sr
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("tile", [3, 8, 25])
@pytest.mark.parametrize("enlarge_first", [True, False])
def test_tiles_leave_no_trace(tile: int, enlarge_first: bool) -> None:
    net = tiny() if enlarge_first else doubling()
    lr = picture(21, 15)
    whole, tiled = (NetworkSolver(net, enlarge_first=enlarge_first, tile=t).solve(lr, scale=2).sr for t in (None, tile))
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "scale"), [("g2.0d", 2), ("bicubic", 1.5)])
def test_ensemble_where_only_the_transpose_is_allowed(name: str, scale: float) -> None:
    """Direct subsampling with a round kernel, or an SR size rounded up: the image and its transpose, averaged."""
    solver, lr = NetworkSolver(tiny(), ensemble=True), 0.3 + 0.4 * picture(13, 10)  # far from being clipped
    plain = NetworkSolver(tiny())
    degradation = parse(name, scale=scale, size=5)
    mean = (plain.solve(lr, scale=scale).sr + plain.solve(lr.mT.contiguous(), scale=scale).sr.mT) / 2
    got = solver.solve(lr, scale=scale, degradation=degradation).sr
    torch.testing.assert_close(got, mean, rtol=0, atol=1e-6)
    assert not torch.allclose(got, plain.solve(lr, scale=scale).sr, atol=1e-4)


def test_back_projection_is_applied_before_clipping() -> None:
    net, lr, degradation = tiny(), picture(13, 10), parse("g2.0d", scale=2, size=5)
    with torch.no_grad():
        want = back_project(net(imresize(lr, 2)), lr, degradation, rounds=3).clamp(0, 1)
    got = NetworkSolver(net, back_projection=3).solve(lr, scale=2, degradation=degradation).sr
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


def test_network_is_run_in_evaluation_mode() -> None:
    class Noisy(nn.Module):
        receptive_radius = 0

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(image, 0.5, self.training)

    lr = picture(9, 8)
    sr = NetworkSolver(Noisy().train()).solve(lr, scale=2).sr
    assert torch.equal(sr, imresize(lr, 2).clamp(0, 1))


def test_network_of_another_scale_is_refused() -> None:
    with pytest.raises(InputError, match=r"gave \(26, 20\) for an input of \(13, 10\) at scale 3, expected \(39, 30\)"):
        NetworkSolver(doubling(), enlarge_first=False).solve(picture(13, 10), scale=3)
    with pytest.raises(InputError, match=r"set solver\.enlarge_first=true if it takes the enlarged image"):
        NetworkSolver(tiny(), enlarge_first=False).solve(picture(13, 10), scale=2)


def test_real_scale_is_refused_where_the_network_enlarges() -> None:
    with pytest.raises(InputError, match=r"needs a whole scale, got 2\.5"):
        apply_scaling(doubling(), picture(13, 10), scale=2.5, tile=None, overlap=1)


def test_negative_rounds_are_refused() -> None:
    with pytest.raises(InputError, match="back_projection must be at least 0 rounds, got -1"):
        NetworkSolver(tiny(), back_projection=-1)
