"""What earlier steps made at some cost, to be learned from again (experience replay, Lin 1992)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metasr.errors import require_at_least
from metasr.recipes.base import Recipe, Schedule
from metasr.seeds import generator_from

ROOM = 100_000_000
"""Bytes that are remembered: as many are in a resume point."""


class Memory:
    """Remembers rows, the latest ones, as many as there is room for.

    Args:
        room: in bytes.
    """

    def __init__(self, room: int = ROOM) -> None:
        self.room = room
        self._parts: list[
            Tensor
        ] = []  # each as long as there is room for; the first ``_count`` rows are filled, or all
        self._count = 0

    def keep(self, rows: Sequence[Tensor]) -> None:
        """Remember some more, in the place of the oldest where the room is full.

        Args:
            rows: parts of each row, of the same length: ``(B, ...)`` each; always of the same shapes but for B.
        """
        parts = [part.detach() for part in rows]
        if not self._parts:
            of_one = sum(part[0].numel() * part.element_size() for part in parts)
            self._parts = [part.new_zeros(max(1, self.room // of_one), *part.shape[1:]) for part in parts]
        self._parts = [held.to(part.device) for held, part in zip(self._parts, parts, strict=True)]
        capacity, new = len(self._parts[0]), len(parts[0])
        slots = torch.arange(self._count, self._count + new, device=parts[0].device)[-capacity:] % capacity
        for held, part in zip(self._parts, parts, strict=True):
            held[slots] = part[-capacity:]
        self._count += new

    def draw(self, count: int, *, step: int) -> list[Tensor]:
        """Some remembered rows, with replacement; none, of no parts, as long as nothing is remembered.

        Args:
            count: how many.
            step: what is drawn depends on it and on nothing else.
        """
        if not self._parts:
            return []
        among = min(self._count, len(self._parts[0]))
        drawn = torch.randint(among, (count,), generator=generator_from(step))
        return [held[drawn.to(held.device)] for held in self._parts]

    def state(self) -> dict[str, Any]:
        """All of it, for a resume point."""
        return {"count": self._count, "rows": [held[: self._count].cpu().clone() for held in self._parts]}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``state`` gave."""
        self._parts, self._count = [], 0
        if state["rows"]:
            self.keep(state["rows"])
        self._count = state["count"]


class Rehearsing(Recipe):
    """A recipe whose steps learn again from what earlier ones made. Its resume points hold what is remembered.

    Each of several devices remembers its own; a resume point keeps the first one's.

    Args:
        model: the network to train.
        steps: optimiser steps of the stage.
        schedule: how the learning rates go on.
        rehearsed: how many remembered rows each step is to learn from again; 0 for none.

    Raises:
        InputError: for a negative number.
    """

    def __init__(self, model: nn.Module, *, steps: int, schedule: Schedule, rehearsed: int) -> None:
        super().__init__(model, steps=steps, schedule=schedule)
        require_at_least(0, rehearsed=rehearsed)
        self.rehearsed = rehearsed
        self.memory = Memory()

    def remember(self, rows: Sequence[Tensor]) -> None:
        """See ``Memory.keep``; nothing where nothing is rehearsed."""
        if self.rehearsed:
            self.memory.keep(rows)

    def remembered(self) -> list[Tensor]:
        """What this step learns from again, its parts; none where nothing is rehearsed, or nothing remembered yet."""
        return self.memory.draw(self.rehearsed, step=self.global_step) if self.rehearsed else []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What is remembered goes into the resume point."""
        checkpoint["memory"] = self.memory.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """And comes back."""
        if "memory" in checkpoint:  # resume points of earlier versions have none
            self.memory.load(checkpoint["memory"])
