"""The table that a sweep ends with."""

import csv
import io
import statistics

from metasr.report.sweep_table import Job, SweepTable


def result(psnr: float, *, solver="adapt", weights="run", updates="10", own_stop="False", degradation="g2.0d"):
    return {
        "testset": "samples", "degradation": degradation, "solver": solver, "weights": weights, "updates": updates,
        "psnr_y": str(psnr), "ssim_y": "0.9", "hf_error_y": "nan", "seconds": "0.5", "own_stop": own_stop,
    }  # fmt: skip


def job(*overrides: str, psnr: float | None = None, error: str = "") -> Job:
    rows = () if psnr is None else (result(28.0, solver="interpolate", weights="-", updates="0"), result(psnr))
    return Job(("+experiment=e", *overrides), rows, error, command=f"run {' '.join(overrides)}")


JOBS = [
    job("stages.a.recipe.order=first", "seed=1", psnr=30.0),
    job("stages.a.recipe.order=first", "seed=2", psnr=31.0),
    job("stages.a.recipe.order=second", "seed=1", psnr=32.5),
    job("stages.a.recipe.order=second", "seed=2", error="loss became nan"),
]


def test_means_spreads_and_bests_over_seeds_by_variant():
    rows = {(r.variant, r.solver): r for r in SweepTable(JOBS).rows}
    assert set(rows) == {("all", "interpolate"), ("order=first", "adapt"), ("order=second", "adapt")}
    first, second, all_of_them = rows["order=first", "adapt"], rows["order=second", "adapt"], rows["all", "interpolate"]
    assert (first.runs, first.psnr_y, first.psnr_y_best) == (2, 30.5, 31.0)
    assert first.psnr_y_std == statistics.stdev([30.0, 31.0])
    assert first.command == "run stages.a.recipe.order=first seed=2"
    assert (second.runs, second.psnr_y) == (1, 32.5)
    assert second.psnr_y_std != second.psnr_y_std  # one run has no spread
    assert all_of_them.runs == 3


def test_failed_runs_are_listed_and_the_rest_is_kept():
    table = SweepTable(JOBS)
    text = table.format(title="t")
    assert "1 of 4 runs failed:" in text
    assert "order=second, seed=2: loss became nan" in text
    assert "30.50 ± 0.71" in text
    assert "order=first: run stages.a.recipe.order=first seed=2" in text
    lines = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert [(r["variant"], r["error"]) for r in lines if r["error"]] == [("order=second", "loss became nan")]
    assert all(r["command"] for r in lines)


def test_a_sweep_where_all_failed_prints_no_table():
    assert SweepTable([job("seed=1", error="no")]).format(title="t").startswith("t: no finished run")


def test_a_sweep_over_seeds_alone_has_one_variant():
    rows = SweepTable([job("seed=1", psnr=1.0), job("seed=2", psnr=2.0)]).rows
    assert [r.variant for r in rows] == ["all", "as configured"]


def test_updates_of_a_solver_that_stops_itself_do_not_split_its_rows():
    jobs = [
        Job(("seed=1",), (result(30, solver="m", updates="2.5", own_stop="True"),)),
        Job(("seed=2",), (result(31, solver="m", updates="3.5", own_stop="True"),)),
    ]
    (row,) = SweepTable(jobs).rows
    assert (row.runs, row.updates, row.psnr_y) == (2, "3.0", 30.5)


def test_rows_keep_the_order_of_the_degradations():
    rows = (result(1, degradation="b"), result(2, degradation="a"))
    table = SweepTable([Job(("x=1",), rows), Job(("x=2",), rows)])
    assert [(r.degradation, r.variant) for r in table.rows] == [("b", "x=1"), ("b", "x=2"), ("a", "x=1"), ("a", "x=2")]
