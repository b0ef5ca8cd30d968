"""Kernels that an upscaling job found: written beside the photos."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from torch import Tensor

from metasr.errors import OutputError


def kernel_path(target: Path) -> Path:
    """Where an output's kernel is written: ``photo_x2_kernel.npy`` beside ``photo_x2.png``."""
    return target.with_name(f"{target.stem}_kernel.npy")


def check_kernel_path(path: Path, *, overwrite: bool) -> None:
    """Require a path that a kernel can be written to, before any work.

    Raises:
        OutputError: if it is a folder, or exists and is not to be overwritten.
    """
    if path.is_dir():
        raise OutputError(f"expected a file to write at {path}, but that is a folder; choose another output")
    if os.path.lexists(path) and not overwrite:
        raise OutputError(f"{path} exists already; choose another output, or allow it: overwrite=true")


def save_kernel(kernel: Tensor, path: Path) -> None:
    """Write a kernel, ``(kH, kW)``, as float64, so that ``kernel=FILE_d`` or ``kernel=FILE_b`` reads the same back.

    Raises:
        OutputError: if it cannot be written; what was there before is kept.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            np.save(file, kernel.detach().double().cpu().numpy(), allow_pickle=False)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; choose a writable place with room"
        ) from error
