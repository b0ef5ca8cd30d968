"""Cards: what made a stage's weights, in a JSON file beside them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metasr.errors import StageError
from metasr.io.files import write_text
from metasr.runs.reading import check_card, read_object
from metasr.runs.renames import renamed_card

if TYPE_CHECKING:
    from torch import Tensor

CARD_NAME = "card.json"
WEIGHTS_NAME = "weights.safetensors"
_PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "kornia", "hydra-core", "learn2learn", "numpy", "metasr")


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of a config's canonical JSON, first 16 digits: equal for equal choices, whatever their order."""
    text = json.dumps(config, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors, hex: equal for equal names, types, shapes and bits, in whatever file they lie."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_card(folder: Path) -> dict[str, Any]:
    """The card in a stage's folder, with the names that this version has for things; empty if there is none.

    Raises:
        StageError: if it cannot be read, or its entries are of other kinds than a card's.
    """
    path = folder / CARD_NAME
    if not path.is_file():
        return {}
    card = read_object(path, error=StageError, remedy="remove the stage's folder to train it again")
    return renamed_card(check_card(card, f"card {path}", error=StageError), config_hash)


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Write a stage's card, whole or not at all."""
    write_text(folder / CARD_NAME, json.dumps(card, indent=2, default=str) + "\n")


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
