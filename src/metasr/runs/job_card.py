"""The card of a sweep's job: ``job.json`` in the job's folder, with its choices and how it ended. Light to import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metasr.errors import WeightsError
from metasr.runs.reading import read_object

JOB_NAME = "job.json"


def read_job(folder: Path) -> dict[str, Any]:
    """The card of a job; empty where there is none or it cannot be read."""
    try:
        return read_object(folder / JOB_NAME, what="record of a job")
    except WeightsError:
        return {}


def write_job(folder: Path, card: dict[str, Any]) -> None:
    """Write a job's card, making its folder where needed."""
    from metasr.io.files import write_text

    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / JOB_NAME, json.dumps(card, indent=1) + "\n")
