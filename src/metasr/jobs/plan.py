"""What enlarging a photo would do, and why, before it is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from metasr.config.photo_plan import photo_solvers, target_of
from metasr.config.photo_weights import ESTIMATE
from metasr.config.photos import adapt_steps, photo_config
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import output_size
from metasr.errors import told_of
from metasr.io.images import Photo, read_photo
from metasr.io.transparency import fill_transparent
from metasr.jobs.photo_files import PathLike, home_path, kernels_for, pairs_of_files
from metasr.solvers.auto.solver import AutoSolver
from metasr.solvers.blind.base import BlindSolver
from metasr.text import pluralize


@dataclass(frozen=True)
class Plan:
    """What ``upscale`` would do with a photo; ``print(plan)`` shows it.

    Attributes:
        source: the photo.
        output: where its enlargement would go.
        size: width and height of the photo in pixels.
        output_size: of its enlargement.
        scale: the factor.
        solver: by which solver, a name of ``conf/solver``.
        weights: by which weights; ``-`` for none.
        updates: gradient steps on the photo.
        degradation: what the photo is taken to have come about by, a name that ``kernel=`` and ``-k`` take.
        problem: that degradation itself, with its kernel and the compression of the file.
        noise: that the photo is taken to have, a standard deviation on the 0-255 scale.
        seen: what was seen of the photo, in lines.
        chosen: what would be done, in lines.
        why: the reasons, in lines.
    """

    source: Path
    output: Path
    size: tuple[int, int]
    output_size: tuple[int, int]
    scale: float
    solver: str
    weights: str
    updates: int
    degradation: str
    noise: float
    seen: tuple[str, ...]
    chosen: tuple[str, ...]
    why: tuple[str, ...]
    problem: Degradation = field(compare=False, repr=False)

    def __str__(self) -> str:
        return "\n".join([*self.seen, *self.chosen, *self.why])


def plan(
    source: PathLike,
    *,
    scale: float | None = None,
    width: int | None = None,
    height: int | None = None,
    max_side: int | None = None,
    megapixels: float | None = None,
    kernel: str | None = None,
    solver: str | None = None,
    weights: str | None = None,
    steps: int | None = None,
    device: str = "auto",
    **options: Any,
) -> Plan:
    """Tell what ``upscale`` would do with a photo, and why; nothing is enlarged or written.

    Args:
        source: an image file.
        scale: as for ``upscale``, and so are the others.
        width: of the enlargement in pixels, instead of a factor.
        height: of the enlargement.
        max_side: of the enlargement's longer side.
        megapixels: of the enlargement.
        kernel: how the photo came to be small; by default that is looked for in the photo.
        solver: a name of ``conf/solver``.
        weights: released weights, a file or a run folder.
        steps: gradient steps on the photo.
        device: ``auto``, ``cpu``, ``cuda``.
        **options: of the solver.

    Raises:
        MetasrError: for what is no readable image, and choices that do not fit.

    Example:
        >>> import metasr
        >>> from metasr.data.catalog import image_set
        >>> plan = metasr.plan(image_set("samples", split="test").paths[0], solver="interpolate")
        >>> plan.solver, plan.updates, plan.output_size
        ('interpolate', 0, (512, 512))
    """
    source = home_path(source)
    photo = read_photo(source)
    rgb = (photo.rgb if photo.alpha is None else fill_transparent(photo.rgb, photo.alpha))[None]
    cfg = photo_config(
        solver=solver, weights=weights, scale=scale, width=width, height=height, max_side=max_side,
        megapixels=megapixels, kernel=kernel, steps=steps, device=device, options=options,
    )  # fmt: skip
    target = target_of(cfg)
    cfg.scale = target.factor(*photo.rgb.shape[-2:])
    (choice,) = photo_solvers(cfg, kernels_for(cfg.kernel, [source]), [cfg.scale])
    degradation = choice.degradations[0]
    if degradation.jpeg is None:
        degradation = replace(degradation, jpeg=photo.compression)
    name, used = str(cfg.solver.name) if cfg.scale > 1 else "interpolate", choice.weights
    how = f"solver {name}"
    seen = [_described(source, photo)]
    why: list[str] = []
    if cfg.scale <= 1:
        why.append("it is as large as that already: made smaller by plain resizing")
    elif isinstance(choice.solver, AutoSolver):
        with told_of(source):
            evidence, chosen = choice.solver.look(rgb, scale=cfg.scale, degradation=degradation)
        degradation = choice.solver.problem(degradation, chosen)
        used = " + ".join(method.weights for method, _ in choice.solver.used(chosen, cfg.scale)) or "-"
        name = chosen.method
        how = f"{chosen}, solver {name} the most" if len(chosen.parts) > 1 else f"solver {name}"
        seen += [str(evidence), evidence.content]
        why += chosen.why
        if cfg.solver.guard and used != "-":
            why.append("tried on the photo made small once more first: what is worse than Lanczos there is taken back")
    elif isinstance(choice.solver, BlindSolver):
        with told_of(source):
            estimate = choice.solver.estimate(rgb, scale=cfg.scale, degradation=degradation)
        degradation = estimate.degradation
        why.append(f"kernel {degradation}, {estimate.told}")
    elif kernel in ESTIMATE or cfg.solver.get("blind", False):
        why.append(f"the kernel is found by {cfg.solver.name} on the way")
    elif kernel == "bicubic":
        why.append("kernel bicubic, because none was named: the photo is taken to have been shrunk by a program")
    tall, broad = photo.rgb.shape[-2:]
    limit = cfg.solver.get("adapt_pixels")
    updates = (adapt_steps(cfg) or 0) if cfg.scale > 1 else 0
    if limit is not None and updates and tall * broad > limit:
        why.append(f"larger than {limit} pixels: adaptation looks at cells spread evenly over it, not at all of it")
    ((_, output),) = pairs_of_files([source], None, ending=target.ending)
    high, wide = output_size((tall, broad), cfg.scale)
    by = f"weights {used} and {pluralize(updates, 'update')}" if used != "-" else "no weights"
    return Plan(
        source=source,
        output=output,
        size=(broad, tall),
        output_size=(wide, high),
        scale=float(cfg.scale),
        solver=name,
        weights=used,
        updates=updates,
        degradation=str(degradation),
        noise=degradation.noise_level * 255,
        seen=tuple(seen),
        chosen=(f"to {output}, {wide}x{high} pixels, by {how} with {by}",),
        why=tuple(why),
        problem=degradation,
    )


def photo_info(path: PathLike, choices: Mapping[str, Any] | None = None) -> Iterator[str]:
    """What ``metasr upscale`` would do with a photo, and why, in lines."""
    found = plan(path, **(choices or {}))
    yield from found.seen
    yield from (f"metasr upscale {found.source}: {line}" for line in found.chosen)
    yield from found.why


def _described(path: Path, photo: Photo) -> str:
    height, width = photo.rgb.shape[-2:]
    kind = ["grey" if photo.grey else "colour", f"{photo.bits} bits"]
    kind += ["transparent"] if photo.alpha is not None else []
    kind += ["with a colour profile, which is kept"] if photo.icc_profile else []
    return f"{path}: {width}x{height} pixels, {', '.join(kind)}"
