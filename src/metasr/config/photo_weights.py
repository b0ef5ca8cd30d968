"""Which weights an upscaling job takes, by their name, the degradation and the scale."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from metasr.config.evaluation import choose_for
from metasr.degradation import names
from metasr.degradation.pipeline import Degradation, Downsample
from metasr.errors import InputError, MetasrError, WeightsError, nearest
from metasr.paths import conf_folder, weights_folder
from metasr.runs.weights import Weights, best_released, released, resolve, trained_scales
from metasr.solvers.base import Solver
from metasr.solvers.own_scale import is_plain

log = logging.getLogger(__name__)

ESTIMATE: dict[str, Downsample] = {"estimate": "bicubic", "estimate_b": "bicubic", "estimate_d": "direct"}
"""What ``kernel=`` may be for an estimate, and the sampling grid that each assumes: it cannot be seen in an image."""


_ENDING = re.compile(r"(?:_(?P<grid>[bd]))?(?P<noise>_n[\d.]+)?(?:_q\w+)?$")  # of a kernel file's name


def full_name(weights: str | None) -> str | None:
    """The full name of weights: ``released/mzsr_x2_meta`` for that without the folder, or for ``mzsr_x2``.

    Files and run folders come before released weights of the same name. An experiment's name means its last stage.
    """
    if weights is None or weights in ("released", "last"):
        return weights
    path = Path(weights).expanduser()
    if path.is_file() or any(path.glob("*/card.json")):
        return weights
    cards = released(weights_folder())
    of_experiment = [name for name, card in cards.items() if card.get("experiment") == weights and card.get("default")]
    for name in (weights, f"{weights}_meta", *of_experiment):
        if name in cards:
            return f"released/{name}"
    if re.fullmatch(r"\w+", weights) and not path.exists():  # neither a folder nor a suffix: a name was meant
        raise WeightsError(f"no weights {weights!r}, released or of that path: {nearest(weights, cards)}")
    return weights


def sampling_of(weights: str | None) -> Downsample:
    """The sampling of the LR images that weights were trained on, as far as their card tells; else bicubic."""
    full = full_name(weights)
    if full in (None, "released", "last"):
        return "bicubic"
    card = resolve(str(full), folder=weights_folder()).card
    stage = card.get("config", {}).get("stages", {}).get(card.get("stage"), {})
    drawn = stage.get("sampler", {}).get("degradations", {})
    known = card.get("downsample") or drawn.get("downsample")
    return "direct" if known == "direct" else "area" if known == "area" else "bicubic"


def best_weights(kernel: str, scale: float, options: Collection[str] = ()) -> str | None:
    """The released weights that are best where a kernel is known, or estimated; none where nothing was measured.

    Args:
        kernel: as it was typed.
        scale: to enlarge by.
        options: that the solver of the weights must take.
    """
    if not scale > 1:
        return None  # which is told later, as every mistake is
    if kernel in ESTIMATE:
        degradation = Degradation(scale=scale, downsample=ESTIMATE[kernel])
    elif names.is_file(kernel) or "/" in kernel:  # a folder of files; neither is read yet
        ending = _ENDING.search(kernel)
        noise = 0.01 if ending is not None and ending["noise"] else 0.0
        grid: Downsample = "bicubic" if ending is not None and ending["grid"] == "b" else "direct"
        degradation = Degradation(scale=scale, downsample=grid, noise_std=noise)
    else:
        try:
            degradation = names.parse(kernel, scale=scale)
        except MetasrError:
            return None
    for name in best_released(weights_folder(), degradation, estimated=kernel in ESTIMATE):
        weights = resolve(f"released/{name}", folder=weights_folder())
        if _options_of(experiment_of(weights, name)).issuperset(options):
            return weights.label
    return None


def _options_of(experiment: str | None) -> set[str]:
    """The options of the solver that an experiment comes with."""
    lines = [] if experiment is None else OmegaConf.load(conf_folder() / "experiment" / f"{experiment}.yaml").defaults
    solver = next((line["override /solver"] for line in lines if "override /solver" in line), "adapt")
    return {str(key) for key in OmegaConf.load(conf_folder() / "solver" / f"{solver}.yaml")}


def experiment_of(weights: Weights, source: str) -> str | None:
    """The experiment whose network and solver run some weights; none for MZSR's, which the default ones run.

    Raises:
        WeightsError: if it is none of those known here.
    """
    card = weights.card
    config = card.get("config", {})
    name = card.get("experiment") or config.get("name")
    if (card.get("method") or config.get("method", "mzsr")) == "mzsr":
        return None
    if name not in {path.stem for path in (conf_folder() / "experiment").glob("*.yaml")}:  # a name, never a path
        name = str(name)[:60]
        raise WeightsError(
            f"{source} was made by the experiment {name!r}, which is not known here; use it with the configuration "
            f"that made it: metasr run --config-dir FOLDER +experiment={name} task=upscale weights={source}"
        )
    return str(name)


def weights_for(cfg: DictConfig, degradation: Degradation, *, steps: int | None) -> Weights | None:
    """The configured solver's weights for one degradation; none where it has none.

    Raises:
        InputError: for weights that nobody would look at.
    """
    if not cfg.solver.get("needs_network", False):
        if cfg.weights is not None:
            raise InputError(f"weights={cfg.weights}: solver {cfg.solver.name} has none; leave it out")
        return None
    plain = is_plain(degradation)  # then no scale is beyond them, see own_scales
    return choose_for(cfg, cfg.weights, degradation, steps=steps, warn=not plain)


def own_scales(cfg: DictConfig, solver: Solver, weights: Weights | None, degradation: Degradation) -> tuple[float, ...]:
    """The scales that a photo is enlarged by first, where its own is none that solver and weights know.

    None for a scale that is known, and where a kernel was named, which belongs to its scale.
    """
    network = getattr(solver, "network", None)
    trained = () if weights is None else trained_scales(weights.card)
    scales = tuple(trained) or tuple(filter(None, (getattr(network, "scale", None),))) or getattr(solver, "scales", ())
    scale = degradation.scale
    whole = weights is None or not getattr(solver, "enlarge_first", True)  # by those alone, by none between them
    known = scale in scales if whole else bool(scales) and min(scales) <= scale <= max(scales)
    if not scales or known or cfg.save_kernel or not is_plain(degradation):
        return ()
    return scales


def tell_beyond(who: str, scales: Sequence[float], scale: float) -> None:
    """Warn where a photo is to be enlarged by more than its solver knows.

    Args:
        who: the weights, or the solver that has none.
        scales: of ``own_scales``.
        scale: that was asked for.
    """
    if scales and max(scales) < scale:
        log.warning(
            "%s knows no scale above x%g: enlarged by that, and from there to x%.4g by interpolation",
            who, max(scales), scale,
        )  # fmt: skip
