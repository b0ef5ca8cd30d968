"""Looks at the command line before hydra does: a mistyped choice gets the nearest names. Light to import."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from metasr.errors import InputError, nearest
from metasr.experiment.schema import Schema


def check_choices(arguments: Sequence[str], conf: Path) -> None:
    """Require that every top-level key and every choice of a config group exists.

    Args:
        arguments: the command line, as hydra gets it (``+experiment=mzsr_x2``, ``profile=quick``, ...).
        conf: the folder of configs, whose sub-folders are the groups.

    Raises:
        InputError: naming the nearest ones.
    """
    keys = {field.name for field in fields(Schema)} | {"hydra"}
    for argument in arguments:
        group, given, value = argument.partition("=")
        group = group.lstrip("+~").split("@")[0]
        if not given or not group or argument.startswith("-"):
            continue
        folder = conf / group
        key = group.split(".")[0].split("/")[0]
        if key not in keys and not (conf / key).is_dir() and not argument.startswith(("+", "~")):
            groups = {path.name for path in conf.iterdir() if path.is_dir()}
            raise InputError(f"no key {key!r}: {nearest(key, keys | groups)}")
        if group in ("experiment", "sweep") and not argument.startswith("+"):
            raise InputError(f"write a plus before it: +{argument}")
        if not folder.is_dir() or not value or any(c in value for c in "[]{}$"):
            continue
        known = sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml"))
        for choice in value.split(","):
            if group == "data" and choice not in known:
                _refuse_test_set(choice, known)
            if choice and choice not in known and choice != "null":
                raise InputError(f"no {group} {choice!r}: {nearest(choice, known)}")


def sweep_as_run(arguments: Sequence[str]) -> list[str]:
    """The command line with a report's ``sweep=FOLDER`` as ``runs=[FOLDER]``, which takes sweeps as well.

    ``sweep`` is a group of configs too, among whose choices hydra would look for the folder.

    Raises:
        InputError: if ``runs=`` is given beside it.
    """
    folders = [argument for argument in arguments if argument.startswith("sweep=")]
    if "task=report" not in arguments or not folders:
        return list(arguments)
    if len(folders) > 1 or any(argument.startswith("runs=") for argument in arguments):
        raise InputError("give one of sweep=FOLDER and 'runs=[FOLDER,...]', which takes folders of sweeps too")
    return [f"runs=[{a.partition('=')[2]}]" if a.startswith("sweep=") else a for a in arguments]


def _refuse_test_set(name: str, known: Sequence[str]) -> None:
    from metasr.data.known_sets import CATALOG  # not light: asked only where there is an error to tell

    if name in CATALOG:
        raise InputError(
            f"data={name} is a test set, which nothing may be learned from: evaluate on it with testset={name}; data "
            f"to train on: {', '.join(known)}"
        )


def plain(error: Exception) -> str:
    """A message of hydra's or omegaconf's on one line, without the insides of the config."""
    lines = [line for part in (error, error.__cause__) if part is not None for line in str(part).splitlines()]
    # Four spaces begin lines on the insides; to append is no help against a typing error.
    kept = [line for line in dict.fromkeys(lines) if line.strip() and not line.startswith(("    ", "To append"))]
    text = "; ".join(line.strip().removesuffix(".") for line in kept)
    return re.sub(r"\w+Error raised while resolving interpolation: ", "", text)
