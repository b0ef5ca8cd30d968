"""Depthwise convolution with kernels of each image's own, in the forms it can be computed in.

Their sums differ in order alone. ``loop`` convolves one image after the other and is what the others are tested
against; ``grouped`` folds the batch into channels, one group each; ``unfold`` gathers every pixel's neighbourhood and
multiplies; ``shifted`` adds up the taps, each the whole image moved by one place.

``grouped`` is the default: by ``benchmarks/dynamic_conv.py`` the fastest on a CPU, at every measured shape and in both
memory layouts, forward and backward, but for shapes where ``loop`` is level with it. It copies features that lie in
channels_last, so that on a GPU, where the default has not been measured, another form may do better there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from metasr.errors import InputError

Form = Literal["grouped", "unfold", "shifted", "loop"]


def dynamic_depthwise(features: Tensor, kernels: Tensor, *, form: Form = "grouped") -> Tensor:
    """Convolve (correlate) every channel of every image with a kernel of its own, zeros beyond the border.

    Args:
        features: ``(B, C, H, W)``.
        kernels: ``(B, C, k, k)``, k odd.
        form: how it is computed.

    Returns:
        ``(B, C, H, W)``.

    Raises:
        InputError: for kernels that do not fit the features, an even size, or an unknown form.
    """
    if kernels.ndim != 4 or kernels.shape[:2] != features.shape[:2]:
        want = tuple(features.shape[:2])
        raise InputError(f"kernels must have shape {(*want, 'k', 'k')} as the features, got {tuple(kernels.shape)}")
    if kernels.shape[2] != kernels.shape[3] or kernels.shape[2] % 2 == 0:
        raise InputError(f"kernels must be square and odd, got {kernels.shape[2]}x{kernels.shape[3]}")
    if form not in get_args(Form):
        raise InputError(f"form must be one of {', '.join(get_args(Form))}, got {form!r}")
    return _FORMS[form](features, kernels)


def _grouped(features: Tensor, kernels: Tensor) -> Tensor:
    b, c, h, w = features.shape
    folded = features.reshape(1, b * c, h, w)
    k = kernels.shape[-1]
    return F.conv2d(folded, kernels.reshape(b * c, 1, k, k), padding=k // 2, groups=b * c).reshape(b, c, h, w)


def _unfold(features: Tensor, kernels: Tensor) -> Tensor:
    b, c, h, w = features.shape
    k = kernels.shape[-1]
    columns = F.unfold(features, k, padding=k // 2).view(b, c, k * k, h * w)  # (B, C, k², HW)
    return torch.einsum("bckn,bck->bcn", columns, kernels.flatten(2)).view(b, c, h, w)


def _shifted(features: Tensor, kernels: Tensor) -> Tensor:
    h, w = features.shape[-2:]
    k = kernels.shape[-1]
    padded = F.pad(features, (k // 2,) * 4)
    total = padded[..., :h, :w] * kernels[..., 0, 0, None, None]
    for place in range(1, k * k):
        i, j = divmod(place, k)
        total = torch.addcmul(total, padded[..., i : i + h, j : j + w], kernels[..., i, j, None, None])
    return total


def _loop(features: Tensor, kernels: Tensor) -> Tensor:
    k, c = kernels.shape[-1], features.shape[1]
    return torch.cat([
        F.conv2d(image[None], own[:, None], padding=k // 2, groups=c)
        for image, own in zip(features, kernels, strict=True)
    ])  # fmt: skip


_FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "grouped": _grouped,
    "unfold": _unfold,
    "shifted": _shifted,
    "loop": _loop,
}
