"""Weights of the query losses after each inner step (multi-step loss, MAML++)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from metasr.errors import InputError, require_one_of


@dataclass(frozen=True, kw_only=True)
class StepWeights:
    """How much the query loss after each inner step counts, as training goes on.

    ``annealed`` (MZSR, section 4.2; MAML++, section 4): all start at 1/n; every weight but the last falls linearly to
    ``floor``/n, over ``anneal_steps`` iterations for the part of 1/n, the last one takes what they give up.
    ``uniform`` keeps 1/n; ``final`` counts the last step alone.

    Attributes:
        kind: which of the three.
        anneal_steps: iterations until the floor would reach 0; MZSR's 10,000/3.
        floor: final share of 1/n that a non-final step keeps; MZSR's 0.03.
        first: additional weight on the first step's loss, for results after one update.
        before: weight on the loss before any step, so that adaptation improves on a network that is good without it.
        skip_floor: a weight that has come down to its floor becomes 0, and the last one takes its share: the query
            passes of all steps but the last (and the first, if it has a weight of its own) are saved. Another loss
            than the published one, if hardly.
    """

    kind: Literal["annealed", "uniform", "final"] = "annealed"
    anneal_steps: float = 10_000 / 3
    floor: float = 0.03
    first: float = 0.0
    before: float = 0.0
    skip_floor: bool = False

    def __post_init__(self) -> None:
        require_one_of(self.kind, ("annealed", "uniform", "final"), name="step weights")
        if self.anneal_steps <= 0 or not 0 <= self.floor <= 1 or min(self.first, self.before) < 0:
            raise InputError("step weights need anneal_steps > 0, floor in [0, 1], first >= 0 and before >= 0")

    def at(self, iteration: int, steps: int) -> list[float]:
        """Weights of inner steps 1 to ``steps`` at a training iteration (from 0); sum 1 but for ``first``.

        Without a step there is one loss, of weight 1.
        """
        if steps < 0:
            raise InputError(f"the number of inner steps must be at least 0, got {steps}")
        if steps == 0:
            return [1.0]
        if self.kind == "final":
            weights = [0.0] * (steps - 1) + [1.0]
        else:
            fall = iteration / self.anneal_steps if self.kind == "annealed" else 0.0
            share = max(1.0 - fall, self.floor)
            resting = self.kind == "annealed" and share == self.floor
            each = 0.0 if self.skip_floor and resting else share / steps
            weights = [each] * (steps - 1) + [1.0 - each * (steps - 1)]
        weights[0] += self.first
        return weights
