"""Upscaling: from a composed config, or from plain choices, to a solver with its weights and to degradations."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from omegaconf import DictConfig, flag_override, open_dict

from metasr.config import build
from metasr.config.compose import compose
from metasr.config.help import EXPERIMENT_OF_SOLVER
from metasr.config.photo_weights import (
    ESTIMATE,
    best_weights,
    experiment_of,
    full_name,
    own_scales,
    tell_beyond,
    weights_for,
)
from metasr.degradation import names
from metasr.degradation.kernel_files import describe_kernel, is_one_sided
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError, nearest, require_one_of
from metasr.io.sizes import SCALE_OR_SIZE
from metasr.paths import conf_folder, weights_folder
from metasr.runs.architecture import is_known
from metasr.runs.folder import key_of, typed_choices
from metasr.runs.other_programs import is_of_another_program, other_network
from metasr.runs.weights import resolve
from metasr.solvers.base import Solver
from metasr.solvers.blind.base import BlindSolver, blind, finds_kernel, takes_kernel
from metasr.solvers.oracle import ORACLE
from metasr.solvers.own_scale import OwnScaleSolver

log = logging.getLogger(__name__)

_NO_OPTIONS = frozenset({"name", "needs_network", "blind", "snapshots", "network", "_target_"})
"""Keys of a solver's config that are none of its options."""

LEAVES_OPEN = frozenset({"tile", "ensemble"})
"""Options that leave it to the solver ``auto`` how a photo is enlarged."""


@dataclass(frozen=True)
class Enlarger:
    """What enlarges photos.

    Attributes:
        solver: with its weights loaded.
        weights: their name; ``-`` for none.
        degradations: what each photo is taken to have come about by.
    """

    solver: Solver
    weights: str
    degradations: tuple[Degradation, ...]


def typed_scale(cfg: DictConfig) -> float | None:
    """The scale, if the command line or an experiment asks for one."""
    typed = "scale" in {key_of(choice) for choice in typed_choices(cfg.name)}
    return float(cfg.scale) if typed or cfg.name is not None else None


def at_own_scale(cfg: DictConfig) -> DictConfig:
    """A job's config at the scale of another program's network, where no scale is asked for."""
    if cfg.weights in (None, "released", "last") or typed_scale(cfg) is not None or not is_known(cfg.model):
        return cfg
    named = resolve(str(full_name(cfg.weights)), folder=weights_folder())
    other = other_network(named) if is_of_another_program(named) else None
    if other is None:
        return cfg
    own = cfg.copy()
    with flag_override(own, ["readonly", "struct"], False):
        own.scale = float(other.scale)
    return own


def photo_config(
    *,
    solver: str | None = None,
    weights: str | None = None,
    scale: float | None = None,
    kernel: str | None = None,
    estimator: str | None = None,
    steps: int | None = None,
    device: str = "auto",
    seed: int = 1,
    save_kernel: bool = False,
    side_by_side: bool = False,
    overwrite: bool = False,
    kernel_index: int | None = None,
    flip_kernel: bool = False,
    frame: int | None = None,
    max_pixels: int | None = None,
    width: int | None = None,
    height: int | None = None,
    max_side: int | None = None,
    megapixels: float | None = None,
    format: str | None = None,
    quality: int | None = None,
    metadata: bool = True,
    options: Mapping[str, object] | None = None,
) -> DictConfig:
    """The config of an upscaling job, composed of plain choices. Texts may hold any signs.

    Args:
        solver: a name of ``conf/solver``; by default ``auto`` where nothing is said of kernel, weights and steps, else
            the one that the weights were made for.
        weights: a released name, a file or a run folder; none for the released ones that fit the solver, or without one
            those that are best for the kernel (``runs.weights.best_released``).
        scale: the factor; by default that of the weights that were named, else 2.
        kernel: a degradation's name, a kernel file, or ``estimate``; none for ``bicubic``.
        estimator: a name of ``conf/estimator``, for ``estimate``.
        steps: gradient steps on the photo.
        device: ``auto``, ``cpu``, ``cuda``.
        seed: of the random draws.
        save_kernel: whether the kernel that is found will be wanted.
        side_by_side: whether a picture beside plain enlargement will be.
        overwrite: whether existing outputs may be replaced.
        kernel_index: which kernel of a file of several, from 0.
        flip_kernel: whether a kernel file's kernel is to be turned by half a turn.
        frame: which of several frames or pages of a photo, from 0.
        max_pixels: what a photo may have at most.
        width: of enlargements, instead of a factor (see ``io.sizes.TargetSize``).
        height: of enlargements.
        max_side: of enlargements.
        megapixels: of enlargements.
        format: of enlargements (see ``io.images.FileChoices``).
        quality: of enlargements.
        metadata: whether the photos' EXIF data are carried over.
        options: of the solver.

    Raises:
        InputError: for a scale beside a size, an option that the solver has not, or an estimator that would not be
            asked.
        WeightsError: for weights that are not there, or whose experiment is unknown here.
    """
    typed = (solver, weights, kernel, estimator, steps, save_kernel or None)
    if all(choice is None for choice in typed) and LEAVES_OPEN.issuperset(options or {}):
        solver = "auto"
    kernel = "bicubic" if kernel is None else kernel
    weights = full_name(weights)
    if solver is None and weights is None and kernel != "bicubic":
        needed = [*(options or {}), *(["steps"] if steps is not None else [])]
        weights = best_weights(kernel, 2.0 if scale is None else scale, needed)
    named = None if weights in (None, "released", "last") else resolve(str(weights), folder=weights_folder())
    experiment = None if named is None else experiment_of(named, str(weights))
    choices = [f"+experiment={experiment}"] if experiment else []
    other = None if named is None or not is_of_another_program(named) else other_network(named)
    if other is not None and solver is None:
        solver = "network"
    if solver is not None:
        _require_solver(solver, experiment)
        own = None if experiment is not None else _experiment_named(solver, scale)
        choices.append(f"+experiment={own}" if own else f"solver={solver}")  # with its network, and its weights
    if estimator is not None:
        known = sorted(path.stem for path in (conf_folder() / "estimator").glob("*.yaml"))
        require_one_of(estimator, known, name="estimator")
    cfg = compose("task=upscale", *choices, f"estimator={estimator or 'parametric'}")
    with open_dict(cfg):  # past hydra's grammar of overrides
        if scale is not None:
            if any(size is not None for size in (width, height, max_side, megapixels)):
                raise InputError(SCALE_OR_SIZE)
            cfg.scale = scale
        elif other is not None:
            cfg.scale = float(other.scale)
        elif named is not None:
            cfg.scale = float(named.card.get("scale") or cfg.scale)
        cfg.weights, cfg.kernel, cfg.device = verbatim(weights), verbatim(kernel), verbatim(device)
        cfg.adapt_steps, cfg.seed, cfg.save_kernel = steps, seed, save_kernel
        cfg.side_by_side, cfg.overwrite = side_by_side, overwrite
        cfg.kernel_index, cfg.flip_kernel, cfg.frame, cfg.max_pixels = kernel_index, flip_kernel, frame, max_pixels
        cfg.width, cfg.height, cfg.max_side, cfg.megapixels = width, height, max_side, megapixels
        cfg.format, cfg.quality, cfg.metadata = format, quality, metadata
        if steps is not None:
            _require_option(cfg, "steps")
        for key, value in (options or {}).items():
            _require_option(cfg, key)
            cfg.solver[key] = verbatim(value) if isinstance(value, str) else value
    if estimator is not None:
        _require_estimate(cfg, estimator)
    return cfg


def photo_solver(cfg: DictConfig, kernels: Sequence[str], *, made: dict[object, Solver] | None = None) -> Enlarger:
    """The configured solver with its weights, and the degradations that some names or files of kernels mean.

    Args:
        cfg: the whole config; its ``kernel`` is what ``kernels`` came of.
        kernels: one for each photo, at least one; they agree in the sampling.
        made: solvers of the same job, to be used again; what is made is added.

    Raises:
        MetasrError: for unknown kernels, or weights or options that do not fit them.
    """
    parsed = {kernel: problem_of(cfg, kernel) for kernel in dict.fromkeys(kernels)}
    _tell_kernels(parsed)
    first = parsed[kernels[0]]
    if "take_back" in cfg.solver and cfg.solver.take_back is None:
        with open_dict(cfg):
            cfg.solver.take_back = True
    degradations = tuple(parsed[kernel] for kernel in kernels)
    weights = weights_for(cfg, first, steps=adapt_steps(cfg))
    label = "-" if weights is None else weights.label
    known: dict[object, Solver] = {} if made is None else made
    if label not in known:
        known[label] = build.solver(cfg, weights=weights, steps=adapt_steps(cfg))
    scales = own_scales(cfg, known[label], weights, first)
    if (label, scales) not in known:
        tell_beyond(f"solver {cfg.solver.name}" if weights is None else label, scales, first.scale)
        solver = OwnScaleSolver(known[label], scales=scales) if scales else known[label]
        known[label, scales] = estimating(cfg, solver, first)
    return Enlarger(known[label, scales], label, degradations)


def _tell_kernels(parsed: Mapping[str, Degradation]) -> None:
    """Log how kernel files are read; the first whose reading may be the wrong way round as a warning."""
    warned = False
    for name, degradation in parsed.items():
        if degradation.kernel is None or not names.is_file(name):
            continue
        flipped = names.is_flipped(name)
        doubtful = is_one_sided(degradation.kernel) and not flipped and not warned
        warned = warned or doubtful
        level = logging.WARNING if doubtful else logging.INFO
        log.log(level, "%s: %s", name, describe_kernel(degradation.kernel, flipped=flipped))


def is_estimated(cfg: DictConfig) -> bool:
    """Whether a job's kernel is to be estimated."""
    return cfg.kernel in ESTIMATE or bool(cfg.solver.get("blind", False))


def problem_of(cfg: DictConfig, kernel: str) -> Degradation:
    """The degradation that a kernel's name means; without kernel and noise where they are to be estimated.

    Raises:
        InputError: for an unknown name, a kernel given to a solver that is to estimate it, or a scale of 1 and below.
    """
    degradation = names.parse(ESTIMATE.get(kernel, kernel), scale=cfg.scale)
    if kernel not in ESTIMATE and is_estimated(cfg) and (degradation.kernel is not None or degradation.noisy):
        raise InputError(
            f"kernel={kernel}: solver {cfg.solver.name} estimates the kernel and does not look at one; take the "
            "solver that is told it, or kernel=estimate"
        )
    if cfg.scale <= 1:
        raise InputError(f"upscaling needs a scale above 1, got {cfg.scale:g}")
    return degradation


def solver_for(cfg: DictConfig, degradation: Degradation) -> tuple[Solver, str]:
    """The configured solver with its weights, and the weights' name, for one degradation."""
    steps = adapt_steps(cfg)
    weights = weights_for(cfg, degradation, steps=steps)
    solver = build.solver(cfg, weights=weights, steps=steps)
    return solver, "-" if weights is None else weights.label


def adapt_steps(cfg: DictConfig) -> int | None:
    """The one number of updates for upscaling; the largest where several were given."""
    value = cfg.adapt_steps
    if "steps" not in cfg.solver:
        return None
    return int(cfg.solver.steps) if value is None else max(build.update_counts(value))


def estimating(cfg: DictConfig, solver: Solver, degradation: Degradation) -> Solver:
    """The job's solver, told no kernel where that is to be estimated.

    A solver that finds the kernel itself stays what it is, whether an estimate is asked for or a kernel is named.

    Args:
        cfg: the job's config.
        solver: made from it.
        degradation: what ``problem_of`` gave.

    Raises:
        InputError: if it takes none, or no kernel comes about that could be saved.
    """
    if finds_kernel(solver):
        if degradation.kernel is not None or degradation.noisy:
            log.warning(
                "%s finds the kernel itself: of %s only the sampling grid is used", cfg.solver.name, degradation
            )
        return solver
    if cfg.save_kernel and not is_estimated(cfg):
        raise InputError(
            f"save_kernel=true: there is none to save but {cfg.kernel} itself; add kernel=estimate, or take solver=ddsr"
        )
    if cfg.kernel not in ESTIMATE or isinstance(solver, BlindSolver):
        return solver
    if not takes_kernel(solver):
        raise InputError(
            f"kernel={cfg.kernel}: solver {cfg.solver.name} takes no kernel, or finds its own; use solver=adapt or "
            "solver=zssr, or leave kernel= out"
        )
    return blind(solver, build.estimator(cfg))


def verbatim(text: str | None) -> str | None:
    """A text as omegaconf reads it back unchanged: ``${`` is escaped, and backslashes before it doubled."""
    if text == "???":  # omegaconf's word for a missing value
        return "./???"
    return text if text is None else re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def _require_solver(name: str, experiment: str | None) -> None:
    known = sorted(path.stem for path in (conf_folder() / "solver").glob("*.yaml"))
    known = [other for other in known if not other.endswith(ORACLE)]  # which look at the HR image
    if name not in known:
        raise InputError(f"no solver {name!r}: {nearest(name, known)}")
    if name in EXPERIMENT_OF_SOLVER and experiment is None:
        raise InputError(
            f"solver {name} is for the networks of the experiment {EXPERIMENT_OF_SOLVER[name]} and its like, with "
            "whose weights it comes: give a run folder of one as weights"
        )


def _require_option(cfg: DictConfig, key: str) -> None:
    if key not in cfg.solver:
        known = ", ".join(sorted({str(k) for k in cfg.solver} - _NO_OPTIONS)) or "none"
        raise InputError(f"{key} is no option of solver {cfg.solver.name}, which has: {known}; leave it out")


def _require_estimate(cfg: DictConfig, estimator: str) -> None:
    """Require that a kernel is estimated, and not by the solver itself, where an estimator was chosen.

    Raises:
        InputError: telling which of the two to leave out.
    """
    from hydra.utils import get_class

    if finds_kernel(get_class(cfg.solver._target_)):
        raise InputError(f"estimator {estimator}: {cfg.solver.name} finds the kernel itself; leave it out")
    if not is_estimated(cfg):
        raise InputError(
            f"estimator {estimator} is for the kernel estimate, got the kernel {cfg.kernel}; leave one of them out"
        )


def _experiment_named(solver: str, scale: float | None) -> str | None:
    """The experiment that a solver's network and weights come with, if its name, and the scale, tell one."""
    name = solver
    if solver == "photo":
        name = "photo_x2" if scale is None or scale <= 2 else "photo_x4"
    return name if (conf_folder() / "experiment" / f"{name}.yaml").is_file() else None
