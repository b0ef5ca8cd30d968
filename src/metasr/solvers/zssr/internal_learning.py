"""Learning from pairs by Adam: what a fresh network does with the one image that there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from metasr.errors import DivergenceError
from metasr.meta.cuda_graph import Engine, EngineKind
from metasr.meta.inner_loop import Trace
from metasr.solvers.step_budget import TimeLimit
from metasr.solvers.zssr.rate_rules import RateRule

Pairs = tuple[Tensor, Tensor]

LOOK = 50
"""Steps after which losses are looked at: on a GPU they would have to be waited for at each."""


class Learner:
    """A network, its optimiser, and what happened to them.

    Attributes:
        network: changed in place.
        trace: losses, rates, and seconds since the first step.

    Args:
        network: a fresh one.
        rate: Adam's.
        bfloat16: the passes are computed in it, by autocast; weights, loss and Adam's state stay in the network's type.
        engine: whether a step's gradients are captured as a CUDA graph.
    """

    def __init__(self, network: nn.Module, *, rate: float, bfloat16: bool, engine: EngineKind) -> None:
        self.network = network
        self.trace = Trace()
        self.bfloat16 = bfloat16
        self.parameters = list(network.parameters())
        self.optimiser = torch.optim.Adam(self.parameters, lr=rate)
        self._engine = Engine(engine)
        self._losses: list[Tensor] = []

    def learn(
        self,
        draw: Callable[[], Pairs],
        *,
        limit: TimeLimit,
        rule: RateRule,
        part: tuple[float, float],
        watched: Pairs | None = None,
        label: str = "",
    ) -> None:
        """Take steps until a share of the limit is spent, or all of it.

        Args:
            draw: gives a step's input and what should come out, ``(B, 3, h, w)`` each.
            limit: counts steps and time.
            rule: gives the rates.
            part: from which share of the limit to which.
            watched: of what the rule sees the reconstruction error, if it watches one.
            label: what is learned from, for error messages.

        Raises:
            DivergenceError: if a loss is not finite.
        """
        first, last = part
        begun = limit.steps
        while not limit.stopped and limit.progress < last:
            rate = rule.rate((limit.progress - first) / (last - first))
            loss = self._step(draw(), rate)
            self._losses.append(loss)
            self.trace.rates.append(rate)
            limit.tick(loss)
            self.trace.seconds.append(limit.seconds)
            if len(self._losses) == LOOK:
                self._look(label)
            if watched is not None and rule.watches and (limit.steps - begun) % rule.watches == 0:
                limit.stop(rule.watch(limit.steps - begun, self._error(watched)))
        self._look(label)

    def _step(self, pair: Pairs, rate: float) -> Tensor:
        loss, *gradients = self._engine.run(self._gradients, pair, parameters=self.parameters)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        return loss

    def _gradients(self, inputs: Sequence[Tensor], _: bool) -> list[Tensor]:
        """The mean absolute error and its gradients."""
        source, target = inputs
        loss = (self._apply(source) - target).abs().mean()
        return [loss.detach(), *torch.autograd.grad(loss, self.parameters)]

    def _apply(self, source: Tensor) -> Tensor:
        with torch.autocast(source.device.type, dtype=torch.bfloat16, enabled=self.bfloat16):
            return self.network(source.contiguous(memory_format=torch.channels_last))

    def _error(self, pair: Pairs) -> float:
        """The root mean square error of what is watched."""
        with torch.no_grad():
            return float((self._apply(pair[0]) - pair[1]).square().mean().sqrt())

    def _look(self, label: str) -> None:
        """Enter losses into the trace, and see whether they are finite."""
        if not self._losses:
            return
        values = torch.stack(self._losses).tolist()
        for i, value in enumerate(values):
            if not math.isfinite(value):
                step = len(self.trace.losses) + i + 1
                raise DivergenceError(
                    f"the loss became {value} at step {step} for degradation {label}, at rate "
                    f"{self.trace.rates[step - 1]:.1e}; lower solver.rate"
                )
        self.trace.losses += values
        self._losses.clear()
