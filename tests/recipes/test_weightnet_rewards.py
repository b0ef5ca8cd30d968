"""Rewards against finite differences of the meta loss, gradients pixel by pixel, and each other; in float64."""

import pytest
import torch
from torch import Tensor, nn

from metasr.errors import DivergenceError, InputError
from metasr.models.plain_cnn import PlainCNN
from metasr.recipes.weightnet_rewards import (
    choose_layers,
    error_weights,
    meta_direction,
    patch_rewards,
    pixel_losses,
    pixel_rewards,
    require_finite_rewards,
    standardise,
    weight_objective,
    weighted_loss,
    weighted_step,
)
from small_problems import SmoothCNN, bits, picture

RATE = 0.3
NETWORKS = [lambda: SmoothCNN(channels=3), lambda: PlainCNN(channels=4, layers=3, last_gain=1.0)]
every_network = pytest.mark.parametrize("make", NETWORKS, ids=["smooth", "plain"])


def problem(make) -> tuple[nn.Module, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Network, a batch of 2, the meta-data set's batch of 3, and weights that do not sum to anything."""
    torch.manual_seed(0)
    hr = torch.cat([picture(7, 9, seed=i, dtype=torch.float64) for i in range(2)])
    meta = torch.cat([picture(6, 8, seed=9 + i, dtype=torch.float64) for i in range(3)])
    return (
        make().double(),
        hr + 0.1 * torch.randn_like(hr),
        hr,
        meta + 0.1 * torch.randn_like(meta),
        meta,
        0.2 + 2 * torch.rand(2, 7, 9, dtype=torch.float64),
    )


def flat(gradient) -> Tensor:
    return torch.cat([g.reshape(-1) for g in gradient])


def gradient_of(model: nn.Module, loss: Tensor, names=None) -> Tensor:
    known = dict(model.named_parameters())
    return flat(torch.autograd.grad(loss, [known[n] for n in names or known], retain_graph=True))


def meta_loss_after(model, source, hr, meta_source, meta, weights) -> float:
    """L_meta(θ') with θ' = θ - α/N Σ_q w_q ∇ℓ_q(θ), without anything of what is tested."""
    known = dict(model.named_parameters())
    loss = (weights * (model(source) - hr).abs().mean(1)).sum() / weights.numel()
    moved = [p - RATE * g for p, g in zip(known.values(), torch.autograd.grad(loss, list(known.values())), strict=True)]
    output = torch.func.functional_call(model, dict(zip(known, moved, strict=True)), (meta_source,))
    return (output - meta).abs().mean().item()


@every_network
def test_the_reward_is_the_finite_difference_of_the_meta_loss_in_the_pixels_weight(make) -> None:
    model, source, hr, meta_source, meta, weights = problem(make)
    stepped = weighted_step(model, source, hr, weights, rate=RATE, differentiable=False)
    rewards = pixel_rewards(model, source, hr, meta_direction(stepped, meta_source, meta))
    claimed = -RATE / weights.numel() * rewards
    assert rewards.shape == (2, 7, 9)
    assert rewards.std() > 1e-3
    step = 1e-5
    for at in [(0, 0, 0), (0, 6, 8), (0, 3, 4), (1, 0, 8), (1, 5, 1), (1, 2, 6)]:
        around = []
        for sign in (1, -1):
            moved = weights.clone()
            moved[at] += sign * step
            around.append(meta_loss_after(model, source, hr, meta_source, meta, moved))
        assert (around[0] - around[1]) / (2 * step) == pytest.approx(claimed[at].item(), rel=1e-4, abs=1e-11)


@every_network
def test_the_meta_gradients_weights_and_the_rewards_are_one_thing(make) -> None:
    model, source, hr, meta_source, meta, weights = problem(make)
    weights.requires_grad_()
    stepped = weighted_step(model, source, hr, weights, rate=RATE)
    (by_weights,) = torch.autograd.grad(pixel_losses(stepped(meta_source), meta).mean(), weights)
    rewards = pixel_rewards(model, source, hr, meta_direction(stepped, meta_source, meta))
    torch.testing.assert_close(by_weights, -RATE / weights.numel() * rewards, rtol=1e-9, atol=1e-15)


def test_at_the_present_weights_it_is_the_limit_of_short_steps() -> None:
    model, source, hr, meta_source, meta, weights = problem(NETWORKS[0])
    here = pixel_rewards(model, source, hr, meta_direction(model, meta_source, meta))
    gaps = []
    for rate in (1e-1, 1e-4):
        stepped = weighted_step(model, source, hr, weights, rate=rate, differentiable=False)
        there = pixel_rewards(model, source, hr, meta_direction(stepped, meta_source, meta))
        gaps.append(((there - here).norm() / here.norm()).item())
    assert gaps[1] < 1e-3
    assert gaps[0] > 10 * gaps[1]


@every_network
@pytest.mark.parametrize("layers", [None, "last"])
def test_rewards_are_products_with_every_pixels_own_gradient(make, layers) -> None:
    model, source, hr, meta_source, meta, _ = problem(make)
    names = [n for n, _ in model.named_parameters()]
    if layers == "last":
        layers = [names[-1].rpartition(".")[0]]
        names = names[-2:]
    direction = meta_direction(model, meta_source, meta, layers=layers)
    assert list(direction.gradient) == names
    along = gradient_of(model, (model(meta_source) - meta).abs().mean(), names)
    torch.testing.assert_close(flat(direction.gradient.values()), along, rtol=1e-12, atol=1e-15)
    assert direction.loss.item() == pytest.approx((model(meta_source) - meta).abs().mean().item())
    losses = pixel_losses(model(source), hr)
    rewards = pixel_rewards(model, source, hr, direction)
    patches = patch_rewards(model, source, hr, direction)
    assert not rewards.requires_grad
    assert not patches.requires_grad
    for b in range(2):
        for y, x in [(0, 0), (3, 8), (6, 4)]:
            own = gradient_of(model, losses[b, y, x], names)
            assert rewards[b, y, x].item() == pytest.approx((own @ along).item(), rel=1e-9, abs=1e-14)
        own = gradient_of(model, losses[b].mean(), names)
        cosine = (own @ along / (own.norm() * along.norm())).item()
        assert patches[b].item() == pytest.approx(cosine, rel=1e-9)
        assert rewards[b].mean().item() == pytest.approx((own @ along).item(), rel=1e-9)


def test_layers_without_a_part_in_the_output_add_nothing_to_rewards() -> None:
    plain, source, hr, meta_source, meta, _ = problem(NETWORKS[0])
    headed = SmoothCNN(channels=3).double()
    headed.load_state_dict(plain.state_dict())
    headed.register_module("head", nn.Conv2d(3, 2, 1).double())
    one, other = (meta_direction(model, meta_source, meta) for model in (plain, headed))
    assert not any(bool(g.any()) for name, g in other.gradient.items() if name.startswith("head."))
    for rewards in (pixel_rewards, patch_rewards):
        assert torch.equal(rewards(headed, source, hr, other), rewards(plain, source, hr, one))


def test_a_patch_of_the_meta_set_itself_is_worth_most() -> None:
    model, source, hr, meta_source, meta, _ = problem(NETWORKS[0])
    direction = meta_direction(model, meta_source[:1], meta[:1])
    assert patch_rewards(model, meta_source[:1], meta[:1], direction).item() == pytest.approx(1.0, abs=1e-12)
    assert patch_rewards(model, source, hr, direction).abs().max() < 0.999


def test_a_patch_without_gradient_is_worth_nothing() -> None:
    model, source, _, meta_source, meta, _ = problem(NETWORKS[0])
    direction = meta_direction(model, meta_source, meta)
    solved = model(source).detach()
    assert patch_rewards(model, source, solved, direction).tolist() == [0.0, 0.0]
    assert pixel_rewards(model, source, solved, direction).count_nonzero() == 0


def test_nothing_of_the_network_is_touched() -> None:
    model, source, hr, meta_source, meta, weights = problem(NETWORKS[1])
    before = bits(model)
    direction = meta_direction(model, meta_source, meta)
    pixel_rewards(model, source, hr, direction)
    patch_rewards(model, source, hr, direction)
    weighted_step(model, source, hr, weights, rate=RATE)
    assert bits(model) == before
    assert all(p.grad is None for p in model.parameters())


def test_rewards_come_where_gradients_are_off() -> None:
    model, source, hr, meta_source, meta, _ = problem(NETWORKS[1])
    want = pixel_rewards(model, source, hr, meta_direction(model, meta_source, meta))
    with torch.no_grad():
        got = pixel_rewards(model, source, hr, meta_direction(model, meta_source, meta))
    assert torch.equal(got, want)


def test_layers_are_chosen_by_name() -> None:
    model = PlainCNN(channels=2, layers=12)
    model.conv2.weight.requires_grad_(False)
    assert choose_layers(model, ["conv1", "conv12.bias", "conv2"]) == [
        "conv1.weight",
        "conv1.bias",
        "conv2.bias",
        "conv12.bias",
    ]
    assert len(choose_layers(model, None)) == 23
    with pytest.raises(InputError, match=r"no layer 'conv13' with weights: did you mean '.*known: conv1, "):
        choose_layers(model, ["conv1", "conv13"])
    with pytest.raises(InputError, match="at least one layer, or be none"):
        choose_layers(model, [])


# --- losses, weights and objective ---


def test_a_pixels_loss_is_the_mean_over_its_channels() -> None:
    output, target = torch.zeros(1, 3, 1, 2), torch.tensor([[[[0.3, -1.0]], [[0.0, 0.0]], [[0.6, 0.5]]]])
    torch.testing.assert_close(pixel_losses(output, target), torch.tensor([[[0.3, 0.5]]]))


def test_equal_weights_give_the_plain_loss() -> None:
    output, target = torch.rand(2, 3, 5, 7), torch.rand(2, 3, 5, 7)
    got = weighted_loss(pixel_losses(output, target), torch.ones(2, 5, 7))
    torch.testing.assert_close(got, nn.functional.l1_loss(output, target))


def test_error_weights_are_the_errors_and_constants() -> None:
    losses = torch.tensor([[[1.0, 3.0]], [[0.0, 0.0]], [[0.5, 0.5]]], requires_grad=True)
    weights = error_weights(losses)
    torch.testing.assert_close(weights, torch.tensor([[[0.5, 1.5]], [[1.0, 1.0]], [[1.0, 1.0]]]))
    assert not weights.requires_grad


def test_standardised_rewards() -> None:
    rewards = torch.tensor([3.0, 5.0, 1.0, 11.0], dtype=torch.float64)
    got = standardise(rewards)
    assert got.mean().item() == pytest.approx(0, abs=1e-12)
    assert got.square().mean().item() == pytest.approx(1)
    torch.testing.assert_close(standardise(7 * rewards + 2), got)
    torch.testing.assert_close(standardise(-rewards), -got)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e8])
def test_equal_rewards_move_nothing(value: float) -> None:
    rewards = torch.full((2, 5, 7), value)
    rewards[0, 0, 0] *= 1 + 2e-7  # rounding
    assert standardise(rewards).count_nonzero() == 0
    weights = torch.ones(2, 5, 7, requires_grad=True)
    weight_objective(weights, rewards).backward()
    assert weights.grad.count_nonzero() == 0


def test_the_objective_falls_when_rewarded_weights_grow() -> None:
    rewards = torch.tensor([[[2.0, -1.0, -1.0]], [[5.0, 1.0, 0.0]]], requires_grad=True)
    weights = torch.ones(2, 1, 3, requires_grad=True)
    weight_objective(weights, rewards).backward()
    torch.testing.assert_close(weights.grad, -standardise(rewards.detach()) / 6)
    assert rewards.grad is None


def test_one_reward_per_patch_counts_for_all_its_pixels() -> None:
    weights = torch.tensor([[[1.0, 2.0]], [[0.5, 0.5]]])
    assert weight_objective(weights, torch.tensor([4.0, 2.0])).item() == pytest.approx(-(3.0 - 1.0) / 4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_rewards_that_are_not_finite_stop(value: float) -> None:
    rewards = torch.zeros(2, 3, 5)
    require_finite_rewards(rewards, meta_loss=torch.tensor(0.1), of="at step 3")
    rewards[1, 2, 4] = value
    with pytest.raises(
        DivergenceError,
        match=r"1 of 30 rewards are not finite at step 3 for g2\.0d, where the loss .* set is 0\.25; lower",
    ):
        require_finite_rewards(rewards, meta_loss=torch.tensor(0.25), of="at step 3 for g2.0d")
    with pytest.raises(DivergenceError, match=r"0 of 2 rewards are not finite here, where the .* set is (nan|inf); "):
        require_finite_rewards(torch.zeros(2), meta_loss=torch.tensor(value), of="here")
