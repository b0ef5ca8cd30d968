"""Run folders of an earlier version: they go on, are evaluated and reported like those of today."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from metasr.errors import StageError
from metasr.jobs.run import execute
from metasr.runs.card import config_hash, read_card
from metasr.runs.renames import ADDED_OPTIONS, RENAMED_CLASSES, RENAMED_KEYS, renamed, renamed_card
from metasr.runs.weights import from_run
from running import compose, save_picture, train

OLD = Path(__file__).parent / "old_run"
FIRST, SECOND = "01_pretrain", "02_meta_transfer"
SAME = ("+experiment=mzsr_x2", "profile=smoke", "logger=csv", "model.channels=8", "model.layers=4")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD / "run", tmp_path / "run"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return save_picture(tmp_path / "photos" / "a.png", 45, 53).parent


def test_a_finished_run_is_found_finished(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    made = train(compose(*SAME), run)
    assert made.card["status"] == "finished"
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_run_cut_short_goes_on_from_its_resume_point_to_the_same_weights(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    want = load_file(run / SECOND / "weights.safetensors")
    shutil.rmtree(run / SECOND)
    shutil.copytree(OLD / "cut" / SECOND, run / SECOND)
    with caplog.at_level("INFO"):
        made = train(compose(*SAME), run)
    assert "stage meta_transfer: going on from" in caplog.text
    assert "stage pretrain is finished" in caplog.text
    assert made.state.keys() == want.keys()
    for name in want:  # another machine's arithmetic may differ in the last bits
        torch.testing.assert_close(made.state[name], want[name], atol=1e-6, rtol=1e-4)
    card = json.loads((run / SECOND / "card.json").read_text())
    assert "rates_lr" in card["identity"]["stage"]["recipe"]
    assert card["hash"] == config_hash(card["identity"])


def test_other_choices_are_stale_as_ever(run: Path) -> None:
    with pytest.raises(StageError, match=r"'meta_transfer' .*stale.*recipe\.rates_lr: then 0\.001, now 0\.5\)"):
        train(compose(*SAME, "stages.meta_transfer.recipe.rates_lr=0.5"), run)


def test_a_card_that_was_tampered_with_stays_one(run: Path) -> None:
    path = run / FIRST / "card.json"
    path.write_text(path.read_text().replace('"rate": 0.001', '"rate": 0.002', 1))
    with pytest.raises(StageError, match=r"'pretrain' .*stale"):
        train(compose(*SAME, "stages.pretrain.recipe.rate=0.002"), run)


def test_it_is_evaluated(run: Path, photos: Path, tmp_path: Path) -> None:
    same = (*SAME[:2], "logger=none", *SAME[3:], "task=evaluate", f"testset={photos}", "degradations=[bicubic]")
    execute(compose(*same, f"weights={run}", "adapt_steps=[1]"), tmp_path / "job")
    header, *rows = (tmp_path / "job" / "table.csv").read_text().splitlines()
    cells = dict(zip(header.split(","), rows[-1].split(","), strict=True))
    assert (cells["solver"], cells["weights"]) == ("adapt", "run")
    assert float(cells["psnr_y"]) > 15


def test_it_is_reported_on(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    execute(compose("task=report", f"runs=[{run}]", f"output={page}"), tmp_path)
    text = page.read_text()
    assert "mzsr_x2" in text
    assert "meta_transfer" in text


def test_its_card_is_read_with_todays_names(run: Path) -> None:
    card = read_card(run / SECOND)
    assert card["config"]["solver"]["_target_"] == "metasr.solvers.mzsr.solver.MZSRSolver"
    assert {"stages_to_run", "max_minutes", "compare_with"} <= card["config"].keys()
    assert card["hash"] == config_hash(card["identity"])
    assert from_run(run).card.items() >= card.items()


def test_every_old_name_of_a_class_leads_to_a_class() -> None:
    from hydra.utils import get_class

    for name in RENAMED_CLASSES.values():
        assert isinstance(get_class(name), type)
    assert not set(RENAMED_CLASSES) & set(RENAMED_CLASSES.values())
    assert not set(RENAMED_KEYS) & set(RENAMED_KEYS.values())


def test_options_that_came_later_have_the_values_that_change_nothing() -> None:
    import inspect

    from hydra.utils import get_class

    for name, options in ADDED_OPTIONS.items():
        parameters = inspect.signature(get_class(name)).parameters
        assert {key: parameters[key].default for key in options} == options
    node = {"_target_": "metasr.meta.step_weights.StepWeights", "kind": "final"}
    assert renamed(node) == {**node, "before": 0.0}
    assert renamed({**node, "before": 0.5}) == {**node, "before": 0.5}


def test_names_are_changed_where_they_stand_for_things() -> None:
    old = "metasr.solvers.adapt.AdaptSolver"
    given = {"beside": [{"_target_": old, "name": old}], "x": {"rates_rate": 1}}
    new = {"compare_with": [{"_target_": RENAMED_CLASSES[old], "name": old}], "x": {"rates_lr": 1}}
    assert renamed(given) == new
    assert given["x"] == {"rates_rate": 1}
    card = {"identity": given, "hash": "0", "metrics": {"only": 3.0}}
    assert renamed_card(card, config_hash) == {"identity": new, "hash": "0", "metrics": {"only": 3.0}}
