"""A step of training as one CUDA graph: recorded once, then replayed without Python.

A second-order meta-step launches tens of thousands of small kernels, and launching them takes longer than running
them. Captured, they are launched at once; what may run side by side (the tasks of a meta-batch, each on a stream of
its own) does. Nothing has to know: a step that cannot be captured runs eagerly, and the reason is logged once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import torch
from torch import Tensor

from metasr.errors import InputError, require_one_of

log = logging.getLogger(__name__)

EngineKind = Literal["auto", "eager", "captured"]
StepFunction = Callable[[Sequence[Tensor], bool], list[Tensor]]
Replay = Callable[[], list[Tensor]]
Capture = Callable[[Callable[[], list[Tensor]]], Replay]

TOLERANCE = 5e-2
"""By how much a captured step may differ from the eager one, each tensor relative to its norm.

The kernels are the same, so hardly a bit differs; where another algorithm is chosen, rounding at the kinks of ReLU and
L1 makes up to 4e-3 of it in float32 and 3e-2 in bfloat16. Stale or missing data make it of the order of 1.
"""

WARM_UPS = 2


def capture_cuda(run: Callable[[], list[Tensor]]) -> Replay:
    """Record what ``run`` launches on the present device as a CUDA graph.

    Args:
        run: computes from tensors that stay where they are, copies nothing from or to the host.

    Returns:
        Replays it; gives the same tensors each time, with new values.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # loads kernels and makes handles, which cannot be done while capturing
        for _ in range(WARM_UPS):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = run()

    def replay() -> list[Tensor]:
        graph.replay()
        return outputs

    return replay


class Engine:
    """Runs a step, a pure function of tensors, eagerly or captured.

    A graph belongs to a signature: the caller's key, the inputs' shapes, and where the parameters lie. Each new one is
    captured (on other numbers than the step's own, so that nothing can be recorded as a constant unnoticed), and its
    first replay compared with the eager result (``TOLERANCE``). From then on the step's results are the replay's.

    Eager steps follow, with the reason logged once: on a CPU; for signatures beyond ``graphs``; for a signature whose
    capture ran out of memory (a captured step holds the graphs of all its tasks at the same time), while others go on;
    for all signatures after anything else went wrong while capturing, or after a comparison that failed.

    Args:
        kind: ``auto`` and ``captured`` capture where that is possible (``captured`` warns where it is not), ``eager``
            never does.
        graphs: how many signatures are kept, those that ran out of memory among them.
        capture: how a step is recorded.
    """

    def __init__(self, kind: EngineKind = "auto", *, graphs: int = 4, capture: Capture = capture_cuda) -> None:
        require_one_of(kind, EngineKind, name="engine")
        if graphs < 1:
            raise InputError(f"an engine keeps at least one graph, got {graphs}")
        self.kind = kind
        self.graphs = graphs
        self._capture = capture
        self._replays: dict[Hashable, tuple[list[Tensor], Replay]] = {}
        self._too_large: set[Hashable] = set()
        self._places: Hashable = None
        self._given_up = False
        self._told: set[str] = set()

    def run(
        self, function: StepFunction, inputs: Sequence[Tensor], *, parameters: Sequence[Tensor], key: Hashable = ()
    ) -> list[Tensor]:
        """Compute a step.

        Args:
            function: takes the inputs, and whether to work on independent parts side by side; gives tensors without
                history. Depends on nothing but inputs, parameters and ``key``.
            inputs: what changes from step to step.
            parameters: what the function reads beside them, changed in place by an optimiser.
            key: what else makes the function another one; must be hashable.

        Returns:
            The function's results; the caller may keep them.
        """
        if self.kind == "eager" or self._given_up:
            return function(inputs, False)
        if any(t.device.type != "cuda" for t in inputs) and self._capture is capture_cuda:
            return self._eagerly(function, inputs, f"tensors are on {inputs[0].device.type}: there are no CUDA graphs")
        places = tuple((p.data_ptr(), p.requires_grad) for p in parameters)
        if places != self._places:  # moved, or frozen: the graphs read what is no longer there
            self._replays.clear()
            self._too_large.clear()
            self._places = places
        signature = key, tuple((t.shape, t.dtype, t.stride()) for t in inputs)
        if signature in self._replays:
            return self._replay(signature, inputs)
        if signature in self._too_large:
            return function(inputs, False)
        if len(self._replays) + len(self._too_large) >= self.graphs:
            return self._eagerly(function, inputs, f"steps of more than {self.graphs} kinds (shapes, weights of 0)")
        return self._record(signature, function, inputs)

    def _record(self, signature: Hashable, function: StepFunction, inputs: Sequence[Tensor]) -> list[Tensor]:
        want = function(inputs, False)
        if not all(bool(t.isfinite().all()) for t in want):
            return want  # nothing to compare with; who called sees it too
        reason, too_large = "", False
        try:
            got, error = self._first_replay(signature, function, inputs, want)
        except Exception as failure:  # whatever it is, the step itself has just been seen to work
            reason = f"capturing failed: {type(failure).__name__}: {_first_line(failure)}"
            too_large = isinstance(failure, torch.OutOfMemoryError)
        else:
            if not error <= TOLERANCE:
                reason = f"the captured step differs from the eager one by {error:.1e} (at most {TOLERANCE:.0e})"
        if reason:  # only here: the failure's traceback, gone by now, held all that was being captured
            self._give_up(signature, reason, too_large=too_large)
            return want
        log.info("step captured as a CUDA graph (%d of %d); differs by %.0e", len(self._replays), self.graphs, error)
        return got

    def _first_replay(
        self, signature: Hashable, function: StepFunction, inputs: Sequence[Tensor], want: Sequence[Tensor]
    ) -> tuple[list[Tensor], float]:
        """Capture the step and replay it; its results, and how far they are from the eager ones."""
        held = [_other_numbers(t) for t in inputs]
        self._replays[signature] = held, self._capture(lambda: function(held, True))
        got = self._replay(signature, inputs)
        return got, worst_difference(got, want)

    def _replay(self, signature: Hashable, inputs: Sequence[Tensor]) -> list[Tensor]:
        held, replay = self._replays[signature]
        for into, value in zip(held, inputs, strict=True):
            into.copy_(value)
        return [t.clone() for t in replay()]  # the next replay writes over them

    def _eagerly(self, function: StepFunction, inputs: Sequence[Tensor], reason: str) -> list[Tensor]:
        if reason not in self._told:
            self._told.add(reason)
            log.log(logging.WARNING if self.kind == "captured" else logging.INFO, "steps run eagerly: %s", reason)
        return function(inputs, False)

    def _give_up(self, signature: Hashable, reason: str, *, too_large: bool) -> None:
        if too_large:
            self._replays.pop(signature, None)
            self._too_large.add(signature)
        else:
            self._given_up = True
            self._replays.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        which = "steps of this kind" if too_large else "steps"
        log.warning("%s run eagerly from here on: %s", which, reason)


def _other_numbers(tensor: Tensor) -> Tensor:
    """A buffer like an input, with its values in another order."""
    return torch.empty_like(tensor).copy_(tensor.flip(tuple(range(tensor.dim()))))


def worst_difference(got: Sequence[Tensor], want: Sequence[Tensor]) -> float:
    """Largest ‖got - want‖ over the tensors, each relative to ‖want‖ and a thousandth of all of them together."""
    norms = torch.stack([w.detach().double().norm() for w in want])
    differences = torch.stack([(g.detach().double() - w.double()).norm() for g, w in zip(got, want, strict=True)])
    return float((differences / (norms + 1e-3 * norms.norm() + 1e-30)).max())


def _first_line(failure: Exception) -> str:
    return next(iter(str(failure).strip().splitlines()), "no message")
