"""The README's results table, from the released weights.

    python benchmarks/results.py --set5 FOLDER [--b100 FOLDER] [--quick RUN_FOLDER] [--write README.md]

Evaluates MZSR's released weights after 1 and 10 updates (and, beside them, a quick run's after 10) and the unfolded
network's without any, sets MZSR's published numbers and the gap beside them, and prints Markdown, each set's table as
soon as it is made; with ``--write`` it replaces what stands between the two marks ``<!-- results -->`` and
``<!-- /results -->`` of a file. Released weights whose card says that ``mzsr_multiscale`` made them get rows of their
own, beside the published multi-scale model. Set5 takes two minutes on two CPU cores, B100 a quarter of an hour.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from commands import PROJECT, folder, marked, replaced
from metasr.config.command_line import status_of
from metasr.errors import InputError

DEGRADATIONS = ("g0.2d", "g2.0d", "gani_d", "g1.3b", "bicubic")
MULTISCALE = ("g0.2d", "g2.0d", "gani_d")
COLUMNS = (
    "degradation", "bicubic", "bicubic, aligned", "quick run", "released, 1 update", "released, 10 updates",
    "unfolded, no update", "published MZSR(1)", "published MZSR(10)", "gap to MZSR(1)", "gap to MZSR(10)",
)  # fmt: skip


def evaluated(
    testset: str, root: Path, weights: str, updates: str, *, experiment: str = "mzsr_x2"
) -> list[dict[str, str]]:
    """Rows of the table that the program writes; where it fails, it has said why, and its exit status is ours."""
    from metasr.io.csv import parse_csv
    from metasr.runs.folder import quoted

    degradations = MULTISCALE if experiment == "mzsr_multiscale" else DEGRADATIONS
    with tempfile.TemporaryDirectory() as place:
        table = Path(place) / "table.csv"
        done = subprocess.run(
            [
                sys.executable, "src/run.py", f"+experiment={experiment}",
                "task=evaluate", "logger=none",
                f"weights={quoted(weights)}", f"testset={testset}", f"testset_root={quoted(str(root))}",
                f"degradations=[{','.join(degradations)}]", "scale=2",
                f"adapt_steps={updates}", f"table={quoted(str(table))}",
            ],
            cwd=PROJECT, stdout=subprocess.DEVNULL, env={**os.environ, "METASR_OUTPUTS": str(Path(place) / "outputs")},
        )  # fmt: skip
        if done.returncode:
            sys.exit(done.returncode)
        return parse_csv(table.read_text(encoding="utf-8"))


def lines(testset: str, root: Path, quick: Path | None) -> list[str]:
    """One test set's table in Markdown."""
    rows = evaluated(testset, root, "released", "[1,10]")
    own = (
        {r["degradation"]: r for r in evaluated(testset, root, str(quick), "[10]") if r["weights"] == "run"}
        if quick
        else {}
    )
    unfolded = {
        r["degradation"]: r
        for r in evaluated(testset, root, "released/unfolded", "[0]", experiment="unfolded")
        if r["solver"] == "unfolded"
    }
    columns = [c for c in COLUMNS if own or c != "quick run"]
    text = [f"| {' | '.join([testset, *columns[1:]])} |", f"| --- |{' ---: |' * (len(columns) - 1)}"]
    for name in DEGRADATIONS:
        cells = compared([r for r in rows if r["degradation"] == name], "MZSR", testset)
        cells |= {"degradation": f"`{name}`", "quick run": _number(own.get(name))}
        cells["unfolded, no update"] = _number(unfolded[name])
        text.append(f"| {' | '.join(cells[c] for c in columns)} |")
    for weights in multiscale_weights():
        rows = evaluated(testset, root, f"released/{weights}", "[1,10]", experiment="mzsr_multiscale")
        for name in MULTISCALE:
            cells = compared([r for r in rows if r["degradation"] == name], "MZSR-multiscale", testset)
            cells |= {"degradation": f"`{name}`, `{weights}`", "quick run": "-"}
            cells["unfolded, no update"] = "-"
            text.append(f"| {' | '.join(cells[c] for c in columns)} |")
    return text


def compared(rows: list[dict[str, str]], method: str, testset: str) -> dict[str, str]:
    """One degradation's cells: interpolation, the released weights, and a published method with the gaps to it."""
    from metasr.evaluation.published import published

    found = {(r["solver"], r["updates"]): r for r in rows}
    cells = {
        "bicubic": _number(found["interpolate", "0"]),
        "bicubic, aligned": _number(found["interpolate_aligned", "0"]),
    }
    for updates, plural in (("1", ""), ("10", "s")):
        row = found["adapt", updates]
        known = published(f"{method}({updates})", testset=testset, degradation=row["degradation"], scale=2)
        cells[f"released, {updates} update{plural}"] = _number(row)
        cells[f"published MZSR({updates})"] = f"{known.psnr_y:.2f}" if known else "-"
        gap = float(row["psnr_y"]) - known.psnr_y if known else None
        cells[f"gap to MZSR({updates})"] = "-" if gap is None else f"{round(gap, 2) + 0.0:+.2f}"
    return cells


def multiscale_weights() -> list[str]:
    """Names of the released weights that the multi-scale experiment made."""
    from metasr.paths import weights_folder
    from metasr.runs.weights import released

    cards = released(weights_folder())
    return [
        name for name, card in cards.items()
        if card.get("experiment") == "mzsr_multiscale" and card.get("stage") != "pretrain"
    ]  # fmt: skip


def _number(row: dict[str, str] | None) -> str:
    return f"{float(row['psnr_y']):.2f}" if row else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set5", required=True, help="folder of Set5's HR images")
    parser.add_argument("--b100", help="folder of B100's HR images")
    parser.add_argument("--quick", help="a run folder whose weights are shown beside")
    parser.add_argument("--write", type=Path, help="a file with the two marks")
    options = parser.parse_args()
    sets = {
        name: folder(root, what=f"the one that holds the HR images as --{name}")
        for name, root in (("set5", options.set5), ("b100", options.b100))
        if root
    }
    quick = folder(options.quick, what="the folder of a run as --quick") if options.quick else None
    if quick and not any(quick.glob("*/card.json")):
        raise InputError(f"{quick} is no run folder: no stage of it has a card; give the one that a run printed")
    document = marked(options.write, mark="results")
    tables = []
    for name, root in sets.items():
        tables.append("\n".join(lines(name, root, quick)))
        print(("\n" if len(tables) > 1 else "") + tables[-1], flush=True)
    if document is not None:
        options.write.write_text(replaced(document, "\n\n".join(tables), mark="results"), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(status_of(main))
