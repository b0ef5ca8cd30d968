"""The table that a sweep ends with."""

import csv
import io
import statistics

from metasr.evaluation.results import Row
from metasr.report.sweep_table import Job, SweepTable


def result(psnr: float, *, solver="adapt", weights="run", updates=10.0, own_stop=False, degradation="g2.0d", scale=2.0,
           taken: float = 10.0) -> Row:  # fmt: skip
    requested = int(updates) if solver == "adapt" else None
    return Row("samples", degradation, scale, solver, weights, updates, 4, psnr, 0.9, 0.5, own_stop=own_stop,
               requested=requested, taken=taken)  # fmt: skip


def job(*overrides: str, psnr: float | None = None, error: str = "") -> Job:
    rows = () if psnr is None else (result(28.0, solver="interpolate", weights="-", updates=0), result(psnr))
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
    assert text.split("one run again:\n")[1].split("\n\n")[0].splitlines() == [
        f"  order={order}, seed={seed}: run stages.a.recipe.order={order} seed={seed}"
        for order in ("first", "second") for seed in (1, 2)
    ]  # fmt: skip
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
        Job(("seed=1",), (result(30, solver="m", updates=2.5, own_stop=True),)),
        Job(("seed=2",), (result(31, solver="m", updates=3.5, own_stop=True),)),
    ]
    (row,) = SweepTable(jobs).rows
    assert (row.runs, row.updates, row.psnr_y) == (2, 3.0, 30.5)


def test_interpolation_is_not_averaged_over_scales():
    jobs = [
        Job(
            (f"scale={s}",),
            (result(psnr, solver="interpolate", weights="-", updates=0, scale=s),),
        )
        for s, psnr in ((2.0, 32.0), (3.0, 29.0))
    ]
    assert [(r.variant, r.psnr_y, r.runs) for r in SweepTable(jobs).rows] == [
        ("all, x2, 4 images", 32.0, 1),
        ("all, x3, 4 images", 29.0, 1),
    ]
    assert "one run again" not in SweepTable(jobs).format(title="t")


def test_training_cost_is_told_relative_to_the_first_variant():
    jobs = [
        Job(("reward=none", "seed=1"), (result(1),), step_seconds=0.2),
        Job(("reward=none", "seed=2"), (result(1),), step_seconds=0.4),
        Job(("reward=error", "seed=1"), (result(1),), step_seconds=0.6),
        Job(("reward=error", "seed=2"), (), "failed", step_seconds=9.0),
    ]
    text = SweepTable(jobs).format(title="t")
    assert "  reward=none: 0.300 (1.00)\n  reward=error: 0.600 (2.00)" in text


def test_rows_keep_the_order_of_the_degradations():
    rows = (result(1, degradation="b"), result(2, degradation="a"))
    table = SweepTable([Job(("x=1",), rows), Job(("x=2",), rows)])
    assert [(r.degradation, r.variant) for r in table.rows] == [("b", "x=1"), ("b", "x=2"), ("a", "x=1"), ("a", "x=2")]


def trial(rate: str, objective: float | None, *, error: str = "", pruned: str = "") -> Job:
    return Job((f"a.rate={rate}",), error=error, command=f"run {rate}", trial=True, objective=objective, pruned=pruned)


def test_trials_of_a_search_the_best_first():
    jobs = [
        trial("0.012345678", None, error="loss became nan"), trial("0.5", 29.125, pruned="given up at 2"),
        trial("0.25", 31.5),
    ]  # fmt: skip
    table = SweepTable(jobs)
    text = table.format(title="t")
    assert text.index("31.50  rate=0.25\n") < text.index("29.12  rate=0.5 (given up at 2)")
    assert "   -    rate=0.01235 (failed)" in text
    assert "1 of 3 runs failed:\n  rate=0.01235: loss became nan" in text
    assert "one run again:\n  rate=0.01235: run 0.012345678\n  rate=0.25: run 0.25\n" in text  # all: trials.csv
    assert [table.state(job) for job in table.jobs] == ["failed", "given up", "finished"]
    lines = list(csv.DictReader(io.StringIO(table.trials_to_csv())))
    assert [(r["trial"], r["val_psnr_y"], r["state"], r["command"]) for r in lines] == [
        ("rate=0.25", "31.5000", "finished", "run 0.25"),
        ("rate=0.5", "29.1250", "given up at 2", "run 0.5"),
        ("rate=0.01235", "", "loss became nan", "run 0.012345678"),
    ]
    assert "trials by" not in SweepTable(JOBS).format(title="t")


def test_numbers_are_rounded_where_that_keeps_variants_apart():
    table = SweepTable([Job(("a=0.123456", "b=x")), Job(("a=0.234567", "b=y"))])
    assert [table.label(j) for j in table.jobs] == ["a=0.1235, b=x", "a=0.2346, b=y"]
    close = SweepTable([Job(("a=0.123456",)), Job(("a=0.123457",)), Job(("a=1e-3",))])
    assert [close.label(j) for j in close.jobs] == ["a=0.123456", "a=0.123457", "a=1e-3"]
    kept = SweepTable([Job(("a=1e-3",)), Job(("a=128",)), Job(("a=[0.123456,1]",))])
    assert [kept.label(j) for j in kept.jobs] == ["a=1e-3", "a=128", "a=[0.123456,1]"]


def test_a_requested_number_of_updates_is_one_row_whatever_was_taken():
    jobs = [
        Job((f"seed={i}",), (result(30.0 + i, updates=1000.0, taken=taken),)) for i, taken in ((1, 1000.0), (2, 412.5))
    ]
    (row,) = SweepTable(jobs).rows
    assert (row.runs, row.updates, row.psnr_y) == (2, 1000.0, 31.5)
    assert " 1000 " in SweepTable(jobs).format(title="t")


def test_no_label_is_a_formula_in_a_spreadsheet():
    table = SweepTable([Job(("a==1+1",), (result(1.0),), command="=cmd"), Job(("a=2",), (result(2.0),))])
    lines = list(csv.reader(io.StringIO(table.to_csv())))[1:]
    assert {line[0] for line in lines} == {"a==1+1", "a=2"}
    assert lines[0][lines[0].index("'=cmd")] == "'=cmd"
    assert [float(line[7]) for line in lines] == [1.0, 2.0]
