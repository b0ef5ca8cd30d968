"""Adaptation by self-consistency, stopped by a rule."""

import copy
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.degradation.names import parse
from metasr.degradation.resize import imresize
from metasr.errors import DivergenceError, InputError
from metasr.models.maml_sr_net import MAMLSRNet, Outputs
from metasr.models.plain_cnn import PlainCNN
from metasr.solvers.base import Solver
from metasr.solvers.maml_sr import solver as metric_constrained
from metasr.solvers.maml_sr.solver import MAMLSRSolver, StopTrace
from metasr.solvers.maml_sr.stopping import Verdict
from metasr.solvers.network import NetworkSolver
from small_problems import bits, picture
from solvers import test_base

AREA = parse("area", scale=2)


def net(width: int = 2, **options: Any) -> MAMLSRNet:
    torch.manual_seed(0)
    return MAMLSRNet(width, **options)


def solver(network: nn.Module | None = None, **options: Any) -> MAMLSRSolver:
    return MAMLSRSolver(network or net(), **{"max_steps": 3, **options})


SOLVERS: dict[str, Callable[[], MAMLSRSolver]] = {
    "metric": solver,
    "consistency": lambda: solver(stop="consistency"),
    "loss_in_parts": lambda: solver(stop="loss", threshold=0.004, tile=20, adapt_pixels=400),
    "fixed_sgd": lambda: solver(stop="fixed", optimiser="sgd"),
    "image": lambda: solver(learn_from="image"),
    "image_in_parts": lambda: solver(learn_from="image", tile=20, adapt_pixels=400),
}
every_kind = pytest.mark.parametrize("name", SOLVERS)


@pytest.fixture
def as_any_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_base, "SOLVERS", SOLVERS)


# --- the properties of every solver ---


@every_kind
@pytest.mark.usefixtures("as_any_solver")
def test_obeys_the_solvers_contract(name: str) -> None:
    assert isinstance(SOLVERS[name](), Solver)
    test_base.test_weights_and_input_are_untouched_bit_for_bit(name)
    test_base.test_can_be_used_again(name)
    test_base.test_degradation_of_another_scale_is_refused(name)
    for around, inside in ((torch.no_grad, True), (torch.inference_mode, True), (torch.inference_mode, False)):
        test_base.test_same_result_whatever_the_caller_has_switched_off(name, around, inside)


@every_kind
@pytest.mark.usefixtures("as_any_solver")
@pytest.mark.parametrize("size", [(1, 1), (1, 8), (9, 2), (16, 21)])
def test_any_size(name: str, size: tuple[int, int]) -> None:
    test_base.test_any_size_gives_scale_times_it_in_range(name, size, "area")


@every_kind
@pytest.mark.usefixtures("as_any_solver")
@pytest.mark.parametrize("scale", [1.5, 3, 1])
def test_any_scale(name: str, scale: float) -> None:
    test_base.test_any_scale(name, scale)


@every_kind
@pytest.mark.usefixtures("as_any_solver")
def test_impossible_problems_are_refused(name: str) -> None:
    for lr, message in (
        (torch.full((1, 3, 8, 8), float("nan")), "lr must be finite, got 192 NaN or infinite values"),
        (torch.rand(2, 3, 8, 8), "one RGB image of shape"),
        (torch.rand(1, 3, 0, 8), "lr must not be empty"),
    ):
        test_base.test_impossible_problems_are_refused(name, lr, 2, message)


@every_kind
def test_constant_images_stay_what_they_are(name: str) -> None:
    solution = SOLVERS[name]().solve(torch.full((1, 3, 9, 12), 0.5), scale=2)
    assert solution.sr.isfinite().all()
    assert solution.updates <= 3


# --- the steps ---


def by_hand(network: MAMLSRNet, source: Tensor, *, steps: int, rate: float, make: Any, head: int = 2) -> list[Tensor]:
    """The final image after 0, 1, ... steps."""
    model = copy.deepcopy(network)
    optimiser, images = make(model.parameters(), lr=rate), []
    for _ in range(steps + 1):
        outputs = model.forward_all(source)
        images.append(outputs.final.detach())
        optimiser.zero_grad()
        F.l1_loss(outputs.final, outputs.deep[head]).backward()
        optimiser.step()
    return images


@pytest.mark.parametrize(("name", "make"), [("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)])
def test_steps_by_hand(name: str, make: Any) -> None:
    network, lr = net(4).double(), picture(13, 18, dtype=torch.float64)
    images = by_hand(network, imresize(lr, 2), steps=3, rate=0.01, make=make)
    for steps in (0, 1, 3):
        got = solver(network, rate=0.01, max_steps=steps, stop="fixed", optimiser=name).solve(lr, scale=2)
        torch.testing.assert_close(got.sr, images[steps].clamp(0, 1), rtol=0, atol=1e-9)
        assert got.updates == steps
        assert got.stopped == ""
    assert not torch.allclose(images[3], images[0], atol=1e-4)


@pytest.mark.parametrize(("head", "index"), [("coarsest", 0), ("middle", 1), ("finest", 2)])
def test_which_intermediate_image_is_learned_from(head: Any, index: int) -> None:
    network, lr = net(4).double(), picture(13, 18, dtype=torch.float64)
    images = by_hand(network, imresize(lr, 2), steps=2, rate=0.01, make=torch.optim.Adam, head=index)
    got = solver(network, rate=0.01, max_steps=2, stop="fixed", target_head=head).solve(lr, scale=2)
    torch.testing.assert_close(got.sr, images[2].clamp(0, 1), rtol=0, atol=1e-9)


def test_learning_from_the_image_by_hand() -> None:
    """The image degraded once more is the input, the image the target; in parts the same where parts are exact."""
    network, lr = net(4).double(), picture(14, 18, dtype=torch.float64)
    model, son = copy.deepcopy(network), imresize(AREA.for_son().linear(lr), 2)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(3):
        optimiser.zero_grad()
        loss = F.l1_loss(model(son), lr)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    got = solver(network, rate=0.01, max_steps=3, stop="fixed", learn_from="image").solve(lr, scale=2, degradation=AREA)
    torch.testing.assert_close(got.sr, model(imresize(lr, 2)).clamp(0, 1), rtol=0, atol=1e-9)
    assert got.trace.losses == pytest.approx(losses, rel=1e-9)
    assert losses[2] < losses[0]


def test_the_loss_is_the_disagreement_of_the_scales_and_goes_down() -> None:
    network, lr = net(4, last_gain=1.0), picture(16, 20)
    solution = solver(network, stop="fixed", rate=1e-4, max_steps=8, optimiser="sgd").solve(lr, scale=2)
    outputs = network.forward_all(imresize(lr, 2))
    assert solution.trace.losses[0] == pytest.approx((outputs.final - outputs.deep[2]).abs().mean().item(), rel=1e-5)
    assert solution.trace.losses[-1] < solution.trace.losses[0]


def test_without_steps_it_is_the_network_alone() -> None:
    network, lr = net(4), picture(16, 20)
    for stop in ("metric", "fixed", "consistency", "loss"):
        got = solver(network, max_steps=0, stop=stop).solve(lr, scale=2)
        torch.testing.assert_close(got.sr, NetworkSolver(network, tile=None).solve(lr, scale=2).sr)
        assert (got.updates, got.trace.losses, got.trace.kept) == (0, [], 0)


# --- when it stops, and what it gives back ---


def scripted(monkeypatch: pytest.MonkeyPatch, verdicts: list[tuple[bool, bool, str]]) -> None:
    """A rule that says what it is told to."""

    def make(*_: Any, **__: Any) -> Callable[[Tensor, float], Verdict]:
        given = iter(verdicts)
        return lambda sr, loss: Verdict(*next(given), {"psnr": 1.0})

    monkeypatch.setattr(metric_constrained, "make_rule", make)


@pytest.mark.parametrize("in_parts", [False, True])
def test_what_was_kept_last_is_given_back(in_parts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    script = [(True, False, "a"), (True, False, "b"), (False, False, "c"), (False, True, "d")]
    scripted(monkeypatch, script)
    network, lr = net(4).double(), picture(17, 20, dtype=torch.float64)
    options = {"adapt_pixels": 300, "tile": 64} if in_parts else {}
    solution = MAMLSRSolver(network, rate=0.01, max_steps=9, **options).solve(lr, scale=2)
    assert (solution.updates, solution.stopped, solution.trace.kept) == (3, "d", 1)
    assert isinstance(solution.trace, StopTrace)
    assert solution.trace.verdicts == ["a", "b", "c", "d"]
    assert solution.trace.measured == [{"psnr": 1.0}] * 4
    assert len(solution.trace.losses) == len(solution.trace.seconds) == len(solution.trace.rates) == 3
    if not in_parts:
        images = by_hand(network, imresize(lr, 2), steps=3, rate=0.01, make=torch.optim.Adam)
        torch.testing.assert_close(solution.sr, images[1].clamp(0, 1), rtol=0, atol=1e-9)
        return
    scripted(monkeypatch, [(True, False, ""), (True, True, "")])
    want = MAMLSRSolver(network, rate=0.01, max_steps=9, **options).solve(lr, scale=2)
    torch.testing.assert_close(solution.sr, want.sr, rtol=0, atol=1e-12)


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, [(True, False, "on and on")] * 6)
    solution = solver(max_steps=5).solve(picture(9, 12), scale=2)
    assert (solution.updates, solution.stopped, solution.trace.kept) == (5, "max_steps reached", 5)


def test_the_metric_rule_at_work() -> None:
    """A rate that grows the changes stops it; what is kept is what the rule kept."""
    solution = solver(net(4), rate=3e-3, max_steps=40).solve(picture(16, 20), scale=2)
    trace = solution.trace
    assert isinstance(trace, StopTrace)
    assert solution.stopped == trace.verdicts[-1] != "max_steps reached"
    assert trace.verdicts[0] == "the reference"
    assert trace.verdicts[trace.kept].startswith("kept")
    assert not any(v.startswith("kept") for v in trace.verdicts[trace.kept + 1 :])
    kept = [i for i, v in enumerate(trace.verdicts) if v.startswith("kept")]
    for a, b in pairwise(kept):
        assert all(trace.measured[b][m] > trace.measured[a][m] for m in ("psnr", "ssim"))
    assert solution.updates == len(trace.verdicts) - 1 < 40


def test_consistency_never_gives_back_a_greater_lr_error() -> None:
    lr, network = picture(16, 20), net(4)
    solution = solver(network, stop="consistency", max_steps=20).solve(lr, scale=2, degradation=AREA)
    assert solution.stopped == "the LR error stopped falling"
    errors = [m["lr_error"] for m in solution.trace.measured]
    first = NetworkSolver(network, tile=None).solve(lr, scale=2).sr
    assert errors[0] == pytest.approx((F.avg_pool2d(first, 2) - lr).abs().mean().item(), rel=1e-5)
    assert errors[solution.trace.kept] == min(errors)
    assert (F.avg_pool2d(solution.sr, 2) - lr).abs().mean().item() == pytest.approx(min(errors), rel=1e-5)


def test_a_threshold_is_reached_or_the_bound_is() -> None:
    lr = picture(16, 20)
    never = solver(stop="loss", threshold=-1.0).solve(lr, scale=2)
    assert (never.updates, never.stopped) == (3, "max_steps reached")
    at_once = solver(stop="loss", threshold=1.0).solve(lr, scale=2)
    assert (at_once.updates, at_once.stopped) == (0, "the loss reached its threshold")


def test_no_option_is_silent() -> None:
    lr, network = picture(20, 31), net(4, last_gain=1.0)
    slow = {"max_steps": 12, "rate": 3e-3, "adapt_pixels": None, "target_head": "coarsest"}
    base = solver(network, **slow).solve(lr, scale=2).sr
    for option, value in {
        "rate": 1e-4, "max_steps": 1, "stop": "fixed", "optimiser": "sgd", "tile": 24, "adapt_pixels": 600,
        "learn_from": "image", "target_head": "finest",
    }.items():  # fmt: skip
        other = solver(network, **{**slow, option: value}).solve(lr, scale=2).sr
        assert not torch.equal(other, base), option
    for low, high in ((0.0, 1.0),):
        seen = [solver(network, stop="loss", threshold=t).solve(lr, scale=2).updates for t in (low, high)]
        assert seen == [3, 0]


# --- large images ---


def test_gradients_of_parts_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a network that sees one pixel at a time, parts are exact, steps included."""

    class Pixelwise(nn.Module):
        receptive_radius = 0

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, image: Tensor) -> Tensor:
            return image + self.a(image)

        def forward_all(self, image: Tensor, *, heads: tuple[int, ...] = ()) -> Outputs:
            assert heads in ((), (2,))
            return Outputs(self(image), (self.b(image),))

    torch.manual_seed(0)
    network, lr = Pixelwise().double(), picture(17, 20, dtype=torch.float64)
    for kind in ("scales", "image"):
        options: dict[str, Any] = {"stop": "fixed", "learn_from": kind}
        whole, parts = (solver(network, tile=t, **options).solve(lr, scale=2) for t in (None, 9))
        torch.testing.assert_close(parts.sr, whole.sr, rtol=0, atol=1e-10)
        assert parts.trace.losses == pytest.approx(whole.trace.losses, rel=1e-10)


def test_no_part_is_larger_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []
    forward_all = MAMLSRNet.forward_all

    def watched(self: MAMLSRNet, image: Tensor, **options: Any) -> Outputs:
        sizes.append(tuple(image.shape[-2:]))
        return forward_all(self, image, **options)

    monkeypatch.setattr(MAMLSRNet, "forward_all", watched)
    radius = MAMLSRNet.receptive_radius
    solver(max_steps=1, stop="fixed", tile=20, adapt_pixels=1000).solve(picture(60, 45), scale=2)
    steps, render = sizes[:-30], sizes[-30:]  # 120 × 90 in parts of 20: 6 × 5
    assert all(max(size) <= 20 + 2 * radius for size in sizes)
    assert steps
    assert all(size[0] * size[1] <= 1000 for size in steps)
    assert len(render) == 30


def test_adaptation_looks_at_the_centre_of_a_large_image() -> None:
    network, lr = net(4), picture(30, 40)
    cut = solver(network, stop="fixed", adapt_pixels=1200).solve(lr, scale=2)  # half of each side
    centre = lr[..., 7:22, 10:30]
    want = solver(network, stop="fixed").solve(centre, scale=2)
    assert cut.trace.losses == pytest.approx(want.trace.losses, rel=1e-5)
    assert cut.sr.shape == (1, 3, 60, 80)
    tiny = solver(network, adapt_pixels=1).solve(lr, scale=2)
    assert tiny.sr.isfinite().all()


# --- refusals ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stop": "never"}, "stop must be one of metric, consistency, loss, fixed, got 'never'"),
        ({"mixed": "keep"}, "mixed must be one of continue, stop, got 'keep'"),
        ({"threshold": math.nan}, "threshold must be a number, got nan"),
        ({"learn_from": "itself"}, "learn_from must be one of scales, image, got 'itself'"),
        ({"target_head": "last"}, "target_head must be one of coarsest, middle, finest, got 'last'"),
        ({"optimiser": "rmsprop"}, "optimiser must be one of adam, sgd, got 'rmsprop'"),
        ({"rate": 0.0}, "rate must be above 0, got 0"),
        ({"rate": math.inf}, "rate must be above 0, got inf"),
        ({"max_steps": -1}, "max_steps must be at least 0, got -1"),
        ({"tile": 0}, "tile must be at least 1, got 0"),
        ({"adapt_pixels": 0}, "adapt_pixels must be at least 1, got 0"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        solver(**options)


@pytest.mark.parametrize("network", [PlainCNN(4, 2), MAMLSRNet(2, deep_supervision=False)])
def test_networks_without_intermediate_images_are_refused(network: nn.Module) -> None:
    kind = type(network).__name__
    with pytest.raises(InputError, match=f"this {kind} gives none; take one with deep_supervision=true, or solver=net"):
        MAMLSRSolver(network)


def test_frozen_networks_are_refused() -> None:
    network = net().requires_grad_(False)
    with pytest.raises(InputError, match="all weights of the network are frozen: nothing can be adapted"):
        solver(network).solve(picture(8, 8), scale=2)
    assert solver(network, max_steps=0).solve(picture(8, 8), scale=2).updates == 0


def test_divergence_is_an_error() -> None:
    with pytest.raises(DivergenceError, match=r"the output after \d+ steps for degradation bicubic is not finite"):
        solver(rate=1e30, stop="fixed", max_steps=9).solve(picture(8, 8), scale=2)


def test_weights_are_untouched() -> None:
    network = net()
    before = bits(network)
    solver(network).solve(picture(9, 12), scale=2, degradation=AREA)
    assert bits(network) == before
