"""Stages that go on from given weights: counted, told in the card, part of the identity, refused where unfitting."""

import shutil
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save_file

from metasr.config import build
from metasr.errors import StageError, WeightsError
from metasr.paths import weights_folder
from metasr.runs.card import read_card, tensors_hash
from running import SMALL, compose, train
from training.chain_stages import FIRST, SECOND

ALONE = "stages_to_run=[meta_transfer]"


def test_a_stage_goes_on_from_a_file_without_its_parent(finished: Path, tmp_path: Path) -> None:
    file = finished / SECOND / "weights.safetensors"
    train(compose(*SMALL, ALONE, f"init={file}"), tmp_path / "run")
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [SECOND]
    card = read_card(tmp_path / "run" / SECOND)
    assert card["init"] == str(file)
    assert card["weights_from"] == (f"6 of 6 network tensors from init={file} and 1 rate tensors from init={file}")
    assert card["identity"]["parent"] is None
    assert card["identity"]["init"] == tensors_hash(load_file(file))
    before, after = load_file(file), load_file(tmp_path / "run" / SECOND / "weights.safetensors")
    moved = max(float((after[k] - before[k]).abs().max()) for k in before)
    assert 0 < moved < 0.01, "four small steps from the given weights and rates, not from fresh ones"


def test_a_run_folder_starts_the_chain_and_the_next_stage_takes_the_first_ones_weights(
    finished: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(finished / FIRST, source / FIRST)
    train(compose(*SMALL, f"init={source}"), tmp_path / "run")
    first, second = (read_card(tmp_path / "run" / name) for name in (FIRST, SECOND))
    assert (first["init"], second["init"]) == (str(source), None)
    assert second["weights_from"].startswith("6 of 6 network tensors from 01_pretrain")
    assert second["identity"]["parent"] == first["weights"]
    assert "init" not in second["identity"]


def test_the_next_stage_alone_builds_on_a_stage_that_was_given_weights(finished: Path, tmp_path: Path) -> None:
    given = f"init={finished / FIRST / 'weights.safetensors'}"
    train(compose(*SMALL, given, "stages_to_run=[pretrain]"), tmp_path)
    train(compose(*SMALL, ALONE), tmp_path)
    assert read_card(tmp_path / SECOND)["status"] == "finished"


def test_a_finished_stage_is_kept_by_the_same_weights_wherever_they_lie(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = finished / FIRST / "weights.safetensors"
    train(compose(*SMALL, f"init={file}", "stages_to_run=[pretrain]"), tmp_path / "run")
    moved = shutil.copy(file, tmp_path / "moved.safetensors")
    monkeypatch.setattr(pl.Trainer, "fit", lambda *_, **__: pytest.fail("a finished stage was trained"))
    train(compose(*SMALL, f"init={moved}", "stages_to_run=[pretrain]"), tmp_path / "run")


@pytest.mark.parametrize("then", ["none", "others"])
def test_a_stage_made_from_other_weights_is_stale(finished: Path, tmp_path: Path, then: str) -> None:
    file = finished / FIRST / "weights.safetensors"
    train(compose(*SMALL, f"init={file}", "stages_to_run=[pretrain]"), tmp_path / "run")
    others = tmp_path / "others.safetensors"
    save_file({k: v + 1 for k, v in load_file(file).items()}, others)
    now = [] if then == "none" else [f"init={others}"]
    with pytest.raises(StageError, match=r"stage 'pretrain' in .* is stale: it was made with other choices \(init: "):
        train(compose(*SMALL, *now, "stages_to_run=[pretrain]"), tmp_path / "run")


def test_weights_that_do_not_fit_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"init=released/mzsr_x2_meta holds the weights of another network: .*shape"):
        train(compose(*SMALL, "init=released/mzsr_x2_meta"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("released/mzsr_x2_mta", "no released weights 'mzsr_x2_mta'.*mzsr_x2_meta"),
        ("nowhere", "no weights file nowhere"),
    ],
)
def test_weights_that_are_not_there(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        train(compose(*SMALL, f"init={source}"), tmp_path / "run")


def test_released_weights_and_rates_fit_the_stage_they_were_made_by() -> None:
    recipe = build.recipe(compose("+experiment=mzsr_x2", "logger=none"), "meta_transfer")
    given = load_file(weights_folder() / "mzsr_x2_meta.safetensors")
    assert recipe.load_parent(given, origin="x") == "16 of 16 network tensors from x and 1 rate tensors from x"
    assert all(torch.equal(recipe.export()[k], v) for k, v in given.items())


def test_the_hash_of_tensors_is_of_names_types_shapes_and_bits() -> None:
    a = {"x": torch.arange(6.0).reshape(2, 3), "y": torch.ones(())}
    same = {"y": torch.ones(()), "x": torch.arange(6.0).reshape(3, 2).T.contiguous().T.reshape(2, 3)}
    assert tensors_hash(a) == tensors_hash(same)
    others = [
        a | {"x": a["x"].reshape(3, 2)}, a | {"x": a["x"].double()}, a | {"x": a["x"] + 1}, {"z": a["x"], "y": a["y"]},
    ]  # fmt: skip
    assert len({tensors_hash(o) for o in [a, *others]}) == 5
