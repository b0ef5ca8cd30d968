"""What a teacher looks at: both images of a pair, by way of a network adapted to them or side by side.

A teacher describes a pair's degradation with the HR image at hand, which nobody has when it matters. So it is an
*oracle*: it teaches, and its scores bound what a student can reach; they are no result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.checks import check_whole_pair
from metasr.errors import InputError
from metasr.meta.inner_loop import Trace, detach, inner_loop
from metasr.meta.learn2learn import clone_module
from metasr.meta.rates import FixedRates
from metasr.models.mln import MLN


class View(Protocol):
    """What the teacher's encoder is given of a batch of pairs."""

    @property
    def adapts(self) -> bool:
        """Whether it needs a network to adapt."""
        ...

    def __call__(
        self, lr: Tensor, hr: Tensor, *, mln: MLN | None, trace: Trace | None = None
    ) -> tuple[Tensor, MLN | None]:
        """See the implementations; gives what the encoder reads, without history, and the adapted network."""
        ...


@dataclass(frozen=True, kw_only=True)
class PairView:
    """LR and HR side by side, the HR folded to LR size: ``(B, 3 + 3 s², h, w)`` (KDSR)."""

    @property
    def adapts(self) -> bool:
        """No network is adapted."""
        return False

    def __call__(
        self, lr: Tensor, hr: Tensor, *, mln: MLN | None = None, trace: Trace | None = None
    ) -> tuple[Tensor, MLN | None]:
        """Fold and join.

        Args:
            lr: ``(B, 3, h, w)``.
            hr: ``(B, 3, s h, s w)``.
            mln: not used.
            trace: not used.
        """
        return torch.cat([lr, F.pixel_unshuffle(hr, _factor(lr, hr))], 1), None


@dataclass(frozen=True, kw_only=True)
class AdaptedFeatures:
    """Features of an MLN after a few SGD steps on the very pairs, by L1: ``(B, width, h, w)`` (MRDA).

    One set of weights is adapted for the whole batch, so all of its pairs must have come about by one degradation.

    Attributes:
        rates: of the steps, one each (published: 1e-2, then 5e-3 four times).
        frozen: children that the steps leave as they are; the published fourth stage freezes the ``tail``, though
            gradients still run through it.
        gain: what the features are multiplied by. As they come (1, published) they are of the order of 0.01, too little
            for an encoder to tell them apart within a short schedule.
    """

    rates: Sequence[float] = (1e-2, 5e-3, 5e-3, 5e-3, 5e-3)
    frozen: Sequence[str] = ()
    gain: float = 1.0

    def __post_init__(self) -> None:
        FixedRates(self.rates)
        if not self.gain > 0:
            raise InputError(f"gain must be above 0, got {self.gain}")
        parts = {"head", "body", "tail"}
        if isinstance(self.frozen, str):
            raise InputError(f"frozen must be a list, got {self.frozen!r}; write [{self.frozen}]")
        unknown = sorted({*self.frozen} - parts)
        if unknown:
            raise InputError(f"frozen must be some of head, body and tail, got {', '.join(unknown)}")
        if parts <= {*self.frozen}:
            raise InputError("frozen head, body and tail leave nothing to adapt; leave one of them out")

    @property
    def adapts(self) -> bool:
        """It needs a network to adapt."""
        return True

    def __call__(
        self, lr: Tensor, hr: Tensor, *, mln: MLN | None, trace: Trace | None = None
    ) -> tuple[Tensor, MLN | None]:
        """Adapt a clone, and look with it at the LR images.

        Args:
            lr: ``(B, 3, h, w)``.
            hr: ``(B, 3, s h, s w)``.
            mln: where the steps start from; never changed, frozen or not.
            trace: filled with the losses; costs a synchronisation per step.
        """
        if mln is None:
            raise InputError("this view adapts an MLN, got none; set mln=${mln}, or take the PairView")
        check_whole_pair(lr, hr, mln.scale)
        adapted = adapt(mln, lr, hr, rates=self.rates, frozen=self.frozen, trace=trace)
        with torch.no_grad():
            return self.gain * adapted.features(lr), adapted


def adapt(
    mln: MLN,
    lr: Tensor,
    hr: Tensor,
    *,
    rates: Sequence[float],
    frozen: Sequence[str] = (),
    steps: int | None = None,
    trace: Trace | None = None,
    after_step: Callable[[int, nn.Module], None] | None = None,
) -> MLN:
    """Take SGD steps with a clone of an MLN on the L1 loss of pairs, by the one inner loop of the package.

    Args:
        mln: where to start from; never changed, and it may be frozen.
        lr: ``(B, 3, h, w)``.
        hr: ``(B, 3, s h, s w)``.
        rates: of the steps; the last one goes on where there are more of them.
        frozen: children that stay as they are.
        steps: how many; as many as there are rates by default.
        trace: filled with losses, mean rates and seconds. Without it nothing waits for the device: a loss that is not
            finite shows in what comes of the adapted network.
        after_step: see ``meta.inner_loop.inner_loop``.

    Returns:
        The adapted clone.
    """

    def gradients(network: nn.Module, parameters: list[nn.Parameter]) -> tuple[float | None, Sequence[Tensor]]:
        loss = F.l1_loss(network(lr), hr)
        gradients = torch.autograd.grad(loss, parameters)
        return None if trace is None else float(loss.detach()), gradients

    with torch.inference_mode(False), torch.enable_grad():
        start: MLN = clone_module(mln)
        detach(start)
        for name, child in start.named_children():
            for parameter in child.parameters():
                parameter.requires_grad_(name not in frozen)
        learner = inner_loop(
            start, steps=len(rates) if steps is None else steps, rates=FixedRates(rates), order="none", trace=trace,
            gradients=gradients, after_step=after_step,
        )  # fmt: skip
    assert isinstance(learner, MLN)
    return learner


class TeacherOracle(nn.Module):
    """A teacher as one network: from a pair, its LR image enlarged.

    Args:
        view: what the encoder is given.
        encoder: of the view, to a vector ``(B, V)``.
        body: of LR image and vector.
        mln: the network that the view adapts, or none.

    Raises:
        InputError: if the view needs a network to adapt and there is none, or the other way about.
    """

    def __init__(self, view: View, *, encoder: nn.Module, body: nn.Module, mln: MLN | None = None) -> None:
        super().__init__()
        check_view(view, mln)
        self.view = view
        self.encoder = encoder
        self.body = body
        self.mln = mln

    @property
    def scale(self) -> int:
        """By which it enlarges."""
        return int(self.body.scale)  # type: ignore[arg-type]

    def vector(self, lr: Tensor, hr: Tensor, *, trace: Trace | None = None) -> Tensor:
        """The degradation vector of each pair, ``(B, V)``."""
        seen, _ = self.view(lr, hr, mln=self.mln, trace=trace)
        return self.encoder(seen)

    def forward(self, lr: Tensor, hr: Tensor, *, trace: Trace | None = None) -> Tensor:
        """Enlarge, knowing the answer.

        Args:
            lr: ``(B, 3, h, w)`` in [0, 1].
            hr: ``(B, 3, s h, s w)``.
            trace: of the adaptation, filled where there is one.

        Returns:
            ``(B, 3, s h, s w)``, not clipped.
        """
        return self.body(lr, self.vector(lr, hr, trace=trace))


def check_view(view: View, mln: MLN | None) -> None:
    """Require a network to adapt where a view needs one, and none where it does not."""
    if view.adapts and mln is None:
        raise InputError(f"{type(view).__name__} adapts an MLN, got none; set the recipe's mln to ${{mln}}")
    if not view.adapts and mln is not None:
        raise InputError(f"{type(view).__name__} adapts no network; set the recipe's mln to null")


def _factor(lr: Tensor, hr: Tensor) -> int:
    factor = hr.shape[-2] // lr.shape[-2]
    check_whole_pair(lr, hr, factor)
    return factor
