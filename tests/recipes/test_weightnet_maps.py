"""Weighted training: maps of an image's loss, reward and weight."""

import pytest
import torch

from metasr.meta.meta_gradient import enlarge
from metasr.recipes.weightnet_rewards import meta_direction, pixel_rewards
from recipes.fitting import fit
from recipes.weighted_parts import DEGRADATION, batch, made, pairs


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
