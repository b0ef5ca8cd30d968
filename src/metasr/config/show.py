"""What ``--cfg job`` prints: the composed config, with numbers as numbers and whatever fits on one line on one line."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf

from metasr.config.command_line import further_folders

_WIDTH = 120
_FEW = 4  # lines that a mapping may take up to be written in braces
_ASKING = (["--cfg", "job"], ["-c", "job"])
_OTHERWISE = {"--resolve", "--multirun", "-m", "--package", "-p"}  # which hydra answers itself


def wants_config(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for the composed config, and for no other form of it than this one."""
    flags = [argument for argument in arguments if argument.startswith("-")]
    pairs = [list(pair) for pair in pairwise(arguments)]
    return any(asked in pairs for asked in _ASKING) and not _OTHERWISE & {*flags}


def config_text(arguments: Sequence[str], conf: Path) -> str:
    """The composed config as YAML.

    Interpolations of numbers and texts are shown as what they come to; those of whole parts as they are written.

    Args:
        arguments: the command line, flags among them.
        conf: the folder of configs; those of ``--config-dir`` are looked at as well.
    """
    from hydra import compose, initialize_config_dir

    choices = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    choices += [argument for argument in arguments if argument.startswith("~")]
    folders = ",".join(f"file://{folder.absolute()}" for folder in further_folders(arguments))
    if folders and not any(choice.startswith("hydra.searchpath=") for choice in choices):
        choices.append(f"hydra.searchpath=[{folders}]")
    with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
        return as_text(compose("config", overrides=list(dict.fromkeys(choices))))


def as_text(cfg: DictConfig) -> str:
    """A config as YAML that can be read back; the keys that are null come last, in a few lines."""
    plain = _plain(cfg)
    unset = [key for key, value in plain.items() if value is None]
    lines = _block({key: value for key, value in plain.items() if value is not None}, "")
    told = textwrap.fill(", ".join(unset), _WIDTH, initial_indent="# null: ", subsequent_indent="#   ")
    return "\n".join([*lines, told] if unset else lines) + "\n"


def _plain(node: DictConfig | ListConfig) -> Any:
    """Plain containers and values; an interpolation of a container stays a text."""
    if isinstance(node, ListConfig):
        return [_value(node, index) for index in range(len(node))]
    return {str(key): _value(node, key) for key in node}


def _value(node: Any, key: Any) -> Any:
    if OmegaConf.is_missing(node, key):
        return "???"
    value = node[key]
    if isinstance(value, DictConfig | ListConfig):
        inner = node._get_node(key)
        return inner._value() if OmegaConf.is_interpolation(node, key) else _plain(value)
    return value.name if isinstance(value, Enum) else value


def _block(part: dict[str, Any], indent: str) -> list[str]:
    lines = []
    for key, value in part.items():
        line = f"{indent}{_flow(key)}: {_flow(value)}"
        if not isinstance(value, dict) or len(line) <= _WIDTH:
            lines.append(line)
        elif len(packed := _packed(key, value, indent)) <= _FEW and max(map(len, packed)) <= _WIDTH:
            lines += packed
        else:
            lines += [f"{indent}{_flow(key)}:", *_block(value, indent + "  ")]
    return lines


def _packed(key: str, part: dict[str, Any], indent: str) -> list[str]:
    """A mapping in braces over several lines, each as full as may be."""
    lines = [f"{indent}{_flow(key)}: {{"]
    for name, value in part.items():
        item = f"{_flow({name: value})[1:-1]},"
        if len(lines[-1]) + len(item) < _WIDTH:
            lines[-1] += item if lines[-1].endswith("{") else f" {item}"
        else:
            lines.append(f"{indent}  {item}")
    return [*lines[:-1], f"{lines[-1].removesuffix(',')}}}"]


def _flow(value: Any) -> str:
    """A value on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")
