"""Validation scores of a recipe in the making, on images held out from training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, flag_override
from torch import Tensor

from metasr.config import build
from metasr.data.catalog import ImageSet
from metasr.degradation import names
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import middle
from metasr.figures.comparison import comparison
from metasr.meta.rates import rates_from_state
from metasr.recipes.base import Recipe
from metasr.runs.weights import Weights
from metasr.seeds import generator_from
from metasr.solvers.base import SnapshotSolver, Solution, Solver
from metasr.solvers.interpolate import InterpolateSolver
from metasr.solvers.mzsr.solver import MZSRSolver
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


def _held(cfg: DictConfig, stage: str) -> tuple[_Held, ...]:
    wanted = cfg.stages[stage].validation
    return _load(build.images(cfg, "val").subset(wanted.max_images), wanted.crop)


def validate(cfg: DictConfig, stage: str, recipe: Recipe) -> dict[str, float]:
    """PSNR and SSIM on Y of a recipe's present weights, by degradation and number of updates.

    Returns:
        ``val/psnr_y/<degradation>@<updates>`` and ``val/ssim_y/...`` (``@own`` where the solver decides itself when to
        stop), and the learned rates' mean.
    """
    wanted = cfg.stages[stage].validation
    if not wanted.degradations:
        return {}
    held = _held(cfg, stage)
    state = recipe.export()
    device = build.device(cfg.device)
    solver = _solver(cfg, stage, Weights("run", state), steps=max(wanted.updates, default=0))
    protocol = build.protocol(cfg)
    sums: dict[str, float] = {}
    for name in names.expand(wanted.degradations, cfg.scale):
        degradation = names.parse(name, scale=cfg.scale)
        for item in held:
            hr = protocol.crop_reference(item.image, cfg.scale).to(device)
            lr = degradation(hr, generator=generator_from(cfg.seed, item.name, name, "validate"))
            for updates, solution in _solve(solver, lr, hr, degradation, list(wanted.updates)).items():
                score = protocol(solution.sr[..., : hr.shape[-2], : hr.shape[-1]], hr, scale=cfg.scale)
                for metric, value in (("psnr_y", score.psnr_y), ("ssim_y", score.ssim_y)):
                    key = f"val/{metric}/{name}@{updates}"
                    sums[key] = sums.get(key, 0.0) + value / len(held)
    if "inner_rates" in state:
        sums |= {f"rates/step_{i + 1}": float(row.mean()) for i, row in enumerate(state["inner_rates"])}
    return sums


def draw(cfg: DictConfig, stage: str, recipe: Recipe, folder: Path, *, step: int) -> dict[str, Path]:
    """Draw the first validation image under the first degradation, and what the recipe's networks look at in it.

    Args:
        cfg: the run's config.
        stage: the stage's name.
        recipe: with its present weights.
        folder: the stage's; pictures go to ``<folder>/pictures/``.
        step: for the file names.

    Returns:
        Paths by the name they are logged under: ``val/sr`` (bicubic, present weights and truth side by side), and
        ``val/maps`` where the recipe has any to show. Nothing where the stage has no validation.
    """
    wanted = cfg.stages[stage].validation
    if not wanted.degradations:
        return {}
    first, name = _held(cfg, stage)[0], names.expand(wanted.degradations, cfg.scale)[0]
    place = folder / "pictures" / f"step_{step:06d}.png"
    degradation = names.parse(name, scale=cfg.scale)
    hr = build.protocol(cfg).crop_reference(first.image, cfg.scale).to(build.device(cfg.device))
    lr = degradation(hr, generator=generator_from(cfg.seed, first.name, name, "validate"))
    updates = max(wanted.updates, default=0)
    solver = _solver(cfg, stage, Weights("run", recipe.export()), steps=updates)
    bicubic = InterpolateSolver(aligned=True).solve(lr, scale=cfg.scale, degradation=degradation)
    shown = {"bicubic, aligned": bicubic.sr}
    for taken, solution in _solve(solver, lr, hr, degradation, [updates]).items():
        shown[f"step {step}, {_updates(taken)}"] = solution.sr
    shown = {caption: sr[..., : hr.shape[-2], : hr.shape[-1]] for caption, sr in shown.items()} | {"truth": hr}
    made = {"val/sr": comparison(shown, place, title=f"{first.name}, {name}")}
    maps = draw_image_maps(
        cfg, recipe, first.image, image=first.name, degradation=name, path=place.with_name(f"{place.stem}_maps.png")
    )
    return made | dict(zip(("val/maps",), maps, strict=False))


def _updates(taken: int | str) -> str:
    return pluralize(taken, "update") if isinstance(taken, int) else "own updates"


def _solver(cfg: DictConfig, stage: str, weights: Weights, *, steps: int) -> Solver | OracleMaker:
    """The stage's own solver or the experiment's, with the stage's network; MZSR's where that one runs no network."""
    part = cfg.stages[stage]
    if part.solver is not None:
        return build.oracle(cfg, part.solver, weights=weights)
    if part.recipe.get("model") is not None:
        cfg = cfg.copy()
        with flag_override(cfg, ["readonly", "struct"], False):
            cfg.model = part.recipe.model
    node = cfg.solver
    if not node.get("needs_network", False):
        rates = rates_from_state(weights.state)
        device = build.device(cfg.device)
        network = weights.load_into(build.model(cfg)).to(device)
        return MZSRSolver(network, rates=None if rates is None else rates.to(device))
    if "steps" not in node:
        return build.solver(cfg, weights=weights)
    if node.get("rates") == "learned" and rates_from_state(weights.state) is None:  # nothing to be warned of here
        node = OmegaConf.merge(node, {"rates": "published"})
    return build.solver(cfg, weights=weights, node=node, steps=steps)


def _solve(
    solver: Solver | OracleMaker, lr: Tensor, hr: Tensor, degradation: Degradation, updates: list[int]
) -> dict[int | str, Solution]:
    if isinstance(solver, OracleMaker):
        solver = solver.for_image(hr)
    if isinstance(solver, SnapshotSolver):
        return dict(solver.snapshots(lr, scale=degradation.scale, updates=updates, degradation=degradation).items())
    return {"own": solver.solve(lr, scale=degradation.scale, degradation=degradation)}
