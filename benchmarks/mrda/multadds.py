"""How many multiply-adds a network takes."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from metasr.errors import InputError


def multiply_adds(network: nn.Module, *shapes: Sequence[int]) -> int:
    """Count the multiply-adds of one forward pass without computing it, on the meta device.

    What counts are the products of every convolution (depthwise ones by a vector's kernels too: one product per tap and
    output), linear layer and matrix product; biases, activations, sums and resizing do not, as in the published
    figures. PyTorch's own counter counts two operations for each.

    Args:
        network: left as it is; a copy is counted.
        shapes: of its inputs, such as ``(1, 3, 180, 320)``.

    Returns:
        The number.

    Raises:
        InputError: if no shape is given.
    """
    if not shapes:
        raise InputError("multiply_adds needs the shape of the network's input, such as (1, 3, 180, 320), got none")
    on_meta = copy.deepcopy(network).to("meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        on_meta(*(torch.empty(tuple(shape), device="meta") for shape in shapes))
    return counter.get_total_flops() // 2
