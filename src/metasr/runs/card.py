"""Cards: what made a stage's weights, in a JSON file beside them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from metasr.errors import OutputError, StageError
from metasr.runs.renames import renamed_card

CARD_NAME = "card.json"
WEIGHTS_NAME = "weights.safetensors"
_PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "kornia", "hydra-core", "learn2learn", "numpy", "metasr")


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of a config's canonical JSON, first 16 digits: equal for equal choices, whatever their order."""
    text = json.dumps(config, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_card(folder: Path) -> dict[str, Any]:
    """The card in a stage's folder, with the names that this version has for things; empty if there is none.

    Raises:
        StageError: if it cannot be read.
    """
    path = folder / CARD_NAME
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise StageError(
            f"card {path} cannot be read ({error}); remove the stage's folder to train it again"
        ) from error
    if not isinstance(card, dict):
        raise StageError(f"card {path} must hold a JSON object; remove the stage's folder to train it again")
    return renamed_card(card, config_hash)


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Write a stage's card, whole or not at all."""
    write_text(folder / CARD_NAME, json.dumps(card, indent=2, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises:
        OutputError: if it cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; choose a writable place with room"
        ) from error


def environment() -> dict[str, Any]:
    """Versions, machine and time."""
    import torch

    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "python": platform.python_version(),
        "versions": versions,
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "git_commit": git_commit(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def git_commit() -> str | None:
    """The commit of the project's checkout, with ``+dirty`` after it where files were changed; none outside git."""
    here = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        status = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here, capture_output=True, text=True, check=True, timeout=10,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+dirty" if status else "")
