"""The stage chain: layout, cards, skipping, and every way in which a folder can be wrong."""

import json
import os
import resource
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from safetensors.torch import load_file

from metasr.config.chain import chain
from metasr.errors import InputError, OutputError, StageError
from metasr.io.files import file_hash
from metasr.recipes.base import Recipe
from metasr.runs.card import read_card
from metasr.runs.weights import from_run
from metasr.training.chain import save_tensors
from running import SMALL, compose, train
from training.chain_stages import FIRST, SECOND


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_layout(finished: Path) -> None:
    assert sorted(p.name for p in finished.iterdir()) == [FIRST, SECOND]
    for name in (FIRST, SECOND):
        assert sorted(p.name for p in (finished / name).iterdir()) == [
            "card.json",
            "resume.ckpt",
            "weights.safetensors",
        ]
        assert (finished / name / "weights.safetensors").stat().st_mode & 0o044 == 0o044


def test_cards_tell_what_made_the_weights(finished: Path) -> None:
    first, second = read_card(finished / FIRST), read_card(finished / SECOND)
    for card, stage, steps in ((first, "pretrain", 6), (second, "meta_transfer", 4)):
        assert (card["experiment"], card["stage"], card["status"]) == ("mzsr_x2", stage, "finished")
        assert card["steps"] == steps
        assert card["identity"]["seed"] == 1
        assert card["data"]["name"] == "samples"
        assert card["data"]["images"] > 5
        assert len(card["data"]["fingerprint"]) == 64
        assert card["profile"] == "smoke"
        assert card["seconds"] > 0
        assert {"git_commit", "versions", "machine", "python", "written", "hash", "config"} <= card.keys()
        assert card["weights"] == file_hash(
            finished / f"{'01' if steps == 6 else '02'}_{stage}" / "weights.safetensors"
        )
        assert "train/loss" in card["metrics"]
    assert first["identity"]["parent"] is None
    assert first["weights_from"] == "no parent: freshly initialised"
    assert second["identity"]["parent"] == first["weights"]
    assert second["weights_from"].startswith("6 of 6 network tensors from 01_pretrain")


def test_the_second_stage_exports_its_rates(finished: Path) -> None:
    assert "inner_rates" not in load_file(finished / FIRST / "weights.safetensors")
    assert load_file(finished / SECOND / "weights.safetensors")["inner_rates"].shape == (2, 6)


def test_the_weights_of_the_chain_are_the_last_stages(finished: Path) -> None:
    made = train(compose(*SMALL), finished)
    assert made.label == "run"
    assert made.card["stage"] == "meta_transfer"
    kept = load_file(finished / SECOND / "weights.safetensors")
    assert made.state.keys() == kept.keys()
    assert all(torch.equal(made.state[k], kept[k]) for k in kept)


def test_the_same_choices_give_the_same_bits_and_another_seed_others(finished: Path, tmp_path: Path) -> None:
    train(compose(*SMALL), tmp_path / "again")
    train(compose(*SMALL, "seed=2", "stages_to_run=[pretrain]"), tmp_path / "other")
    for name in (FIRST, SECOND):
        assert (tmp_path / "again" / name / "weights.safetensors").read_bytes() == (
            finished / name / "weights.safetensors"
        ).read_bytes()
    a, b = (load_file(p / FIRST / "weights.safetensors") for p in (finished, tmp_path / "other"))
    assert any(not torch.equal(a[k], b[k]) for k in a)


def test_finished_stages_are_skipped(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in run.rglob("*") if p.is_file()}
    monkeypatch.setattr(pl.Trainer, "fit", lambda *_, **__: pytest.fail("a finished stage was trained"))
    train(compose(*SMALL), run)
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in run.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    "indifferent",
    ["stages.pretrain.checkpoint_every=5", "stages.pretrain.validation.every=3", "device=cpu", "adapt_steps=[0]",
     "degradations=[bicubic]", "solver.rates=published", "testset=set5",
     "trainer.log_every_n_steps=3", "+trainer.enable_progress_bar=false", "trainer.accelerator=cpu"],
)  # fmt: skip
def test_choices_that_do_not_change_weights_do_not_make_them_stale(run: Path, indifferent: str) -> None:
    train(compose(*SMALL, indifferent), run)


def test_one_stage_alone_and_then_the_next(finished: Path, tmp_path: Path) -> None:
    train(compose(*SMALL, "stages_to_run=[pretrain]"), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [FIRST]
    assert from_run(tmp_path).card["stage"] == "pretrain"
    train(compose(*SMALL, "stages_to_run=[meta_transfer]"), tmp_path)
    want = (finished / SECOND / "weights.safetensors").read_bytes()
    assert (tmp_path / SECOND / "weights.safetensors").read_bytes() == want


def test_only_in_any_order_gives_the_last_of_the_chain(finished: Path) -> None:
    assert train(compose(*SMALL, "stages_to_run=[meta_transfer,pretrain]"), finished).card["stage"] == "meta_transfer"


# What is wrong with a folder, what else was chosen, and what the message must say.
Spoil = Callable[[Path], object]


def edit_card(folder: str, **changes: object) -> Spoil:
    def spoil(run: Path) -> None:
        path = run / folder / "card.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def damage(folder: str) -> Spoil:
    def spoil(run: Path) -> None:
        path = run / folder / "weights.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)

    return spoil


def remove(path: str) -> Spoil:
    return lambda run: shutil.rmtree(run / path) if (run / path).is_dir() else os.remove(run / path)


def nothing(_: Path) -> None: ...


@pytest.mark.parametrize(
    ("spoil", "overrides", "message"),
    [
        (remove(FIRST), ["stages_to_run=[meta_transfer]"],
         r"stage 'meta_transfer' needs stage 'pretrain' first, which is missing in .*01_pretrain; run it with: "
         r"\S*python src/run.py \+experiment=mzsr_x2 run=.* 'stages_to_run=\[pretrain\]'"),
        (edit_card(FIRST, status="started"), ["stages_to_run=[meta_transfer]"],
         r"'pretrain' first, which was cut short"),
        (edit_card(FIRST, experiment="maml_sr_x2"), ["stages_to_run=[meta_transfer]"],
         r"01_pretrain is foreign: it holds stage 'pretrain' of 'maml_sr_x2', but stage 'meta_transfer' of 'mzsr_x2' "
         r"needs 'pretrain' of its own experiment; run the chain in a new folder: \S*python src/run.py \+experi"),
        (edit_card(FIRST, experiment="maml_sr_x2"), [],
         r"01_pretrain is foreign: .*expected 'pretrain' of 'mzsr_x2'; leave run= out"),
        (edit_card(SECOND, stage="student"), [], r"02_meta_transfer is foreign: it holds stage 'student' of 'mzsr_x2'"),
        (nothing, ["stages.pretrain.steps=5"],
         r"stage 'pretrain' in .* is stale: .*stage\.steps: then 6, now 5.*remove .*01_pretrain to train it again"),
        (nothing, ["+trainer.accumulate_grad_batches=4"],
         r"'pretrain' .*stale.*\(trainer\.accumulate_grad_batches: then None, now 4\)"),
        (nothing, ["seed=2"], r"'pretrain' .*stale.*\(seed: then 1, now 2\)"),
        (nothing, ["stages.pretrain.recipe.rate=0.5"], r"stale.*stage\.recipe\.rate: then 0\.001, now 0\.5"),
        (nothing, ["model.channels=9"], r"stale.*model\.channels: then 8, now 9"),
        (nothing, ["data.max_images=3"], r"stale.*data\.fingerprint: then \w+, now \w+"),
        (nothing, ["stages.meta_transfer.recipe.order=first"],
         r"'meta_transfer' .*stale.*stage\.recipe\.order: then second, now first"),
        (damage(FIRST), [], r"01_pretrain/weights\.safetensors is missing or not the file that its card describes; "
         r"remove .*01_pretrain and run again: \S*python src/run.py"),
        (damage(FIRST), ["stages_to_run=[meta_transfer]"],
         r"01_pretrain/weights\.safetensors is not the file that its card describes .*run stage 'pretrain' again with"),
        (remove(f"{SECOND}/weights.safetensors"), [], r"02_meta_transfer/weights\.safetensors is missing or not"),
        (remove(f"{FIRST}/weights.safetensors"), ["stages_to_run=[meta_transfer]"], r"needs stage 'pretrain' first"),
        (remove(f"{SECOND}/card.json"), [],
         r"02_meta_transfer holds files but no card\.json: it was not made by this program; choose another run folder"),
        (lambda run: (run / FIRST / "card.json").write_text('{"stage'), [],
         r"card .*01_pretrain/card\.json cannot be read .*remove the stage's folder"),
        (lambda run: (run / FIRST / "card.json").write_text("[]"), ["stages_to_run=[meta_transfer]"],
         r"must hold a JSON object"),
        (nothing, ["stages_to_run=[meta_transfr]"],
         r"no stage 'meta_transfr' in mzsr_x2: did you mean 'meta_transfer'"),
        (nothing, ["stages_to_run=[]"], r"stages_to_run=\[\] leaves no stage to run.* pretrain, meta_transfer"),
        (nothing, ["stages.pretrain.parent=meta_transfer"], r"'pretrain' has the parent 'meta_transfer', which is not"),
        (nothing, ["stages.meta_transfer.parent=pretrian"], r"parent 'pretrian'.*did you mean 'pretrain'"),
    ],
)  # fmt: skip
def test_errors(run: Path, spoil: Spoil, overrides: list[str], message: str) -> None:
    spoil(run)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    with pytest.raises(StageError, match=message):
        train(compose(*SMALL, *overrides), run)
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before  # an error changes nothing


@pytest.mark.parametrize(
    "mistake",
    ["stages.meta_transfer.recipe.rates=metasgd", "stages.meta_transfer.recipe.order=third",
     "stages.meta_transfer.sampler.support=0", "+stages.meta_transfer.sampler.suport=2"],
)  # fmt: skip
def test_a_mistake_in_a_later_stage_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    monkeypatch.setattr(pl.Trainer, "fit", lambda *_, **__: pytest.fail("training began"))
    with pytest.raises((InputError, InstantiationException)):
        train(compose(*SMALL, mistake), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_parent_of_another_seed_is_stale(run: Path, tmp_path: Path) -> None:
    train(compose(*SMALL, "stages_to_run=[pretrain]", "seed=2"), tmp_path / "other")
    shutil.rmtree(run / FIRST)
    shutil.copytree(tmp_path / "other" / FIRST, run / FIRST)
    with pytest.raises(
        StageError,
        match=r"'meta_transfer' builds on stage 'pretrain' in .*01_pretrain, which is stale: .*seed: then 2, now 1.*"
        r"remove .*01_pretrain and train it again with: .* 'stages_to_run=\[pretrain\]'",
    ):
        train(compose(*SMALL, "stages_to_run=[meta_transfer]"), run)


def test_no_stages(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"no stages to run: choose an experiment, for instance \+experiment=mzsr_x2"):
        chain(compose(), tmp_path)


def test_a_run_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot make .*file.*choose a writable run folder, or set METASR_OUTPUTS"):
        train(compose(*SMALL), tmp_path / "file")


def test_a_full_disk_while_weights_are_written(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_tensors({"a": torch.zeros(4)}, path)
    old = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(
            OutputError,
            match=r"cannot write .*weights\.safetensors: File too large; nothing was left there: .* with room",
        ):
            save_tensors({"a": torch.zeros(40_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["weights.safetensors"]


def test_a_full_disk_while_training(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(
            OutputError, match=r"'pretrain' cannot write in .*File too large; make room, then go on with"
        ):
            train(compose(*SMALL), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    train(compose(*SMALL, "stages_to_run=[pretrain]"), tmp_path)


def test_metrics_go_to_the_stages_folder(tmp_path: Path) -> None:
    train(compose(*SMALL, "logger=csv", "stages_to_run=[pretrain]"), tmp_path)
    text = (tmp_path / FIRST / "csv" / "version_0" / "metrics.csv").read_text()
    assert "train/loss" in text.splitlines()[0]
    assert len(text.splitlines()) == 7


def test_validation_is_in_the_card(tmp_path: Path) -> None:
    seen: list[tuple[str, int, Mapping[str, float]]] = []

    def watch(stage: str, recipe: Recipe, metrics: Mapping[str, float]) -> None:
        seen.append((stage, recipe.global_step, metrics))

    small = [c for c in SMALL if "pretrain.validation" not in c]
    train(compose(*small, "stages_to_run=[pretrain]", "stages.pretrain.validation.crop=64"), tmp_path, watch=watch)
    ((stage, step, metrics),) = seen
    assert (stage, step) == ("pretrain", 6)
    assert 10 < metrics["val/psnr_y/bicubic@0"] < 60
    assert read_card(tmp_path / FIRST)["metrics"].items() >= metrics.items()
