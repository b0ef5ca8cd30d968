"""What becomes of an image whose solver was interrupted, or whose time was over."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, open_dict
from PIL import Image

from metasr.data.catalog import ImageSet
from metasr.evaluation.evaluate import Entry, evaluate
from metasr.jobs.upscale import upscale_task
from metasr.metrics.protocol import LumaProtocol
from metasr.solvers.zssr.internal_pairs import InternalPairs
from metasr.solvers.zssr.solver import ZSSRSolver
from running import save_picture, upscale_config


def config(source: Path, **values: Any) -> DictConfig:
    """ZSSR with a network so small that a step takes a millisecond."""
    cfg = upscale_config("zssr", input=source, **values)
    with open_dict(cfg):
        cfg.solver.update({"channels": 4, "layers": 3, "max_steps": 40, "crop": 16})
    return cfg


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody presses Ctrl-C in the third step of everything."""
    draw, drawn = InternalPairs.draw, []

    def interrupting(self: InternalPairs, *args: Any, **options: Any) -> Any:
        drawn.append(1)
        if len(drawn) % 40 == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return draw(self, *args, **options)

    monkeypatch.setattr(InternalPairs, "draw", interrupting)


@pytest.mark.usefixtures("interrupted")
def test_an_interrupted_photo_is_written_and_told_of(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "a.png", 23, 31)
    (done,) = upscale_task(config(source))
    assert done.cut_short == "interrupted after 3 of 40 steps"
    assert "; cut short: interrupted after 3 of 40 steps" in str(done)
    with Image.open(tmp_path / "a_x2.png") as image:
        assert image.size == (62, 46)


@pytest.mark.usefixtures("interrupted")
def test_an_interrupted_folder_ends_with_the_photo_at_hand(tmp_path: Path) -> None:
    for name in "abc":
        save_picture(tmp_path / "in" / f"{name}.png", 23, 31)
    with pytest.raises(KeyboardInterrupt):
        list(upscale_task(config(tmp_path / "in", output=tmp_path / "out")))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


@pytest.mark.usefixtures("interrupted")
def test_an_interrupted_evaluation_is_no_table(tmp_path: Path) -> None:
    images = ImageSet("one", "test", (save_picture(tmp_path / "a.png", 46, 62),))
    entry = Entry("zssr", "-", ZSSRSolver(channels=4, layers=3, max_steps=40, crop=16))
    with pytest.raises(KeyboardInterrupt):
        evaluate(images, ["bicubic"], lambda _: [entry], scale=2, seed=1, protocol=LumaProtocol())


def test_a_budget_is_told_of_and_the_folder_goes_on(tmp_path: Path) -> None:
    for name in "ab":
        save_picture(tmp_path / "in" / f"{name}.png", 23, 31)
    cfg = config(tmp_path / "in", output=tmp_path / "out")
    with open_dict(cfg):
        cfg.solver.update({"max_steps": 10**6, "budget_seconds": 0.2})
    done = list(upscale_task(cfg))
    assert [d.cut_short.startswith("budget_seconds=0.2 spent after ") for d in done] == [True, True]


def test_a_photo_that_was_given_its_time_is_not_cut_short(tmp_path: Path) -> None:
    (done,) = upscale_task(config(save_picture(tmp_path / "a.png", 23, 31)))
    assert (done.cut_short, done.updates, done.weights) == ("", 40, "-")
    assert "cut short" not in str(done)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (4, "RGBA")])
def test_greyscale_and_transparency(tmp_path: Path, channels: int, mode: str) -> None:
    list(upscale_task(config(save_picture(tmp_path / "a.png", 23, 31, channels))))
    with Image.open(tmp_path / "a_x2.png") as image:
        assert (image.mode, image.size) == (mode, (62, 46))
