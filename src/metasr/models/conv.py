"""Convolution whose derivatives of every order are fast: a drop-in for ``nn.Conv2d`` inside an inner loop.

A convolution y = K(x, w) is bilinear, so differentiating it never leaves a family of three maps: the convolution K, its
input gradient I(g, w) and its weight gradient W(g, x), tied together by ⟨g, K(x, w)⟩ = ⟨x, I(g, w)⟩ = ⟨w, W(g, x)⟩.
Hence

    K(x, w)   by x, w against g:  I(g, w), W(g, x)
    I(g, w)   by g, w against x:  K(x, w), W(g, x)
    W(g, x)   by g, x against w:  K(x, w), I(g, w)

and each of the three is one call of the backend's own kernel. PyTorch's second derivative instead turns W into a
convolution whose "kernel" is a whole feature map, for which no backend has a fast kernel. The same holds for the
transposed convolution and for every stride, padding, dilation and number of groups.

Values are those of ``torch.nn.functional.conv2d``, and so are gradients up to the order of sums. Where no gradient
is needed, under forward-mode differentiation, inside transforms of ``torch.func``, for complex numbers and on the meta
device, the stock operation is called: it has rules for them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from metasr.errors import InputError

Pair = int | tuple[int, int]


class _Geometry(NamedTuple):
    """What the backend's convolution is told beside its tensors, in its order."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    transposed: bool
    output_padding: tuple[int, int]
    groups: int


class _Like(NamedTuple):
    """Shape and memory format of a tensor that the backend asks for without reading it."""

    shape: torch.Size
    memory_format: torch.memory_format

    @classmethod
    def of(cls, tensor: Tensor) -> _Like:
        last = tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
        return cls(tensor.shape, torch.channels_last if last else torch.contiguous_format)

    def empty(self, of: Tensor) -> Tensor:
        return torch.empty(self.shape, dtype=of.dtype, device=of.device, memory_format=self.memory_format)


def conv2d(
    features: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """``torch.nn.functional.conv2d``, closed under differentiation.

    Args:
        features: ``(B, C, H, W)`` or ``(C, H, W)``; float32, float64, bfloat16 or float16, on any device.
        weight: ``(D, C / groups, kH, kW)``.
        bias: ``(D,)``.
        stride: of the output, one number or (rows, columns).
        padding: zeros on each side, or ``valid`` (none) or ``same`` (at stride 1: as many as keep the size).
        dilation: distance of the kernel's taps.
        groups: of channels that do not see each other.

    Returns:
        ``(B, D, H', W')`` or ``(D, H', W')``.

    Raises:
        InputError: if ``padding`` is another word, or ``same`` with a stride.
    """
    steps, taps = _pair(stride), _pair(dilation)
    if _is_stock(features, weight, bias):
        return F.conv2d(features, weight, bias, steps, padding, taps, groups)
    if isinstance(padding, str):
        features, padding = _pad_in_words(features, weight, padding, stride=steps, dilation=taps)
    return _apply(features, weight, bias, _Geometry(steps, _pair(padding), taps, False, (0, 0), groups))


def conv_transpose2d(
    features: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> Tensor:
    """``torch.nn.functional.conv_transpose2d``, closed under differentiation.

    Args:
        features: ``(B, C, H, W)`` or ``(C, H, W)``; float32, float64, bfloat16 or float16, on any device.
        weight: ``(C, D / groups, kH, kW)``.
        bias: ``(D,)``.
        stride: by which the output is larger, one number or (rows, columns).
        padding: rows and columns cut off on each side of the output.
        output_padding: rows and columns added at the output's end, fewer than ``stride`` or ``dilation``.
        groups: of channels that do not see each other.
        dilation: distance of the kernel's taps.

    Returns:
        ``(B, D, H', W')`` or ``(D, H', W')``.
    """
    steps, cut, added, taps = _pair(stride), _pair(padding), _pair(output_padding), _pair(dilation)
    if _is_stock(features, weight, bias):
        return F.conv_transpose2d(features, weight, bias, steps, cut, added, groups, taps)
    return _apply(features, weight, bias, _Geometry(steps, cut, taps, True, added, groups))


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` by ``conv2d``: same arguments, same initial weights, same state dict."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``(B, C, H, W)`` or ``(C, H, W)``."""
        own: Any = self  # whose tuples are annotated as tuples of any length
        padding = own.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, own._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = 0
        return conv2d(
            input,
            self.weight,
            bias=self.bias,
            stride=own.stride,
            padding=padding,
            dilation=own.dilation,
            groups=self.groups,
        )


class ConvTranspose2d(nn.ConvTranspose2d):
    """``nn.ConvTranspose2d`` by ``conv_transpose2d``: same arguments, same initial weights, same state dict."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve ``(B, C, H, W)`` or ``(C, H, W)``; ``output_size`` chooses among the possible sizes."""
        own: Any = self  # whose tuples are annotated as tuples of any length
        added = self._output_padding(input, output_size, own.stride, own.padding, own.kernel_size, 2, own.dilation)
        return conv_transpose2d(
            input,
            self.weight,
            bias=self.bias,
            stride=own.stride,
            padding=own.padding,
            output_padding=(added[0], added[1]),
            groups=self.groups,
            dilation=own.dilation,
        )


def _pair(value: Pair) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return (value[0], value[1]) if len(value) == 2 else (value[0], value[0])


def _is_stock(*tensors: Tensor | None) -> bool:
    """Whether the stock operation does as well (no gradient needed), or alone has a rule."""
    present = [t for t in tensors if t is not None]
    if torch._C._are_functorch_transforms_active() or present[0].is_complex() or present[0].is_meta:
        return True
    if not torch.is_grad_enabled() or not any(t.requires_grad for t in present):
        return True
    return any(forward_ad.unpack_dual(t).tangent is not None for t in present)


def _pad_in_words(
    features: Tensor, weight: Tensor, padding: str, *, stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[Tensor, tuple[int, int]]:
    """Padding given as a word: what is added at the end alone is added here, the rest is left to the backend."""
    if padding == "valid":
        return features, (0, 0)
    if padding != "same" or stride != (1, 1):
        raise InputError(
            f"padding must be a number, a pair, 'valid', or 'same' at stride 1, got {padding!r} at stride {stride}; "
            "give it in pixels"
        )
    totals = [d * (k - 1) for d, k in zip(dilation, weight.shape[-2:], strict=True)]
    if any(t % 2 for t in totals):
        features = F.pad(features, (0, totals[1] % 2, 0, totals[0] % 2))
    return features, (totals[0] // 2, totals[1] // 2)


def _apply(features: Tensor, weight: Tensor, bias: Tensor | None, geometry: _Geometry) -> Tensor:
    device = features.device.type
    if torch.is_autocast_enabled(device):  # here, where it is differentiated: inside there is one precision
        dtype = torch.get_autocast_dtype(device)
        features, weight = _lowered(features, dtype), _lowered(weight, dtype)
        bias = None if bias is None else _lowered(bias, dtype)
    if features.dim() == 3:
        return _Convolution.apply(features[None], weight, bias, geometry)[0]
    return _Convolution.apply(features, weight, bias, geometry)


def _lowered(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() and tensor.dtype != torch.float64 else tensor


# The three maps. Each is recorded where it is going to be differentiated, and a bare kernel where it is not.


def _convolve(x: Tensor, w: Tensor, geometry: _Geometry) -> Tensor:
    return _convolution(x, w, None, geometry) if _is_stock(x, w) else _Convolution.apply(x, w, None, geometry)


def _input_gradient(g: Tensor, w: Tensor, like: _Like, geometry: _Geometry) -> Tensor:
    if not _is_stock(g, w):
        return _InputGradient.apply(g, w, like, geometry)
    return torch.ops.aten.convolution_backward(g, like.empty(g), w, None, *geometry, (True, False, False))[0]


def _weight_gradient(g: Tensor, x: Tensor, like: _Like, geometry: _Geometry) -> Tensor:
    if not _is_stock(g, x):
        return _WeightGradient.apply(g, x, like, geometry)
    return torch.ops.aten.convolution_backward(g, x, like.empty(g), None, *geometry, (False, True, False))[1]


def _convolution(x: Tensor, w: Tensor, bias: Tensor | None, geometry: _Geometry) -> Tensor:
    if not torch.is_autocast_enabled(x.device.type):
        return torch.ops.aten.convolution(x, w, bias, *geometry)
    with torch.amp.autocast(x.device.type, enabled=False):  # a derivative has the precision of what it is derived from
        return torch.ops.aten.convolution(x, w, bias, *geometry)


class _Convolution(torch.autograd.Function):
    """K(x, w) + bias."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None, geometry: _Geometry) -> Tensor:
        by_x, by_w = ctx.needs_input_grad[:2]
        ctx.save_for_backward(x if by_w else None, w if by_x else None)
        ctx.x, ctx.w, ctx.geometry = _Like.of(x), _Like.of(w), geometry
        return _convolution(x, w, bias, geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = gradients
        by_x, by_w, by_bias = ctx.needs_input_grad[:3]
        x, w = ctx.saved_tensors
        if not torch.is_grad_enabled():  # the last derivative: one call for all, whose bits are the stock operation's
            x, w = (ctx.x.empty(g) if x is None else x), (ctx.w.empty(g) if w is None else w)
            sizes = [g.shape[1]] if by_bias else None
            gradients = torch.ops.aten.convolution_backward(g, x, w, sizes, *ctx.geometry, (by_x, by_w, by_bias))
            return (*gradients, None)
        return (
            _input_gradient(g, w, ctx.x, ctx.geometry) if by_x else None,
            _weight_gradient(g, x, ctx.w, ctx.geometry) if by_w else None,
            g.sum((0, 2, 3)) if by_bias else None,
            None,
        )


class _InputGradient(torch.autograd.Function):
    """I(g, w)."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, w: Tensor, like: _Like, geometry: _Geometry) -> Tensor:
        by_g, by_w = ctx.needs_input_grad[:2]
        ctx.save_for_backward(g if by_w else None, w if by_g else None)
        ctx.w, ctx.geometry = _Like.of(w), geometry
        return torch.ops.aten.convolution_backward(g, like.empty(g), w, None, *geometry, (True, False, False))[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = gradients
        by_g, by_w = ctx.needs_input_grad[:2]
        g, w = ctx.saved_tensors
        return (
            _convolve(x, w, ctx.geometry) if by_g else None,
            _weight_gradient(g, x, ctx.w, ctx.geometry) if by_w else None,
            None,
            None,
        )


class _WeightGradient(torch.autograd.Function):
    """W(g, x)."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, like: _Like, geometry: _Geometry) -> Tensor:
        by_g, by_x = ctx.needs_input_grad[:2]
        ctx.save_for_backward(g if by_x else None, x if by_g else None)
        ctx.x, ctx.geometry = _Like.of(x), geometry
        return torch.ops.aten.convolution_backward(g, x, like.empty(g), None, *geometry, (False, True, False))[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (w,) = gradients
        by_g, by_x = ctx.needs_input_grad[:2]
        g, x = ctx.saved_tensors
        return (
            _convolve(x, w, ctx.geometry) if by_g else None,
            _input_gradient(g, w, ctx.x, ctx.geometry) if by_x else None,
            None,
            None,
        )
