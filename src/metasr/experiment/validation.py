"""Validation scores of a recipe in the making, on images held out from training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from omegaconf import DictConfig
from torch import Tensor

from metasr.data.catalog import ImageSet
from metasr.degradation import names
from metasr.experiment import build
from metasr.experiment.weights import Weights
from metasr.meta.rates import rates_from_state
from metasr.recipes.base import Recipe
from metasr.seeds import generator_from
from metasr.solvers.adapt import AdaptSolver


@dataclass(frozen=True)
class _Held:
    name: str
    image: Tensor  # (1, 3, H, W)


@lru_cache(maxsize=4)
def _load(images: ImageSet, crop: int) -> tuple[_Held, ...]:
    held = []
    for i, name in enumerate(images.names):
        image = images.load(i)[None]
        height, width = image.shape[-2:]
        top, left = max(0, (height - crop) // 2), max(0, (width - crop) // 2)
        held.append(_Held(name, image[..., top : top + crop, left : left + crop].contiguous()))
    return tuple(held)


def validate(cfg: DictConfig, stage: str, recipe: Recipe) -> dict[str, float]:
    """PSNR and SSIM on Y of a recipe's present weights, by degradation and number of updates.

    Returns:
        ``val/psnr_y/<degradation>@<updates>`` and ``val/ssim_y/...``, and the learned rates' mean.
    """
    wanted = cfg.stages[stage].validation
    if not wanted.degradations:
        return {}
    held = _load(build.images(cfg, "val").subset(wanted.max_images), wanted.crop)
    state = recipe.export()
    weights = Weights("run", state)
    device = next(recipe.model.parameters()).device
    network = weights.load_into(build.model(cfg)).to(device)
    rates = rates_from_state(state)
    solver = AdaptSolver(network, rates=rates.to(device) if rates is not None else None)
    protocol = build.protocol(cfg)
    sums: dict[str, float] = {}
    for name in wanted.degradations:
        degradation = names.parse(name, scale=cfg.scale)
        for item in held:
            hr = protocol.crop_reference(item.image, cfg.scale).to(device)
            lr = degradation(hr, generator=generator_from(cfg.seed, item.name, name, "validate"))
            solved = solver.snapshots(lr, scale=cfg.scale, updates=list(wanted.updates), degradation=degradation)
            for updates, solution in solved.items():
                score = protocol(solution.sr[..., : hr.shape[-2], : hr.shape[-1]], hr, scale=cfg.scale)
                for metric, value in (("psnr_y", score.psnr_y), ("ssim_y", score.ssim_y)):
                    key = f"val/{metric}/{name}@{updates}"
                    sums[key] = sums.get(key, 0.0) + value / len(held)
    if "inner_rates" in state:
        sums |= {f"rates/step_{i + 1}": float(row.mean()) for i, row in enumerate(state["inner_rates"])}
    return sums
