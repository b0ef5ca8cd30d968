"""The README's results table, from the released weights.

    python benchmarks/results.py --set5 FOLDER [--b100 FOLDER] [--quick RUN_FOLDER] [--write README.md]

Evaluates the released weights after 1 and 10 updates (and, beside them, a quick run's after 10), sets the published
numbers and the gap beside them, and prints Markdown; with ``--write`` it replaces what stands between the two marks
``<!-- results -->`` and ``<!-- /results -->`` of a file. Set5 takes two minutes on two CPU cores, B100 a quarter of an
hour.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
DEGRADATIONS = ("g0.2d", "g2.0d", "gani_d", "g1.3b", "bicubic")
OPENING, CLOSING = "<!-- results -->", "<!-- /results -->"
COLUMNS = (
    "degradation", "bicubic", "bicubic, aligned", "quick run", "released, 1 update", "released, 10 updates",
    "published MZSR(1)", "published MZSR(10)", "gap to MZSR(1)", "gap to MZSR(10)",
)  # fmt: skip


def evaluated(testset: str, root: str, weights: str, updates: str) -> list[dict[str, str]]:
    """Rows of the table that the program writes."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.csv"
        subprocess.run(
            [
                sys.executable, "src/run.py", "+experiment=mzsr_x2", "task=evaluate", "logger=none",
                f"weights={weights}", f"testset={testset}", f"testset_root={root}",
                f"degradations=[{','.join(DEGRADATIONS)}]",
                f"adapt_steps={updates}", f"table={table}",
            ],
            cwd=PROJECT, check=True, stdout=subprocess.DEVNULL,
            env={**os.environ, "METASR_OUTPUTS": str(Path(folder) / "outputs")},
        )  # fmt: skip
        with table.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


def lines(testset: str, root: str, quick: str | None) -> list[str]:
    """One test set's table in Markdown."""
    rows = evaluated(testset, root, "released", "[1,10]")
    own = (
        {r["degradation"]: r for r in evaluated(testset, root, quick, "[10]") if r["weights"] == "run"} if quick else {}
    )
    columns = [c for c in COLUMNS if own or c != "quick run"]
    text = [f"| {' | '.join([testset, *columns[1:]])} |", f"| --- |{' ---: |' * (len(columns) - 1)}"]
    for name in DEGRADATIONS:
        found = {(r["solver"], r["updates"]): r for r in rows if r["degradation"] == name}
        cells = {"degradation": f"`{name}`", "quick run": _number(own.get(name))}
        cells["bicubic"] = _number(found["interpolate", "0"])
        cells["bicubic, aligned"] = _number(found["interpolate_aligned", "0"])
        for updates, plural in (("1", ""), ("10", "s")):
            row = found["adapt", updates]
            known = row["published_psnr_y"]
            cells[f"released, {updates} update{plural}"] = _number(row)
            cells[f"published MZSR({updates})"] = f"{float(known):.2f}" if known else "-"
            gap = float(row["psnr_y"]) - float(known) if known else None
            cells[f"gap to MZSR({updates})"] = "-" if gap is None else f"{round(gap, 2) + 0.0:+.2f}"
        text.append(f"| {' | '.join(cells[c] for c in columns)} |")
    return text


def _number(row: dict[str, str] | None) -> str:
    return f"{float(row['psnr_y']):.2f}" if row else "-"


def replaced(document: str, table: str) -> str:
    """A document with the table between its marks."""
    head, opening, rest = document.partition(OPENING)
    _, closing, tail = rest.partition(CLOSING)
    if not (opening and closing):
        raise SystemExit(f"the document has no {OPENING} ... {CLOSING} to write the table between; nothing is written")
    return f"{head}{OPENING}\n{table}\n{CLOSING}{tail}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set5", required=True, help="folder of Set5's HR images")
    parser.add_argument("--b100", help="folder of B100's HR images")
    parser.add_argument("--quick", help="a run folder whose weights are shown beside")
    parser.add_argument("--write", type=Path, help="a file with the two marks")
    options = parser.parse_args()
    document = options.write.read_text(encoding="utf-8") if options.write else None
    if document is not None:
        replaced(document, "")  # before any of the work
    quick = str(Path(options.quick).resolve()) if options.quick else None
    parts = [lines("set5", str(Path(options.set5).resolve()), quick)]
    if options.b100:
        parts.append(lines("b100", str(Path(options.b100).resolve()), quick))
    table = "\n\n".join("\n".join(part) for part in parts)
    print(table)
    if document is not None:
        options.write.write_text(replaced(document, table), encoding="utf-8")


if __name__ == "__main__":
    main()
