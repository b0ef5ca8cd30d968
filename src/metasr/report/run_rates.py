"""Learned inner rates of a stage's weights file, by the names of the tensors that they belong to."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metasr.errors import WeightsError
from metasr.meta.rates import MetaSGDRates, PerStepRates, rates_from_state
from metasr.report.run_data import RatesTable
from metasr.runs.architecture import is_known, parameter_names
from metasr.runs.weights import read_tensors

log = logging.getLogger(__name__)


def learned_rates(weights: Path, config: Mapping[str, Any]) -> RatesTable | None:
    """The rates in a weights file, or none.

    Args:
        weights: the file.
        config: the config of the run that made it, whose network tells the tensors' names.

    Returns:
        One rate per step and tensor; of rates per weight the mean over each tensor, the same at every step.

    Raises:
        WeightsError: if the file cannot be read.
    """
    rates = rates_from_state(read_tensors(weights))
    if isinstance(rates, PerStepRates):
        rows = tuple(tuple(map(float, row)) for row in rates.inner_rates.detach())
        steps = tuple(str(i + 1) for i in range(len(rows)))
    elif isinstance(rates, MetaSGDRates):
        rows = (tuple(float(r.detach().double().mean()) for r in rates.meta_rates),)
        steps = ("every",)
    else:
        return None
    count = len(rows[0])
    names = _names(config, weights)
    if len(names) != count:  # another network, or one that cannot be made here
        names = [f"tensor {i + 1}" for i in range(count)]
    return RatesTable(steps, tuple(names), rows)


def _names(config: Mapping[str, Any], weights: Path) -> list[str]:
    """Names of the network's trained tensors in their order, which a weights file does not tell; none of a stranger."""
    model = config.get("model")
    if not isinstance(model, Mapping) or not is_known(model):
        return []
    try:
        return parameter_names(model, origin=f"the card of {weights}")
    except WeightsError as error:  # a network of another version, or a card that is not to be trusted
        log.warning("rates are shown without the names of their tensors: %s", error)
        return []
