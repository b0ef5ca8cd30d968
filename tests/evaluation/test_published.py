import csv
import re
from pathlib import Path

import pytest

import metasr.evaluation
from metasr.evaluation.published import Published, published, published_as
from metasr.models.plain_cnn import PlainCNN
from metasr.solvers.back_project import BackProjectSolver
from metasr.solvers.interpolate import InterpolateSolver
from metasr.solvers.mzsr.solver import MZSRSolver
from metasr.solvers.zssr.solver import ZSSRSolver

FILES = sorted((Path(metasr.evaluation.__file__).parent / "published_csv").glob("*.csv"))


@pytest.mark.parametrize(
    ("method", "testset", "degradation", "numbers"),
    [
        ("Bicubic", "set5", "g0.2d", (30.24, 0.8976)),
        ("Bicubic", "set5", "g2.0d", (28.73, 0.8449)),
        ("Bicubic", "set5", "gani_d", (28.15, 0.8265)),
        ("Bicubic", "set5", "g1.3b", (30.54, 0.8773)),
        ("Bicubic", "set5", "bicubic", (33.64, 0.9293)),
        ("Bicubic", "b100", "gani_d", (26.00, 0.6891)),
        ("MZSR(1)", "set5", "g2.0d", (35.20, 0.9398)),
        ("MZSR(10)", "set5", "g2.0d", (36.05, 0.9439)),
        ("MZSR(10)", "set5", "g0.2d", (33.74, 0.9301)),
    ],
)
def test_numbers(method, testset, degradation, numbers):
    assert published(method, testset=testset, degradation=degradation, scale=2) == Published(*numbers)


def test_a_number_may_have_no_ssim():
    alone = [row for row in all_rows() if not row["ssim_y"]]
    assert alone
    row = alone[0]
    known = published(row["method"], testset=row["testset"], degradation=row["degradation"], scale=float(row["scale"]))
    assert known == Published(float(row["psnr_y"]), None)


def all_rows() -> list[dict[str, str]]:
    return [
        row
        for path in FILES
        for row in csv.DictReader(line for line in path.read_text("utf-8").splitlines() if not line.startswith("#"))
    ]


@pytest.mark.parametrize("change", [{"method": "Magic"}, {"testset": "x"}, {"degradation": "x"}, {"scale": 3}])
def test_what_was_not_published_is_none(change):
    known = {"method": "Bicubic", "testset": "set5", "degradation": "g2.0d", "scale": 2}
    assert published(**known) is not None
    assert published(**(known | change)) is None


def test_every_file_tells_its_origin():
    assert FILES
    for path in FILES:
        assert re.search(r"^# Origin: .*\b(19|20)\d\d\b", path.read_text("utf-8"), re.MULTILINE), path.name


def test_rows_are_plausible_and_given_once():
    rows = all_rows()
    keys = [(r["method"], r["testset"], r["degradation"], float(r["scale"])) for r in rows]
    assert len(set(keys)) == len(keys)
    for row in rows:
        assert 15 < float(row["psnr_y"]) < 45, row
        assert not row["ssim_y"] or 0.4 < float(row["ssim_y"]) < 1, row
        number = re.fullmatch(r"MZSR\((\d+)\)", row["method"])
        assert not number or number[1] == row["updates"], row


@pytest.mark.parametrize(
    ("solver", "updates", "method"),
    [
        (InterpolateSolver(), 0, "Bicubic"),
        (InterpolateSolver(aligned=True), 0, ""),
        (MZSRSolver(PlainCNN(channels=4, layers=2), steps=1), 1, "MZSR(1)"),
        (MZSRSolver(PlainCNN(channels=4, layers=2), steps=10), 10, "MZSR(10)"),
        (ZSSRSolver(channels=4, layers=3), 1000, "ZSSR"),
        (BackProjectSolver(), 0, ""),
    ],
)
def test_methods_of_our_solvers(solver, updates, method):
    assert published_as(solver, updates=updates) == method
