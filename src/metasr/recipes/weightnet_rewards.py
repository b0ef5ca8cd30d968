"""What a pixel or a patch is worth: how far a step on its loss brings down the loss of a meta-data set.

With ℓ_p the loss of pixel p and g the gradient of the meta-data set's loss, both by the network's weights θ, the reward
of a pixel is the inner product ⟨∇ℓ_p, g⟩. It is exact: after a step θ' = θ - α/N Σ_q w_q ∇ℓ_q (N pixels in the batch),
the derivative of the meta loss by a weight is ∂L(θ')/∂w_p = -α/N ⟨∇ℓ_p, ∇L(θ')⟩. With g taken at θ, one backward pass
less, it is the limit of short steps.

The loss of a pixel is the *mean* over its channels of |SR - HR| throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, vmap

from metasr.errors import DivergenceError, InputError, nearest
from metasr.meta.inner_loop import inner_loop
from metasr.meta.rates import FixedRates
from metasr.models.weight_net import normalise_weights

_SPREAD = 1e-6  # rewards closer together than this, relative to the largest, are taken for equal: only rounding differs


def pixel_losses(output: Tensor, target: Tensor) -> Tensor:
    """ℓ_p, the mean over channels of |output - target|: ``(B, C, H, W)`` twice gives ``(B, H, W)``."""
    return (output - target).abs().mean(1)


def weighted_loss(losses: Tensor, weights: Tensor) -> Tensor:
    """1/N Σ_p w_p ℓ_p, a scalar: equal to the plain L1 loss where all weights are 1."""
    return (weights * losses).mean()


@dataclass(frozen=True)
class Direction:
    """Where a meta-data set wants the network to go.

    Attributes:
        loss: L1 loss of the meta-data set, a scalar.
        gradient: ∇L by parameter name, for the chosen layers.
    """

    loss: Tensor
    gradient: dict[str, Tensor]


def choose_layers(model: nn.Module, layers: Sequence[str] | None) -> list[str]:
    """Names of the parameters of some layers that train.

    Args:
        model: the network.
        layers: names of modules or parameters (``conv8`` stands for all that lies below it); none for all.

    Raises:
        InputError: for a name that the network does not have, with the nearest ones.
    """
    every = [name for name, p in model.named_parameters() if p.requires_grad]
    if layers is None:
        return every
    for layer in layers:
        if not any(_below(name, layer) for name in every):
            known = {name.rpartition(".")[0] or name for name in every}
            raise InputError(f"the network has no layer {layer!r} with weights: {nearest(layer, known)}")
    chosen = [name for name in every if any(_below(name, layer) for layer in layers)]
    if not chosen:
        raise InputError("layers must name at least one layer, or be none for all")
    return chosen


def _below(name: str, layer: str) -> bool:
    return name == layer or name.startswith(f"{layer}.")


def meta_direction(
    model: nn.Module, source: Tensor, target: Tensor, *, layers: Sequence[str] | None = None
) -> Direction:
    """The gradient of a meta-data set's L1 loss.

    Args:
        model: the network, at the weights where the gradient is wanted.
        source: its input ``(M, C, H, W)``.
        target: HR, same shape.
        layers: see ``choose_layers``; what has no part in the output has a gradient of 0.
    """
    names = choose_layers(model, layers)
    known = dict(model.named_parameters())
    with torch.enable_grad():
        loss = pixel_losses(model(source), target).mean()
        gradient = torch.autograd.grad(loss, [known[n] for n in names], materialize_grads=True)
    return Direction(loss.detach(), {n: g.detach() for n, g in zip(names, gradient, strict=True)})


def pixel_rewards(model: nn.Module, source: Tensor, target: Tensor, direction: Direction) -> Tensor:
    """⟨∇ℓ_p, g⟩ of all pixels by one forward-mode pass: the derivative of the loss map along g.

    Args:
        model: the network.
        source: its input ``(B, C, H, W)``.
        target: HR, same shape.
        direction: g; where it holds some layers only, the inner product is over these.

    Returns:
        ``(B, H, W)``, without graph.
    """
    named = dict(model.named_parameters())
    with torch.no_grad(), forward_ad.dual_level():
        moving = {n: forward_ad.make_dual(named[n].detach(), g) for n, g in direction.gradient.items()}
        losses = pixel_losses(functional_call(model, moving, (source,)), target)
        primal, tangent = forward_ad.unpack_dual(losses)
        return torch.zeros_like(primal) if tangent is None else tangent.clone()


def patch_rewards(model: nn.Module, source: Tensor, target: Tensor, direction: Direction) -> Tensor:
    """cos(∇ℓ_i, g) of every patch, by per-sample gradients of the layers that ``direction`` holds.

    Args:
        model: the network; no layer of it may mix the samples of a batch.
        source: its input ``(B, C, H, W)``.
        target: HR, same shape.
        direction: g.

    Returns:
        ``(B,)`` in [-1, 1], without graph; 0 where a gradient is zero.
    """
    named = dict(model.named_parameters())
    still = {n: p.detach() for n, p in named.items() if n not in direction.gradient}
    moving = {n: named[n].detach() for n in direction.gradient}

    def loss(parameters: dict[str, Tensor], one: Tensor, truth: Tensor) -> Tensor:
        return pixel_losses(functional_call(model, parameters | still, (one[None],)), truth[None]).mean()

    each = vmap(grad(loss), in_dims=(None, 0, 0))(moving, source, target)
    product = torch.stack([(each[n] * g).flatten(1).sum(1) for n, g in direction.gradient.items()]).sum(0)  # (B,)
    squares = torch.stack([each[n].flatten(1).square().sum(1) for n in moving]).sum(0)  # (B,)
    along = torch.stack([g.square().sum() for g in direction.gradient.values()]).sum()
    lengths = (squares * along).sqrt()
    return torch.where(lengths == 0, torch.zeros_like(product), product / lengths)


def weighted_step(
    model: nn.Module, source: Tensor, target: Tensor, weights: Tensor, *, rate: float, differentiable: bool = True
) -> nn.Module:
    """A clone of the network one step further on the weighted loss: θ' = θ - α ∇ 1/N Σ_p w_p ℓ_p.

    Args:
        model: the network θ; it is not changed.
        source: its input ``(B, C, H, W)``.
        target: HR, same shape.
        weights: ``(B, H, W)``.
        rate: α.
        differentiable: whether θ' can be differentiated by the weights.
    """
    return inner_loop(
        model,
        lambda net: weighted_loss(pixel_losses(net(source), target), weights),
        steps=1,
        rates=FixedRates([rate]),
        order="second" if differentiable else "none",
    )


def error_weights(losses: Tensor) -> Tensor:
    """Weights in proportion to the pixels' own errors, of mean 1 in every image: what the content-aware ones must beat.

    Args:
        losses: ``(B, H, W)``; where all of an image's are 0, its weights are 1.
    """
    return normalise_weights(losses.detach())


def standardise(rewards: Tensor) -> Tensor:
    """Rewards of a batch brought to mean 0 and standard deviation 1; all 0 where they are all equal."""
    centred = rewards - rewards.mean()
    spread = centred.square().mean().sqrt()
    equal = spread <= _SPREAD * rewards.abs().amax()
    return torch.where(equal, torch.zeros_like(rewards), centred / torch.where(equal, torch.ones_like(spread), spread))


def weight_objective(weights: Tensor, rewards: Tensor) -> Tensor:
    """-1/N Σ_p w_p r_p with the rewards standardised over the batch and constant: what a Weight-Net minimises.

    Args:
        weights: ``(B, H, W)``, with their graph.
        rewards: ``(B, H, W)``, or ``(B,)`` for one reward per patch.
    """
    constant = standardise(rewards.detach())
    return -(weights * (constant[:, None, None] if constant.ndim == 1 else constant)).mean()


def require_finite_rewards(rewards: Tensor, *, meta_loss: Tensor, of: str) -> None:
    """Require that rewards, and the loss they come from, are numbers; waits for the device.

    The loss is looked at too: the derivative of |x| at NaN is 0, so that rewards alone would not tell.

    Args:
        rewards: of any shape.
        meta_loss: the meta-data set's loss.
        of: what the rewards are for: step, degradation.

    Raises:
        DivergenceError: telling how many are not, the meta-data set's loss, and what to do.
    """
    bad = int((~torch.isfinite(rewards)).sum())
    if bad or not bool(torch.isfinite(meta_loss)):
        raise DivergenceError(
            f"{bad} of {rewards.numel()} rewards are not finite {of}, where the loss of the meta-data set is "
            f"{float(meta_loss):.4g}; lower the learning rate, or look for NaN in the meta-data set, then resume from "
            "the last good checkpoint"
        )
