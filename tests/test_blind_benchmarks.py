"""The benchmarks of MRDA and KDSR: bad input, and what they print and write of runs that nothing was trained for."""

import csv
import runpy
import sys
from pathlib import Path

import pytest
import torch

from running import PROJECT
from untrained_blind_run import untrained_run

BENCHMARKS = PROJECT / "benchmarks"


@pytest.fixture(autouse=True)
def _beside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.chdir(tmp_path)


def status(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    module = runpy.run_path(str(BENCHMARKS / f"{name}.py"))
    return module["status_of"](module["main"])


@pytest.mark.parametrize(("command", "named"), [
    ("mrda_speed --lr 48", "--lr"),
    ("mrda_speed --lr 0x8", "0x8"),
    ("mrda_speed --batch 0", "--batch"),
    ("mrda_speed --run nowhere", "--run"),
    ("mrda_speed --run .", "finished stage"),
    ("mrda_speed --device cuda", "CUDA"),
    ("degradation_vectors nowhere", "nowhere"),
    ("degradation_vectors .", "finished stage"),
    ("degradation_vectors . --widths 2", "--widths"),
    ("degradation_vectors . --max 1", "--max"),
    ("degradation_vectors . --piece 8", "--piece"),
    ("mrda_claims .", "finished stage"),
    ("mrda_claims nowhere", "nowhere"),
    ("mrda_claims . nowhere", "nowhere"),
    ("mrda_claims . --max 2", "--max"),
])  # fmt: skip
def test_bad_input_is_one_line_with_status_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, named: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert status(monkeypatch, *command.split()) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert named in shown.err
    assert shown.err.count("\n") == 1


def test_claims_want_a_chain_and_known_controls(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = untrained_run(Path("run")), untrained_run(Path("other"), "stages_to_run=[pretrain]")
    assert status(monkeypatch, "mrda_claims", str(other)) == 2
    assert "is no run of a whole chain ending in a student" in capsys.readouterr().err
    assert status(monkeypatch, "mrda_claims", str(run), str(other)) == 2
    assert "is none of the controls; give runs of +ablation=mrda_..." in capsys.readouterr().err


@pytest.mark.slow
def test_claims_judge_a_run_and_its_controls(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = untrained_run(Path("run"))
    names = ("mrda_joint", "mrda_bicubic_only", "mrda_no_distillation", "mrda_mln_never_reset", "mrda_random_vector")
    controls = [untrained_run(Path(name), f"+ablation={name}") for name in names]
    arguments = [str(path) for path in (run, *controls)] + ["--max", "3", "--draws", "1", "--piece", "128"]
    assert status(monkeypatch, "mrda_claims", *arguments) == 0
    shown, steps = capsys.readouterr()
    assert [line.split()[0] for line in steps.splitlines()] == ["scoring", "probing", "adapting"]
    rows = {line.split("|")[1].strip(): line for line in shown.splitlines() if line.startswith("| A")}
    assert list(rows) == [*(f"A{i}" for i in range(1, 7)), "A6b", *(f"A{i}" for i in range(7, 11))]
    assert rows["A1"].endswith("| FAIL |")
    assert rows["A6"].endswith(" one seed alone proves nothing | not run |")
    assert "joint" in rows["A7"]
    assert rows["A6b"].endswith(" one seed alone proves nothing | not run |")
    assert rows["A9"].endswith("| told |")
    assert rows["A10"].endswith("| see benchmarks/mrda_speed.py | not run |")
    assert "control never_reset: mrda_x4_iso, profile smoke, seed 1, samples" in shown


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["mrda_x4_iso", "kdsr_x4_iso"])
def test_vectors_are_probed_swapped_and_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], experiment: str
) -> None:
    run = untrained_run(Path("run"), experiment=experiment)
    small = ("--max", "3", "--piece", "128", "--widths", "3", "--draws", "1")
    assert status(monkeypatch, "degradation_vectors", str(run), *small) == 0
    shown = capsys.readouterr().out
    written = {path.name for path in (run / "degradation_vectors").iterdir()}
    wanted = {"probe.csv", "swapped.csv", "swapped.png", "vectors_by_width.png", "vectors_by_degradation.png"}
    if experiment == "mrda_x4_iso":
        wanted |= {"adaptation.csv", "adaptation.png"}
        assert "loss by the wrong blur, meta-trained: adapted to 1.2, scored on 3.6" in shown
    assert written == wanted
    with (run / "degradation_vectors" / "probe.csv").open(encoding="utf-8", newline="") as file:
        told = list(csv.DictReader(file))
    vectors = {row["vector"] for row in told}
    assert {"student", "student, untrained", "teacher (oracle)"} <= vectors
    assert len(told) == len(vectors) * 12 * 3  # pieces and widths


@pytest.mark.slow
def test_cost_is_told_of_a_runs_own_networks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = untrained_run(Path("run"))
    assert status(monkeypatch, "mrda_speed", "--device", "cpu", "--run", str(run), "--lr", "9x7", "--repeats", "1") == 0
    assert "adaptation is worth" in capsys.readouterr().out
    pair = untrained_run(Path("pair"), experiment="kdsr_x4_iso")
    assert status(monkeypatch, "mrda_speed", "--device", "cpu", "--run", str(pair), "--lr", "9x7") == 2
    assert "its teacher adapts no network; give a run of mrda_x4_iso" in capsys.readouterr().err
