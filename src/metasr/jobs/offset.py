"""The job that tells how far LR images lie from their HR images, and whether a degradation explains them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from omegaconf import DictConfig

from metasr.config.photos import typed_scale
from metasr.degradation import names
from metasr.errors import DataError, InputError, told_of
from metasr.io.images import list_images, read_image
from metasr.jobs.photo_files import PathLike, home_path, kernels_for
from metasr.metrics.registration import Consistency, Offset, consistency, find_offset
from metasr.text import pluralize

_SCALED = re.compile(r"(.+?)_?x\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Told:
    """What is told of one pair."""

    lr: Path
    hr: Path
    offset: Offset
    consistency: Consistency

    def __str__(self) -> str:
        return f"{self.lr.name} against {self.hr.name}: {self.offset}\n    {self.consistency}"


@dataclass(frozen=True)
class Summary:
    """What is told of all pairs of two folders."""

    pairs: tuple[Told, ...]

    def __str__(self) -> str:
        down, right = ([getattr(p.offset, axis) for p in self.pairs] for axis in ("down", "right"))
        kinds = {p.offset.convention for p in self.pairs}
        alike = f"all {kinds.pop() or 'of no known convention'}" if len(kinds) == 1 else "of different conventions"
        return (
            f"{pluralize(len(self.pairs), 'pair')}: {fmean(down):+.2f} px down ({min(down):+.2f} to {max(down):+.2f}), "
            f"{fmean(right):+.2f} px right ({min(right):+.2f} to {max(right):+.2f}), {alike}"
        )


def offset_task(cfg: DictConfig) -> Iterator[Told | Summary]:
    """``task=offset``: compare ``cfg.input`` with ``cfg.reference``; see ``offsets``."""
    if not cfg.input or not cfg.reference:
        raise InputError("task=offset needs input=LR and reference=HR, two images or two folders")
    if cfg.output:
        raise InputError("task=offset writes nothing: leave output= out")
    return offsets(cfg.input, cfg.reference, kernel=str(cfg.kernel), scale=typed_scale(cfg))


def offsets(
    source: PathLike, reference: PathLike, *, kernel: str = "bicubic", scale: float | None = None
) -> Iterator[Told | Summary]:
    """Compare LR images with their HR images; folders get a summary at the end.

    Args:
        source: an LR image, or a folder of them.
        reference: its HR image, or a folder.
        kernel: the degradation that is tried: a name, a kernel file, or a folder of them (see
            ``jobs.photo_files.kernels_for``).
        scale: the factor; by default it is told from the sizes.

    Raises:
        MetasrError: for missing or unfit images, sizes that do not fit, or an unknown kernel.
    """
    if scale is not None and scale <= 1:
        raise InputError(f"an offset needs a scale above 1, got {scale:g}")
    done = []
    pairs = pairs_of(home_path(source), home_path(reference))
    kernels = kernels_for(kernel, [small for small, _ in pairs])
    for name in dict.fromkeys(kernels):  # before any of the work
        names.parse(name, scale=scale or 2.0)
    for (small, large), name in zip(pairs, kernels, strict=True):
        lr, hr = read_image(small)[None], read_image(large)[None]
        with told_of(f"{small} and {large}"):
            offset = find_offset(lr, hr, scale=scale)
            explained = consistency(lr, hr, names.parse(name, scale=offset.scale))
        done.append(Told(small, large, offset, explained))
        yield done[-1]
    if home_path(source).is_dir():
        yield Summary(tuple(done))


def pairs_of(source: Path, reference: Path) -> list[tuple[Path, Path]]:
    """LR and HR files: two files, or of two folders those of one name.

    ``NAMEx4.png`` and ``NAME_x4.png`` belong to ``NAME.png``, ``NAME.png`` to ``hr_NAME.png`` as well. In one folder
    for both, what has no partner is taken for another image's HR and left out.

    Raises:
        InputError: if one is missing, or a file and the other a folder.
        DataError: if an LR image of a folder of its own has no partner.
    """
    for path, key in ((source, "input"), (reference, "reference")):
        if not path.exists():
            raise InputError(f"no file or folder {path}; give an existing one as {key}=PATH")
    if source.is_dir() != reference.is_dir():
        raise InputError("input and reference must be two images or two folders, got one of each")
    if not source.is_dir():
        return [(source, reference)]
    large = {path.stem: path for path in list_images(reference)}
    pairs, alone = [], []
    for path in list_images(source):
        scaled = _SCALED.fullmatch(path.stem)
        stems = [path.stem, f"hr_{path.stem}", *([scaled[1]] if scaled else [])]
        partner = next((large[s] for s in stems if s in large and not large[s].samefile(path)), None)
        if partner is None:
            alone.append(path.name)
        else:
            pairs.append((path, partner))
    if not pairs or (alone and not source.samefile(reference)):
        raise DataError(
            f"{pluralize(len(alone), 'image')} of {source} have no image of their name in {reference}: "
            f"{', '.join(alone[:5])}{', ...' if len(alone) > 5 else ''}; name them alike"
        )
    return pairs
