"""Writes a network as an ONNX file, from LR image to SR image, for programs and devices without torch."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from metasr import __version__
from metasr.config import build
from metasr.config.photo_weights import full_name, sampling_of
from metasr.config.photos import photo_config
from metasr.data.catalog import image_set
from metasr.degradation.pipeline import Downsample
from metasr.errors import InputError, OutputError, WeightsError, require_extra, require_one_of
from metasr.io.files import PathLike, check_new_file, write_bytes
from metasr.paths import weights_folder
from metasr.runs.weights import Weights, from_stage, resolve
from metasr.solvers.base import Solver
from metasr.solvers.exported import Graph, graph_of

TOLERANCE = 1e-4
"""By how much a file's pixels in [0, 1] may differ from torch's."""
_SIZES = ((24, 32), (37, 21))  # of the LR images that it is checked on
_OUTPUT = "sr"


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the file.
        inputs: each input's name and shape; heights and widths are free.
        scale: the factor of enlargement.
        weights: the weights' name.
        difference: the largest from torch, in any pixel of the images that it was checked on.
    """

    path: Path
    inputs: dict[str, tuple[int | str, ...]]
    scale: float
    weights: str
    difference: float

    def __str__(self) -> str:
        told = ", ".join(f"{name} ({', '.join(map(str, shape))})" for name, shape in self.inputs.items())
        size = self.path.stat().st_size / 1e6
        return (
            f"{self.path}  ({size:.1f} MB, x{self.scale:g}, weights {self.weights}; {told}; differs from torch by at "
            f"most {self.difference:.1g})"
        )


def export(
    weights: str,
    path: PathLike,
    *,
    stage: str | None = None,
    scale: float | None = None,
    downsample: Downsample | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a feed-forward or unfolded network as an ONNX file, once it gives what torch gives.

    Args:
        weights: released weights, a file, a run folder, or ``hf://USER/REPO``.
        path: the file, ``.onnx``.
        stage: of a run folder, another stage than its last.
        scale: the factor; by default that of the weights.
        downsample: how LR images were sampled (``bicubic``, ``direct``, ``area``); by default as the weights were
            trained. An unfolded network alone asks for it.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: where the extra is not installed, and for weights that are no graph of operations.
        WeightsError: for weights that are not there; where the file would give other images than torch.
        OutputError: if the file may not be written.
    """
    target = Path(path).expanduser()
    if target.suffix.lower() != ".onnx":
        raise OutputError(f"{target} must end in .onnx; choose such a name")
    check_new_file(target, overwrite=overwrite, instead="another file")
    require_extra("onnx", "onnx", "onnxruntime", "onnxscript", asked="metasr export")
    sampling: Downsample = downsample or sampling_of(weights)
    require_one_of(sampling, Downsample, name="downsample")
    solver, known, factor = _solver(weights, stage=stage, scale=scale)
    return write(solver, known, target, scale=factor, downsample=sampling, overwrite=overwrite)


def write(
    solver: Solver,
    weights: Weights,
    target: Path,
    *,
    scale: float,
    downsample: Downsample = "bicubic",
    overwrite: bool = False,
) -> Exported:
    """Write a solver's graph (see ``export``).

    Args:
        solver: with its weights.
        weights: the same, to be named in the file.
        target: the file.
        scale: the factor.
        downsample: how LR images were sampled.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: for a solver that is no graph.
        WeightsError: where the file would give other images than torch.
    """
    graph = graph_of(solver, scale=scale, downsample=downsample)
    with tempfile.TemporaryDirectory() as folder, _quietly():
        made = Path(folder) / "network.onnx"
        _program(graph, weights).save(made, external_data=False)
        difference = _difference(graph, solver, made)
        if not difference <= TOLERANCE:
            raise WeightsError(
                f"{target} was not written: its images differ from torch's by {difference:.2g}, more than "
                f"{TOLERANCE:g}; other versions of onnxruntime and torch may agree"
            )
        write_bytes(target, made.read_bytes(), overwrite=overwrite)
    shapes = {name: _shape(name, tensor) for name, tensor in _examples(graph, 0).items()}
    return Exported(target, shapes, scale, weights.label, difference)


def _solver(weights: str, *, stage: str | None, scale: float | None) -> tuple[Solver, Weights, float]:
    """What runs the weights once, where anything does, on the CPU."""
    name = str(full_name(weights))
    if stage is not None and not Path(name).expanduser().is_dir():
        raise InputError(f"--stage {stage} is of a run folder, got {weights}; leave it out")
    known = resolve(name, folder=weights_folder())
    if stage is not None:
        known = from_stage(Path(name).expanduser(), stage)
    pretrained = known.card.get("stage") == "pretrain"
    cfg = photo_config(weights=weights, solver="network" if pretrained else None, scale=scale, device="cpu")
    if not cfg.solver.get("needs_network", False):
        raise InputError(f"solver {cfg.solver.name} of {weights} has no network that could be exported")
    steps = 0 if "steps" in cfg.solver else None
    return build.solver(cfg, weights=known, steps=steps), known, float(cfg.scale)


def _examples(graph: Graph, index: int) -> dict[str, torch.Tensor]:
    """Inputs for one of the images that a file is checked on."""
    height, width = (int(n * graph.degradation.scale) for n in _SIZES[index])
    hr = image_set("samples", split="test").load(index)[None, :, 40 : 40 + height, 60 : 60 + width]
    lr = graph.degradation(hr, generator=torch.Generator().manual_seed(index))
    return graph.inputs(lr, graph.degradation)


def _program(graph: Graph, known: Weights) -> Any:
    """The ONNX program, with what it is in its metadata."""
    inputs = _examples(graph, 0)
    free = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with torch.no_grad():
        program = torch.onnx.export(
            graph.module.eval(), tuple(inputs.values()), None, input_names=list(inputs), output_names=[_OUTPUT],
            dynamic_shapes=tuple(free if name == "lr" else None for name in inputs), dynamo=True, verbose=False,
        )  # fmt: skip
    assert program is not None
    told = {
        "metasr": __version__,
        "weights": known.label,
        "weights_sha256": known.digest,
        "scale": f"{graph.degradation.scale:g}",
        "licence": str(known.card.get("licence") or ""),
    }
    program.model.metadata_props.update(told)
    return program


def _difference(graph: Graph, solver: Solver, path: Path) -> float:
    """The largest difference from the solver, in images of other sizes than the traced one too."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for index in range(len(_SIZES)):
        inputs = _examples(graph, index)
        (sr,) = session.run([_OUTPUT], {name: tensor.numpy() for name, tensor in inputs.items()})
        with torch.no_grad():
            wanted = solver.solve(inputs["lr"], scale=graph.degradation.scale, degradation=graph.degradation).sr
        largest = max(largest, float((torch.from_numpy(sr) - wanted).abs().max()))
    return largest


def _shape(name: str, tensor: torch.Tensor) -> tuple[int | str, ...]:
    return (1, 3, "height", "width") if name == "lr" else tuple(tensor.shape)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Torch's exporter warns of packages that have no part in this."""
    exporter = logging.getLogger("torch.onnx")
    before = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(before)
