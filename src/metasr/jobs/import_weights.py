"""Importing weights: a file of the public programs of MZSR, MRDA or KDSR becomes one of this project's, with a card."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from metasr.errors import InputError, WeightsError, nearest
from metasr.io.files import check_new_file, file_hash, write_bytes, write_text
from metasr.jobs.photo_files import PathLike, home_path
from metasr.runs.public_networks import ADAPTING, NAMES, Imported, from_tensorflow, from_torch
from metasr.runs.tensorflow_bundle import index_of, is_bundle, read_bundle
from metasr.runs.tensors import read_tensors, unwrapped, usable
from metasr.text import pluralize


def import_weights(
    source: PathLike,
    name: str,
    output: PathLike | None = None,
    *,
    mln: PathLike | None = None,
    overwrite: bool = False,
) -> Iterator[str]:
    """Import a file; gives lines that tell what was done.

    Nothing in the file is executed, every tensor of it is placed or told, and the new file is written only then.

    Args:
        source: a PyTorch file of MRDA or KDSR; of MZSR the TensorFlow checkpoint's ``.index`` (or the name without it).
        name: what to import it as: ``mrda_x4``, ``kdsr_m_x4``, ``kdsr_l_x4``, ``mzsr_x2`` and the like (``NAMES``).
        output: the ``.safetensors`` file to write, its card beside it; by default the name, in the current folder.
        mln: the file of MRDA's second stage, for a teacher of MRDA.
        overwrite: whether existing files may be replaced.

    Raises:
        InputError: for an unknown name, or an output that is no ``.safetensors``.
        WeightsError: for a file of another network, or one that cannot be read.
        OutputError: if the output is there already.
    """
    if name not in NAMES:
        raise InputError(f"--as {name}: {nearest(name, NAMES)}")
    path = home_path(source)
    imported = _read(path, name, mln)
    target = home_path(output) if output is not None else Path(_file_name(name, imported.stage))
    if target.suffix != ".safetensors":
        raise InputError(
            f"the output must be a .safetensors file, got {target}; write -o {target.with_suffix('')}.safetensors"
        )
    card_path = target.with_suffix(".json")
    for file in (target, card_path):
        check_new_file(file, overwrite=overwrite)

    data = save({key: tensor.contiguous() for key, tensor in imported.state.items()})
    write_bytes(target, data, overwrite=overwrite)
    card = _card(target, name, imported, path)
    write_text(card_path, json.dumps(card, indent=2) + "\n")

    left_out = f", {pluralize(imported.left_out, 'tensor')} of an optimiser left out" if imported.left_out else ""
    yield (
        f"{target}: {imported.stage.replace('_', '-')} of {name}, {card['parameters']:,} numbers in "
        f"{pluralize(len(imported.state), 'tensor')}, every one of them placed{left_out}; card {card_path.name}"
    )
    if not imported.published:
        sizes = ", ".join(f"{key} {value}" for key, value in imported.network.items())
        yield f"not of the published size: {sizes}"


def _read(path: Path, name: str, mln: PathLike | None) -> Imported:
    if name in ADAPTING:
        if mln is not None:
            raise InputError("--mln is for a teacher of MRDA, not for MZSR; leave it out")
        bundle = read_bundle(path)
        return from_tensorflow(name, usable(bundle.tensors, path), list(bundle.others), origin=str(path))
    if is_bundle(path):
        raise WeightsError(
            f"{path} is a TensorFlow checkpoint, as MZSR's are, and {name} is of a PyTorch file; import it --as mzsr_x2"
        )
    second = None if mln is None else _plain(home_path(mln))
    return from_torch(name, _plain(path), origin=str(path), mln=second)


def _plain(path: Path) -> dict[str, Tensor]:
    """A file's tensors without what DataParallel and the like put before their names."""
    *_, tensors = unwrapped(read_tensors(path))
    return tensors


def _file_name(name: str, stage: str) -> str:
    ending = {"teacher": "_teacher", "meta_transfer": "_mln"}.get(stage, "")
    return f"{name}{'' if name in ADAPTING else ending}.safetensors"


def _card(target: Path, name: str, imported: Imported, source: Path) -> dict[str, Any]:
    model = imported.facts["config"]["model"]["_target_"]
    file = index_of(source) if name in ADAPTING else source
    return {
        "name": target.stem,
        "model": model,
        "parameters": sum(tensor.numel() for tensor in imported.state.values()),
        "default": False,
        "status": "imported from a file of the public program; not measured here",
        "licence": None,
        "imported": {"as": name, "file": file.name, "sha256": file_hash(file)},
        **imported.facts,
        "sha256": file_hash(target),
    }
