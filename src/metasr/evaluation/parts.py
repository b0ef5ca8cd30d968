"""What an evaluation has finished so far, a file for each image: a killed one goes on where it stopped."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metasr.degradation.pipeline import Degradation
from metasr.evaluation.manifest import LrImage
from metasr.evaluation.results import ImageRow
from metasr.io.files import write_bytes
from metasr.io.images import from_uint8, to_uint8
from metasr.meta.inner_loop import Trace
from metasr.solvers.base import Solution

log = logging.getLogger(__name__)

FOLDER_NAME = "unfinished_evaluation"


@dataclass
class Part:
    """One image under one degradation: its LR image's line, and a row and solution for everything that solved it.

    Attributes:
        line: of the manifest; none where there is no LR image.
        results: rows, each with the solution that it scores; none with a failed row.
        number: which of the entries made each of the results.
    """

    line: LrImage | None = None
    results: list[tuple[ImageRow, Solution | None]] = field(default_factory=list)
    number: list[int] = field(default_factory=list)

    def add(self, number: int, row: ImageRow, solution: Solution | None = None) -> None:
        """Add the result of one of the entries."""
        self.results.append((row, solution))
        self.number.append(number)


class Parts:
    """The parts of an unfinished evaluation, in a folder inside the job's own.

    A part counts only for the same question: the same choices, weights and image. Of solutions the pixels are kept, in
    8 bits, where ``keep_pixels`` asks for them.

    Args:
        folder: the job's.
        question: everything that the results depend on beside the images, as text.
        keep_pixels: told of image and degradation.
    """

    def __init__(
        self, folder: Path, question: str, *, keep_pixels: Callable[[str, Degradation], bool] = lambda *_: False
    ) -> None:
        self.question = hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()
        self.folder = folder / FOLDER_NAME / self.question[:16]
        self.keep_pixels = keep_pixels

    def adopt(self, beside: Path) -> None:
        """Take over what an earlier job of the same question has left unfinished in a folder beside this one's."""
        left = sorted(beside.glob(f"*/{FOLDER_NAME}/{self.folder.name}"), key=lambda path: path.stat().st_mtime_ns)
        if not left or self.folder.exists():
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(left[-1], self.folder)
        log.info("going on with the evaluation that was left unfinished in %s", left[-1].parent.parent)

    def read(self, image: str, degradation: Degradation, key: Sequence[str]) -> Part | None:
        """A part, or none where it is not finished, was made of something else, or is damaged."""
        path = self._path(image, degradation)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                record = json.loads(bytes(arrays["told"]))
                if record["key"] != [self.question, *key]:
                    return None
                return _part(record, arrays)
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            log.warning("%s cannot be read (%s): its image is solved again", path, error)
            return None

    def write(self, image: str, degradation: Degradation, key: Sequence[str], part: Part) -> None:
        """Write a part, whole or not at all."""
        arrays: dict[str, np.ndarray] = {}
        pixels = self.keep_pixels(image, degradation)
        results = [
            {"row": asdict(row), "number": n, "solution": None if s is None else _told(s, arrays, pixels=pixels)}
            for n, (row, s) in zip(part.number, part.results, strict=True)
        ]
        line = None if part.line is None else asdict(part.line)
        text = json.dumps({"key": [self.question, *key], "line": line, "results": results})
        file = io.BytesIO()
        np.savez(file, told=np.frombuffer(text.encode(), dtype=np.uint8), **arrays)  # type: ignore[arg-type]
        write_bytes(self._path(image, degradation), file.getvalue())

    def remove(self) -> None:
        """Remove them: the evaluation is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self.folder.parent.rmdir()
        except OSError:  # there are some of another question
            log.debug("%s is not empty", self.folder.parent)

    def _path(self, image: str, degradation: Degradation) -> Path:
        name = f"{degradation}\0{image}".encode("utf-8", "surrogatepass")
        return self.folder / f"{hashlib.sha256(name).hexdigest()[:32]}.npz"


def _told(solution: Solution, arrays: dict[str, np.ndarray], *, pixels: bool) -> dict[str, Any]:
    """A solution's plain values; its arrays go to the others."""
    record = {
        "trace": {name: getattr(solution.trace, name) for name in ("losses", "rates", "seconds", "kernel_psnr")},
        "updates": solution.updates, "seconds": solution.seconds, "stopped": solution.stopped,
        "assumed": solution.assumed, "direct": solution.direct,
    }  # fmt: skip
    for name, value in (("kernel", solution.kernel), ("pixels", to_uint8(solution.sr) if pixels else None)):
        if isinstance(value, Tensor):
            record[name] = f"array_{len(arrays)}"
            arrays[str(record[name])] = value.detach().cpu().numpy()
    return record


def _part(told: dict[str, Any], arrays: Any) -> Part:
    part = Part(None if told["line"] is None else LrImage(**told["line"]))
    for result in told["results"]:
        values = result["solution"]
        solution = None
        if values is not None:
            kernel, pixels = (values.pop(name, None) for name in ("kernel", "pixels"))
            solution = Solution(
                sr=torch.empty(0) if pixels is None else from_uint8(torch.from_numpy(arrays[pixels])),
                kernel=None if kernel is None else torch.from_numpy(arrays[kernel]),
                trace=Trace(**values.pop("trace")),
                **values,
            )
        part.add(int(result["number"]), ImageRow(**result["row"]), solution)
    return part
