"""Texts, tables and pictures of the page, as its components take them."""

from __future__ import annotations

import html
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from metasr.figures.views import error_map, reduced
from metasr.io.images import to_uint8
from metasr.page.session import PLAIN, RESULT, TRUTH, Result
from metasr.page.work import Work

VIEW = 1600
"""The longer side of what the slider shows, in pixels; the zoomed parts show the image's own."""


def status(text: str, share: float | None, *, alert: bool = False) -> str:
    """A line about the work, as HTML, with a bar where its share is known."""
    bar = "" if share is None else f'<progress max="1" value="{share:.3f}" aria-label="done"></progress>'
    return f'<div role="{"alert" if alert else "status"}">{html.escape(text)}</div>{bar}'


def told_of(work: Work[Any]) -> str:
    """How far it is, and how long it will take."""
    last = work.last
    what = f"{last.done} of {last.total} {last.what}, " if last is not None else ""
    if work.share >= 1:
        return f"{work.seconds:.0f} s, now plain enlargement to lay beside it"
    if work.share < 0.02:
        return f"{what}{work.seconds:.0f} s"
    left = work.seconds * (1 - work.share) / work.share
    return f"{what}{work.seconds:.0f} s, about {left:.0f} s left"


def curve(losses: Sequence[tuple[int, float]]) -> pd.DataFrame:
    """What is drawn of the losses: every one, or a few hundred of many."""
    kept = losses[:: max(1, len(losses) // 300)]
    return pd.DataFrame(kept, columns=["updates", "loss"])


def scores(result: Result) -> str:
    """The scores as a table in Markdown; empty where there are none."""
    if not result.scores:
        return ""
    rows = [f"| {name} | {score.psnr_y:.2f} | {score.ssim_y:.4f} |" for name, score in result.scores.items()]
    return "\n".join(["| | PSNR on Y (dB) | SSIM on Y |", "| --- | ---: | ---: |", *rows])


def error_maps(result: Result) -> list[Any]:
    """Maps of the errors of plain enlargement and result; none of either where there is no truth."""
    truth = result.images.get(TRUTH)
    if truth is None:
        return [None, None]
    return [array(to_uint8(reduced(error_map(result.images[name], truth), VIEW))) for name in (PLAIN, RESULT)]


def zipped(outputs: Sequence[Path], folder: Path) -> Path:
    """All results in one file; a name that comes twice gets its number before it."""
    path = folder / "enlarged.zip"
    taken: set[str] = set()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number, output in enumerate(outputs, start=1):
            name = output.name if output.name not in taken else f"{number}_{output.name}"
            taken.add(name)
            archive.write(output, name)
    return path


def array(image: Tensor) -> Any:
    """``(H, W, 3)`` uint8 of ``(3, H, W)``."""
    return image.permute(1, 2, 0).contiguous().numpy()


def plain(text: str) -> str:
    r"""A text that Markdown shows as it is."""
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]<>()#+!|~$" else letter for letter in text)
