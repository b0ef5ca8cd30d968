"""Means over named sets of degradations, and the published numbers beside them."""

import csv
import io
import math
from dataclasses import replace

import pytest

from metasr.evaluation.printing import format_pivot, format_rows
from metasr.evaluation.published import Published, published, published_as
from metasr.evaluation.results import ImageRow, Table
from metasr.models.plain_cnn import PlainCNN
from metasr.solvers.interpolate import InterpolateSolver
from metasr.solvers.network import NetworkSolver

SETS = {"pair": ("a_b", "c_b")}


def row(degradation: str, psnr: float, *, image: str = "i", solver: str = "network", stopped: str = "") -> ImageRow:
    return ImageRow(
        "set5", degradation, 4.0, solver, "-" if solver == "interpolate" else "run", 0, image, psnr, psnr / 40, 1.0,
        stopped=stopped, published_as="MRDA" if solver == "network" else "Bicubic",
    )  # fmt: skip


def means(table: Table) -> dict[tuple[str, str], tuple[float, int]]:
    return {(r.degradation, r.solver): (r.psnr_y, r.images) for r in table.rows}


def test_the_mean_is_over_every_image_and_member():
    scores = [
        row("a_b", 20, image="i"),
        row("a_b", 22, image="j"),
        row("c_b", 30, image="i"),
        row("c_b", 40, image="j"),
    ]
    found = means(Table([*scores, row("other", 99)], sets=SETS))
    assert found["pair", "network"] == (28.0, 2)
    assert list(found)[-1] == ("pair", "network")
    assert found["a_b", "network"] == (21.0, 2)
    assert ("pair", "network") not in means(Table(scores))


def test_a_solver_that_left_out_a_member_has_no_mean():
    found = means(Table([row("a_b", 20), row("c_b", 30), row("a_b", 10, solver="interpolate")], sets=SETS))
    assert ("pair", "network") in found
    assert ("pair", "interpolate") not in found


def test_the_mean_over_a_set_is_over_images_that_have_a_score_under_all_members():
    scores = [
        row("a_b", 20),
        row("a_b", 22, image="j"),
        row("c_b", 30),
        replace(row("c_b", math.nan, image="j"), failed="x"),
    ]
    found = Table(scores, sets=SETS).rows[-1]
    assert (found.psnr_y, found.images, found.failed) == (25.0, 1, 1)


def test_a_solver_that_stops_itself():
    table = Table([row("a_b", 20, stopped="flat"), row("c_b", 30, stopped="flat")], sets=SETS)
    assert table.rows[-1].own_stop
    assert table.rows[-1].psnr_y == 25


@pytest.fixture
def eight() -> Table:
    members = tuple(f"sig_{width}_b" for width in ("1.8", "2", "2.2", "2.4", "2.6", "2.8", "3", "3.2"))
    scores = [row(m, 30 + i / 10, solver=s) for i, m in enumerate(members) for s in ("interpolate", "network")]
    return Table(scores, sets={"gaussian8": members})


def test_the_row_stands_in_every_table(eight):
    lines = list(csv.DictReader(io.StringIO(eight.to_csv())))
    assert [line["degradation"] for line in lines[-2:]] == ["gaussian8"] * 2
    assert lines[-1]["psnr_y"] == "30.3500"
    assert lines[-1]["published_psnr_y"] == "31.9800"
    text = format_pivot(eight, title="t")
    heading, line = text.splitlines()[2], next(x for x in text.splitlines() if x.startswith("gaussian8"))
    assert [h for h in ("DASR", "MRDA", "KDSR-M") if h in heading] == ["DASR", "MRDA", "KDSR-M"]
    assert "MZSR(10)" not in heading
    assert line.replace("│", " ").split() == ["gaussian8", "30.35", "30.35", "31.46", "31.98", "32.02", "1.00"]
    assert max(map(len, text.splitlines())) < 120
    assert "31.98 / 0.8872 │  -1.63" in format_rows(eight, title="t")


def test_published_numbers_can_be_left_out(eight):
    plain = Table(eight.images, compare=False, sets=eight.sets)
    assert "MRDA" not in format_pivot(plain, title="t")
    assert plain.rows[-1].published_psnr_y is None


@pytest.mark.parametrize(
    ("method", "testset", "degradation", "numbers"),
    [
        ("MRDA", "set5", "gaussian8", (31.98, 0.8872)),
        ("MRDA", "urban100", "gaussian8", (25.90, 0.7734)),
        ("DASR", "set14", "gaussian8", (28.11, 0.7603)),
        ("KDSR-M", "b100", "gaussian8", (27.52, 0.7281)),
        ("KDSR-L", "manga109", "gaussian8", (30.99, 0.9069)),
        ("DCLS", "set14", "gaussian8", (28.54, 0.7728)),
        ("MRDA", "set14", "sigani_3.5_1.5_20_b_n20", (24.79, None)),
        ("DASR", "set14", "sigani_3.5_1.5_20_b", (27.62, None)),
    ],
)
def test_published_numbers(method, testset, degradation, numbers):
    assert published(method, testset=testset, degradation=degradation, scale=4) == Published(*numbers)


def test_estimated_kernels_have_no_published_mean():
    for name in ("mrda9-estimated", "mrda9-estimated_n10", "dasr9-estimated"):
        assert published("MRDA", testset="set14", degradation=name, scale=4) is None


@pytest.mark.parametrize(("method", "expected"), [("mrda", "MRDA"), ("kdsr", "KDSR-M"), ("mzsr", ""), ("", "")])
def test_whose_network_it_is(method, expected):
    assert published_as(NetworkSolver(PlainCNN(channels=4, layers=2)), updates=0, method=method) == expected
    assert published_as(InterpolateSolver(), updates=0, method=method) == "Bicubic"
