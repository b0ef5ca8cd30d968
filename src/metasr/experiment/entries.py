"""Which solvers with which weights an evaluation compares."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig

from metasr.errors import InputError
from metasr.experiment import build
from metasr.experiment.evaluate import Entry
from metasr.experiment.weights import Weights

BASELINES = ("interpolate", "interpolate_aligned")
"""Solvers that every table has anyway."""


def solver_nodes(cfg: DictConfig) -> list[DictConfig]:
    """The experiment's solver, then those to be shown beside it (``beside.KEY=null`` leaves one out).

    Raises:
        InputError: if two of them have one name, so that no table could tell them apart.
    """
    nodes = [cfg.solver, *(node for node in cfg.beside.values() if node is not None)]
    names = [node.name for node in nodes]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two solvers are named {name!r}; give one of them another: beside.KEY.name=NAME")
    return nodes


def check_solvers(cfg: DictConfig) -> None:
    """Make every solver, with weights yet to come, to be thrown away: a typing error is to cost no training."""
    for node in solver_nodes(cfg):
        build.solver(cfg, weights=None, node=node, steps=max(steps_of(cfg)) if "steps" in node else None)


def needs_weights(cfg: DictConfig) -> bool:
    """Whether any of the solvers runs a network."""
    return any(node.get("needs_network", False) for node in solver_nodes(cfg))


def learned_entries(cfg: DictConfig, weights: Weights) -> list[Entry]:
    """The solvers that run a network, with some weights, as rows of the table."""
    cfg = build.as_trained(cfg, weights)  # once for all of them
    return [entry(cfg, node, weights) for node in solver_nodes(cfg) if node.get("needs_network", False)]


def own_entries(cfg: DictConfig) -> list[Entry]:
    """The solvers that need no weights, as rows of the table; interpolation is there already."""
    return [
        Entry(node.name, "-", build.solver(cfg, weights=None, node=node))
        for node in solver_nodes(cfg)
        if not node.get("needs_network", False) and node.name not in BASELINES
    ]


def entry(cfg: DictConfig, node: DictConfig, weights: Weights, *, updates: Sequence[int] | None = None) -> Entry:
    """One solver with weights, as rows of the table."""
    if "steps" not in node:
        return Entry(node.name, weights.label, build.solver(cfg, weights=weights, node=node))
    counts = steps_of(cfg) if updates is None else tuple(updates)
    solver = build.solver(cfg, weights=weights, node=node, steps=max(counts))
    return Entry(node.name, weights.label, solver, counts)


def steps_of(cfg: DictConfig) -> tuple[int, ...]:
    """The numbers of updates to show."""
    return build.update_counts([0, 1, 10] if cfg.adapt_steps is None else cfg.adapt_steps)
