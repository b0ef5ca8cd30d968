"""Weighted training: which of the candidate patches are trained on."""

import copy
from typing import Any

import pytest
import torch

from metasr.data.tasks import Pairs
from metasr.meta.meta_gradient import enlarge
from metasr.recipes.weightnet import WeightNetRecipe
from metasr.recipes.weightnet_rewards import meta_direction, patch_rewards, pixel_losses
from recipes.fitting import fit
from recipes.weighted_parts import DEGRADATION, batch, made, same


def sampled(sampling: str, **options: Any) -> tuple[WeightNetRecipe, list[dict[str, float]]]:
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
