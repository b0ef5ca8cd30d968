"""Reads run folders for a report: whole ones, unfinished ones, and what is damaged told by file and what to do."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from metasr import __version__
from metasr.errors import DataError, MetasrError
from metasr.evaluation.loss_curves import CURVES_NAME
from metasr.evaluation.results import Row, read_means
from metasr.io.csv import columns_of, parse_csv
from metasr.paths import program
from metasr.report.run_data import LossKey, RatesTable, RunData, StageData
from metasr.report.run_rates import learned_rates
from metasr.report.sweep_table import Job
from metasr.runs.card import CARD_NAME, WEIGHTS_NAME, read_card
from metasr.runs.folder import is_stamp
from metasr.runs.job_card import JOB_NAME, read_job
from metasr.runs.reading import read_yaml
from metasr.runs.renames import renamed

_T = TypeVar("_T")
_STAGE_FOLDERS = "[0-9][0-9]_*"


def is_sweep(folder: Path) -> bool:
    """Whether a folder is a sweep's: its jobs lie below it."""
    return any(folder.glob(f"*/{JOB_NAME}"))


def require_folder(folder: Path) -> None:
    """Require that a run's or sweep's folder exists.

    Raises:
        DataError: if it does not, or is a file.
    """
    if not folder.is_dir():
        what = "a file" if folder.exists() else "missing"
        raise DataError(f"expected the folder of a run or a sweep at {folder}, which is {what}; give an existing one")


def read_run(folder: Path) -> RunData:
    """Read a run folder, as far as the run got.

    Args:
        folder: ``outputs/<experiment>/<run>``, or that of an evaluation.

    Raises:
        DataError: if there is no such folder, no run in it, or a file of it is damaged; the message names it.
    """
    require_folder(folder)
    folder = folder.resolve()
    folders = sorted(path.parent for path in folder.glob(f"{_STAGE_FOLDERS}/{CARD_NAME}"))
    table = folder / "table.csv"
    if not folders and not table.is_file():
        below = sorted(path.parent.name for path in folder.glob("*/table.csv"))
        hint = f"; did you mean one of those in it: {', '.join(below[-3:])}?" if below else ""
        raise DataError(f"{folder} holds no run: expected table.csv or <nn>_<stage>/{CARD_NAME} in it{hint}")
    notes: list[str] = []
    stages = [_stage(path, notes) for path in folders]
    config = _config(folder, stages)
    rows = _rows(table) if table.is_file() else []
    experiment = str(config.get("name") or (stages[-1].card.get("experiment") if stages else None) or "no experiment")
    unfinished = _missing(config, stages, has_table=bool(rows))
    version = _version(stages)
    if version is not None and version != __version__:
        notes.append(f"made by metasr {version}, reported by {__version__}")
    return RunData(
        label=_label(experiment, folder),
        line=_label(experiment, folder),
        experiment=experiment,
        folder=str(folder),
        rows=rows,
        stages=stages,
        config=config,
        overrides=_overrides(folder),
        losses=_losses(folder / CURVES_NAME),
        pictures=_pictures(folder / "pictures", notes),
        rates=_rates(folders, stages, notes),
        unfinished=unfinished,
        notes=notes,
    )


@contextmanager
def _reading(path: Path, *, remade_by_removing: Path | None = None) -> Iterator[None]:
    """Tell which file is damaged, and what can be done."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, MetasrError) as error:
        shown = error.__cause__ if isinstance(error, MetasrError) and error.__cause__ else error
        reason = f"no {shown}" if isinstance(shown, KeyError) else " ".join(str(shown).split())  # one line
        raise DataError(
            f"{path} is damaged or cannot be read: {reason}; leave its run out of the report, or remove "
            f"{remade_by_removing or path} and go on with the run, which makes it again"
        ) from error


def _label(experiment: str, folder: Path) -> str:
    day, _, time = folder.name.partition("_")
    if is_stamp(folder.name):
        return f"{experiment}, {day} {':'.join(time.split('-')[:3])}"
    return f"{experiment}, {folder.name}"


def _stage(folder: Path, notes: list[str]) -> StageData:
    with _reading(folder / CARD_NAME, remade_by_removing=folder):
        card = read_card(folder)
        for name in ("config", "versions", "machine", "metrics"):
            if not isinstance(card.get(name, {}), Mapping):
                raise ValueError(f"expected an object as its {name!r}, got {card[name]!r:.40}")
    drawn = sorted((folder / "pictures").glob("*.png"))
    maps = [path for path in drawn if path.stem.endswith("_maps")]
    pictures = [path for path in drawn if path not in maps]
    last = [_png(paths[-1], notes) if paths else None for paths in (pictures, maps)]
    return StageData(folder.name, card, _metrics(folder, notes), *last)


def _metrics(folder: Path, notes: list[str]) -> dict[str, list[tuple[float, float]]]:
    """All that the stage's CSV logs hold; where a resumed run logged a step again, the later value counts.

    A log that somebody wrote something else into is noted, and the run shown without its curves.
    """
    series: dict[str, dict[float, float]] = {}
    paths = (folder / "csv").glob("version_*/metrics.csv")
    for path in sorted(paths, key=lambda p: (len(p.parent.name), p.parent.name)):
        with _reading(path):
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            if lines and "step" not in columns_of(lines[0]):
                notes.append(f"{path} is no log of this program's (it lacks the column step): its curves are not shown")
                continue
            if lines and not lines[-1].endswith("\n"):
                lines.pop()  # being written when the run was cut short
            for row in parse_csv("".join(lines)):
                step = float(row["step"])
                for name, value in row.items():
                    if name not in ("epoch", "step") and value:
                        series.setdefault(name, {})[step] = float(value)
    return {name: sorted(points.items()) for name, points in series.items()}


def _rows(path: Path) -> list[Row]:
    with _reading(path):
        return read_means(path.read_text(encoding="utf-8"))


def _losses(path: Path) -> dict[LossKey, list[float]]:
    losses: dict[LossKey, list[float]] = {}
    if path.is_file():
        with _reading(path):
            for line in parse_csv(path.read_text(encoding="utf-8")):
                losses.setdefault((line["degradation"], line["solver"], line["weights"]), []).append(
                    float(line["loss"])
                )
    return losses


def _pictures(folder: Path, notes: list[str]) -> dict[str, bytes]:
    pictures = {path.name: _png(path, notes) for path in sorted(folder.glob("*.png"))}
    return {name: png for name, png in pictures.items() if png is not None}


def _png(path: Path, notes: list[str]) -> bytes | None:
    """A picture's bytes; a damaged one is noted: the run's numbers stand without it."""
    from PIL import Image

    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            if image.format != "PNG":
                raise ValueError(f"{image.format} instead of PNG")
    except (OSError, ValueError, SyntaxError):  # which tell addresses in memory, other ones each time
        notes.append(f"the picture {path} is damaged and not shown: it is no whole PNG file that can be read")
        return None
    return content


def _config(folder: Path, stages: list[StageData]) -> dict[str, Any]:
    """The last stage's config, which is resolved; else what hydra wrote down."""
    if stages and stages[-1].card.get("config"):
        return dict(stages[-1].card["config"])
    path = folder / ".hydra" / "config.yaml"
    return dict(renamed(_yaml(path, dict))) if path.is_file() else {}


def _overrides(folder: Path) -> list[str]:
    path = folder / ".hydra" / "overrides.yaml"
    return [str(choice) for choice in _yaml(path, list)] if path.is_file() else []


def _yaml(path: Path, kind: type[_T]) -> _T:
    """A YAML file as plain containers; interpolations stay as they are written."""
    with _reading(path):
        try:
            content = read_yaml(path, error=DataError)
        except DataError as error:
            raise ValueError(str(error.__cause__ or error).splitlines()[0]) from error
        if content is not None and not isinstance(content, kind):
            raise ValueError(f"expected {'an object' if kind is dict else 'a list'}, got {content!r:.40}")
        return kind() if content is None else content


def _rates(folders: list[Path], stages: list[StageData], notes: list[str]) -> RatesTable | None:
    finished = [(path, s) for path, s in zip(folders, stages, strict=True) if s.finished]
    if not finished:
        return None
    folder, stage = finished[-1]
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        notes.append(f"{path} is missing, though its stage is finished")
        return None
    with _reading(path, remade_by_removing=folder):
        return learned_rates(path, stage.card.get("config", {}))


def _missing(config: Mapping[str, Any], stages: list[StageData], *, has_table: bool) -> str:
    """What a run still lacks, in words; empty where it lacks nothing."""
    planned = list(config.get("stages") or {})
    begun = [s.name.split("_", 1)[1] for s in stages]
    open_ = [s.name for s in stages if not s.finished]
    facts = []
    if open_:
        facts.append(f"stage {', '.join(open_)} was begun and is not finished")
    if left := [name for name in planned if name not in begun and not has_table]:
        facts.append(f"not begun: {', '.join(left)}")
    if not has_table:
        elsewhere = config.get("table")
        facts.append(f"its table was to be written elsewhere, {elsewhere}" if elsewhere else "no table yet")
    return "; ".join(facts)


def _version(stages: list[StageData]) -> str | None:
    """The version that made the run; none where there is no card to tell."""
    if not stages:
        return None
    return str(stages[-1].card.get("versions", {}).get("metasr") or "of unknown version")


def read_jobs(folder: Path) -> list[Job]:
    """All jobs of a sweep's folder, in the order of the sweep; one with a damaged table counts as failed."""
    jobs = []
    records = [(read_job(path.parent), path) for path in folder.glob(f"*/{JOB_NAME}")]
    for card, path in sorted(records, key=lambda item: (item[0].get("number", 0), item[1].parent.name)):
        table = path.parent / "table.csv"
        finished = card.get("status") == "finished" and table.is_file()
        pruned = card.get("status") == "pruned"
        rows, damage = _rows_or_damage(table) if finished else ((), "")
        overrides = tuple(card.get("overrides", ()))
        jobs.append(
            Job(
                overrides=overrides,
                rows=rows,
                error=damage if finished or pruned else card.get("error", "cut short: run the sweep again"),
                command=f"{program()} {shlex.join([*overrides])}",
                folder=path.parent.name,
                trial=bool(card.get("search")),
                objective=card.get("objective") if finished or pruned else None,
                pruned=str(card.get("told", "")) if pruned else "",
                step_seconds=_step_seconds(path.parent),
            )
        )
    return jobs


def _rows_or_damage(table: Path) -> tuple[tuple[Row, ...], str]:
    try:
        return tuple(_rows(table)), ""
    except DataError as error:
        return (), str(error)


def _step_seconds(folder: Path) -> float | None:
    """Training time per step of a job's last stage."""
    cards = sorted(folder.glob(f"*/{CARD_NAME}"))
    step_seconds = read_card(cards[-1].parent).get("step_seconds") if cards else None
    return float(step_seconds) if isinstance(step_seconds, int | float) else None
