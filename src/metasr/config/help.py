"""What ``--help`` prints: experiments, choices, tasks. Light to import, and quick whatever number of configs there is.

Hydra's own help composes a config and lists the groups through copies of all that it has read, which takes longer with
every config file; this one reads the files' first lines.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from metasr.paths import conf_folder

_WIDTH = 120
_INSIDE = ("paths", "schedule", "stage")  # groups that experiments choose from, and users do not
EXPERIMENT_OF_SOLVER = {"metric_constrained": "maml_sr_x2", "blind_back_project": "kernel_regressor"}
"""Solvers that run the networks of one kind of experiment alone, and an experiment of it."""
_FLAGS = {
    "--multirun, -m": "several runs: +sweep=NAME, or KEY=VALUE,VALUE (hydra/launcher=parallel: at once)",
    "--cfg job": "the whole composed config instead of running, for instance +experiment=mzsr_x2 --cfg job",
    "--info": "hydra's search path, plugins and defaults",
    "--hydra-help": "hydra's own flags, among them shell completion",
}


def solver_names() -> list[str]:
    """The solvers for photos: those that look at nothing else, and need no experiment of their own."""
    names = sorted(path.stem for path in (conf_folder() / "solver").glob("*.yaml"))
    return [name for name in names if name not in EXPERIMENT_OF_SOLVER and not name.endswith("oracle")]


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for help."""
    return any(argument in ("--help", "-h") for argument in arguments)


def text(conf: Path, *more: Path) -> str:
    """The whole help.

    Args:
        conf: the folder of configs; ``config.yaml`` holds the text (``hydra.help.template``), where
            ``$APP_CONFIG_GROUPS`` and ``$FLAGS_HELP`` stand for the choices and the flags.
        *more: further folders of configs, whose choices are told as well.
    """
    from omegaconf import OmegaConf

    template = OmegaConf.load(conf / "config.yaml").hydra.help.template
    flags = "\n".join(f"{flag:<17}{what}" for flag, what in _FLAGS.items())
    return str(template).replace("$APP_CONFIG_GROUPS", choices(conf, *more)).replace("$FLAGS_HELP", flags).rstrip()


def choices(*folders: Path) -> str:
    """Experiments with what each is, then the choices of every other group, a group to a line."""
    experiments = sorted((path for folder in folders for path in (folder / "experiment").glob("*.yaml")), key=_stem)
    widest = max((len(path.stem) for path in experiments), default=0)
    lines = [_wrapped(f"  {path.stem:<{widest}}  ", first_sentence(path)) for path in experiments]
    groups: dict[str, set[str]] = {}
    for conf in folders:
        for folder in [*sorted(conf.iterdir()), *sorted((conf / "hydra").glob("*"))]:
            hidden = folder.name in ("experiment", *_INSIDE) or folder.name.endswith("_logging")
            if folder.is_dir() and not hidden:
                groups.setdefault(folder.relative_to(conf).as_posix(), set()).update(map(_stem, folder.glob("*.yaml")))
    rest = [_wrapped(f"  {group}: ", ", ".join(sorted(names))) for group, names in groups.items() if names]
    return "\n".join(
        ["+experiment=NAME", *lines, "", "GROUP=CHOICE (sweeps and ablations with a plus: +sweep=NAME)", *rest, ""]
    )


def _stem(path: Path) -> str:
    return path.stem


def first_sentence(path: Path) -> str:
    """What a config file says of itself: its leading comment, up to the end of a sentence."""
    said = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @"):
            said.append(line.removeprefix("#").strip())
    return " ".join(said).split("; ")[0].split(". ")[0].rstrip(".;")


def _wrapped(head: str, body: str) -> str:
    return textwrap.fill(
        body, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head) if len(head) < 30 else "    ",
        break_on_hyphens=False,
    )  # fmt: skip
