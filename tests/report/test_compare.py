"""Runs side by side."""

import math
import statistics

import pytest

from metasr.report.compare import (
    Place,
    baselines_differ,
    comparison,
    describe,
    differences,
    gap,
    headline,
    loss_curves,
    places,
    psnr_curves,
)
from metasr.report.run_data import ReportData, Spread
from report_samples import row, rows, run_data

SET5 = Place("set5", 2.0, 5)


def test_spread_is_the_sample_standard_deviation():
    found = Spread.of([30.0, 31.0, 33.5])
    assert (found.mean, found.std) == (31.5, statistics.stdev([30.0, 31.0, 33.5]))
    assert found.text(2) == "31.50 ± 1.80"
    assert Spread.of([30.0]).text(1) == "30.0"
    assert Spread.of([math.nan]).text(1) == "-"


def test_a_line_per_degradation_with_gaps_to_the_published_numbers():
    data = ReportData([run_data("a"), run_data("b", rows=rows(36.25))])
    found = comparison(data, SET5)
    assert found.columns == [
        "degradation", "bicubic", "bicubic, aligned", "a (adapt, 10 updates)", "b (adapt, 10 updates)", "published"
    ]  # fmt: skip
    assert found.texts == [["g2.0d", "28.73", "29.79", "35.50 (-0.55)", "36.25 (+0.20)", "36.05"]]
    assert [c.psnr for c in found.rows[0][1:5]] == [28.73, 29.79, 35.5, 36.25]
    assert math.isnan(found.rows[0][5].psnr)


def test_seeds_of_one_line_become_mean_and_spread():
    runs = [run_data(f"s{i}", line="v", rows=rows(35.0 + i)) for i in range(3)]
    assert comparison(ReportData(runs), SET5).texts[0][3] == "36.00 ± 1.00 (-0.05)"


def test_without_published_numbers_there_is_no_column_for_them():
    found = comparison(ReportData([run_data("a", rows=rows(published=None))]), SET5)
    assert found.columns[-1] == "a (adapt, 10 updates)"
    assert found.texts == [["g2.0d", "28.73", "29.79", "35.50"]]


def test_scores_on_different_images_or_scales_are_kept_apart():
    data = ReportData([run_data("a"), run_data("b", rows=[row(30.0, images=1), row(31.0, scale=4.0)])])
    assert places(data) == [SET5, Place("set5", 2.0, 1), Place("set5", 4.0, 5)]
    assert [str(p) for p in places(data)] == [
        "5 images of set5, ×2", "1 image of set5, ×2", "5 images of set5, ×4"
    ]  # fmt: skip
    assert comparison(data, SET5).columns[3:] == ["a (adapt, 10 updates)", "published"]
    assert comparison(data, Place("set5", 4.0, 5)).texts == [["g2.0d", "-", "-", "31.00"]]


def test_a_run_is_compared_by_its_own_row_after_most_updates():
    own, beside = row(30.0, updates=10.0), row(40.0, weights="released/x", updates=20.0)
    assert headline(run_data(rows=[row(31.0, updates=1.0), own, beside]), SET5, "g2.0d") is own
    assert headline(run_data(rows=[beside]), SET5, "g2.0d") is beside
    stopping = row(29.0, updates=2.5, own_stop=True)
    assert headline(run_data(rows=[own, stopping]), SET5, "g2.0d") is stopping
    assert headline(run_data(rows=rows()), SET5, "bicubic") is None


def test_what_made_a_row():
    assert describe(row(1.0, updates=1.0)) == "adapt, 1 update"
    assert describe(row(1.0, updates=0.0)) == "adapt, 0 updates"
    assert describe(row(1.0, solver="network", updates=0.0)) == "network"
    assert describe(row(1.0, updates=3.5, own_stop=True)) == "adapt, stopping itself"


def test_a_row_with_a_failure_stays_beside_the_others_and_says_so():
    data = ReportData(
        [
            run_data("a"),
            run_data("b", rows=[row(30.0, images=4, failed=1), row(29.0, images=0, failed=5, updates=20.0)]),
        ]
    )
    assert places(data) == [SET5]
    assert comparison(data, SET5).texts[0][4] == "30.00, 4 of 5 images"


def test_gap_is_none_without_a_published_number_and_never_minus_zero():
    assert gap(row(30.0)) is None
    assert str(gap(row(30.0, published_psnr_y=30.001))) == "0.0"
    assert gap(row(30.0, published_psnr_y=31.25)) == -1.25


def test_runs_that_were_not_measured_alike_are_found_by_their_bicubic_rows():
    alike = [run_data("a"), run_data("b", rows=rows(30.0))]
    assert baselines_differ(ReportData(alike)) == []
    other = run_data("c", rows=rows(bicubic=28.75))
    assert baselines_differ(ReportData([*alike, other])) == ["5 images of set5, ×2"]


def test_psnr_by_updates_over_seeds():
    runs = [run_data("s1", line="v"), run_data("s2", line="v", rows=rows(36.5)), run_data("w")]
    curves = psnr_curves(ReportData(runs))[SET5, "g2.0d"]
    assert list(curves) == ["v", "w"]
    assert list(curves["v"]) == [0.0, 10.0]
    assert curves["v"][10.0].mean == 36.0
    assert curves["v"][10.0].std == pytest.approx(math.sqrt(0.5))
    assert math.isnan(curves["w"][10.0].std)


def test_several_solvers_and_weights_shown_beside_have_curves_of_their_own():
    two = [row(30.0), row(31.0, solver="other"), row(33.0, weights="released/x"), row(34.0, own_stop=True)]
    curves = psnr_curves(ReportData([run_data("a", rows=two)]))[SET5, "g2.0d"]
    assert set(curves) == {"a, adapt", "a, other", "released/x"}


def test_losses_over_seeds_of_different_lengths():
    runs = [
        run_data("s1", line="v", losses={("d", "adapt", "run"): [1.0, 0.5, 0.25]}),
        run_data("s2", line="v", losses={("d", "adapt", "run"): [3.0, 1.5], ("d", "adapt", "released/x"): [9.0]}),
    ]
    curves = loss_curves(ReportData(runs))["d"]
    assert [s.mean for s in curves["v"]] == [2.0, 1.0, 0.25]
    assert [s.mean for s in curves["released/x"]] == [9.0]


def test_differences_are_of_choices_not_of_places():
    one = {"seed": 1, "model": {"channels": 8, "wide": None}, "paths": {"outputs": "/a"}, "output": "x"}
    two = {"seed": 2, "model": {"channels": 8}, "paths": {"outputs": "/b"}, "output": "y", "more": [1, 2]}
    found = differences([run_data("a", config=one), run_data("b", config=two)])
    assert found == {"seed": ["1", "2"], "model.wide": ["null", "-"], "more": ["-", "[1, 2]"]}


def test_titles():
    one = [run_data("a"), run_data("b")]
    assert ReportData(one).title == "mzsr_x2: 2 runs"
    assert ReportData(one[:1]).title == "mzsr_x2: 1 run"
    assert ReportData([*one, run_data("c", experiment="other")]).title == "3 runs of 2 experiments"
