"""What a run or an evaluation refuses before it begins."""

from pathlib import Path

import pytest

from metasr.errors import DataError, InputError, OutputError, StageError, WeightsError
from metasr.jobs.run import execute
from metasr.solvers.mzsr.solver import MZSRSolver
from metasr.training import chain
from running import SMOKE, compose, save_picture

EVALUATE = (*SMOKE, "task=evaluate", "max_images=null")


@pytest.mark.parametrize(
    ("override", "kind", "message"),
    [
        (
            "testset=set6",
            InputError,
            r"testset 'set6' is neither a folder nor a known set: did you mean 'set5'.* known: aerial, b100",
        ),
        ("testset=image_folder", InputError, r"'image_folder' is neither a folder nor a known set: known: "),
        ("testset=nowhere/at/all", InputError, r"neither a folder nor a known set"),
        ("testset=t91", DataError, r"t91 "),
        ("testset=set5", DataError, r"set5 needs to know where its images lie"),
        ("degradations=[g2.0x]", InputError, r"unknown degradation 'g2\.0x': did you mean 'g2\.0d'"),
        ("degradations=[bicubic,iso_0_d]", InputError, r"widths must be .*above 0"),
        ("adapt_steps=[-1]", InputError, r"adapt_steps must be a number of at least 0, or a list of them"),
        ("adapt_steps=2.5", InputError, r"adapt_steps must be .* got 2\.5"),
        ("adapt_steps=ten", InputError, r"adapt_steps must be .* got ten"),
        ("solver.rates=lerned", InputError, r"solver\.rates must be 'learned', 'published' or a list"),
        ("table={tmp}", OutputError, r"table=.* is a folder; give a file name in it"),
        ("max_images=0", InputError, r"max_images must be at least 1"),
        ("scale=0", InputError, r"scale must be a finite number above 0"),
        ("device=gpu", InputError, r"device 'gpu' is not available"),
    ],
)
@pytest.mark.parametrize("task", ["run", "evaluate"])
def test_mistakes_are_told_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, override: str, kind: type[Exception], message: str
) -> None:
    monkeypatch.delenv("METASR_DATA", raising=False)
    monkeypatch.setattr(chain, "make_trainer", lambda *_, **__: pytest.fail("training began"))
    monkeypatch.setattr(MZSRSolver, "snapshots", lambda *_, **__: pytest.fail("adaptation began"))
    with pytest.raises(kind, match=message):
        execute(compose(*SMOKE, f"task={task}", override.format(tmp=tmp_path)), tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("override", "kind", "message"),
    [
        ("weights=released/mzsr", WeightsError, r"no released weights 'mzsr': .*known: "),
        ("weights=none.pt", WeightsError, r"no weights file none\.pt"),
        ("weights={tmp}", StageError, r"has no finished stage"),
    ],
)
def test_wrong_weights(tmp_path: Path, override: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        execute(compose(*EVALUATE, override.format(tmp=tmp_path)), tmp_path)


def test_empty_and_broken_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"expected images .* directly in .*empty, found no file"):
        execute(compose(*EVALUATE, f"testset={tmp_path / 'empty'}"), tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"no image could be scored; image 'a': .*a\.png"):
        execute(compose(*EVALUATE, f"testset={tmp_path / 'broken'}"), tmp_path)
    save_picture(tmp_path / "small" / "b.png", 12, 14)
    with pytest.raises(InputError, match=r"image 'b': image of 12x14 is smaller than the 21x21 kernel"):
        execute(compose(*EVALUATE, f"testset={tmp_path / 'small'}", "degradations=[g2.0d]"), tmp_path)


def test_an_experiment_must_be_chosen(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no experiment is chosen: add \+experiment=NAME, one of .*mzsr_x2"):
        execute(compose("profile=smoke", "logger=none"), tmp_path)
