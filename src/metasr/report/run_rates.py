"""Learned inner rates of a stage's weights file, by the names of the tensors that they belong to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from metasr.config import build
from metasr.errors import MetasrError
from metasr.meta.rates import MetaSGDRates, PerStepRates, rates_from_state
from metasr.report.run_data import RatesTable
from metasr.runs.weights import read_tensors

_OWN_NETWORK = re.compile(r"metasr\.models\.[a-z0-9_]+\.[A-Z]\w*")


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
    names = _names(config)
    if len(names) != count:  # another network, or one that cannot be made here
        names = [f"tensor {i + 1}" for i in range(count)]
    return RatesTable(steps, tuple(names), rows)


def _names(config: Mapping[str, Any]) -> list[str]:
    """Names of the network's trained tensors in their order, which a weights file does not tell.

    A card comes from whoever made the run: only a class of this package's, given plain values, is made from it, and
    only its shape, without memory.
    """
    model = config.get("model")
    target = model.get("_target_") if isinstance(model, Mapping) else None
    if not isinstance(model, Mapping) or not _OWN_NETWORK.fullmatch(str(target)):
        return []
    if any(
        str(k) != "_target_" and (str(k).startswith("_") or isinstance(v, Mapping | list)) for k, v in model.items()
    ):
        return []
    try:
        with torch.device("meta"):
            network = build.model(OmegaConf.create({"model": dict(model), "seed": 0}))
    except MetasrError:  # a network of another version
        return []
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]
