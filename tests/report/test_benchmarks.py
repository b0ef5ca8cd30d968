"""Results of the benchmarks of photos and of known blur as tables of a report."""

import json
from pathlib import Path

import pytest

from metasr.errors import DataError
from metasr.jobs.program import with_runs
from metasr.jobs.report import gather
from metasr.jobs.run import execute
from metasr.report.benchmarks import read_benchmark
from metasr.report.wandb.blocks import Heading, MarkdownTable, blocks
from report_samples import write_run
from running import compose

PHOTOS = [
    {"image": image, "condition": condition, "choice": choice, "crop": 192, "psnr_y": psnr, "cpu": cpu, "assumed": ""}
    for image, condition, choice, psnr, cpu in (
        ("a", "clean", "bicubic", 30.0, 0.1), ("a", "clean", "lanczos", 30.5, 0.1), ("a", "clean", "auto", 32.0, 4.0),
        ("b", "clean", "bicubic", 28.0, 0.1), ("b", "clean", "lanczos", 28.1, 0.1), ("b", "clean", "auto", 31.0, 2.0),
        ("a", "q75", "bicubic", 26.0, 0.1), ("a", "q75", "lanczos", 25.9, 0.1), ("a", "q75", "auto", 25.75, 3.0),
        ("b", "q75", "bicubic", 20.0, 0.1),  # not done yet by the others
    )
]  # fmt: skip
BLUR = """kernel,solver,psnr_y,ssim_y,cpu_seconds,more_mib,images
iso 2.0,data_step,30.5,0.91,0.5,12.4,3
iso 2.0,unfolded,33.25,0.95,2.5,80.0,3
disc 2,data_step,29.5,0.89,0.7,10.0,3
disc 2,unfolded,29.5,0.93,2.3,81.6,3
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    path = tmp_path / "photos.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in PHOTOS))
    return path


@pytest.fixture
def blur(tmp_path: Path) -> Path:
    path = tmp_path / "nonblind.csv"
    path.write_text(BLUR)
    return path


def test_photos(photos: Path) -> None:
    table = read_benchmark(photos)
    assert table.columns == ["condition", "bicubic", "lanczos", "auto"]
    assert table.rows == [
        ["clean", "29.00", "29.30", "31.50"],
        ["q75", "26.00", "25.90", "25.75"],  # of the image that all have done
        ["largest loss against bicubic or lanczos", "0.50", "0.10", "0.25"],
        ["CPU seconds a megapixel", "0.10", "0.10", "3.00"],
    ]
    assert table.best == [{2}, {0}, frozenset(), frozenset()]
    assert "2 images that all choices have done (photos.jsonl)" in table.title


def test_known_blur(blur: Path) -> None:
    table = read_benchmark(blur)
    assert table.columns == ["kernel", "data_step", "unfolded"]
    assert table.rows == [
        ["iso 2.0", "30.50", "33.25"],
        ["disc 2", "29.50", "29.50"],
        ["mean PSNR", "30.00", "31.38"],
        ["mean SSIM", "0.9000", "0.9400"],
        ["CPU seconds an image", "0.60", "2.40"],
        ["memory in MiB", "12", "82"],
    ]
    assert table.best == [{1}, {0, 1}, {1}, {1}, frozenset(), frozenset()]


def test_a_line_that_was_cut_off_is_left_out_and_a_repeated_one_counts_last(photos: Path) -> None:
    again = {**PHOTOS[2], "psnr_y": 34.0}
    photos.write_text(photos.read_text() + json.dumps(again) + '\n{"image": "c", "cond')
    assert read_benchmark(photos).rows[0] == ["clean", "29.00", "29.30", "32.50"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("x.csv", "a,b\n1,2\n", "is damaged or of another kind: no kernel, solver"),
        ("x.csv", BLUR.replace("30.5,", "high,"), "could not convert string to float: 'high'"),
        ("x.csv", BLUR.splitlines()[0], "holds no results"),
        ("x.jsonl", "[1]\n", "line 1 is no object"),
        ("x.jsonl", '{"image": 1}\n{\n{}\n', "line 2 is no JSON"),
        ("x.jsonl", json.dumps({**PHOTOS[0], "psnr_y": None}), "psnr_y must be a number, got None"),
        ("x.txt", "", "is neither .jsonl nor .csv"),
        ("none.csv", None, "is not there; write it by benchmarks/photos.py"),
    ],
)
def test_files_of_something_else(tmp_path: Path, name: str, text: str | None, told: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as error:
        read_benchmark(tmp_path / name)
    assert told in str(error.value)


def test_they_stand_in_the_report(tmp_path: Path, photos: Path, blur: Path) -> None:
    cfg = compose("task=report", "logger=none", f"benchmarks=[{photos},{blur}]", f"output={tmp_path / 'alone.html'}")
    execute(cfg, tmp_path)
    alone = (tmp_path / "alone.html").read_text()
    assert "<h1>2 benchmarks</h1>" in alone
    assert '<section id="benchmarks">' in alone
    assert "<strong>33.25</strong>" in alone
    assert "largest loss against bicubic or lanczos" in alone
    data = gather([str(write_run(tmp_path / "run"))], [str(blur)])
    assert data.title == "mzsr_x2: 1 run"
    told = blocks(data)
    place = told.index(Heading("Known blur: PSNR on Y in dB, mean over 3 images (nonblind.csv)"))
    table = told[place + 1]
    assert isinstance(table, MarkdownTable)
    assert "| disc 2 | 29.50 | 29.50 |" in table.text


def test_files_that_are_typed_by_themselves() -> None:
    assert with_runs(["outputs/a", "photos.jsonl", "to=html", "b c.csv"]) == [
        "to=html", "runs=[outputs/a]", "benchmarks=[photos.jsonl,'b c.csv']",
    ]  # fmt: skip
