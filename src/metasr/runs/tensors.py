"""Tensors of a weights file, read without executing anything, and refused where no network here could use them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metasr.errors import WeightsError

LARGEST = 1e6
"""Of any weight; those of the networks here stay below 100."""
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "params_ema", "params-ema", "params")
"""What programs put a state dict under, beside other things."""
_COMMON = ("module.", "_orig_mod.", "model.", "net.", "netG.", "generator.")
"""What programs put before the names of all tensors of a network."""
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
_HEADS = (
    (rb"version https://git-lfs", "is a pointer of git-lfs, not the file itself; fetch it with `git lfs pull`"),
    (rb"<[a-z!?]", "is a web page, not weights; download the file itself, by its link to the raw file"),
)
_TOLD = "; weights must be .safetensors, or a torch file of tensors saved with torch.save(model.state_dict(), ...)"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a weights file: ``.safetensors``, or a torch file that holds nothing but tensors.

    Raises:
        WeightsError: if the file is missing, unreadable, needs code to be executed to read it (which is refused), or
            holds tensors that are not finite, or of a kind that no network has.
    """
    if not path.is_file():
        raise WeightsError(f"no weights file {path}; give an existing .safetensors file, a run folder, or 'released'")
    try:
        with path.open("rb") as file:
            head = file.read(512).lstrip().lower()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}; give a readable file") from error
    for begins, told in _HEADS:
        if re.match(begins, head):
            raise WeightsError(f"{path} cannot be read: it {told}")
    if not head:
        raise WeightsError(f"{path} cannot be read: it is empty; fetch it again")
    return usable(_safetensors(path) if path.suffix == ".safetensors" else _torch_file(path), path)


def usable(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Require tensors that a network can have: of a plain kind, finite, and of a bearable size.

    Args:
        tensors: as read.
        path: the file, for messages.

    Returns:
        The same.

    Raises:
        WeightsError: naming the first that is not.
    """
    for name, tensor in tensors.items():
        _require_usable(name, tensor, path)
    bad = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if bad:
        kind = "NaN" if any(bool(tensors[name].isnan().any()) for name in bad) else "infinite values"
        raise WeightsError(
            f"{path} holds {kind} in {len(bad)} of {len(tensors)} tensors ({', '.join(bad[:3])}"
            f"{', ...' if len(bad) > 3 else ''}): it is damaged, or its training diverged; take other weights"
        )
    largest = max((float(t.abs().max()) for t in tensors.values() if t.is_floating_point() and t.numel()), default=0.0)
    if largest > LARGEST:
        raise WeightsError(
            f"{path} holds values up to {largest:.3g}, and no trained network has any above {LARGEST:g}: it is "
            "damaged, or its training diverged; take other weights"
        )
    return tensors


def without_prefix(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under a network's own names, where all that is before them is one prefix that a program put there.

    DataParallel puts ``module.`` there, torch.compile ``_orig_mod.``, a LightningModule the name of its network.

    Args:
        given: as read.
        own: the network's, whose names are wanted.
    """
    if given.keys() != own.keys() and len(given) == len(own) > 0:
        ending = f".{next(iter(own))}"
        for prefix in (name.removesuffix(ending) + "." for name in given if name.endswith(ending)):
            if given.keys() == {prefix + name for name in own}:
                return {name.removeprefix(prefix): tensor for name, tensor in given.items()}
    return dict(given)


def unwrapped(given: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Tensors as they are, then without one prefix after the other that programs put before all of their names.

    For networks whose own names are not known beforehand; see ``without_prefix`` where they are.
    """
    names = dict(given)
    yield names
    while prefix := next((p for p in _COMMON if names and all(name.startswith(p) for name in names)), None):
        names = {name.removeprefix(prefix): tensor for name, tensor in names.items()}
        yield names


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, OverflowError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(f"{path} is not a readable safetensors file: {reason}; fetch it again") from error
    if not tensors:
        raise WeightsError(f"{path} holds no tensors; take other weights")
    return tensors


def _torch_file(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols and kinds of tensors: read, or refused below
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds here; none of them may lead to unpickling
        code = re.search(r"GLOBAL ([\w.]*\w)", str(error))
        if code is not None:
            raise WeightsError(
                f"{path} is a pickle with code, which was not executed: it asks for {code.group(1)[:80]}{_TOLD}"
            ) from error
        raise WeightsError(
            f"{path} cannot be read as plain tensors and was not executed ({type(error).__name__}){_TOLD}"
        ) from error
    loaded = _unwrapped(loaded, path)
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise WeightsError(f"{path} holds no state dict of tensors, but {_told(loaded)}{_TOLD}")
    if not all(isinstance(name, str) for name in loaded):
        raise WeightsError(f"{path} holds tensors without names ({_told(loaded)}), so no network can be told{_TOLD}")
    return dict(loaded)


def _unwrapped(loaded: Any, path: Path) -> Any:
    """The one state dict of a checkpoint; two levels of wrapping are known (``{"state_dict": {"params": ...}}``)."""
    for _ in range(2):
        inside = [key for key in _WRAPPERS if isinstance(loaded, dict) and isinstance(loaded.get(key), dict)]
        if len(inside) > 1:
            named = " and ".join(repr(key) for key in inside)
            raise WeightsError(
                f"{path} holds {len(inside)} sets of weights, {named}; choose one: "
                f"torch.save(torch.load({path.name!r}, weights_only=True)[{inside[0]!r}], 'chosen.pth')"
            )
        if not inside:
            return loaded
        loaded = loaded[inside[0]]
    return loaded


def _require_usable(name: str, tensor: Tensor, path: Path) -> None:
    """Require a plain dense tensor that takes the memory that its shape tells."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.dtype not in (*_FLOATS, *_WHOLE):
        kind = "quantised" if tensor.is_quantized else str(tensor.layout if tensor.is_sparse else tensor.dtype)
        raise WeightsError(
            f"{path}: tensor {name!r} is {kind.removeprefix('torch.')}, expected plain float32 (or float16, bfloat16, "
            "float64); convert it with tensor.float() and save again"
        )
    if tensor.device.type == "meta":
        raise WeightsError(f"{path}: tensor {name!r} has a shape but no values; save the weights themselves")
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise WeightsError(
            f"{path}: tensor {name!r} of shape {tuple(tensor.shape)} has fewer values than its shape tells; save it "
            "with tensor.contiguous()"
        )


def _told(loaded: Any) -> str:
    if isinstance(loaded, dict):
        return f"a dictionary of {', '.join(repr(key)[:40] for key in list(loaded)[:4]) or 'nothing'}"
    return type(loaded).__name__
