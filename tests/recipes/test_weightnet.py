"""Training with weights learned from a meta-data set: its steps, what it logs, its errors."""

import copy

import pytest
import torch
from torch import Tensor

from metasr.data.meta_set import WeightedBatch
from metasr.data.tasks import Pairs
from metasr.errors import DivergenceError, InputError
from metasr.meta.meta_gradient import enlarge
from metasr.models.maml_sr_net import MAMLSRNet
from metasr.models.plain_cnn import PlainCNN
from metasr.recipes.base import schedule_factor
from metasr.recipes.pretrain import Pretrain
from metasr.recipes.weightnet import WeightNetRecipe, relative_entropy
from metasr.recipes.weightnet_rewards import (
    error_weights,
    meta_direction,
    patch_rewards,
    pixel_losses,
    pixel_rewards,
    weight_objective,
    weighted_step,
)
from recipes.fitting import Gradients, fit, silent_options
from recipes.weighted_parts import DEGRADATION, batch, made, net, pairs, same, small

OPTIONS = [
    {"reward": "none"},
    {"reward": "error"},
    {"reward": "similarity"},
    {"reward": "similarity", "level": "patch"},
    {"reward": "similarity", "meta_at": "stepped"},
    {"reward": "meta_gradient"},
]
every_option = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))


@every_option
@pytest.mark.parametrize("inputs", [("content",), ("sr", "error", "high_pass")])
def test_steps_are_adams_on_the_weighted_loss_and_on_the_objective(options: dict, inputs: tuple) -> None:
    recipe = made(**options, rate=2e-3, weight_rate=5e-3, steps=5, weight_net=net(inputs=inputs))
    model, weigher = copy.deepcopy(recipe.model), copy.deepcopy(recipe.weight_net)
    given = [batch(seed=s) for s in range(3)]
    fit(recipe, given, steps=3)

    adam = torch.optim.Adam(model.parameters())
    other = torch.optim.Adam(weigher.parameters()) if weigher else None
    for step, one in enumerate(given):
        factor = schedule_factor("cosine", step, 5)
        source = enlarge(one.pairs.lr, one.pairs.hr, 2)
        meta_source = enlarge(one.meta.lr, one.meta.hr, 2)
        output = model(source)
        losses = pixel_losses(output, one.pairs.hr)
        error = (output - one.pairs.hr).abs().detach()
        patchwise = options.get("level") == "patch"
        if weigher is None:
            weights = error_weights(losses) if options["reward"] == "error" else torch.ones_like(losses)
        else:
            weights = weigher(source, output.detach(), error, over="batch" if patchwise else "image")
        if weigher is not None and options["reward"] == "meta_gradient":
            ahead = weighted_step(model, source, one.pairs.hr, weights, rate=0.1)
            meta_loss = (ahead(meta_source) - one.meta.hr).abs().mean() / 0.1
            gradients = torch.autograd.grad(meta_loss, list(weigher.parameters()))
        elif weigher is not None:
            at = model
            if options.get("meta_at") == "stepped":
                at = weighted_step(model, source, one.pairs.hr, weights.detach(), rate=0.1)
            direction = meta_direction(at, meta_source, one.meta.hr)
            tell = patch_rewards if patchwise else pixel_rewards
            rewards = tell(model, source, one.pairs.hr, direction)
            gradients = torch.autograd.grad(weight_objective(weights, rewards), list(weigher.parameters()))
        adam.param_groups[0]["lr"] = 2e-3 * factor
        adam.zero_grad()
        (weights.detach() * losses).mean().backward()
        adam.step()
        if other is not None:
            other.param_groups[0]["lr"] = 5e-3 * factor
            for p, g in zip(weigher.parameters(), gradients, strict=True):
                p.grad = g
            other.step()
    got = recipe.export()
    want = dict(model.state_dict())
    if weigher is not None:
        want |= {f"weight_net.{k}": v for k, v in weigher.state_dict().items()}
    assert got.keys() == want.keys()
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, rtol=1e-4, atol=1e-6)


def test_without_weights_it_is_pretraining() -> None:
    given = [batch(seed=s) for s in range(3)]
    torch.manual_seed(0)
    plain = Pretrain(small(), steps=4, rate=1e-3)
    fit(plain, [one.pairs for one in given], steps=3)
    recipe = made(reward="none", rate=1e-3)
    fit(recipe, given, steps=3)
    for name, value in plain.export().items():
        torch.testing.assert_close(recipe.export()[name], value, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("reward", ["none", "error"])
def test_without_rewards_there_is_no_weight_net_and_the_meta_set_is_not_looked_at(reward: str) -> None:
    recipe = made(reward=reward)
    assert recipe.weight_net is None
    assert len(recipe.parameter_groups()) == 1
    assert recipe.export().keys() == small().state_dict().keys()
    blind = batch()._replace(meta=Pairs(torch.zeros(0), torch.zeros(0), DEGRADATION))
    fit(recipe, [blind], steps=2)


@every_option
def test_loss_goes_down(options: dict) -> None:
    recipe = made(**options, steps=15, rate=1e-2, weight_rate=1e-2, schedule="constant")
    logged = fit(recipe, [batch()], steps=15)
    key = "train/loss" if options["reward"] == "none" else "train/l1"
    assert logged[-1][key] < 0.9 * logged[0][key]


def test_weights_grow_where_the_meta_set_looks_alike() -> None:
    """The meta-data set knows one kind of patch; patches of another kind are to lose weight."""
    torch.manual_seed(0)
    stripes = (0.5 + 0.4 * torch.sign(torch.sin(torch.arange(16.0) * 2.2))).expand(4, 3, 16, 16)
    slope = torch.linspace(0.2, 0.8, 16).expand(4, 3, 16, 16)

    def of(hr: Tensor) -> Pairs:
        return Pairs(DEGRADATION(hr), hr, DEGRADATION)

    mixed = of(torch.cat([stripes[:2], slope[:2]]))
    recipe = made(steps=30, rate=1e-4, weight_rate=3e-2, schedule="constant", level="patch", weight_net=net(layers=3))
    fit(recipe, [WeightedBatch(mixed, of(stripes), 4)], steps=30)
    source = enlarge(mixed.lr, mixed.hr, 2)
    means = recipe.weight_net(source, over="batch").mean((1, 2))
    assert means[:2].min() > 1.1 * means[2:].max()


@pytest.mark.parametrize("reward", ["similarity", "meta_gradient"])
def test_rewards_every_so_many_steps(reward: str) -> None:
    """In between the Weight-Net's gradients are 0, not missing: several devices wait for every parameter's."""
    recipe, seen = made(reward=reward, every=3), Gradients()
    fit(recipe, [batch(seed=s) for s in range(7)], steps=7, callbacks=[seen])
    for step, norms in enumerate(seen.norms):
        assert None not in norms.values()
        learns = [norm > 0 for name, norm in norms.items() if name.startswith("weight_net.")]
        assert learns == [step % 3 == 0] * 3
        assert all(norm > 0 for name, norm in norms.items() if name.startswith("model."))


def test_between_rewards_the_weight_net_coasts() -> None:
    recipe = made(every=2, weight_rate=1e-2, schedule="constant")
    before = {n: p.detach().clone() for n, p in recipe.weight_net.named_parameters()}
    fit(recipe, [batch()], steps=1)
    first = {n: p.detach() - before[n] for n, p in recipe.weight_net.named_parameters()}
    again = made(every=2, weight_rate=1e-2, schedule="constant")
    fit(again, [batch()], steps=2)
    for name, p in again.weight_net.named_parameters():
        # Adam at a gradient of 0 after one of g: m = 0.09 g over 1 - 0.81, v = 0.000999 g² over 1 - 0.998001
        second = first[name] * (0.09 / 0.19) / (0.000999 / 0.001999) ** 0.5
        torch.testing.assert_close(p.detach() - before[name] - first[name], second, rtol=2e-3, atol=1e-6)


def test_the_level_is_of_the_similarity_alone() -> None:
    """So that error, similarity and the meta-gradient weigh by the same measure: mean 1 in every image."""
    ends = {}
    for reward in ("error", "meta_gradient", "similarity"):
        for level in ("pixel", "patch"):
            recipe = made(reward=reward, level=level)
            fit(recipe, [batch(seed=s) for s in range(2)], steps=2)
            ends[reward, level] = recipe.export()
    assert [same(ends[reward, "pixel"], ends[reward, "patch"]) for reward in ("error", "meta_gradient")] == [True] * 2
    assert not same(ends["similarity", "pixel"], ends["similarity", "patch"])


def test_layers_without_a_part_in_the_output_stay_as_they_are() -> None:
    torch.manual_seed(0)
    model = MAMLSRNet(2)
    recipe = WeightNetRecipe(model, steps=2, weight_net=net())
    before = recipe.export()
    fit(recipe, [batch()], steps=2)
    stay = {name for name, value in recipe.export().items() if torch.equal(value, before[name])}
    assert stay >= {name for name in before if name.startswith("heads.")}
    assert "output.weight" not in stay


def test_no_option_is_silent() -> None:
    baseline = {
        "model": small, "steps": lambda: 10, "weight_net": net, "meta_at": lambda: "stepped", "inner_rate": lambda: 0.1,
        "sampling": lambda: "choose",
    }  # fmt: skip
    others = {
        "model": lambda: PlainCNN(channels=4, layers=2),
        "steps": lambda: 20,
        "rate": lambda: 1e-3,
        "reward": lambda: "error",
        "level": lambda: "patch",
        "weight_net": lambda: net(floor=0.5),
        "weight_rate": lambda: 1e-2,
        "meta_at": lambda: "current",
        "inner_rate": lambda: 1.0,
        "layers": lambda: ["conv2"],
        "sampling": lambda: "weight",
        "sampling_temperature": lambda: 1e-3,
        "every": lambda: 2,
        "seed": lambda: 5,
        "schedule": lambda: "constant",
    }
    given = [batch(seed=s, count=2, candidates=6) for s in range(3)]
    assert silent_options(WeightNetRecipe, baseline, others, given) == []


def test_what_is_logged() -> None:
    (row,) = fit(made(), [batch()], steps=1)
    assert {"train/loss", "train/l1", "train/meta_loss", "train/reward_mean", "train/reward_std"} <= row.keys()
    assert 0 < row["train/reward_positive"] <= 1
    assert row["train/weight_contrast"] > 0
    assert 0.5 < row["train/weight_entropy"] < 1
    (row,) = fit(made(reward="none"), [batch()], steps=1)
    assert set(row) == {"train/loss"}


def test_relative_entropy() -> None:
    assert relative_entropy(torch.full((2, 3, 5), 0.7)).item() == pytest.approx(1, abs=1e-6)
    single = torch.zeros(1, 3, 5)
    single[0, 1, 2] = 4.0
    assert relative_entropy(single).item() == 0
    half = torch.zeros(1, 4, 4)
    half[0, :2] = 1.0
    assert relative_entropy(half).item() == pytest.approx(0.75)


def test_divergence_tells_what_it_is_of() -> None:
    bad = batch()
    broken = bad._replace(meta=bad.meta._replace(hr=bad.meta.hr * float("nan")))
    for options in ({}, {"level": "patch"}):
        with pytest.raises(
            DivergenceError, match=r"rewards are not finite at step 0 for bicubic, where .* set is nan; lower"
        ):
            fit(made(**options), [broken], steps=1)
    with pytest.raises(DivergenceError, match="rewards are not finite at step 0"):
        fit(made(reward="meta_gradient"), [broken], steps=1)
    with pytest.raises(DivergenceError, match="0 of 4 rewards are not finite at step 0"):
        fit(made(reward="none", sampling="choose"), [broken._replace(pairs=pairs(4))], steps=1)
    with pytest.raises(DivergenceError, match="WeightNetRecipe: loss became nan at step 0 for degradation bicubic"):
        fit(made(), [bad._replace(pairs=bad.pairs._replace(hr=bad.pairs.hr * float("nan")))], steps=1)


def test_all_rewards_equal_leave_the_weight_net_alone() -> None:
    flat = batch()
    dark = Pairs(torch.zeros_like(flat.pairs.lr), torch.zeros_like(flat.pairs.hr), DEGRADATION)
    recipe = made()
    with torch.no_grad():
        recipe.model.conv3.weight.zero_()  # the network is the identity, and right
    before = recipe.export()
    fit(recipe, [flat._replace(pairs=dark)], steps=2)
    assert same({k: v for k, v in recipe.export().items() if k.startswith("weight_net.")},
                {k: v for k, v in before.items() if k.startswith("weight_net.")})  # fmt: skip
    assert all(v.isfinite().all() for v in recipe.export().values())


def test_bad_options_are_refused() -> None:
    cases = [
        ({"reward": "cosine"}, "reward must be one of similarity, meta_gradient, error, none, got 'cosine'"),
        ({"level": "image"}, "level must be one of pixel, patch, got 'image'"),
        ({"meta_at": "next"}, "meta_at must be one of current, stepped, got 'next'"),
        ({"sampling": "all"}, "sampling must be one of none, choose, weight, got 'all'"),
        ({"every": 0}, "every must be at least 1, inner_rate and sampling_temperature above 0, got 0, 0.1 and 0.1"),
        ({"inner_rate": 0.0}, "got 1, 0.0 and 0.1"),
        ({"sampling_temperature": 0.0}, "got 1, 0.1 and 0.0"),
        ({"layers": ["conv9"]}, "the network has no layer 'conv9' with weights"),
    ]
    for options, message in cases:
        with pytest.raises(InputError, match=message):
            made(**options)
