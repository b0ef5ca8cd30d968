"""Weights to release, out of a finished run: the file, and the card that tells what made it and what it scores.

    python benchmarks/release.py RUN_FOLDER NAME --data TEXT --hardware TEXT --table TABLE.csv [--into weights]

RUN_FOLDER's last finished stage becomes ``weights/NAME.safetensors`` and ``weights/NAME.json``. ``--table`` is what
``task=evaluate weights=RUN_FOLDER testset=... table=TABLE.csv`` wrote: one evaluation, after all choices were made on
validation images. What a user has to know and no file tells (``--data``, ``--hardware``) is asked for. A file of that
name that is there already is replaced only with ``--overwrite``.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

from commands import folder
from metasr.config.command_line import status_of
from metasr.errors import InputError, OutputError
from metasr.io.files import file_hash, write_bytes, write_text

PROJECT = Path(__file__).resolve().parents[1]
_NOT_OF_WEIGHTS = ("run", "logger", "max_images", "adapt_steps", "degradations", "evaluation", "max_minutes", "testset")


def command_of(run: Path, experiment: str) -> str:
    """What was typed to train a run, without the choices that change no weights, and with FOLDER for a data folder."""
    from omegaconf import OmegaConf

    from metasr.runs.folder import key_of

    path = run / ".hydra" / "overrides.yaml"
    typed = [str(choice) for choice in OmegaConf.load(path)] if path.is_file() else [f"+experiment={experiment}"]
    kept = ["data.root=FOLDER" if c.startswith("data.root=") else c for c in typed if key_of(c) not in _NOT_OF_WEIGHTS]
    return " ".join(["python src/run.py", *(f"'{c}'" if "[" in c else c for c in kept)])


def scores_of(table: Path) -> dict[str, Any]:
    """PSNR by degradation and number of updates, of the rows of a table that were made by the run's weights.

    Raises:
        InputError: if it has none.
    """
    with table.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["weights"] == "run"]
    if not rows:
        raise InputError(f"{table} has no row of a run's weights; make it with task=evaluate weights=RUN_FOLDER")
    scores: dict[str, Any] = {
        "what": f"PSNR on Y in dB, {rows[0]['testset']} x{rows[0]['scale']}, by number of updates"
    }
    for row in rows:
        scores.setdefault(row["degradation"], {})[row["updates"]] = round(float(row["psnr_y"]), 2)
    return scores


def card_of(run: Path, name: str, *, data: str, hardware: str, scores: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The weights file of a run's last finished stage, and the card to release it with."""
    from metasr.runs.card import WEIGHTS_NAME
    from metasr.runs.weights import from_run

    found = from_run(run)
    made, config = found.card, found.card["config"]
    file = next(run.glob(f"*_{made['stage']}")) / WEIGHTS_NAME
    stage = config["stages"][made["stage"]]
    model = stage["recipe"].get("model") or config["model"]
    drawn = stage["sampler"]["degradations"]
    grid = drawn.get("downsample")  # of several, or where the sampler draws it itself, the card tells none
    return file, {
        "name": name,
        "method": config["method"],
        "experiment": made["experiment"],
        "model": model["_target_"],
        "parameters": sum(t.numel() for t in found.network.values()),
        "scale": config["scale"],
        "stage": made["stage"],
        "scales": sorted(set(drawn["scales"])) if isinstance(drawn["scales"][0], float) else [config["scale"]],
        "downsample": "none" if made["stage"] == "pretrain" else grid if isinstance(grid, str) else None,
        "default": made["stage"] != "pretrain",
        "status": "made by this project's own recipe",
        "data": data,
        "init": made.get("init"),
        "command": command_of(run, made["experiment"]),
        "steps": made["steps"],
        "minutes": round(made["seconds"] / 60, 1),
        "hardware": hardware,
        "seed": made["identity"]["seed"],
        "git_commit": made["git_commit"],
        "licence": "MIT",
        "config": {"model": model},
        "scores": scores,
        "sha256": file_hash(file),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("name", help="what the weights are to be called")
    parser.add_argument("--data", required=True, help="what images they were trained on")
    parser.add_argument("--hardware", required=True, help="what they were trained with")
    parser.add_argument("--table", required=True, type=Path, help="CSV file of the evaluation")
    parser.add_argument("--into", default=str(PROJECT / "weights"), help="folder of released weights")
    parser.add_argument("--overwrite", action="store_true", help="replace weights of that name")
    options = parser.parse_args()
    run, into = folder(options.run, what="the folder of a run"), folder(options.into, what="the folder to release into")
    if not options.table.is_file():
        raise InputError(f"no table {options.table}; make it with task=evaluate weights={options.run} table=FILE.csv")
    target = into / f"{options.name}.safetensors"
    if target.exists() and not options.overwrite:
        raise OutputError(f"{target} exists already; choose another name, or allow it with --overwrite")
    scores = scores_of(options.table)
    file, card = card_of(run, options.name, data=options.data, hardware=options.hardware, scores=scores)
    write_bytes(target, file.read_bytes())
    write_text(target.with_suffix(".json"), json.dumps(card, indent=2) + "\n")
    print(f"{target}: {card['stage']} of {run}, {card['steps']} steps, {card['minutes']:g} minutes")


if __name__ == "__main__":
    sys.exit(status_of(main))
