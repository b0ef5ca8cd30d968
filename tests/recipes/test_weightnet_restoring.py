"""Weighted training: weights from an earlier stage, going on, and exports."""

import copy
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from metasr.errors import WeightsError
from metasr.recipes.pretrain import Pretrain
from metasr.recipes.weightnet import WeightNetRecipe
from recipes.fitting import Given
from recipes.weighted_parts import batch, made, net, same, small


def test_a_run_cut_short_goes_on_as_if_it_had_not_been(tmp_path: Any) -> None:
    given = [batch(seed=s, count=2, candidates=6) for s in range(4)]

    def run(recipe: WeightNetRecipe, until: int, *, start: str | None = None, save: str | None = None) -> None:
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
