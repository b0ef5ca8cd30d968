"""The blocks of a wandb report, without an account and without wandb's package."""

import ast
from dataclasses import dataclass
from typing import Any

import pytest

from metasr.errors import InputError
from metasr.report.run_data import ReportData, StageData, SweepData
from metasr.report.sweep_table import Job, SweepTable
from metasr.report.wandb.blocks import (
    Bars,
    Grid,
    Heading,
    Lines,
    LoggedTable,
    MarkdownTable,
    Paragraph,
    Pictures,
    RunSet,
    blocks,
    to_wandb,
)
from report_samples import png, row, run_data


def report() -> ReportData:
    stage = StageData("01_pretrain", {"metrics": {"val/psnr_y/g2.0d@0": 30.0}}, {"train/loss": [(0, 1.0)]})
    runs = [
        run_data("a", folder="/o/mzsr_x2/2026-01-01", stages=[stage]),
        run_data("b", folder="/o/s/seed_1-abc", sweep="s", pictures={"bird.png": png()}, rows=[row(30.0, updates=2.0)]),
        run_data("c", folder="/o/s/seed_2-abc", sweep="s", pictures={}, stages=[], unfinished="no table yet"),
        run_data("d", folder="/o/other/x", experiment="other", rows=(), stages=[], pictures={}),
    ]
    sweep = SweepData("s", SweepTable([Job(("seed=1",)), Job(("seed=3",), error="why")]))
    return ReportData(runs, [sweep], [("/damaged", "its card")])


def test_results_first_then_a_part_for_every_experiment_and_sweep():
    found = blocks(report())
    assert found[0] == Heading("4 runs of 2 experiments", 1)
    assert [b.text for b in found if isinstance(b, Paragraph)] == [
        "c is unfinished: no table yet.", "/damaged was left out: its card", "s: 1 of 2 runs failed.",
    ]  # fmt: skip
    assert [b.text for b in found if isinstance(b, Heading)][1:] == [
        "PSNR on Y in dB, 5 images of set5, ×2", "mzsr_x2", "mzsr_x2, s", "other",
    ]  # fmt: skip
    (table,) = [b for b in found if isinstance(b, MarkdownTable)]
    assert table.rows[0][:4] == ["g2.0d", "28.73", "29.79", "35.50 (-0.55)"]
    assert table.text.splitlines()[1] == "| " + " | ".join(["---"] * len(table.columns)) + " |"


def test_panels_of_each_part():
    first, stage, sweep, sweep_stage = [b for b in blocks(report()) if isinstance(b, Grid)]
    assert first.runs == RunSet("mzsr_x2: test", ["2026-01-01"], "evaluate")
    assert list(first.panels) == [
        Bars("PSNR on Y in dB", ["test/psnr_y/g2.0d/adapt/run@10"]),
        Pictures(["test/bird_g2.0d", "test/kernels", "test/adaptation"]),
        LoggedTable("test/table"),
    ]
    assert stage == Grid(
        RunSet("mzsr_x2: pretrain", ["2026-01-01"], "pretrain"), [Lines("train/loss"), Lines("val/psnr_y/g2.0d@0")]
    )
    assert sweep.runs == RunSet("mzsr_x2, s: test", ["s"], "evaluate", apart=True)
    assert sweep.panels[0] == Bars(
        "PSNR on Y in dB", ["test/psnr_y/g2.0d/adapt/run@2", "test/psnr_y/g2.0d/adapt/run@10"]
    )
    assert sweep_stage.runs == RunSet("mzsr_x2, s: meta_transfer", ["s"], "meta_transfer", apart=True)


def test_filters_are_expressions_that_can_be_read_back():
    found = ast.parse(RunSet("n", ["a", "b c"], "evaluate").filters, mode="eval").body
    assert isinstance(found, ast.BoolOp)
    group, job = found.values
    assert isinstance(group, ast.Compare)
    assert ast.literal_eval(group.comparators[0]) == ["a", "b c"]
    assert ast.unparse(job) == "Metric('JobType') == 'evaluate'"
    assert RunSet("n", ["a"]).filters == "Metric('Group') in ['a']"


@pytest.mark.parametrize("name", ["it's", "a=b", "a<b", "a\nb"])
def test_a_folder_that_no_filter_can_name_is_refused(name: str):
    with pytest.raises(InputError, match=r"by which wandb groups its jobs, must be of letters.*; leave it out"):
        blocks(ReportData([run_data(folder=f"/o/{name}")]))


def test_cells_of_tables_stay_in_their_cells():
    assert MarkdownTable(["a|b"], [["<i>\n"]]).text == "| a\\|b |\n| --- |\n| &lt;i> |".replace("&lt;i> |", "&lt;i>  |")


@dataclass
class Made:
    kind: str
    values: dict[str, Any]


class Fake:
    """Stands for ``wandb_workspaces.reports.v2``."""

    def __getattr__(self, kind: str):
        return lambda **values: Made(kind, values)


def test_blocks_become_wandbs():
    made = to_wandb(blocks(report()), Fake(), entity="me", project="p")
    assert [m.kind for m in made[:5]] == ["TableOfContents", "H1", "P", "P", "P"]
    grids = [m for m in made if m.kind == "PanelGrid"]
    (runs,) = grids[0].values["runsets"]
    assert (runs.kind, runs.values["entity"], runs.values["project"]) == ("Runset", "me", "p")
    assert runs.values["filters"].endswith("Metric('JobType') == 'evaluate'")
    assert [p.kind for p in grids[0].values["panels"]] == ["BarPlot", "MediaBrowser", "WeavePanelSummaryTable"]
    assert [grid.values["runsets"][0].values["groupby"] for grid in grids] == [["group"], ["group"], [], []]
    lines = grids[1].values["panels"]
    assert [(p.values["y"], p.values["log_y"]) for p in lines] == [
        (["train/loss"], True),
        (["val/psnr_y/g2.0d@0"], False),
    ]


def test_wandbs_own_package_takes_them():
    api = pytest.importorskip("wandb_workspaces.reports.v2")
    expressions = pytest.importorskip("wandb_workspaces.expr")
    made = to_wandb(blocks(report()), api, entity="me", project="p")
    api.Report(project="p", entity="me", title="t", blocks=made)
    grid = next(block for block in made if isinstance(block, api.PanelGrid))
    tree = expressions.expr_to_filters(grid.runsets[0].filters)
    assert [(f.key.name, f.op, f.value) for f in tree.filters] == [
        ("group", "IN", ["2026-01-01"]), ("jobType", "=", "evaluate"),
    ]  # fmt: skip
