"""In which arithmetic and which memory layout a meta-step computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch

from metasr.errors import require_one_of

Arithmetic = Literal["auto", "fp32", "tf32", "bf16"]
Layout = Literal["auto", "channels_last", "contiguous"]


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Arithmetic and layout. Weights, losses, updates and gradients are float32 in all of them.

    ``tf32``, the default, is PyTorch's own default for convolutions on a GPU: their operands are rounded to 10 bits of
    mantissa, their sums are float32. ``fp32`` forbids that. ``bf16`` runs the network's passes, support and query, in
    bfloat16 by autocast. A CPU knows no TF32: there ``tf32`` and ``fp32`` are the same. ``auto`` is ``bf16`` on a CPU
    that multiplies it natively, at twice the rate of float32, and ``tf32`` everywhere else.

    ``channels_last`` stores feature maps pixel by pixel, which the fast kernels of both CPU and GPU want; values are
    the same up to the order of sums. ``auto`` takes it everywhere but for ``fp32`` on a GPU, whose strict kernels
    are faster channel by channel.

    On a GPU only deterministic algorithms are used, found without timing them, so that a resumed run repeats.

    Attributes:
        arithmetic: ``auto``, ``fp32``, ``tf32`` or ``bf16``.
        layout: ``auto``, ``channels_last`` or ``contiguous``.
    """

    arithmetic: Arithmetic = "tf32"
    layout: Layout = "auto"

    def __post_init__(self) -> None:
        require_one_of(self.arithmetic, Arithmetic, name="precision")
        require_one_of(self.layout, Layout, name="layout")

    def memory_format(self, device: torch.device) -> torch.memory_format:
        """Layout of feature maps and kernels on a device."""
        strict = self.arithmetic == "fp32" and device.type == "cuda"
        last = self.layout == "channels_last" or (self.layout == "auto" and not strict)
        return torch.channels_last if last else torch.contiguous_format

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """What a network's forward pass runs in; whatever the caller has chosen is left alone but for ``bf16``."""
        native = self.arithmetic == "auto" and device.type == "cpu" and native_bfloat16()
        if self.arithmetic != "bf16" and not native:
            return nullcontext()
        return torch.autocast(
            device.type, dtype=torch.bfloat16, cache_enabled=False
        )  # a cache outlives a captured step

    @contextmanager
    def region(self, device: torch.device) -> Iterator[None]:
        """What a whole meta-step runs in, derivatives included: cuDNN's flags, put back afterwards."""
        if device.type != "cuda":
            yield
            return
        cudnn: Any = torch.backends.cudnn
        # PyTorch before 2.9 has one flag for all of cuDNN; afterwards the old one may not be mixed with the new
        holder, name, value = (
            (cudnn.conv, "fp32_precision", "ieee" if self.arithmetic == "fp32" else "tf32")
            if hasattr(cudnn, "conv")
            else (cudnn, "allow_tf32", self.arithmetic != "fp32")
        )
        before = getattr(holder, name), cudnn.deterministic, cudnn.benchmark
        try:
            setattr(holder, name, value)
            cudnn.deterministic, cudnn.benchmark = True, False
            yield
        finally:
            setattr(holder, name, before[0])
            cudnn.deterministic, cudnn.benchmark = before[1:]


def native_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 itself; elsewhere it is converted to float32 and nothing is gained."""
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(known is not None and known())
