"""What one browser tab works with: its files, what is to be made of them, and what was made."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

import metasr
from metasr.config.photo_weights import ESTIMATE
from metasr.degradation.resize import output_size
from metasr.errors import InputError, told_of
from metasr.io.images import from_uint8, read_image, to_uint8
from metasr.jobs.prepare import PrepareOptions, prepare
from metasr.metrics.protocol import LumaProtocol, Score
from metasr.page.choices import Choices
from metasr.page.work import Work
from metasr.solvers.progress import Listener

KEPT_SECONDS = 3600
"""How long a closed tab's files are kept: a connection may be lost for a while."""

RESULT, PLAIN, TRUTH = "metasr", "bicubic", "original"


class Upload(NamedTuple):
    """A file that was handed over: where it lies, and what its owner calls it."""

    path: Path
    name: str


@dataclass(frozen=True)
class Problem:
    """A photo to enlarge.

    Attributes:
        photo: the file.
        hr: the truth, where there is one.
        command: which command made the photo of an original; empty where nothing was shrunk.
        shown: the photo's path as its owner would write it.
    """

    photo: Path
    hr: Path | None
    command: str
    shown: str


@dataclass(frozen=True, eq=False)
class Result:
    """One photo enlarged; images are ``(3, H, W)`` uint8, all of one size.

    Attributes:
        output: the file.
        told: how it was made, in a line.
        images: by name: plain enlargement, the result, and the truth where there is one.
        scores: of the first two, where there is a truth.
    """

    output: Path
    told: str
    images: dict[str, Tensor]
    scores: dict[str, Score] = field(default_factory=dict)


class Session:
    """One tab's files and result, in a folder of its own.

    Attributes:
        folder: all of its files lie in it.
        uploads: the files that were handed over, by the field's name.
        typed: those fields that were changed by hand, of the ones that the program fills in otherwise.
        result: what is shown; none before the first.
        work: what is done at present, if anything is.
        asked: how often it was asked what would be done.
        taken_for: the degradation that the program took the photo for when it was last asked.
    """

    def __init__(self, root: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=root))
        self.uploads: dict[str, list[Upload]] = {}
        self.typed: frozenset[str] = frozenset()
        self.result: Result | None = None
        self.work: Work[Any] | None = None
        self.asked = 0
        self.taken_for = "bicubic"
        self._shrinking = threading.Lock()
        self._shrunk: dict[Path, tuple[str, float]] = {}

    def close(self) -> None:
        """Remove its files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def upload(self, field: str) -> Upload | None:
        """The file that a field has, if any."""
        return next(iter(self.uploads.get(field, [])), None)

    def problem(self, *, scale: float, shrink: str | None = None) -> Problem | None:
        """The photo to enlarge; none before there is one.

        Args:
            scale: the factor.
            shrink: the degradation by which the photo is to be made of an original; none where it is the photo.

        Raises:
            MetasrError: if an original cannot be read or shrunk.
        """
        photo, truth = self.upload("photo"), self.upload("truth")
        if photo is None:
            return None
        own = self.named(photo)
        if shrink is None:
            return Problem(own, None if truth is None else self.named(truth), "", own.name)
        folder = own.parent / f"{own.stem}_small"
        with self._shrinking:
            if self._shrunk.get(folder) != (shrink, scale):
                options = PrepareOptions(hr=True, overwrite=True)
                list(prepare(own, folder, shrink, scale=scale, options=options))
                self._shrunk[folder] = (shrink, scale)
        small = folder / "lr" / f"{own.stem}.png"
        command = Choices(scale).prepare_command(own.name, folder.name, shrink)
        return Problem(small, folder / "hr" / small.name, command, str(small.relative_to(own.parent)))

    def named(self, upload: Upload) -> Path:
        """The upload under its owner's name, which is what random draws depend on, in a folder of its own."""
        folder = self.folder / hashlib.sha256(str(upload.path).encode()).hexdigest()[:8]
        name = Path(upload.name.replace("\\", "/")).name
        path = folder / (name if name not in ("", ".", "..") else upload.path.name)
        if not path.exists():
            folder.mkdir(exist_ok=True)
            shutil.copyfile(upload.path, path)
        return path

    def told(self, text: object) -> str:
        """A text without the folders in which the page keeps files."""
        told = str(text)
        for folder in (path for path in self.folder.iterdir() if path.is_dir()):
            told = told.replace(f"{folder}/", "")
        return told.replace(f"{self.folder}/", "")


class Sessions:
    """The sessions of all tabs.

    Args:
        root: their folders lie in it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, Session] = {}
        self._left: dict[str, float] = {}  # when each tab was closed, or its connection lost
        self._lock = threading.Lock()

    def of(self, tab: str) -> Session:
        """A tab's session, made when it is first asked for; those of tabs that are long closed are removed."""
        with self._lock:
            self._left.pop(tab, None)
            now = time.monotonic()
            for gone in [other for other, left in self._left.items() if now - left > KEPT_SECONDS]:
                del self._left[gone]
                self._known.pop(gone).close()
            if tab not in self._known:
                self._known[tab] = Session(self.root)
            return self._known[tab]

    def leave(self, tab: str) -> None:
        """End what a tab waits for, which is closed; it may come back for a while."""
        with self._lock:
            session = self._known.get(tab)
            if session is None:
                return
            self._left[tab] = time.monotonic()
            if session.work is not None:
                session.work.cancel()


def enlarge(problem: Problem, choices: Choices, *, progress: Listener | None = None) -> Result:
    """Enlarge a photo, beside plain enlargement and scored where the truth is known.

    The plain one is bicubic, put back by what the kernel's sampling displaces, so that both lie on each other.

    Raises:
        MetasrError: for what cannot be enlarged, or a truth of another size.
        Cancelled: if ``progress`` raises it.
    """
    if problem.hr is not None:
        _require_size(problem, choices.scale)
    (done,) = metasr.upscale(problem.photo, overwrite=True, progress=progress, **choices.arguments())
    kernel = choices.kernel or "bicubic"
    (plain,) = metasr.upscale(
        problem.photo, problem.photo.with_name(f"{problem.photo.stem}_plain.png"), scale=choices.scale, overwrite=True,
        kernel=ESTIMATE.get(kernel, kernel), solver="interpolate_aligned",
    )  # fmt: skip
    images = {PLAIN: to_uint8(read_image(plain.output)), RESULT: to_uint8(read_image(done.output))}
    if problem.hr is None:
        return Result(done.output, str(done), images)
    hr = to_uint8(read_image(problem.hr))
    height, width = hr.shape[-2:]
    images = {name: image[..., :height, :width] for name, image in images.items()}
    with told_of(problem.hr.name):
        scores = {
            name: LumaProtocol()(from_uint8(image)[None], from_uint8(hr)[None], scale=choices.scale)
            for name, image in images.items()
        }
    return Result(done.output, str(done), {**images, TRUTH: hr}, scores)


def _require_size(problem: Problem, scale: float) -> None:
    """Require a truth of the result's size, or smaller by less than the pixel of the photo that was rounded up."""
    assert problem.hr is not None
    height, width = read_image(problem.hr).shape[-2:]
    rows, columns = read_image(problem.photo).shape[-2:]
    high, wide = output_size((rows, columns), scale)
    if not (0 <= high - height < scale and 0 <= wide - width < scale):
        raise InputError(
            f"the original is {width}x{height} pixels and the result will be {wide}x{high}: give the original of this "
            f"very photo, {scale:g} times its size, or leave it out"
        )
