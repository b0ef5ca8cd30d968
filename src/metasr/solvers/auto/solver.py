"""The default: looks at a photo, takes what suits it, and takes it back where the photo itself speaks against it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize, middle, output_size
from metasr.solvers.auto.evidence import Evidence, look_at
from metasr.solvers.auto.rule import Choice, decide
from metasr.solvers.base import Solution, Solver, check_problem, clock
from metasr.solvers.blind.base import Estimator
from metasr.solvers.interpolate import lanczos
from metasr.solvers.progress import part

log = logging.getLogger(__name__)

_PROBE = 192  # side in pixels of the photo's middle that a choice is tried on
_SMALLEST = 48  # below, there is too little to try on
_LOOKING = 0.1  # the share of the work that looking at the photo is taken for, where progress is told
_NOTHING = 0.005  # of a mixture: less is a rounding error
_LEAST = 0.05  # of a choice: less is not worth the work
ENOUGH = 0.8
"""What a photo may show a choice to be worth and it is still kept whole: the photo itself is no perfect witness."""


@dataclass
class Method:
    """One way to enlarge, made when it is first needed.

    Attributes:
        name: ``photo``, ``network``: what the rule knows it by.
        weights: their name.
        scale: by which it enlarges.
        make: gives its solver.
    """

    name: str
    weights: str
    scale: float
    make: Callable[[], Solver]

    @cached_property
    def solver(self) -> Solver:
        """The solver with its weights."""
        return self.make()

    def enlarge(self, lr: Tensor, problem: Degradation, *, seed: int) -> Tensor:
        """Enlarge by the method's own scale, and from there to the scale asked for."""
        own = problem if problem.scale == self.scale else replace(problem, scale=self.scale)
        sr = self.solver.solve(lr, scale=self.scale, degradation=own, seed=seed).sr
        if own is problem:
            return sr
        size = output_size((lr.shape[-2], lr.shape[-1]), problem.scale)
        return imresize(sr, problem.scale / self.scale, size=size).clamp(0, 1)


class AutoSolver:
    """Looks at a photo and enlarges it by a network, by Lanczos interpolation, or by something between the two.

    What is seen (``evidence``) decides by a rule that was learned on validation images (``rule``). Then the choice is
    tried on the photo itself: its middle is degraded once more as the photo is taken to have been, and should come
    back. Where Lanczos interpolation brings it back better, the choice is taken back; in between, the share of the
    networks is what brings it back best, if that is less than the rule gives.

    Args:
        methods: the networks that there are.
        estimator: tells blur and noise of a photo.
        guard: try the choice on the photo, and take it back; otherwise the rule is followed whatever happens.
    """

    finds_kernel: ClassVar[bool] = True

    def __init__(self, methods: Sequence[Method], estimator: Estimator, *, guard: bool = True) -> None:
        self.methods = tuple(methods)
        self.estimator = estimator
        self.guard = guard
        self._warned = False

    def look(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None) -> tuple[Evidence, Choice]:
        """What is seen of a photo and chosen for it; see ``solvers.base.Solver.solve`` for the arguments.

        Of the degradation, scale, sampling and compression are looked at.
        """
        degradation = check_problem(lr, scale, degradation)
        evidence = look_at(lr, degradation, self.estimator)
        choice = decide(evidence, [method.name for method in self._fitting(scale)])
        line = self._beyond(choice, scale)
        return evidence, replace(choice, why=(*choice.why, line)) if line else choice

    def _beyond(self, choice: Choice, scale: float) -> str:
        """A line where no network that is used knows a scale as large; empty otherwise."""
        largest = max((method.scale for method, _ in self.used(choice, scale)), default=scale)
        if largest >= scale:
            return ""
        return f"no weights know a scale above x{largest:g}: enlarged by that, and to x{scale:.4g} by interpolation"

    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Solution:
        """See ``solvers.base.Solver.solve``; ``chosen`` of the solution tells what was seen and done."""
        degradation = check_problem(lr, scale, degradation)
        start = clock(lr.device)
        evidence, choice = self.look(lr, scale=scale, degradation=degradation)
        problem = self.problem(degradation, choice)
        used = self.used(choice, scale)
        why = list(choice.why)
        kept = 1.0
        if self.guard and used and min(lr.shape[-2:]) >= _SMALLEST:
            with part(0, _LOOKING):
                kept = self._kept(lr, problem, used, kernel=evidence.kernel if evidence.soft else None, seed=seed)
            if kept < 1:
                share = kept * sum(share for _, share in used)
                why.append(
                    "tried on the photo made small once more, it was worse than Lanczos: taken back"
                    if kept == 0
                    else f"tried on the photo made small once more, a share of {share:.0%} of networks was best"
                )
                choice = replace(choice, shares={name: s * kept for name, s in choice.shares.items() if kept > 0})
                used = self.used(choice, scale)
        with part(_LOOKING, 1):
            sr = _mixed(lr, problem, used, seed=seed)
        beyond = self._beyond(choice, scale)
        if beyond and not self._warned:
            log.warning("%s", beyond)
            self._warned = True  # once for all photos of a folder
        for line in why:
            log.info("%s", line)
        return Solution(
            sr=sr.clamp(0, 1),
            seconds=clock(lr.device) - start,
            chosen=f"{evidence}: {choice}",
            weights=" + ".join(method.weights for method, _ in used) or "-",
        )

    def used(self, choice: Choice, scale: float) -> list[tuple[Method, float]]:
        """The methods that a choice gives a share to, with it."""
        fitting = {method.name: method for method in self._fitting(scale)}
        return [(fitting[name], share) for name, share in choice.shares.items() if share > 0]

    @staticmethod
    def problem(degradation: Degradation, choice: Choice) -> Degradation:
        """What the methods are told: sampling and compression as given, the noise that was seen, no blur."""
        return replace(degradation, kernel=None, noise_std=choice.noise / 255, name="")

    def _fitting(self, scale: float) -> list[Method]:
        """Of each name the method of this scale, or of the next larger one; beyond the largest of all, that one."""
        enough = min(scale, max((method.scale for method in self.methods), default=0.0))
        fitting = {}
        for method in sorted(self.methods, key=lambda method: method.scale, reverse=True):
            if method.scale >= enough:
                fitting[method.name] = method
        return list(fitting.values())

    @torch.no_grad()
    def _kept(
        self,
        lr: Tensor,
        problem: Degradation,
        used: Sequence[tuple[Method, float]],
        *,
        kernel: Tensor | None,
        seed: int,
    ) -> float:
        """How much of the networks' shares to keep, 0 to 1: what brings the photo's middle back best.

        Between Lanczos interpolation p and the choice c, p + t (c - p) is nearest to the middle m itself in the mean
        square where t = <m - p, c - p> / <c - p, c - p>. A choice with a t of ``ENOUGH`` is kept whole.
        """
        probe = middle(lr, (_PROBE, _PROBE))
        draws = torch.Generator().manual_seed(seed)
        son = replace(problem, kernel=kernel).for_son(noise_std=problem.noise_level)(probe, generator=draws)
        plain = _mixed(son, problem, [], seed=seed).clamp(0, 1)
        chosen = _mixed(son, problem, used, seed=seed)
        size = probe.shape[-2:]
        plain, chosen = (image[..., : size[0], : size[1]] for image in (plain, chosen))
        change = (chosen - plain).double()
        power = float(change.square().sum())
        if power == 0:
            return 1.0
        best = float(((probe - plain).double() * change).sum()) / power
        return min(1.0, best / ENOUGH) if best >= _LEAST else 0.0  # NaN too


def _mixed(lr: Tensor, problem: Degradation, used: Sequence[tuple[Method, float]], *, seed: int) -> Tensor:
    """The methods' results by their shares; what is left is Lanczos interpolation's."""
    left = 1 - sum(share for _, share in used)
    sr = left * lanczos(lr, problem.scale, shift=problem.shift).clamp(0, 1) if left > _NOTHING else None
    for i, (method, share) in enumerate(used):
        with part(i / len(used), (i + 1) / len(used)):
            own = method.enlarge(lr, problem, seed=seed) * share
        sr = own if sr is None else sr.add_(own)  # in place: an enlarged photo is large
    assert sr is not None
    return sr
