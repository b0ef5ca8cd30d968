"""Which solvers with which weights an evaluation compares."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from omegaconf import DictConfig

from metasr.config import build
from metasr.errors import InputError, StageError
from metasr.evaluation.solved import Entry
from metasr.runs.weights import Weights, from_stage

log = logging.getLogger(__name__)

BASELINES = ("interpolate", "interpolate_aligned")
"""Solvers that every table has anyway."""


def solver_nodes(cfg: DictConfig) -> list[DictConfig]:
    """The experiment's solver, then those to be shown beside it (``compare_with.KEY=null`` leaves one out).

    Raises:
        InputError: if two of them have one name, so that no table could tell them apart.
    """
    nodes = [cfg.solver, *(node for node in cfg.compare_with.values() if node is not None)]
    names = [node.name for node in nodes]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two solvers are named {name!r}; give one of them another: compare_with.KEY.name=NAME")
    return nodes


def check_solvers(cfg: DictConfig) -> None:
    """Make every solver, with weights yet to come, to be thrown away: a typing error is to cost no training."""
    for node in solver_nodes(cfg):
        if "stage" in node:
            build.oracle(cfg, node)
        else:
            build.solver(cfg, weights=None, node=node, steps=max(steps_of(cfg, node)) if "steps" in node else None)


def needs_weights(cfg: DictConfig) -> bool:
    """Whether any of the solvers runs a network."""
    return any(node.get("needs_network", False) for node in solver_nodes(cfg))


def learned_entries(cfg: DictConfig, weights: Weights) -> list[Entry]:
    """The solvers that run a network, with some weights, as rows of the table.

    Weights of a stage that has a solver of its own, a teacher's, are run by that one alone.
    """
    stage = weights.card.get("stage")
    if stage in cfg.stages and cfg.stages[stage].solver is not None:
        return [oracle_entry(cfg, cfg.stages[stage].solver, weights)]
    trained = build.as_trained(cfg, weights)  # once for all of them
    nodes = [node for node in solver_nodes(cfg) if node.get("needs_network", False)]
    rows = [entry(trained, node, weights) for node in nodes if "stage" not in node]
    return rows + [row for node in nodes if "stage" in node for row in _oracle_beside(cfg, node, weights)]


def oracle_entry(cfg: DictConfig, node: DictConfig, weights: Weights) -> Entry:
    """A solver that looks at the HR image, with its stage's weights, as rows of the table."""
    return Entry(node.name, weights.label, build.oracle(cfg, node, weights=weights), digest=weights.digest)


def _oracle_beside(cfg: DictConfig, node: DictConfig, weights: Weights) -> list[Entry]:
    """The same with the weights of its stage in the run that ``weights`` are of; nothing where there is none."""
    if weights.run is None:
        log.info("%s is left out: %s are not of a run folder, where stage %s's would lie", node.name, weights.label,
                 node.stage)  # fmt: skip
        return []
    try:
        return [oracle_entry(cfg, node, from_stage(weights.run, node.stage))]
    except StageError as error:
        log.warning("%s is left out: %s", node.name, error)
        return []


def own_entries(cfg: DictConfig) -> list[Entry]:
    """The solvers that need no weights, as rows of the table; interpolation is there already."""
    return [
        _own_entry(cfg, node)
        for node in solver_nodes(cfg)
        if not node.get("needs_network", False) and node.name not in BASELINES
    ]


def _own_entry(cfg: DictConfig, node: DictConfig) -> Entry:
    if "snapshots" not in node:
        return Entry(node.name, "-", build.solver(cfg, weights=None, node=node))
    counts = steps_of(cfg, node)
    return Entry(node.name, "-", build.solver(cfg, weights=None, node=node, steps=max(counts)), counts)


def entry(cfg: DictConfig, node: DictConfig, weights: Weights, *, updates: Sequence[int] | None = None) -> Entry:
    """One solver with weights, as rows of the table."""
    if "steps" not in node:
        return Entry(node.name, weights.label, build.solver(cfg, weights=weights, node=node), digest=weights.digest)
    counts = steps_of(cfg, node) if updates is None else tuple(updates)
    solver = build.solver(cfg, weights=weights, node=node, steps=max(counts))
    return Entry(node.name, weights.label, solver, counts, weights.digest)


def steps_of(cfg: DictConfig, node: DictConfig | None = None) -> tuple[int, ...]:
    """The numbers of updates to show: those asked for, or the solver's own ``snapshots``, or 0, 1 and 10."""
    own = None if node is None else node.get("snapshots")
    return build.update_counts((own or [0, 1, 10]) if cfg.adapt_steps is None else cfg.adapt_steps)
