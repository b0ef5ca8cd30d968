"""MZSR's meta-test: adaptation to one image."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metasr.degradation.names import parse
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import DivergenceError, InputError
from metasr.io.images import list_images, read_image
from metasr.meta.rates import FixedRates, PerStepRates, Rates, published_schedule, rates_from_state
from metasr.metrics.protocol import LumaProtocol
from metasr.metrics.psnr_ssim import psnr
from metasr.models.maml_sr_net import MAMLSRNet
from metasr.models.plain_cnn import PlainCNN
from metasr.solvers import tiles
from metasr.solvers.mzsr import solver as adapt
from metasr.solvers.mzsr.solver import MZSRSolver
from metasr.solvers.plain_steps import BackwardPrecision
from small_problems import bits, picture
from solvers.solver_list import tiny

RATE = FixedRates((0.05,))
NAMES = ("g2.0d", "g0.2d", "gani_d", "g1.3b")


def by_hand(net: nn.Module, lr: Tensor, degradation: Degradation, rates: Sequence[float]) -> tuple[Tensor, list[float]]:
    """Algorithm 2 of the paper, whole image, in place on a copy: SR and the loss before each step."""
    net = copy.deepcopy(net)
    son = degradation.linear(lr).clamp(0, 1)
    source = imresize(son, degradation.scale, size=lr.shape[-2:])
    losses = []
    for rate in rates:
        loss = (net(source) - lr).abs().mean()
        losses.append(loss.item())
        net.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in net.parameters():
                p -= rate * p.grad
    with torch.no_grad():
        return net(imresize(lr, degradation.scale)).clamp(0, 1), losses


@pytest.mark.parametrize("name", [*NAMES, "bicubic", "direct"])
@pytest.mark.parametrize("rates", [RATE, None], ids=["fixed", "published"])
def test_is_the_papers_algorithm(name: str, rates: Rates | None) -> None:
    net, lr, degradation = tiny(), picture(24, 29), parse(name, scale=2)
    schedule = FixedRates(published_schedule(degradation.downsample, 2)) if rates is None else rates
    want, losses = by_hand(net, lr, degradation, [float(schedule.at(step)) for step in range(6)])
    solution = MZSRSolver(net, rates=rates, steps=6).solve(lr, scale=2, degradation=degradation)
    torch.testing.assert_close(solution.sr, want, rtol=0, atol=2e-5)
    assert solution.trace.losses == pytest.approx(losses, rel=1e-4)
    assert solution.trace.rates == pytest.approx([float(schedule.at(step)) for step in range(6)])


@pytest.mark.parametrize("scale", [1.5, 2.5, 3, 4])
def test_is_the_papers_algorithm_at_any_scale(scale: float) -> None:
    net, lr, degradation = tiny(), picture(23, 26), parse("g1.3b", scale=scale, size=7)
    want, _ = by_hand(net, lr, degradation, [0.05] * 3)
    got = MZSRSolver(net, rates=RATE, steps=3).solve(lr, scale=scale, degradation=degradation).sr
    torch.testing.assert_close(got, want, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_adaptation_improves_the_image(name: str) -> None:
    hr, degradation, protocol = picture(72, 60), parse(name, scale=2), LumaProtocol()
    solver = MZSRSolver(tiny(channels=8), rates=RATE)
    solved = solver.snapshots(degradation(hr), scale=2, updates=(0, 20), degradation=degradation)
    before, after = (protocol(solved[n].sr, hr, scale=2).psnr_y for n in (0, 20))
    assert after > before + 0.5
    assert solved[20].trace.losses[-1] < 0.9 * solved[20].trace.losses[0]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("tile", [5, 24])
def test_tiles_leave_no_trace(tile: int, dtype: torch.dtype, tolerance: float) -> None:
    net, lr = tiny().to(dtype), picture(49, 37, dtype=dtype)
    degradation = parse("gani_d", scale=2)
    whole, tiled = (
        MZSRSolver(net, rates=RATE, steps=4, tile=t).solve(lr, scale=2, degradation=degradation) for t in (None, tile)
    )
    torch.testing.assert_close(tiled.sr, whole.sr, rtol=0, atol=tolerance)
    assert tiled.trace.losses == pytest.approx(whole.trace.losses, rel=1e-5 if dtype == torch.float32 else 1e-12)


def test_pixel_budget_leaves_out_part_of_a_large_image() -> None:
    net, lr = tiny(), picture(200, 180)
    lr[..., :90, :] = 0.5  # nothing is to be learned up there
    options: dict[str, Any] = {"rates": RATE, "steps": 1}
    losses = {
        pixels: MZSRSolver(net, adapt_pixels=pixels, tile=64, **options).solve(lr, scale=2).trace.losses[0]
        for pixels in (None, 200 * 180, 200 * 180 - 1)
    }
    assert losses[None] == losses[200 * 180] != losses[200 * 180 - 1]
    # Which part is looked at has nothing to do with the tiles that bound memory.
    for tile in (None, 32):
        one = MZSRSolver(net, adapt_pixels=200 * 180 - 1, tile=tile, **options).solve(lr, scale=2)
        assert one.trace.losses[0] == losses[200 * 180 - 1]


def test_snapshots_are_what_separate_runs_give() -> None:
    net, lr, degradation = tiny(), picture(24, 29), parse("gani_d", scale=2)
    options: dict[str, Any] = {"rates": PerStepRates(2, 6, initial=0.03), "son_noise": 5.0}
    together = MZSRSolver(net, **options).snapshots(lr, scale=2, updates=[5, 0, 2, 5], degradation=degradation, seed=7)
    assert list(together) == [0, 2, 5]
    for steps, solution in together.items():
        alone = MZSRSolver(net, steps=steps, **options).solve(lr, scale=2, degradation=degradation, seed=7)
        torch.testing.assert_close(solution.sr, alone.sr, rtol=0, atol=1e-6)
        assert solution.updates == alone.updates == steps
        assert solution.trace.losses == pytest.approx(alone.trace.losses)
        assert len(solution.trace.rates) == len(solution.trace.seconds) == steps


def test_no_steps_is_the_network_as_it_is() -> None:
    net, lr = tiny(), picture(13, 10)
    solution = MZSRSolver(net, steps=0).solve(
        lr, scale=2, degradation=parse("g2.0d", scale=2)
    )  # smaller than the kernel
    with torch.no_grad():
        torch.testing.assert_close(solution.sr, net(imresize(lr, 2)).clamp(0, 1), rtol=0, atol=1e-6)
    assert solution.trace.losses == []


def test_noise_on_the_son_is_seeded_and_of_the_given_width() -> None:
    """With a network that passes its input on, the first loss is that of the son itself: it tells the noise."""

    class Through(nn.Module):
        receptive_radius = 0

        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(()))

        def forward(self, image: Tensor) -> Tensor:
            return self.gain * image

    lr = torch.full((1, 3, 60, 60), 0.5)
    degradation = parse("direct", scale=1)

    def first_loss(noise: float, seed: int) -> float:
        solver = MZSRSolver(Through(), rates=RATE, steps=1, son_noise=noise)
        return solver.solve(lr, scale=1, degradation=degradation, seed=seed).trace.losses[0]

    assert first_loss(0.0, 1) == first_loss(0.0, 2) == 0.0
    assert first_loss(8.0, 1) == first_loss(8.0, 1) != first_loss(8.0, 2)
    assert first_loss(8.0, 1) == pytest.approx(8 / 255 * (2 / torch.pi) ** 0.5, rel=0.03)  # E|n| of a Gaussian


def test_the_son_carries_the_degradations_own_noise_unless_told_otherwise() -> None:
    lr = picture(24, 29)
    clean, noisy = parse("g2.0d", scale=2), parse("g2.0d_n20", scale=2)

    def solve(degradation: Degradation, son_noise: float | None) -> Tensor:
        solver = MZSRSolver(tiny(), rates=RATE, steps=3, son_noise=son_noise)
        return solver.solve(lr, scale=2, degradation=degradation, seed=1).sr

    assert torch.equal(solve(noisy, None), solve(clean, 20.0))
    assert torch.equal(solve(noisy, 0.0), solve(clean, None))
    assert not torch.equal(solve(noisy, None), solve(clean, None))


def test_every_option_changes_the_result() -> None:
    lr, degradation = picture(24, 29), parse("g1.3b", scale=2, size=9)
    baseline: dict[str, Any] = {"rates": RATE, "steps": 2, "tile": 12}
    reference = MZSRSolver(tiny(), **baseline).solve(lr, scale=2, degradation=degradation).sr
    for option in (
        {"rates": FixedRates((0.01,))},
        {"steps": 3},
        {"son_noise": 5.0},
        {"ensemble": True},
        {"back_projection": 1},
        {"backward_precision": "bfloat16"},
    ):
        other = MZSRSolver(tiny(), **baseline | option).solve(lr, scale=2, degradation=degradation).sr
        assert (other - reference).abs().max() > 1e-5, option


def test_inference_mode_does_not_rely_on_tiles_being_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU a change of memory layout copies what the network is given; on a GPU nothing does."""
    monkeypatch.setattr(tiles, "_fast_layout", lambda image: image)
    want = MZSRSolver(tiny(), rates=RATE, steps=3).solve(picture(12, 11), scale=2).sr
    with torch.inference_mode():
        got = MZSRSolver(tiny(), rates=RATE, steps=3).solve(picture(12, 11), scale=2).sr
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


def test_learned_rates_beyond_the_trained_steps_are_halved() -> None:
    rates = PerStepRates.of(torch.tensor([[0.08] * 6, [0.04] * 6]))
    trace = MZSRSolver(tiny(), rates=rates, steps=4).solve(picture(12, 11), scale=2).trace
    assert trace.rates == pytest.approx([0.08, 0.04, 0.02, 0.02])


# --- the plain network written out ---


class Other(PlainCNN):
    """The same network, of which the solver knows nothing."""


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("frozen", [(), ("conv2.weight", "conv1.bias")])
def test_the_plain_network_is_adapted_as_any_other(dtype: torch.dtype, tolerance: float, frozen: Sequence[str]) -> None:
    net, other = tiny().to(dtype), Other(channels=4, layers=3).to(dtype)
    other.load_state_dict(net.state_dict())
    for module in (net, other):
        for name in frozen:
            module.get_parameter(name).requires_grad_(False)
    lr, degradation = picture(31, 26, dtype=dtype), parse("gani_d", scale=2)
    got, want = (
        MZSRSolver(n, rates=RATE, steps=4, tile=17).solve(lr, scale=2, degradation=degradation) for n in (net, other)
    )
    torch.testing.assert_close(got.sr, want.sr, rtol=0, atol=tolerance)
    assert got.trace.losses == pytest.approx(want.trace.losses, rel=1e-5 if dtype == torch.float32 else 1e-12)


def test_a_backward_pass_in_bfloat16_hardly_moves_the_result() -> None:
    lr, degradation = picture(49, 45), parse("g2.0d", scale=2)

    def solve(steps: int, precision: BackwardPrecision) -> Tensor:
        solver = MZSRSolver(tiny(channels=32), rates=FixedRates((0.01,)), steps=steps, backward_precision=precision)
        return solver.solve(lr, scale=2, degradation=degradation).sr

    before, single, half = solve(0, "float32"), solve(2, "float32"), solve(2, "bfloat16")
    assert 0 < (half - single).norm() < 0.03 * (single - before).norm()


def test_a_network_with_intermediate_images_is_adapted_by_its_final_one() -> None:
    torch.manual_seed(0)
    net, lr, degradation = MAMLSRNet(2, last_gain=1.0), picture(23, 18), parse("area", scale=2)
    got = MZSRSolver(net, rates=RATE, steps=3).solve(lr, scale=2, degradation=degradation)
    alone = MAMLSRNet(2, last_gain=1.0, deep_supervision=False)
    alone.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("heads.")})
    want, losses = by_hand(alone, lr, degradation, [0.05] * 3)
    torch.testing.assert_close(got.sr, want, rtol=0, atol=2e-5)
    assert got.trace.losses == pytest.approx(losses, rel=1e-4)


# --- errors ---


def test_image_smaller_than_the_kernel_is_refused() -> None:
    with pytest.raises(InputError, match="image of 20x40 is smaller than the 21x21 kernel"):
        MZSRSolver(tiny(), steps=1).solve(picture(20, 40), scale=2, degradation=parse("g2.0d", scale=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 0}, "tile must be at least 1"),
        ({"adapt_pixels": 0}, "adapt_pixels must be at least 1"),
        ({"backward_precision": "half"}, "backward_precision must be 'auto', 'float32' or 'bfloat16', got 'half'"),
        ({"son_noise": -3.0}, r"son_noise must be at least 0 .*got -3"),
    ],
)
def test_impossible_options_are_refused_when_the_solver_is_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MZSRSolver(tiny(), **options)


def test_negative_numbers_of_steps_are_refused() -> None:
    with pytest.raises(InputError, match="adapt_steps must be at least 0, got -1"):
        MZSRSolver(tiny(), steps=-1)
    for updates in ([], [-1, 5]):
        with pytest.raises(InputError, match="at least one number of steps, all at least 0"):
            MZSRSolver(tiny()).snapshots(picture(8, 8), scale=2, updates=updates)


def test_rates_of_another_network_are_refused() -> None:
    with pytest.raises(InputError, match="for 16 tensors, but the network adapts 6"):
        MZSRSolver(tiny(), rates=PerStepRates(5, 16), steps=1).solve(picture(8, 8), scale=2)


@pytest.mark.parametrize(
    ("steps", "message"), [(5, r"inner loss became nan at step \d for degradation g2\.0d"), (1, "")]
)
@pytest.mark.parametrize("ahead", [False, True], ids=["watched", "queued"])
def test_divergence_names_the_degradation_and_gives_no_image(
    steps: int, message: str, ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last step there is no further loss to tell: the output itself is looked at."""
    monkeypatch.setattr(adapt, "_works_ahead", lambda _: ahead)
    net = tiny()
    before = bits(net)
    message = message or r"the output after 1 updates for degradation g2\.0d is not finite; lower the inner rate"
    with pytest.raises(DivergenceError, match=message):
        MZSRSolver(net, rates=FixedRates((1e30,)), steps=steps).solve(
            picture(24, 29), scale=2, degradation=parse("g2.0d", scale=2)
        )
    assert bits(net) == before


# --- reference numbers: Set5, x2, PSNR on Y in dB ---

LEARNED = {  # weights and rates of mzsr_x2_meta, by degradation: after 0, 1, 5 and 10 updates
    "g2.0d": {0: 26.596, 1: 32.858, 5: 35.702, 10: 36.040},
    "g0.2d": {0: 15.780, 1: 29.897, 5: 33.740, 10: 33.920},
    "gani_d": {0: 25.382, 1: 31.899, 5: 34.759, 10: 34.960},
    "g1.3b": {0: 23.034, 1: 30.680, 5: 33.600, 10: 34.273},
}
PUBLISHED = {  # the same weights with MZSR's published rates for direct subsampling
    "g2.0d": {1: 33.651, 10: 35.826},
    "g0.2d": {1: 27.997, 10: 31.806},
    "gani_d": {1: 32.962, 10: 34.606},
    "g1.3b": {1: 29.198, 10: 31.629},
}


def score(
    data: Path,
    weights: Path,
    name: str,
    updates: Sequence[int],
    *,
    rates: Rates | None = None,
    backward: BackwardPrecision = "auto",
) -> dict[int, float]:
    load_file = pytest.importorskip("safetensors.torch").load_file
    state = load_file(weights / "mzsr_x2_meta.safetensors")
    learned = rates_from_state({"inner_rates": state.pop("inner_rates")})
    net = PlainCNN()
    net.load_state_dict(state)
    solver = MZSRSolver(net, rates=rates or learned, backward_precision=backward)
    protocol, degradation = LumaProtocol(), parse(name, scale=2)
    sums = dict.fromkeys(updates, 0.0)
    paths = list_images(data / "set5")
    for path in paths:
        hr = protocol.crop_reference(read_image(path)[None], 2)
        solved = solver.snapshots(degradation(hr), scale=2, updates=updates, degradation=degradation)
        for count, solution in solved.items():
            luma, truth = protocol.luma(solution.sr, scale=2), protocol.luma(hr, scale=2)
            sums[count] += psnr(luma, truth).item() / len(paths)
    return sums


@pytest.mark.data
def test_reference_after_one_update(shared_data: Path, shared_weights: Path) -> None:
    got = score(shared_data, shared_weights, "g2.0d", (0, 1))
    assert got == pytest.approx({n: LEARNED["g2.0d"][n] for n in (0, 1)}, abs=0.01)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNED)
def test_reference_with_learned_rates(shared_data: Path, shared_weights: Path, name: str) -> None:
    assert score(shared_data, shared_weights, name, (0, 1, 5, 10)) == pytest.approx(LEARNED[name], abs=0.01)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_reference_with_published_rates(shared_data: Path, shared_weights: Path, name: str) -> None:
    rates = FixedRates(published_schedule("direct", 2))
    got = score(shared_data, shared_weights, name, (1, 10), rates=rates)
    assert got == pytest.approx(PUBLISHED[name], abs=0.01)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["g2.0d", "g0.2d"])
def test_a_backward_pass_in_bfloat16_costs_less_than_a_hundredth_of_a_decibel(
    shared_data: Path, shared_weights: Path, name: str
) -> None:
    updates = (0, 1, 2, 10)
    single, half = (
        score(shared_data, shared_weights, name, updates, backward=precision) for precision in ("float32", "bfloat16")
    )
    assert half == pytest.approx(single, abs=0.01)
