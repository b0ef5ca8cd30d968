"""The shape of the primary config: what keys there are and of what type, so that a typing error is an error.

Only dataclasses and hydra's config store are imported here: ``--help`` and ``--cfg job`` stay quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


class TaskName(Enum):
    """What to do."""

    run = "run"
    evaluate = "evaluate"
    upscale = "upscale"
    report = "report"
    prepare = "prepare"
    offset = "offset"


@dataclass
class DataConf:
    """Training images: a data set of the catalog, ``image_folder`` with ``root``, or ``hf_dataset`` with ``path``."""

    name: str = MISSING
    root: str | None = None
    download: bool = False
    val_fraction: float | None = None
    max_images: int | None = None
    lr_root: str | None = None  # LR images of the same names: ready pairs to learn from
    unreadable: str = "error"  # or skip: images that cannot be read
    too_small: str = "error"  # or skip: images smaller than a patch
    memory_gb: float = 4.0  # pixels held in memory; a larger set lies in a file on disk
    path: str | None = None  # of hf_dataset: USER/NAME | FILE.parquet | FOLDER
    column: str | None = None
    subset: str | None = None
    split: str = "train"


@dataclass
class ValidationConf:
    """What is measured on validation images while a stage trains."""

    every: int = 0
    degradations: list[str] = field(default_factory=list)
    updates: list[int] = field(default_factory=lambda: [0])
    max_images: int = 2
    crop: int = 192


@dataclass
class StageConf:
    """One stage of the chain: a recipe, what it is fed, and where it starts."""

    recipe: Any = MISSING
    sampler: Any = MISSING
    steps: int = MISSING
    patch_size: int = MISSING
    parent: str | None = None
    clip: float | None = None
    checkpoint_every: int = 1000
    solver: Any = None  # how its weights are run, where the experiment's solver cannot: an oracle's node
    validation: ValidationConf = field(default_factory=ValidationConf)


@dataclass
class PruneConf:
    """When a sweep's run is given up: its validation PSNR is below the median of the others' at the same step."""

    startup: int = 0  # how many others must have got as far; 0: none is given up
    warmup: int = 0  # steps of the last stage within which none is given up


@dataclass
class PrepareConf:
    """What ``task=prepare`` writes beside LR images and kernels."""

    hr: bool = False  # the HR images as they were degraded
    multiple: int | None = None  # HR sides are cut to multiples of this; by default the scale (ddsr_...: and 12)
    mask: str = "none"  # none | square (hidden, at a random place) | published (on the diagonal, as DDSR's program)
    mask_side: int = 40  # LR pixels
    gain: float = 1.0  # brightness in (0, 1]; DDSR's dark images have 0.3


@dataclass
class Schema:
    """The primary config."""

    task: TaskName = TaskName.run
    name: str | None = None
    method: str = "mzsr"
    seed: int = 1
    scale: float = 2.0
    profile_name: str = MISSING
    profile_note: str = ""
    schedule_note: str | None = None  # what the method's schedule leaves out, printed with the table
    data: DataConf = MISSING
    model: Any = MISSING
    mln: Any = None  # the network that MRDA's teacher adapts to a pair
    meta_set: Any = None
    stages: dict[str, StageConf] = field(default_factory=dict)
    stages_to_run: list[str] | None = None
    init: str | None = None  # released/NAME | FILE | RUN_FOLDER: where the first stage that runs begins
    sweep_name: str | None = None
    for_experiments: list[str] | None = None  # set by ablations: patterns of names; looked at before anything runs
    prune: PruneConf = field(default_factory=PruneConf)
    max_minutes: float | None = None
    on_divergence: str = "stop"  # stop | retry: once, from the last resume point, with half the learning rates
    rates: str = "per_step"
    order: str = "second"
    solver: Any = MISSING
    estimator: Any = MISSING  # of kernel=estimate
    compare_with: dict[str, Any] = field(default_factory=dict)  # further solvers' nodes; null for one left out
    evaluation: Any = MISSING
    trainer: Any = MISSING
    logger: Any = MISSING
    paths: Any = MISSING

    # a run folder to go on with: `last`, or a path
    run: str | None = None

    # evaluating
    weights: str | None = None
    networks: dict[str, Any] = field(default_factory=dict)  # your own, for files of weights=FOLDER, by their names
    testset: str = "samples"
    testset_root: str | None = None
    testset_lr: str | None = None  # a folder of ready LR images of the same names; none makes them
    degradations: list[str] = field(default_factory=lambda: ["g0.2d", "g2.0d", "gani_d", "g1.3b", "bicubic"])
    adapt_steps: Any = None
    max_images: int | None = None
    table: str | None = None

    # reporting: folders of runs and sweeps, results of benchmarks; a file, or wandb
    runs: list[str] | None = None
    benchmarks: list[str] | None = None  # files of benchmarks/photos.py (.jsonl) and benchmarks/nonblind.py (.csv)
    to: str = "html"

    # upscaling
    input: str | None = None
    output: str | None = None
    kernel: str = "bicubic"
    save_kernel: bool = False
    side_by_side: bool = False
    recursive: bool = False  # photos of sub-folders too
    skip_existing: bool = False  # photos whose results are there already are left out
    overwrite: bool = False
    kernel_index: int | None = None  # which kernel of a file of several, from 0
    flip_kernel: bool = False  # a kernel file's kernel is turned by half a turn: it comes from a program that convolves
    frame: int | None = None  # of a photo of several frames or pages, from 0
    max_pixels: int | None = None  # that a photo may have; none for the usual bound
    width: int | None = None  # of the enlargement, instead of a scale; with height: fits into both
    height: int | None = None
    max_side: int | None = None  # of the enlargement's longer side, instead of a scale
    megapixels: float | None = None  # of the enlargement, instead of a scale
    format: str | None = None  # png | jpg | webp; by default what the output's name says, else png
    quality: int | None = None  # of JPEG (95) and WebP (lossless), 1 to 100
    metadata: bool = True  # EXIF data are carried over: date, camera, place
    device: str = "auto"

    # preparing LR images, and telling the offset of a pair
    degradation: str | None = None
    shift: str = "published"  # published | centre: where the pixels of ddsr_... look
    prepare: PrepareConf = field(default_factory=PrepareConf)
    reference: str | None = None  # HR image or folder


def register() -> None:
    """Make the schema known to hydra as ``schema``."""
    ConfigStore.instance().store(name="schema", node=Schema)
