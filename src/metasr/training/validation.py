"""Validation scores of a recipe in the making, on images held out from training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from metasr.data.catalog import ImageSet
from metasr.degradation import names
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import middle
from metasr.figures.comparison import comparison
from metasr.metrics.protocol import LumaProtocol
from metasr.recipes.base import Recipe
from metasr.runs.weights import Weights
from metasr.seeds import generator_from
from metasr.solvers.base import SnapshotSolver, Solution, Solver
from metasr.solvers.interpolate import InterpolateSolver
from metasr.solvers.oracle import OracleMaker
from metasr.text import pluralize
from metasr.training.map_maker import draw_image_maps


@dataclass(frozen=True)
class _Held:
    name: str
    image: Tensor  # (1, 3, H, W)


@lru_cache(maxsize=4)
def _load(images: ImageSet, crop: int) -> tuple[_Held, ...]:
    held = []
    for i, name in enumerate(images.names):
        held.append(_Held(name, middle(images.load(i)[None], (crop, crop)).contiguous()))
    return tuple(held)


@dataclass(frozen=True, kw_only=True)
class Validator:
    """Measures a recipe in the making, and draws what it makes of an image.

    Attributes:
        make_images: gives the validation images.
        make_solver: makes what runs some weights for a number of updates.
        degradations: short names.
        updates: numbers of updates to measure after.
        scale: factor between LR and HR.
        seed: the run's seed.
        protocol: how numbers are made.
        device: where to solve.
        every: steps between validations; 0 for the end alone.
        crop: side in pixels to which the images are cut.
    """

    make_images: Callable[[], ImageSet]
    make_solver: Callable[[Weights, int], Solver | OracleMaker]
    degradations: tuple[str, ...]
    updates: tuple[int, ...]
    scale: float
    seed: int
    protocol: LumaProtocol
    device: torch.device
    every: int = 0
    crop: int = 192

    def score(self, recipe: Recipe) -> dict[str, float]:
        """PSNR and SSIM on Y of a recipe's present weights, by degradation and number of updates.

        Returns:
            ``val/psnr_y/<degradation>@<updates>`` and ``val/ssim_y/...`` (``@own`` where the solver decides itself when
            to stop), and the learned rates' mean.
        """
        held = _load(self.make_images(), self.crop)
        state = recipe.export()
        solver = self.make_solver(Weights("run", state), max(self.updates, default=0))
        sums: dict[str, float] = {}
        for name in self.degradations:
            degradation = names.parse(name, scale=self.scale)
            for item in held:
                hr, lr = self._problem(item, name)
                for updates, solution in _solve(solver, lr, hr, degradation, list(self.updates)).items():
                    score = self.protocol(solution.sr[..., : hr.shape[-2], : hr.shape[-1]], hr, scale=self.scale)
                    for metric, value in (("psnr_y", score.psnr_y), ("ssim_y", score.ssim_y)):
                        key = f"val/{metric}/{name}@{updates}"
                        sums[key] = sums.get(key, 0.0) + value / len(held)
        if "inner_rates" in state:
            sums |= {f"rates/step_{i + 1}": float(row.mean()) for i, row in enumerate(state["inner_rates"])}
        return sums

    def draw(self, recipe: Recipe, folder: Path, *, step: int) -> dict[str, Path]:
        """Draw the first image under the first degradation, and what the recipe's networks look at in it.

        Args:
            recipe: with its present weights.
            folder: the stage's; pictures go to ``<folder>/pictures/``.
            step: for the file names.

        Returns:
            Paths by the name they are logged under: ``val/sr`` (bicubic, present weights and truth side by side), and
            ``val/maps`` where the recipe has any to show.
        """
        first, name = _load(self.make_images(), self.crop)[0], self.degradations[0]
        place = folder / "pictures" / f"step_{step:06d}.png"
        degradation = names.parse(name, scale=self.scale)
        hr, lr = self._problem(first, name)
        updates = max(self.updates, default=0)
        solver = self.make_solver(Weights("run", recipe.export()), updates)
        bicubic = InterpolateSolver(aligned=True).solve(lr, scale=self.scale, degradation=degradation)
        shown = {"bicubic, aligned": bicubic.sr}
        for taken, solution in _solve(solver, lr, hr, degradation, [updates]).items():
            shown[f"step {step}, {_updates(taken)}"] = solution.sr
        shown = {caption: sr[..., : hr.shape[-2], : hr.shape[-1]] for caption, sr in shown.items()} | {"truth": hr}
        drawn = {"val/sr": comparison(shown, place, title=f"{first.name}, {name}")}
        maps = draw_image_maps(
            recipe, first.image, image=first.name, degradation=degradation, protocol=self.protocol, seed=self.seed,
            path=place.with_name(f"{place.stem}_maps.png"),
        )  # fmt: skip
        return drawn | dict(zip(("val/maps",), maps, strict=False))

    def _problem(self, held: _Held, name: str) -> tuple[Tensor, Tensor]:
        """HR and LR image under a degradation."""
        hr = self.protocol.crop_reference(held.image, self.scale).to(self.device)
        generator = generator_from(self.seed, held.name, name, "validate")
        return hr, names.parse(name, scale=self.scale)(hr, generator=generator)


def _updates(taken: int | str) -> str:
    return pluralize(taken, "update") if isinstance(taken, int) else "own updates"


def _solve(
    solver: Solver | OracleMaker, lr: Tensor, hr: Tensor, degradation: Degradation, updates: list[int]
) -> dict[int | str, Solution]:
    if isinstance(solver, OracleMaker):
        solver = solver.for_image(hr)
    if isinstance(solver, SnapshotSolver):
        return dict(solver.snapshots(lr, scale=degradation.scale, updates=updates, degradation=degradation).items())
    return {"own": solver.solve(lr, scale=degradation.scale, degradation=degradation)}
