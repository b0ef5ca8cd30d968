"""Looks at the command line before hydra does: a mistyped choice gets the nearest names. Light to import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metasr.errors import InputError, nearest


def check_choices(arguments: Sequence[str], conf: Path) -> None:
    """Require that every choice of a config group exists.

    Args:
        arguments: the command line, as hydra gets it (``+experiment=mzsr_x2``, ``profile=quick``, ...).
        conf: the folder of configs, whose sub-folders are the groups.

    Raises:
        InputError: naming the nearest choices.
    """
    for argument in arguments:
        group, given, value = argument.partition("=")
        group = group.lstrip("+~").split("@")[0]
        if not given or not group or argument.startswith("-"):
            continue
        folder = conf / group
        if group in ("experiment", "sweep") and not argument.startswith("+"):
            raise InputError(f"write a plus before it: +{argument}")
        if not folder.is_dir() or not value or any(c in value for c in "[]{}$"):
            continue
        known = sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml"))
        for choice in value.split(","):
            if choice and choice not in known and choice != "null":
                raise InputError(f"no {group} {choice!r}: {nearest(choice, known)}")
