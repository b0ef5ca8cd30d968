"""What the benchmarks share: checks of their options, jobs of sweeps, and tables in documents."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metasr.errors import InputError
from metasr.paths import conf_folder, outputs_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Tensor

    from metasr.report.sweep_table import Job

PROJECT = Path(__file__).resolve().parents[1]


def at_least(options: argparse.Namespace, **least: int) -> None:
    """Require options that are given, alone or as lists, to be no smaller than so much.

    Raises:
        InputError: naming the first that is.
    """
    for name, limit in least.items():
        given = getattr(options, name)
        for value in given if isinstance(given, list) else [given]:
            if value is not None and value < limit:
                raise InputError(f"--{name.replace('_', '-')} must be at least {limit}, got {value}")


def folder(path: str | Path, *, what: str) -> Path:
    """A folder that exists, as an absolute path.

    Raises:
        InputError: if there is none.
    """
    found = Path(path).expanduser().resolve()
    if not found.is_dir():
        raise InputError(f"no folder {path}; give {what}")
    return found


def seeds_of(text: str) -> list[str]:
    """The numbers of ``--seeds``.

    Raises:
        InputError: for one that is none, or the same one twice.
    """
    seeds = [seed.strip() for seed in text.split(",")]
    if not all(seed.isdecimal() for seed in seeds) or len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds takes unlike whole numbers with commas between, such as 1,2,3, got {text}")
    return seeds


def require_free(choices: Sequence[str], *, ours: Collection[str]) -> None:
    """Require that choices typed behind a benchmark's options are single values, of keys that it does not choose.

    Raises:
        InputError: naming the first that is not.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    for given in OverridesParser.create().parse_overrides(list(choices)):
        if given.key_or_group in ours:
            raise InputError(f"{given.input_line}: it is chosen here; leave it out (see --help for what can be chosen)")
        if given.is_sweep_override():
            raise InputError(f"{given.input_line}: give one value; what is varied is chosen here (see --help)")


def device(name: str) -> str:
    """``cpu`` or ``cuda``; ``auto`` takes a GPU if there is one.

    Raises:
        InputError: if a GPU is asked for and there is none.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: no CUDA device is available here; use --device cpu, or leave it out")
    return name


def swept(typed: Sequence[str], *, experiment: str, sweep: str) -> list[tuple[dict[str, str], Path]]:
    """Run a sweep, or what of it is not finished; where it fails, its exit status is ours.

    Args:
        typed: its choices, what is varied and ``sweep_name`` among them.
        experiment: name of the experiment.
        sweep: the sweep's name.

    Returns:
        The finished jobs' choices by key, and their folders.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from metasr.runs.folder import sweep_folder

    done = subprocess.run([sys.executable, str(PROJECT / "src" / "run.py"), "-m", *typed])
    if done.returncode:
        sys.exit(done.returncode)
    parsed = OverridesParser.create().parse_overrides(list(typed))
    of_job = [str(p.input_line) for p in parsed if not p.is_hydra_override()]
    place = Path(sweep_folder(of_job, experiment, sweep, str(outputs_folder())))
    return [
        (dict(choice.partition("=")[::2] for choice in job.overrides), place / job.folder)
        for job in finished_jobs(place)
    ]


def finished_jobs(sweep: Path) -> list[Job]:
    """The jobs of a sweep's folder that came to a table."""
    from metasr.report.reading import read_jobs

    return [job for job in read_jobs(sweep) if job.rows]


def scores(job: Path) -> dict[str, dict[str, str]]:
    """By image, what the table of a job says of the weights that it trained."""
    from metasr.io.csv import parse_csv

    rows = parse_csv((job / "table_images.csv").read_text(encoding="utf-8"))
    return {row["image"]: row for row in rows if row["weights"] == "run"}


def pictures(choices: Sequence[str], *, least: int, why: str) -> dict[str, Tensor]:
    """The images that a job is evaluated on, cut as evaluation cuts them: ``(1, 3, H, W)`` each.

    Args:
        choices: the job's; those of hydra itself are left out.
        least: how many are needed.
        why: what for, as the beginning of the message.

    Raises:
        InputError: if they are too few.
    """
    from metasr.config import build
    from metasr.config.evaluation import test_images

    cfg = composed([c for c in choices if not c.startswith(("hydra.", "hydra/"))])
    found = test_images(cfg)
    if len(found) < least:
        raise InputError(
            f"{why}, got {len(found)} of {found.name} with max_images={cfg.max_images}; "
            "take a larger test set, or max_images=null"
        )
    protocol = build.protocol(cfg)
    return {name: protocol.crop_reference(found.load(i)[None], cfg.scale) for i, name in enumerate(found.names)}


def marked(path: Path | None, *, mark: str) -> str | None:
    """The text of a file that a table is to be written into, before any of the work; none without a path.

    Raises:
        InputError: if it cannot be written, or has not the marks.
    """
    if path is None:
        return None
    if not (path.is_file() and os.access(path, os.R_OK | os.W_OK)):
        raise InputError(
            f"no file {path} that can be written; give one that holds <!-- {mark} --> and <!-- /{mark} -->"
        )
    document = path.read_text(encoding="utf-8")
    replaced(document, "", mark=mark)
    return document


def replaced(document: str, table: str, *, mark: str) -> str:
    """A document with the table between its marks ``<!-- mark -->`` and ``<!-- /mark -->``.

    Raises:
        InputError: if it has not got them.
    """
    before, after = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    head, opening, rest = document.partition(before)
    _, closing, tail = rest.partition(after)
    if not (opening and closing):
        raise InputError(f"the document has no {before} ... {after} to write the table between; nothing is written")
    return f"{head}{before}\n{table}\n{after}{tail}"


def composed(choices: Sequence[str]) -> DictConfig:
    """The whole config of a job, from its choices."""
    from hydra import compose, initialize_config_dir

    from metasr.config.schema import register
    from metasr.runs.folder import register_resolvers

    register()
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("config", overrides=list(choices))
