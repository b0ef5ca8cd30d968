"""Weights that other programs made and no card describes: told from their tensors, by spandrel."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn

from metasr.errors import WeightsError
from metasr.models.spandrel_network import SpandrelNetwork, spandrel_network
from metasr.runs.tensors import unwrapped
from metasr.runs.weights import Weights

_PLAIN = re.compile(r"conv\d+\.(weight|bias)")
"""Names of the plain network's tensors, whose files need no card."""


def is_of_another_program(weights: Weights, own: Iterable[str] | None = None) -> bool:
    """Whether weights are told by no card, and have no tensor of a network's here.

    Args:
        weights: as read.
        own: the names of the network's tensors; by default those of the plain network, of any number of layers.
    """
    if weights.run is not None or weights.card.get("model") or weights.architecture:
        return False
    wanted = None if own is None else set(own)
    for state in unwrapped(weights.network):
        if any(_PLAIN.fullmatch(name) if wanted is None else name in wanted for name in state):
            return False
    return True


def load(network: nn.Module, weights: Weights, *, replaceable: bool) -> nn.Module:
    """A network with some weights, or in its place the one of another program that these are of.

    Args:
        network: freshly made.
        weights: to load into it.
        replaceable: whether another one may take its place: it is none that the user named.

    Raises:
        WeightsError: if they belong to another network, and to none that spandrel knows.
    """
    if replaceable and is_of_another_program(weights, network.state_dict()):
        other = other_network(weights)
        if other is not None:
            return other
    return weights.load_into(network)


def other_network(weights: Weights) -> SpandrelNetwork | None:
    """The network of another program's file; none where spandrel does not know it.

    Raises:
        WeightsError: for a file that is to be imported first; and see ``models.spandrel_network.spandrel_network``.
    """
    *_, state = unwrapped(weights.network)
    if any(re.match(r"(E|E_st)\.", name) for name in state) and any(name.startswith("G.") for name in state):
        raise WeightsError(
            f"{weights.label} looks like a file of MRDA's or KDSR's public program; import it first: "
            f"metasr import {weights.label} --as mrda_x4 (or kdsr_m_x4, kdsr_l_x4)"
        )
    known = (spandrel_network(state, origin=weights.label) for state in unwrapped(weights.network))
    return next((network for network in known if network is not None), None)
