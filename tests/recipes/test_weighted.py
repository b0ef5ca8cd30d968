"""Training with weights learned from a meta-data set."""

import copy
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from metasr.data.meta_set import WeightedBatch
from metasr.data.tasks import Pairs
from metasr.degradation.pipeline import Degradation
from metasr.errors import DivergenceError, InputError, WeightsError
from metasr.meta.meta_gradient import enlarge
from metasr.meta.rewards import (
    error_weights,
    meta_direction,
    patch_rewards,
    pixel_losses,
    pixel_rewards,
    weight_objective,
    weighted_step,
)
from metasr.models.maml_sr_net import MamlSRNet
from metasr.models.plain_cnn import PlainCNN
from metasr.models.weight_net import WeightNet
from metasr.recipes.base import schedule_factor
from metasr.recipes.pretrain import Pretrain
from metasr.recipes.weighted import Weighted, relative_entropy
from recipes.fitting import Given, Gradients, fit, silent_options
from small_problems import picture

DEGRADATION = Degradation(scale=2, quantise=None)
OPTIONS = [
    {"reward": "none"},
    {"reward": "error"},
    {"reward": "similarity"},
    {"reward": "similarity", "level": "patch"},
    {"reward": "similarity", "meta_at": "stepped"},
    {"reward": "meta_gradient"},
]
every_option = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))


def small() -> PlainCNN:
    return PlainCNN(channels=4, layers=3)


def net(**options: Any) -> WeightNet:
    return WeightNet(**({"channels": 3, "layers": 2, "last_gain": 3.0} | options))


def pairs(count: int, *, seed: int = 0, side: int = 15) -> Pairs:
    hr = torch.cat([picture(side, side + 2, seed=100 * seed + i) for i in range(count)])
    return Pairs(DEGRADATION(hr), hr, DEGRADATION)


def batch(*, seed: int = 0, count: int = 2, candidates: int = 2) -> WeightedBatch:
    return WeightedBatch(pairs(candidates, seed=seed), pairs(3, seed=50 + seed), count)


def made(**options: Any) -> Weighted:
    torch.manual_seed(0)
    return Weighted(small(), **({"steps": 4, "weight_net": net(), "inner_rate": 0.1} | options))


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


# --- what a step does ---


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


# --- between rewards, and which patches ---


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
    model = MamlSRNet(2)
    recipe = Weighted(model, steps=2, weight_net=net())
    before = recipe.export()
    fit(recipe, [batch()], steps=2)
    stay = {name for name, value in recipe.export().items() if torch.equal(value, before[name])}
    assert stay >= {name for name in before if name.startswith("heads.")}
    assert "output.weight" not in stay


def sampled(sampling: str, **options: Any) -> tuple[Weighted, list[dict[str, float]]]:
    recipe = made(**({"reward": "none", "sampling": sampling, "steps": 3} | options))
    return recipe, fit(recipe, [batch(seed=s, count=2, candidates=6) for s in range(3)], steps=3)


def test_without_choosing_the_first_candidates_are_taken() -> None:
    recipe, _ = sampled("none")
    fewer = made(reward="none", steps=3)
    given = [batch(seed=s, count=2, candidates=6) for s in range(3)]
    cut = [one._replace(pairs=Pairs(one.pairs.lr[:2], one.pairs.hr[:2], DEGRADATION)) for one in given]
    fit(fewer, cut, steps=3)
    assert same(recipe.export(), fewer.export())


def test_the_patches_most_like_the_meta_set_are_chosen_most() -> None:
    _, cold = sampled("choose", sampling_temperature=1e-6)
    for row, one in zip(cold, (batch(seed=s, count=2, candidates=6) for s in range(3)), strict=True):
        assert row["train/chosen_similarity"] > row["train/candidates_similarity"]
        assert len(one.pairs.hr) == 6
    recipe = made(reward="none")
    one = batch(count=2, candidates=6)
    direction = meta_direction(recipe.model, enlarge(one.meta.lr, one.meta.hr, 2), one.meta.hr)
    rewards = patch_rewards(recipe.model, enlarge(one.pairs.lr, one.pairs.hr, 2), one.pairs.hr, direction)
    best = rewards.topk(2).values.mean().item()
    assert cold[0]["train/chosen_similarity"] == pytest.approx(best, rel=1e-4)


def test_the_choice_depends_on_seed_and_step_alone() -> None:
    one, two, other = (sampled("choose", seed=s, sampling_temperature=10.0)[0].export() for s in (1, 1, 2))
    assert same(one, two)
    assert not same(one, other)


def test_the_same_candidates_are_chosen_from_anew_at_every_step() -> None:
    recipe = made(reward="none", sampling="choose", sampling_temperature=10.0, rate=1e-12)
    logged = fit(recipe, [batch(count=2, candidates=6)], steps=4)
    assert len({round(row["train/candidates_similarity"], 4) for row in logged}) == 1
    assert len({round(row["train/chosen_similarity"], 4) for row in logged}) > 1


def test_the_chosen_keep_their_rewards() -> None:
    recipe = made(level="patch", sampling="choose", sampling_temperature=10.0)
    one = batch(count=3, candidates=8)
    direction = meta_direction(recipe.model, enlarge(one.meta.lr, one.meta.hr, 2), one.meta.hr)
    chosen = recipe._choose(one, direction)
    source = enlarge(chosen.pairs.lr, chosen.pairs.hr, 2)
    torch.testing.assert_close(chosen.rewards, patch_rewards(recipe.model, source, chosen.pairs.hr, direction))
    where = [int((one.pairs.hr == hr).flatten(1).all(1).nonzero()) for hr in chosen.pairs.hr]
    assert len(set(where)) == 3


def test_after_a_step_the_chosen_are_rewarded_anew() -> None:
    ends = []
    for meta_at in ("current", "stepped"):
        recipe = made(level="patch", sampling="choose", meta_at=meta_at, inner_rate=1.0)
        fit(recipe, [batch(count=3, candidates=8)], steps=1)
        ends.append({k: v for k, v in recipe.export().items() if k.startswith("weight_net.")})
    assert not same(*ends)


def test_candidates_can_be_weighted_instead() -> None:
    recipe = made(reward="none", sampling="weight", sampling_temperature=0.01, schedule="constant")
    one = batch(count=2, candidates=6)
    model = copy.deepcopy(recipe.model)
    fit(recipe, [one], steps=1)
    source = enlarge(one.pairs.lr, one.pairs.hr, 2)
    direction = meta_direction(model, enlarge(one.meta.lr, one.meta.hr, 2), one.meta.hr)
    share = torch.softmax(patch_rewards(model, source, one.pairs.hr, direction) / 0.01, 0)
    assert share.max() > 2 * share.min()
    losses = pixel_losses(model(source), one.pairs.hr).mean((1, 2))
    adam = torch.optim.Adam(model.parameters(), lr=4e-4)
    (share * losses).sum().backward()
    adam.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(recipe.export()[name], value, rtol=1e-4, atol=1e-6)


def test_in_between_candidates_are_taken_as_they_come() -> None:
    _, logged = sampled("choose", every=2)
    chosen = [row.get("train/chosen_similarity") for row in logged]
    assert chosen[0] == chosen[1]  # not logged anew at the second step
    assert chosen[2] != chosen[1]


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
    assert silent_options(Weighted, baseline, others, given) == []


def test_a_run_cut_short_goes_on_as_if_it_had_not_been(tmp_path: Any) -> None:
    given = [batch(seed=s, count=2, candidates=6) for s in range(4)]

    def run(recipe: Weighted, until: int, *, start: str | None = None, save: str | None = None) -> None:
        trainer = pl.Trainer(
            accelerator="cpu", max_steps=until, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(recipe, datamodule=Given(given, until), ckpt_path=start, weights_only=True)
        if save:
            trainer.save_checkpoint(save)

    options = {"sampling": "choose", "sampling_temperature": 1.0, "every": 2}
    whole, first, second = made(**options), made(**options), made(**options)
    run(whole, 4)
    run(first, 3, save=str(tmp_path / "x.ckpt"))
    run(second, 4, start=str(tmp_path / "x.ckpt"))
    assert same(whole.export(), second.export())
    assert not same(whole.export(), first.export())


# --- what is logged ---


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


# --- bad input ---


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
    with pytest.raises(DivergenceError, match="Weighted: loss became nan at step 0 for degradation bicubic"):
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


# --- weights from an earlier stage, and back ---


def test_from_pretraining_the_weight_net_starts_afresh() -> None:
    parent = Pretrain(small(), steps=1).export()
    child = made()
    before = child.export()
    line = child.load_parent(parent, origin="01_pretrain")
    assert line == "6 of 6 network tensors from 01_pretrain; 3 Weight-Net tensors start afresh"
    assert same(child.export(), before | parent)
    line = made(reward="none").load_parent(parent, origin="01_pretrain")
    assert line == "6 of 6 network tensors from 01_pretrain"


def test_an_own_export_is_taken_whole() -> None:
    parent = made()
    with torch.no_grad():
        for p in parent.parameters():
            p.add_(0.1)
    child = made()
    line = child.load_parent(parent.export(), origin="02_weighted")
    assert line == "6 of 6 network tensors from 02_weighted and 3 Weight-Net tensors from 02_weighted"
    assert same(child.export(), parent.export())
    other = made()
    other.restore(parent.export(), origin="02_weighted")
    assert same(other.export(), parent.export())
    line = made(reward="error").load_parent(parent.export(), origin="p")
    assert line == "6 of 6 network tensors from p, 3 Weight-Net tensors not used"
    wider = made(weight_net=net(channels=5))
    before = wider.export()
    line = wider.load_parent(parent.export(), origin="p")
    assert line == "6 of 6 network tensors from p; 3 Weight-Net tensors start afresh: the parent's are of another shape"
    assert all(torch.equal(v, before[k]) for k, v in wider.export().items() if k.startswith("weight_net."))


def test_restoring_is_strict() -> None:
    state = made().export()
    cases = [
        (made(), {k: v for k, v in state.items() if not k.startswith("weight_net.")}, r"3 missing \(weight_net\.convs"),
        (made(reward="none"), state, r"3 unknown \(weight_net\.convs"),
        (made(weight_net=net(channels=5)), state, "3 of another shape"),
    ]
    for recipe, given, message in cases:
        with pytest.raises(WeightsError, match=message):
            recipe.restore(given, origin="file")
    with pytest.raises(WeightsError, match=r"1 missing \(conv2\.bias\)"):
        made().load_parent({k: v for k, v in state.items() if k != "conv2.bias"}, origin="file")


def test_export_is_a_copy() -> None:
    recipe = made()
    exported = recipe.export()
    before = copy.deepcopy(exported)
    with torch.no_grad():
        for p in recipe.parameters():
            p.add_(1.0)
    assert same(exported, before)


# --- pictures ---


def test_maps_of_an_image() -> None:
    recipe = made()
    lr, hr, _ = pairs(1, side=21)
    assert list(recipe.maps(lr, hr, DEGRADATION)) == ["image", "loss", "weight"]
    recipe.meta_pairs = pairs(3, seed=5)
    with torch.no_grad():
        found = recipe.maps(lr, hr, DEGRADATION)
    assert {k: tuple(v.shape) for k, v in found.items()} == {
        "image": (3, 21, 23), "loss": (21, 23), "reward": (21, 23), "weight": (21, 23),
    }  # fmt: skip
    assert list(found) == ["image", "loss", "reward", "weight"]
    assert torch.equal(found["image"], hr[0])
    source = enlarge(lr, hr, 2)
    torch.testing.assert_close(found["loss"], (recipe.model(source) - hr).abs().mean(1)[0].detach())
    torch.testing.assert_close(found["weight"], recipe.weight_net(source)[0].detach())
    meta = recipe.meta_pairs
    direction = meta_direction(recipe.model, enlarge(meta.lr, meta.hr, 2), meta.hr)
    torch.testing.assert_close(found["reward"], pixel_rewards(recipe.model, source, hr, direction)[0])
    assert not any(v.requires_grad for v in found.values())


@pytest.mark.parametrize("reward", ["none", "error"])
def test_maps_without_a_weight_net(reward: str) -> None:
    recipe = made(reward=reward)
    recipe.meta_pairs = pairs(3, seed=5)
    lr, hr, _ = pairs(1, side=21)
    found = recipe.maps(lr, hr, DEGRADATION)
    assert list(found) == ["image", "loss", "weight"]
    want = torch.ones_like(found["loss"]) if reward == "none" else found["loss"] / found["loss"].mean()
    torch.testing.assert_close(found["weight"], want)


def test_training_leaves_its_meta_pairs_for_the_maps() -> None:
    recipe = made()
    one = batch()
    fit(recipe, [one], steps=1)
    assert recipe.meta_pairs is one.meta
    assert "reward" in recipe.maps(one.pairs.lr[:1], one.pairs.hr[:1], DEGRADATION)
