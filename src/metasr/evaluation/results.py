"""Results: one row per image and solver, their means, and both as CSV."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

from metasr.evaluation.published import published
from metasr.io.csv import columns_of, format_csv, parse_csv

_T = TypeVar("_T")


@dataclass(frozen=True)
class ImageRow:
    """The score of one image, or why it has none.

    Attributes:
        testset: name of the test set.
        degradation: short name of the degradation.
        scale: factor between LR and HR.
        solver: the solver's name in tables.
        weights: its weights' name; ``-`` for none.
        updates: gradient steps that were taken on the image.
        image: the image's name.
        psnr_y: in dB; infinite for an exact image, NaN for a failed one.
        ssim_y: at most 1; NaN for a failed image.
        seconds: that the solver took.
        hf_error_y: see ``metrics.high_frequency``.
        stopped: why the solver took no further step; empty where it took all that it may.
        requested: the number of updates that was asked for; none where the solver has no such number.
        luma: what was compared: ``bt601``, Y of a colour image, or ``grey``, the values of a grey image.
        published_as: the published method whose number is set beside, or nothing.
        failed: why there is no score; empty where there is one.
    """

    testset: str
    degradation: str
    scale: float
    solver: str
    weights: str
    updates: int
    image: str
    psnr_y: float
    ssim_y: float
    seconds: float
    hf_error_y: float = math.nan
    stopped: str = ""
    requested: int | None = None
    luma: str = "bt601"
    published_as: str = ""
    failed: str = ""


@dataclass(frozen=True)
class Row:
    """The mean score over the images of one (degradation, solver, weights, requested number of updates).

    Attributes:
        updates: the requested number; where none is requested, the mean number taken.
        images: how many stand behind the means.
        psnr_y: mean over the images whose PSNR is finite; infinite where none is, NaN where all failed.
        own_stop: whether the solver decided for some image itself when to stop, and no number was requested.
        requested: the requested number of updates, or none.
        taken: mean number of updates taken.
        exact: how many images came out exact, with an infinite PSNR.
        grey: how many images are grey, and were compared by their grey values.
        failed: how many images have no score.
    """

    testset: str
    degradation: str
    scale: float
    solver: str
    weights: str
    updates: float
    images: int
    psnr_y: float
    ssim_y: float
    seconds: float
    published_psnr_y: float | None = None
    published_ssim_y: float | None = None
    hf_error_y: float = math.nan
    own_stop: bool = False
    requested: int | None = None
    taken: float = math.nan
    exact: int = 0
    grey: int = 0
    failed: int = 0

    @property
    def key(self) -> Key:
        """What distinguishes the columns of a printed table: a number of updates that nobody asked for does not."""
        return self.solver, self.weights, NO_REQUEST if self.request is None else self.request

    @property
    def request(self) -> int | None:
        """The requested number of updates; of a table of an older version, which does not tell, the one in its row."""
        if self.requested is not None or not math.isnan(self.taken) or self.own_stop or math.isnan(self.updates):
            return self.requested
        return int(self.updates)


Key = tuple[str, str, int]

NO_REQUEST = -1
"""Stands for the requested number of updates of a solver that has no such number."""


class _Group(NamedTuple):
    """What a mean is taken over the images of."""

    testset: str
    degradation: str
    scale: float
    solver: str
    weights: str
    requested: int | None


class Table:
    """Scores of images, and their means.

    Attributes:
        images: one row per image, degradation, solver and number of updates, in the order they were added.
        compare: whether published numbers are set beside.
        sets: named sets of degradations, each with its members, that a mean is told of too.
    """

    def __init__(
        self,
        images: Iterable[ImageRow] = (),
        *,
        compare: bool = True,
        sets: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.images = list(images)
        self.compare = compare
        self.sets = dict(sets or {})

    def __str__(self) -> str:
        """The means, a line each."""
        from metasr.evaluation.printing import format_rows  # which prints tables, and so imports this file

        return format_rows(self, title="PSNR in dB and SSIM on Y")

    def add(self, row: ImageRow) -> None:
        """Add one image's score."""
        self.images.append(row)

    @property
    def failures(self) -> list[ImageRow]:
        """The rows without a score."""
        return [row for row in self.images if row.failed]

    @property
    def rows(self) -> list[Row]:
        """Means over images, in order of first appearance, with published numbers where there are any.

        After them, for every named set of degradations, the means over its members' images: of those solvers that
        solved all members, over the images that have a score under each of them.
        """
        groups: dict[_Group, list[ImageRow]] = {}
        for r in self.images:
            group = _Group(r.testset, r.degradation, r.scale, r.solver, r.weights, r.requested)
            groups.setdefault(group, []).append(r)
        return [self._mean(group, members) for group, members in self._with_sets(groups).items()]

    def _mean(self, group: _Group, members: Sequence[ImageRow]) -> Row:
        scored = [m for m in members if not m.failed]
        exact = sum(math.isinf(m.psnr_y) for m in scored)
        known = None
        if self.compare and members[0].published_as:
            known = published(
                members[0].published_as, testset=group.testset, degradation=group.degradation, scale=group.scale
            )
        taken = _mean(m.updates for m in scored)
        return Row(
            group.testset, group.degradation, group.scale, group.solver, group.weights,
            updates=taken if group.requested is None else group.requested,
            images=len({m.image for m in scored}),
            psnr_y=_mean(m.psnr_y for m in scored if math.isfinite(m.psnr_y) or exact == len(scored)),
            ssim_y=_mean(m.ssim_y for m in scored),
            seconds=_mean(m.seconds for m in scored),
            published_psnr_y=known.psnr_y if known else None,
            published_ssim_y=known.ssim_y if known else None,
            hf_error_y=_mean(m.hf_error_y for m in scored),
            own_stop=group.requested is None and any(m.stopped for m in scored),
            requested=group.requested,
            taken=taken,
            exact=exact,
            grey=len({m.image for m in scored if m.luma == "grey"}),
            failed=len({m.image for m in members if m.failed}),
        )  # fmt: skip

    def _with_sets(self, groups: dict[_Group, list[ImageRow]]) -> dict[_Group, list[ImageRow]]:
        whole = dict(groups)
        for name, degradations in self.sets.items():
            for group in groups:
                members = [groups.get(group._replace(degradation=d), []) for d in degradations]
                if group.degradation == degradations[0] and all(members):
                    failed = {row.image for rows in members for row in rows if row.failed}
                    scored = [row for rows in members for row in rows if row.image not in failed]
                    lost = [row for rows in members for row in rows if row.failed]
                    whole[group._replace(degradation=name)] = scored + lost
        return whole

    def to_csv(self) -> str:
        """Means, one line per (degradation, solver, weights, requested updates)."""
        return _to_csv(Row, self.rows)

    def images_to_csv(self) -> str:
        """One line per image."""
        return _to_csv(ImageRow, self.images)


def read_means(text: str) -> list[Row]:
    """The means that ``Table.to_csv`` has written, of this version or an older one.

    Raises:
        ValueError: telling the line, if it is no such table or has no rows.
    """
    return _from_csv(Row, text)


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return fmean(known) if known else math.nan


def _to_csv(kind: type, rows: Sequence[object]) -> str:
    names = [f.name for f in fields(kind)]
    return format_csv(names, ([_cell(name, getattr(row, name)) for name in names] for row in rows))


def _cell(name: str, value: object) -> object:
    if isinstance(value, float) and math.isfinite(value):
        if name in ("updates", "taken") and value.is_integer():
            return int(value)
        return f"{value:g}" if name == "scale" else f"{value:.4f}"
    return value


def _from_csv(kind: type[_T], text: str) -> list[_T]:
    known = fields(kind)  # type: ignore[arg-type]
    needed = [f.name for f in known if f.default is MISSING]
    if missing := [name for name in needed if name not in columns_of(text)]:
        raise ValueError(f"it lacks the columns {', '.join(missing)}")
    rows = []
    for number, line in enumerate(parse_csv(text), start=2):
        try:
            rows.append(kind(**{f.name: _READERS[str(f.type)](line[f.name]) for f in known if f.name in line}))
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"line {number}: {error}") from error
    if not rows:
        raise ValueError("it has no rows")
    return rows


_READERS: Mapping[str, Callable[[str], Any]] = {
    "float": float, "int": int, "str": str, "bool": lambda text: text == "True",
    "float | None": lambda text: float(text) if text else None, "int | None": lambda text: int(text) if text else None,
}  # fmt: skip
