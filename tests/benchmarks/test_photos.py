"""Photos as people have them: what is made of an image, how results are kept and told, and how the rule is learned."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from metasr.io.images import Photo, read_photo, write_photo
from running import PROJECT
from small_problems import picture

BENCHMARKS = PROJECT / "benchmarks"


@pytest.fixture(autouse=True)
def _beside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.chdir(tmp_path)


def load(name: str) -> dict[str, Any]:
    return runpy.run_path(str(BENCHMARKS / f"{name}.py"))


def test_drawings_are_repeatable_and_differ() -> None:
    photos = load("photos")
    ground = Image.new("RGB", (120, 96), (90, 120, 60))
    for draw in (photos["screenshot"], photos["line_art"]):
        one, again, other = draw(ground, 1), draw(ground, 1), draw(ground, 2)
        assert one.size == ground.size
        assert one.tobytes() == again.tobytes() != other.tobytes()


@pytest.mark.parametrize("name", ["clean", "q75", "soft_n5_q85", "screenshot_q80", "line_art"])
def test_a_condition_makes_the_file_that_a_user_would_have(name: str, tmp_path: Path) -> None:
    photos = load("photos")
    source = write_photo(Photo(picture(150, 131)[0]), tmp_path / "hr.png")
    condition = photos["CONDITIONS"][name]
    hr = photos["truth_of"](source, condition, index=0, crop=100)
    assert hr.shape == (1, 3, 100, 100)
    path = photos["write_small"](hr, condition, tmp_path / "small", seed=0)
    photo = read_photo(path)
    assert photo.rgb.shape == (3, 50, 50)
    assert (photo.jpeg is None) == (condition.quality is None)
    if photo.jpeg is not None:
        assert (photo.jpeg.quality, photo.jpeg.subsampling) == (condition.quality, "4:2:0")
    first = path.read_bytes()
    assert photos["write_small"](hr, condition, tmp_path / "again", seed=0).read_bytes() == first


def test_a_command_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (tmp_path / "in").mkdir()
    for i in range(2):
        write_photo(Photo(picture(100, 100, seed=i)[0]), tmp_path / "in" / f"{i}.png")
    words = ["photos", "in", "--crop", "96", "--conditions", "clean", "q75", "--choices", "bicubic", "lanczos"]

    def run(*more: str) -> str:
        monkeypatch.setattr(sys, "argv", [*words, *more])
        load("photos")["main"]()
        return capsys.readouterr().out

    first = run("--images", "1")
    rows = (tmp_path / "photos.jsonl").read_text().splitlines()
    assert len(rows) == 4
    (tmp_path / "photos.jsonl").write_text("\n".join([*rows[:3], rows[3][:20]]))  # as when it is killed in a write
    assert run("--images", "1").splitlines()[:-1] == first.splitlines()[:-1]
    whole = run("--table", "table.md")
    added = (tmp_path / "photos.jsonl").read_text().splitlines()[-4:]
    assert {json.loads(row)["image"] for row in added} == {"1.png"}
    assert (tmp_path / "table.md").read_text() in whole


def test_the_table_tells_the_largest_loss() -> None:
    photos = load("photos")
    scores = {("a", "bicubic"): 30.0, ("a", "lanczos"): 30.5, ("a", "auto"): 31.0,
              ("b", "bicubic"): 28.0, ("b", "lanczos"): 27.5, ("b", "auto"): 27.75}  # fmt: skip
    rows = [
        {"image": image, "condition": "clean", "choice": choice, "psnr_y": value, "cpu": 1.0}
        for (image, choice), value in scores.items()
    ]
    lines = photos["table"](rows, ["clean"], ["bicubic", "lanczos", "auto"]).splitlines()
    assert lines[2] == "| clean | 29.00 | 29.00 | **29.38** |"
    assert lines[3] == "| loss | 0.50 | 0.50 | 0.25 |"


def test_the_rule_is_the_best_mixture_that_loses_nowhere() -> None:
    rule = load("photo_rule")

    def row(error: float, of_son: float | None = None) -> dict[str, Any]:
        """Independent errors: Lanczos' is 1, the network's another."""
        matrix, son = (torch.diag(torch.tensor([1.5, 1.0, e])).tolist() for e in (error, of_son or error))
        seen = {"size": [80, 60], "quality": None, "noise": 0.0, "blur": 0.0, "few": 0.1, "steep": 0.1, "estimate": ""}
        return {"evidence": seen, "methods": ["bicubic", "lanczos", "network"], "errors": matrix, "of_son": son}

    (line,) = rule["learn"]([row(0.6, 0.1), row(1.4, 0.1)], margin=0.0)
    assert line.startswith("'clean': {'network': 0.5}")  # half of each: (1 + 0.6) / 4 and (1 + 1.4) / 4
    (line,) = rule["learn"]([row(0.6, 0.1), row(9.0, 0.1)], margin=0.0)
    assert line.startswith("'clean': {'network': 0.125}")
    (line,) = rule["learn"]([row(0.6), row(9.0)], margin=0.0)  # where the photo itself warns of the network
    assert line.startswith("'clean': {'network': 0.625}")
