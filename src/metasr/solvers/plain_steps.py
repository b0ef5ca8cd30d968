"""The plain network's L1 gradient and its output, written out: what adaptation spends its time on.

A chain of convolutions and ReLU needs no recorded graph. Written out, each activation is kept once (autograd keeps it
before and after its ReLU's copy), the signal that runs back is changed in place, the image's own gradient is never
computed, and the backward pass may run in a cheaper type than the forward pass.

That type is bfloat16 where the processor multiplies it natively, at twice the rate of float32. Loss, signs, sums over
tiles, weights and output stay in the network's type. What runs back is the *sign* of the error, ±1, which bfloat16
holds exactly; the mean's 1/n is applied to the finished gradients, in full precision. (Applied first, as the chain rule
is usually written, its rounding would lengthen or shorten every stride by up to 0.4 %.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.meta.precision import native_bfloat16
from metasr.models.conv import Conv2d
from metasr.models.plain_cnn import PlainCNN

BackwardPrecision = Literal["auto", "float32", "bfloat16"]
Slices = tuple[slice, slice]
LAST = torch.channels_last
STRIPS = 4  # parts of an image whose weight gradients the CPU computes side by side
SMALLEST_STRIP = 1 << 16  # numbers; below, copying takes longer than is gained


def layers_of(network: nn.Module) -> list[nn.Conv2d] | None:
    """The convolutions of a plain network in order, or none where it may compute anything else than the plain chain.

    Subclasses, replaced or hooked layers, other geometries and autocast are left to the general way.
    """
    if type(network) is not PlainCNN or _altered(network):
        return None
    layers = [part for i in range(network.layers) if _is_plain(part := getattr(network, f"conv{i + 1}"))]
    if len(layers) < network.layers:
        return None
    weight = layers[0].weight
    uniform = all((p.dtype, p.device) == (weight.dtype, weight.device) for p in _own(layers))
    return layers if uniform and not torch.is_autocast_enabled(weight.device.type) else None


def suits(layers: list[nn.Conv2d], image: Tensor) -> bool:
    """Whether an image is of the layers' type and on their device; what else it may be is the network's own affair."""
    weight = layers[0].weight
    return image.dim() == 4 and image.dtype == weight.dtype and image.device == weight.device


def ids_of(layers: list[nn.Conv2d]) -> set[int]:
    """The identities of the layers' parameters."""
    return {id(p) for p in _own(layers)}


def forward_of(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network as a function for inference: written out where it is plain, itself otherwise.

    The function keeps no activation and records no graph.
    """
    layers = layers_of(network)
    if layers is None:
        return network

    def run(image: Tensor) -> Tensor:
        if not suits(layers, image):
            return cast(Tensor, network(image))
        with torch.no_grad():
            return _forward(layers, image, kept=None, backward=image.dtype)

    return run


def l1_gradients(
    layers: list[nn.Conv2d], source: Tensor, target: Tensor, core: Slices, *, backward: torch.dtype
) -> tuple[Tensor, dict[int, Tensor]]:
    """The sum of absolute errors over a part of an image, and its gradients.

    With a_0 the source, a_i = max(0, W_i * a_{i-1} + b_i) and e = a_0 + W_n * a_{n-1} + b_n - target, the signal
    s_n = sign(e) on the core runs back by s_{i-1} = (W_i^T * s_i)·[a_{i-1} > 0].

    Args:
        layers: of ``layers_of``.
        source: the network's input, ``(B, 3, H, W)``.
        target: what the core should be, ``(B, 3, h, w)``.
        core: rows and columns of the source that are compared.
        backward: type of the backward pass; the network's own for its own precision.

    Returns:
        The sum, a scalar on the images' device, and ``{id of a parameter: its gradient}``, in the network's type.
    """
    with torch.no_grad():
        kept: list[Tensor] = []
        output = _forward(layers, source, kept=kept, backward=backward)
        error = output[..., core[0], core[1]] - target
        signal = torch.zeros_like(output, dtype=backward, memory_format=LAST)
        signal[..., core[0], core[1]] = error.sign()
        gradients: dict[int, Tensor] = {}
        for index in range(len(layers) - 1, -1, -1):
            conv, below = layers[index], kept.pop()
            by_weight, by_bias = _weight_gradient(conv, below, signal)
            for parameter, gradient in ((conv.weight, by_weight), (conv.bias, by_bias)):
                gradient = gradient.to(conv.weight.dtype)
                shared = gradients.get(id(parameter))
                gradients[id(parameter)] = gradient if shared is None else shared + gradient
            if index > 0:
                signal = _backward(conv, below, signal, mask=(True, False, False))[0]
                torch.ops.aten.threshold_backward.grad_input(signal, below, 0, grad_input=signal)  # in place
        return error.abs_().sum(), gradients


def backward_type(precision: BackwardPrecision, layers: list[nn.Conv2d], image: Tensor) -> torch.dtype:
    """The type of the backward pass.

    ``auto`` is bfloat16 where it was measured to be faster: float32 networks of a multiple of 32 channels, on CPUs that
    multiply it natively (AVX-512 BF16); elsewhere it is the image's own type. On a GPU that is float32 by torch's own
    settings (TF32 in convolutions, unless it is switched off).
    """
    if precision == "float32" or image.dtype != torch.float32:
        return image.dtype
    if precision == "bfloat16":
        return torch.bfloat16
    wide = all(conv.out_channels % 32 == 0 for conv in layers[:-1])
    return torch.bfloat16 if wide and image.device.type == "cpu" and native_bfloat16() else image.dtype


def _forward(layers: list[nn.Conv2d], image: Tensor, *, kept: list[Tensor] | None, backward: torch.dtype) -> Tensor:
    """The output; what each layer reads is kept for the backward pass, in its type."""
    features = image.contiguous(memory_format=LAST)
    for index, conv in enumerate(layers):
        if kept is not None:
            kept.append(features.to(backward))
        weight = conv.weight.contiguous(memory_format=LAST)
        features = F.conv2d(features, weight, conv.bias, padding=1)
        if index < len(layers) - 1:
            features.relu_()
    return features.add_(image)


def _weight_gradient(conv: nn.Conv2d, below: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients by weight and bias, ``(D, C, 3, 3)`` and ``(D,)``.

    The CPU's kernel for bfloat16 takes up to twice as long for one large image as for a batch of its strips, each with
    a row of its neighbours (or of zeros) above and below.
    """
    batch, channels, height, width = below.shape
    rows = height // STRIPS
    one_large = batch == 1 and height % STRIPS == 0 and rows * width * channels >= SMALLEST_STRIP
    if not (one_large and below.device.type == "cpu" and below.dtype == torch.bfloat16):
        return _backward(conv, below, signal, mask=(False, True, True))[1:]
    strips = below.new_zeros(STRIPS, rows + 2, width, channels).permute(0, 3, 1, 2)  # (4, C, H / 4 + 2, W)
    for i, strip in enumerate(strips):
        first, last = max(0, i * rows - 1), min(height, (i + 1) * rows + 1)
        into = first - (i * rows - 1)
        strip[:, into : into + last - first] = below[0, :, first:last]
    cut = signal.permute(0, 2, 3, 1).reshape(STRIPS, rows, width, -1).permute(0, 3, 1, 2)  # (4, D, H / 4, W)
    return _backward(conv, strips, cut, mask=(False, True, True), padding=(0, 1))[1:]


def _backward(
    conv: nn.Conv2d,
    below: Tensor,
    signal: Tensor,
    *,
    mask: tuple[bool, bool, bool],
    padding: tuple[int, int] = (1, 1),
) -> tuple[Tensor, Tensor, Tensor]:
    """The backend's convolution gradients by input, weight and bias, those of ``mask``."""
    weight = conv.weight.to(signal.dtype).contiguous(memory_format=LAST)
    return torch.ops.aten.convolution_backward(
        signal, below, weight, [conv.out_channels], [1, 1], list(padding), [1, 1], False, [0, 0], 1, list(mask)
    )


def _is_plain(conv: nn.Module) -> bool:
    if type(conv) not in (nn.Conv2d, Conv2d) or _altered(conv):
        return False
    conv = cast(nn.Conv2d, conv)
    geometry = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
    return geometry == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros") and conv.bias is not None


def _own(layers: list[nn.Conv2d]) -> list[Tensor]:
    return [t for conv in layers for t in (conv.weight, conv.bias) if t is not None]


def _altered(module: nn.Module) -> bool:
    """Whether calling the module does more, or else, than its class's ``forward``."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks) or "forward" in vars(module)
