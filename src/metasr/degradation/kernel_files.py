"""Blur kernels from files, taken as they are meant: one of several, of even sides, flipped; and told in words."""

from __future__ import annotations

import logging
import math
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from metasr.checks import check_kernel
from metasr.errors import DataError, InputError, told_of

log = logging.getLogger(__name__)

KERNEL_SUFFIXES = (".mat", ".npy", ".npz", ".png", ".txt", ".csv")
MAX_SIDE = 1023
"""Longest side of a kernel that is read."""

RINGING = 0.25
"""Negative weights that a kernel may have, as a share of its peak."""

_MAX_VALUES = 1 << 24  # of all kernels in a file: 128 MiB as float64
_NAMES = ("kernel", "Kernel", "k", "kernels")  # of a MATLAB variable that is the kernel, best first


def load_kernel(path: str | Path, *, index: int | None = None, normalise: bool = True, flip: bool = False) -> Tensor:
    """Read a blur kernel from a file.

    A kernel of an even side gets a row or a column of zeros at its end, so that its middle tap is number ``side // 2``
    from 0, as in SciPy; half a pixel or so that its centre of mass lies beside that tap is what
    ``Degradation.shift`` then knows. That, and which of several kernels was taken, is logged.

    Args:
        path: ``.mat`` (arrays and cells; one named ``kernel``, ``Kernel`` or ``k`` comes first), ``.npy`` and ``.npz``
            (pickled arrays are refused), ``.txt`` and ``.csv`` (rows of numbers), or ``.png`` (grey values proportional
            to the weights). Axes of length 1 are dropped.
        index: which one, from 0, where the file holds several: arrays, cells, or a stack ``(n, kH, kW)`` or
            ``(kH, kW, n)``. None takes the first.
        normalise: divide by the sum, with a warning where a file of numbers is off by more than 1e-3; otherwise a sum
            other than 1 is an error.
        flip: turn it by half a turn, for kernels of programs that convolve (``conv2``, ``scipy.ndimage.convolve``):
            here blur is correlation.

    Returns:
        ``(kH, kW)`` float64, odd sides, sum 1.

    Raises:
        DataError: if the file is missing, unreadable, holds no kernel or one above ``MAX_SIDE``.
        InputError: if what it holds is not a kernel: complex, NaN, a sum that is not above 0, or weights below
            ``-RINGING`` times the largest (smaller negative ones, the ringing of an estimate, are kept).
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if not os.path.isfile(path):  # nor a name that no file can have
        raise DataError(f"no kernel file {path}; give an existing {', '.join(KERNEL_SUFFIXES)} file")
    if suffix not in _READERS:
        raise DataError(f"kernel file must end in {', '.join(KERNEL_SUFFIXES)}, got {path.name}")
    try:
        kernels = [kernel for array in _READERS[suffix](path) for kernel in _each(array)]
    except DataError as error:
        raise DataError(f"cannot read a kernel from {path}: {error}") from error.__cause__
    except MemoryError:
        raise
    except Exception as error:  # a damaged file makes the readers raise anything (EOFError, MatReadError, zlib.error)
        raise DataError(f"cannot read a kernel from {path}: {error}") from error
    if not 0 <= (index or 0) < len(kernels):
        raise DataError(f"{path} holds {len(kernels)} kernels, index must be 0 to {len(kernels) - 1}, got {index}")
    if index is None and len(kernels) > 1:
        log.warning(
            "%s holds %d kernels, the first is taken; choose by FILE#0 to FILE#%d (--kernel-index)", path, len(kernels),
            len(kernels) - 1,
        )  # fmt: skip
    array = kernels[index or 0]
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.number):
        raise DataError(f"{path} must hold a 2-D array of numbers, got shape {array.shape} of {array.dtype}")
    if np.iscomplexobj(array):
        raise InputError(f"{path}: kernel must be of real numbers, got {array.dtype}; save its real part")
    if max(array.shape) > MAX_SIDE:
        raise DataError(f"{path}: {_too_large(*array.shape)}")
    weights = torch.from_numpy(np.array(array, np.float64))
    weights = _odd(weights, path) if weights.numel() else weights
    with told_of(path):
        _check_weights(weights, scaled=suffix == ".png")
        kernel = check_kernel(weights, normalise=normalise)
    if suffix != ".png" and abs(float(weights.sum()) - 1) > 1e-3:
        log.warning("kernel of %s sums to %.4g, it is divided by that", path, float(weights.sum()))
    return kernel.flip(-2, -1) if flip else kernel


def describe_kernel(kernel: Tensor, *, flipped: bool = False) -> str:
    """Tell a kernel's size, centre, widths and reading in one line, for whoever has to judge whether it is his.

    Args:
        kernel: ``(kH, kW)``, odd sides, sum 1.
        flipped: whether it has been turned by half a turn already, as it was asked for.
    """
    kernel = check_kernel(kernel.detach().double().cpu())
    if kernel.ndim != 2:
        raise InputError(f"expected one kernel (kH, kW), got {tuple(kernel.shape)}")
    height, width = kernel.shape
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) - height // 2,
        torch.arange(width, dtype=torch.float64) - width // 2,
        indexing="ij",
    )
    down, right = float((kernel * y).sum()), float((kernel * x).sum())
    y, x = y - down, x - right
    yy, xx, xy = (float((kernel * product).sum()) for product in (y * y, x * x, y * x))
    centre = "its middle tap" if math.hypot(down, right) < 0.01 else f"{_moved(down, right)} of its middle tap"
    spread = math.hypot((xx - yy) / 2, xy)
    long, short = (math.sqrt(max(0.0, (xx + yy) / 2 + sign * spread)) for sign in (1, -1))
    shape = f"{long:.2f} pixels wide (standard deviation)"
    if long - short > 0.02:
        angle = math.degrees(0.5 * math.atan2(2 * xy, xx - yy)) % 180
        shape = f"{long:.2f} pixels wide along {angle:.0f} degrees (clockwise from the right), {short:.2f} across"
    reading = "the same when turned by half a turn, so convolution and correlation agree"
    if is_one_sided(kernel):
        difference = _one_sidedness(kernel)
        reading = f"{difference:.0%} of it differs when turned by half a turn: it is read as "
        reading += (
            "convolution, flipped as asked for"
            if flipped
            else "correlation; flip it (--flip-kernel) if it comes from a program that convolves (conv2, "
            "ndimage.convolve)"
        )
    return f"kernel {height}x{width}, centre of mass at {centre}, {shape}; {reading}"


def is_one_sided(kernel: Tensor) -> bool:
    """Whether a kernel ``(kH, kW)`` differs from itself turned by half a turn, so that its reading matters."""
    return _one_sidedness(kernel) > 0.005


def _one_sidedness(kernel: Tensor) -> float:
    return float((kernel - kernel.flip(-2, -1)).abs().sum() / kernel.abs().sum() / 2)


def _moved(down: float, right: float) -> str:
    parts = [f"{abs(v):.2f} px {name[v < 0]}" for v, name in ((down, ("below", "above")), (right, ("right", "left")))
             if abs(v) >= 0.005]  # fmt: skip
    return " and ".join(parts)


def _check_weights(weights: Tensor, *, scaled: bool) -> None:
    """Require finite weights of a positive, finite sum, without large negative ones."""
    if not weights.numel():
        return  # the check of its shape says more
    if not bool(torch.isfinite(weights).all()):
        raise InputError("kernel must be finite, got NaN or infinite values")
    total, lowest, peak = (float(v) for v in (weights.sum(), weights.min(), weights.max()))
    if not math.isfinite(total):
        raise InputError(f"kernel must have a finite sum, its weights of up to {peak:.3g} have none; scale it down")
    if total < -1e-12:
        raise InputError(f"kernel must have a sum above 0, got {total:.4g}; check its sign")
    if total > 1e-12 and lowest < -RINGING * peak:
        raise InputError(
            f"kernel has a weight of {lowest:.3g} beside its peak of {peak:.3g}; negative weights are allowed down to "
            f"{-RINGING:g} of the peak: check that it is a blur kernel, or set them to 0"
        )


def _odd(weights: Tensor, path: Path) -> Tensor:
    """The kernel with a row or column of zeros at its end where a side is even."""
    height, width = weights.shape
    if height % 2 and width % 2:
        return weights
    log.warning(
        "kernel of %s has an even side (%dx%d): zeros are added at its end, its middle is row %d and column %d, "
        "counted from 0", path, height, width, height // 2, width // 2,
    )  # fmt: skip
    return torch.nn.functional.pad(weights, (0, 1 - width % 2, 0, 1 - height % 2))


def _each(array: np.ndarray) -> Iterator[np.ndarray]:
    """The kernels of an array: itself, the cells of a MATLAB cell array, or the members of a stack."""
    if array.dtype == object:
        for cell in array.ravel():
            yield from _each(np.asarray(cell))
        return
    for axis in range(array.ndim - 1, -1, -1):
        if array.ndim > 2 and array.shape[axis] == 1:
            array = array.squeeze(axis)
    if array.ndim != 3:
        yield array
        return
    a, b, c = (max(1, n) for n in array.shape)
    if abs(math.log(a / b)) < abs(math.log(b / c)):  # MATLAB stacks along the last axis
        array = np.moveaxis(array, -1, 0)
    yield from array


def _read_mat(path: Path) -> list[np.ndarray]:
    from scipy.io import loadmat, whosmat

    try:
        for name, shape, _ in whosmat(path):
            _check_count(shape, name)
        variables = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    except NotImplementedError as error:
        raise DataError("it is of MATLAB's format 7.3; save it there with the option '-v7', or as .npy") from error
    held = [name for name, value in variables.items() if value.dtype == object or np.issubdtype(value.dtype, np.number)]
    arrays = [name for name in held if variables[name].dtype == object or min(variables[name].shape) > 1]
    chosen = sorted(arrays or held, key=lambda name: _NAMES.index(name) if name in _NAMES else len(_NAMES))
    if not chosen:
        raise DataError(f"expected a variable named 'kernel', found {', '.join(sorted(variables)) or 'none'}")
    return [variables[name] for name in chosen]


def _read_npy(path: Path) -> list[np.ndarray]:
    with path.open("rb") as file:
        _check_header(file)
    return [np.load(path, allow_pickle=False)]


def _read_npz(path: Path) -> list[np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if name.endswith(".npy")]
        for name in members:
            with archive.open(name) as file:
                _check_header(file)
    if not members:
        raise DataError("it holds no array")
    with np.load(path, allow_pickle=False) as arrays:
        order = sorted(arrays.files, key=lambda name: _NAMES.index(name) if name in _NAMES else len(_NAMES))
        return [arrays[name] for name in order]


def _check_header(file: IO[bytes]) -> None:
    """Require an array of plain values, not too many, before it is read."""
    major, _ = np.lib.format.read_magic(file)
    read: Any = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise DataError("it holds pickled objects, which are not read; save a plain array of numbers")
    _check_count(shape, "its array")


def _check_count(shape: tuple[int, ...], name: str) -> None:
    if math.prod(shape) > _MAX_VALUES:
        raise DataError(f"{name} has {'x'.join(map(str, shape))} values, at most {_MAX_VALUES:,} are read")


def _read_table(path: Path) -> list[np.ndarray]:
    if path.stat().st_size > 1 << 26:
        raise DataError("it is larger than 64 MiB; a kernel is a small table of numbers")
    text = path.read_text(encoding="utf-8-sig")
    if ";" in text:  # 0,1;0,2
        text = text.replace(",", ".")
    lines = (re.split(r"[#%]", line)[0] for line in text.splitlines())
    rows = [re.split(r"\s*[,;]\s*|\s+", line.strip().rstrip(",;")) for line in lines if line.strip()]
    if not rows:
        raise DataError("it holds no numbers")
    counts = {len(row) for row in rows}
    if len(counts) > 1:
        raise DataError(f"its rows have from {min(counts)} to {max(counts)} numbers, expected as many each")
    try:
        return [np.array([[float(number) for number in row] for row in rows])]
    except ValueError as error:
        raise DataError(f"expected rows of numbers: {error}") from error


def _read_png(path: Path) -> list[np.ndarray]:
    from metasr.io.codec import decode, open_image

    with path.open("rb") as file:
        with open_image(file) as image:
            if max(image.size) > MAX_SIDE:
                raise DataError(_too_large(*image.size[::-1]))
        file.seek(0)
        values = decode(file).values
    colours = values[..., : 3 if values.shape[2] > 2 else 1]
    return [colours.astype(np.float64).mean(-1)]


def _too_large(height: int, width: int) -> str:
    return f"the kernel is {height}x{width}, at most {MAX_SIDE} a side are read; cut off its empty border"


_READERS = {
    ".mat": _read_mat, ".npy": _read_npy, ".npz": _read_npz, ".png": _read_png,
    ".txt": _read_table, ".csv": _read_table,
}  # fmt: skip
