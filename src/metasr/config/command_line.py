"""Looks at the command line before hydra does: a mistyped choice gets the nearest names. Light to import."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from metasr.config.schema import Schema
from metasr.errors import InputError, MetasrError, nearest
from metasr.runs.folder import quoted
from metasr.runs.renames import RENAMED_KEYS

_LISTS = ("runs", "benchmarks", "stages_to_run", "degradations")
"""Keys that take a list, which hydra would refuse in its own words."""
_NO_LIST = re.compile(r"""[^[$'"(][^(]*""")  # nor hydra's choice([a],[b])


def status_of(work: Callable[[], object], *, whole: bool = False) -> int:
    """Do a program's work and give its exit status; errors that a user can mend come as one line.

    Args:
        work: all of it.
        whole: let errors of hydra's through with their traceback.
    """
    try:
        work()
    except MetasrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (HydraException, OmegaConfBaseException) as error:
        if whole:
            raise
        print(f"error: {plain(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


_WITH_VALUE = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--package", "-p", "--cfg", "-c",
               "--experimental-rerun")  # fmt: skip
"""Hydra's options whose value is the word behind them."""


def further_folders(arguments: Sequence[str]) -> list[Path]:
    """Folders of configs beside the program's own: of ``--config-dir`` and of ``hydra.searchpath``."""
    folders = []
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        key, _, value = argument.partition("=")
        if key in ("--config-dir", "-cd"):
            folders.append(value or following)
        elif key == "hydra.searchpath":
            folders += re.findall(r"file://([^,\]'\"]+)", value)
    return [Path(folder) for folder in folders]


class Groups:
    """The groups of configs and their choices, in the program's folder and in folders of the user's."""

    def __init__(self, *folders: Path) -> None:
        self.folders = folders

    def names(self) -> set[str]:
        """The groups."""
        return {path.name for folder in self.folders if folder.is_dir() for path in folder.iterdir() if path.is_dir()}

    def has(self, group: str) -> bool:
        """Whether there is a group."""
        return any((folder / group).is_dir() for folder in self.folders)

    def choices(self, group: str) -> list[str]:
        """The choices of a group."""
        roots = [folder / group for folder in self.folders]
        choices = {path.relative_to(root).with_suffix("").as_posix() for root in roots for path in root.rglob("*.yaml")}
        return sorted(choices)

    def read(self, group: str, choice: str) -> Any:
        """A config as it is written; empty where there is none, which is hydra's to tell of."""
        for folder in self.folders:
            path = folder / group / f"{choice}.yaml"
            if path.is_file():
                return OmegaConf.load(path)
        return OmegaConf.create()


def check_choices(arguments: Sequence[str], conf: Path) -> None:
    """Require that every top-level key and every choice of a config group exists, and fits the experiment.

    Args:
        arguments: the command line, as hydra gets it (``+experiment=mzsr_x2``, ``profile=quick``, ...).
        conf: the folder of configs, whose sub-folders are the groups; those of ``--config-dir`` and
            ``hydra.searchpath`` are looked at as well.

    Raises:
        InputError: naming the nearest ones.
    """
    groups = Groups(conf, *further_folders(arguments))
    keys = {field.name for field in fields(Schema)} | {"hydra"}
    for argument in arguments:
        group, given, value = argument.partition("=")
        if argument.startswith("@"):
            raise InputError(f"{argument}: a group was expected before the @; write GROUP@PLACE=CHOICE, or KEY=VALUE")
        group = group.lstrip("+~").split("@")[0]
        if not given or not group or argument.startswith("-"):
            continue
        _refuse_old_key(argument)
        if re.match(r"""[^'"[{(=]*=""", value):
            raise InputError(f'{argument}: a value that holds = stands in quotes; write "{group}={quoted(value)}"')
        key = group.split(".")[0].split("/")[0]
        if key not in keys and not groups.has(key) and not argument.startswith(("+", "~")):
            _refuse_option(argument, groups)
            raise InputError(f"no key {key!r}: {nearest(key, keys | groups.names())}")
        if group in _LISTS and value != "null" and _NO_LIST.fullmatch(value):
            raise InputError(f"{group}={value}: a list was expected; write '{group}=[{value}]'")
        if group in ("experiment", "sweep") and not argument.startswith("+"):
            raise InputError(f"write a plus before it: +{argument}")
        if not groups.has(group) or group.startswith("hydra/") or not value or any(c in value for c in "[]{}$"):
            continue  # of hydra's own groups there are choices elsewhere
        known = groups.choices(group)
        for choice in value.split(","):
            if group == "data" and choice not in known:
                _refuse_test_set(choice, known)
            if choice and choice not in known and choice != "null":
                raise InputError(f"no {group} {choice!r}: {nearest(choice, known)}")
    _check_fit(arguments, groups)
    _check_scale(_chosen(arguments), groups)


def _check_fit(arguments: Sequence[str], groups: Groups) -> None:
    """Require that ablations, sweeps and meta-data sets are for the experiments that are chosen with them."""
    chosen = _chosen(arguments)
    experiments = chosen.get("experiment", [])
    for sweep in chosen.get("sweep", []):
        params = OmegaConf.select(groups.read("sweep", sweep), "hydra.sweeper.params") or {}
        varied = _chosen([f"{key}={value}" for key, value in params.items()])
        chosen = {**varied, **chosen}  # what is typed wins
    for experiment in experiments:
        for group in ("sweep", "ablation"):
            for choice in chosen.get(group, []):
                if not _is_for(experiment, groups.read(group, choice)):
                    _refuse_foreign(group, choice, experiment, groups)
        if "meta_set" in chosen and not _places(experiment, "meta_set", groups):
            having = ", ".join(n for n in groups.choices("experiment") if _places(n, "meta_set", groups))
            raise InputError(
                f"{experiment} learns from no meta-data set: leave out meta_set, or take an experiment that has one: "
                f"{having}"
            )


def _check_scale(chosen: dict[str, list[str]], groups: Groups) -> None:
    """Require that no run bears the name of another scale than its own: ``mzsr_x2`` is for two."""
    if "name" in chosen:
        return
    for experiment in chosen.get("experiment", []):
        named = re.search(r"(?<=_x)\d+(?=_|$)", experiment)
        for scale in chosen.get("scale", []):
            if named is None or not re.fullmatch(r"[\d.]+", scale) or float(scale) == float(named.group()):
                continue
            right = f"{experiment[: named.start()]}{float(scale):g}{experiment[named.end() :]}"
            other = f"+experiment={right}"
            if right not in groups.choices("experiment"):
                other = f"+experiment={experiment} scale={scale} name={right}"
            raise InputError(f"{experiment} is of scale {named.group()}, not {scale}: write {other}")


def _chosen(arguments: Sequence[str]) -> dict[str, list[str]]:
    """What is chosen of each config group; several with commas between, in brackets or not."""
    chosen_by_group: dict[str, list[str]] = {}
    for key, _, value in (argument.partition("=") for argument in arguments):
        choices = [choice.strip() for choice in value.strip("[]").split(",")]
        chosen_by_group[key.lstrip("+")] = [choice for choice in choices if choice and choice != "null"]
    return {key: choices for key, choices in chosen_by_group.items() if choices}


def _is_for(experiment: str, node: Any) -> bool:
    patterns = node.get("for_experiments")
    return patterns is None or any(fnmatch(experiment, pattern) for pattern in patterns)


def _refuse_foreign(group: str, choice: str, experiment: str, groups: Groups) -> None:
    fitting = [name for name in groups.choices(group) if _is_for(experiment, groups.read(group, name))]
    raise InputError(
        f"{group} {choice} is for {', '.join(groups.read(group, choice).for_experiments)}, not for {experiment}; "
        f"for it there is {', '.join(fitting) or 'none'}"
    )


def _places(experiment: str, group: str, groups: Groups) -> bool:
    """Whether an experiment, or one that it builds on, chooses from a config group."""
    for entry in groups.read("experiment", experiment).get("defaults", []):
        if isinstance(entry, DictConfig):
            if any(str(key).removeprefix("override ").lstrip("/") == group for key in entry):
                return True
        elif entry != "_self_" and _places(entry, group, groups):
            return True
    return False


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


def options_first(arguments: Sequence[str]) -> list[str]:
    """The command line with hydra's options before its choices, which it wants in one piece.

    ``+experiment=mine --config-dir FOLDER seed=2`` is what people type, and argparse refuses ``seed=2`` there.
    """
    options: list[str] = []
    choices: list[str] = []
    is_value = False
    if any(argument in ("--info", "-i") for argument in arguments):  # which would take the first choice for its value
        return list(arguments)
    for argument in arguments:
        is_option = argument.startswith("-") and not is_value
        (options if is_option or is_value else choices).append(argument)
        is_value = is_option and argument in _WITH_VALUE
    return [*options, *choices]


def _refuse_option(argument: str, groups: Groups) -> None:
    """Tell of an option of solvers that was written without them."""
    key = argument.partition("=")[0]
    having = [name for name in groups.choices("solver") if key in groups.read("solver", name)]
    if having:
        raise InputError(f"no key {key!r}: it is an option of solvers ({', '.join(having)}); write solver.{argument}")


def _refuse_old_key(argument: str) -> None:
    """Answer a key that has another name now with that name."""
    key, _, value = argument.partition("=")
    if key.lstrip("+~").split(".")[0] == "budget":
        raise InputError(
            f"{key} is gone: each number has the address that --cfg job shows, such as stages.pretrain.steps={value}"
        )
    new = re.sub(r"[^.@+~/]+", lambda part: RENAMED_KEYS.get(part.group(), part.group()), key)
    if new != key:
        raise InputError(f"{key} is now called {new}: write {new}={value}")


def _refuse_test_set(name: str, known: Sequence[str]) -> None:
    from metasr.data.known_sets import CATALOG  # not light: asked only where there is an error to tell

    if name in CATALOG:
        raise InputError(
            f"data={name} is a test set, which nothing may be learned from: evaluate on it with testset={name}; data "
            f"to train on: {', '.join(known)}"
        )


def plain(error: Exception) -> str:
    """A message of hydra's or omegaconf's on one line, without the insides of the config; with the nearest keys."""
    lines = [line for part in (error, error.__cause__) if part is not None for line in str(part).splitlines()]
    # Four spaces begin lines on the insides; to append is no help against a typing error.
    kept = [line for line in dict.fromkeys(lines) if line.strip() and not line.startswith(("    ", "To append"))]
    parts = [*(line.strip().removesuffix(".") for line in kept), *_near_keys(error)]
    text = "; ".join(parts if len(parts) > 1 else [*parts, "--help tells what can be chosen, --cfg job what was"])
    return re.sub(r"\w+Error raised while resolving interpolation: ", "", text)


def _near_keys(error: Exception) -> list[str]:
    """The names nearest to a key that a node has not, if that is the error."""
    for part in (error, error.__cause__):
        if isinstance(part, ConfigAttributeError | ConfigKeyError) and isinstance(part.parent_node, DictConfig):
            return [nearest(str(part.key), (str(key) for key in part.parent_node))]
    return []
