"""Keeps the network that a teacher's view adapts, and where the next adaptation starts from."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from metasr.errors import InputError, require_one_of
from metasr.models.mln import MLN
from metasr.models.teacher import View, check_view

Reset = Literal["per_batch", "never"]


class Observer(nn.Module):
    """Looks at batches of pairs through a view. Its MLN is never changed, and in no optimiser's hands.

    Args:
        view: what is seen.
        mln: the network that the view adapts, or none; frozen here.
        reset: every batch's adaptation starts from the MLN (``per_batch``, the published method), or from where the
            last one ended (``never``, as in the public code of MRDA, whose stored initial weights are the very ones
            that the steps change). Then a copy drifts away; it is part of a resume point, and of nothing else. Of
            several devices each drifts on its own.

    Raises:
        InputError: for another way to reset, ``never`` where nothing is adapted, or a view and an MLN that do not fit.
    """

    def __init__(self, view: View, *, mln: MLN | None = None, reset: Reset = "per_batch") -> None:
        super().__init__()
        check_view(view, mln)
        require_one_of(reset, Reset, name="mln_reset")
        if reset == "never" and not view.adapts:
            raise InputError(
                f"mln_reset='never' lets an adapted network drift, but {type(view).__name__} adapts none; leave it out"
            )
        self.view = view
        self.mln = None if mln is None else mln.requires_grad_(False)
        self.drift = copy.deepcopy(self.mln) if reset == "never" else None

    def look(self, lr: Tensor, hr: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the view gives of a batch: a pure function of it and of the weights.

        Args:
            lr: ``(B, 3, h, w)``.
            hr: ``(B, 3, s h, s w)``.

        Returns:
            What an encoder reads, without history, and what ``keep`` is to be given.
        """
        seen, adapted = self.view(lr, hr, mln=self.mln if self.drift is None else self.drift)
        if self.drift is None or adapted is None:
            return seen, []
        return seen, [p.detach() for p in adapted.parameters()]

    def keep(self, adapted: Sequence[Tensor]) -> None:
        """Let the next batch start from here; nothing where every batch starts anew."""
        if self.drift is None:
            return
        with torch.no_grad():
            for into, value in zip(self.drift.parameters(), adapted, strict=True):
                into.copy_(value)

    def state(self) -> dict[str, Tensor]:
        """The MLN's tensors, as ``mln.*``."""
        return {} if self.mln is None else {f"mln.{k}": v for k, v in self.mln.state_dict().items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take the MLN's tensors, of names as ``state`` gives them, and forget any drift."""
        for network in (self.mln, self.drift):
            if network is not None:
                network.load_state_dict({k: state[f"mln.{k}"] for k in network.state_dict()})
