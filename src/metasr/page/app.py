"""What the page's fields set off; all that is computed, other rooms compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

import metasr
from metasr.config.photos import ESTIMATE
from metasr.degradation import names
from metasr.degradation.direct_kernel import direct_kernel
from metasr.errors import Cancelled, InputError, MetasrError
from metasr.figures.views import kernel_picture, magnified, moved, reduced
from metasr.io.images import to_uint8
from metasr.jobs.plan import Plan
from metasr.page.choices import AUTOMATIC, DISC, FILE, GAUSSIAN, SHRUNK, Choices, KernelChoice
from metasr.page.fields import MAX_NOISE, MAX_UPDATES, ORIGINAL, PHOTO, Fields
from metasr.page.session import PLAIN, RESULT, TRUTH, Problem, Result, Session, Upload, enlarge
from metasr.page.shown import VIEW, array, curve, error_maps, plain, scores, status, told_of, zipped
from metasr.page.work import Work
from metasr.solvers.progress import Progress
from metasr.text import pluralize

ZOOMED = 384
"""The side of a zoomed part, in pixels of the screen."""

AT_ONCE = 2
"""How many photos are worked on at once; the tabs of further ones wait."""

Shown = dict[Any, Any]
"""New values of components."""


class Page:
    """The page's functions.

    Args:
        root: a folder for the files of all tabs.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.works: dict[str, Work[Any]] = {}  # by the tab that waits for it

    def blocks(self) -> gr.Blocks:
        """The page, to be launched."""
        with gr.Blocks(title="metasr", analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as blocks:
            self.fields = Fields()
            self.session = gr.State(None, time_to_live=24 * 3600, delete_callback=_close)
            self._connect(blocks)
        blocks.queue(default_concurrency_limit=4)
        return blocks

    def _connect(self, blocks: gr.Blocks) -> None:
        """Say which field sets off what."""
        f = self.fields
        asked = [self.session, f.photo, f.kind, f.shrink, f.truth, *f.choices]
        planned = [self.session, f.seen, f.kernel, f.kernel_told, f.updates, f.noise, f.command]
        quietly: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        plan: dict[str, Any] = {"inputs": asked, "outputs": planned, "trigger_mode": "always_last", **quietly}
        blocks.load(lambda: Session(self.root), None, self.session, **quietly)
        blocks.unload(self._leave)

        f.kind.change(_for_kind, [f.kind, f.form], [f.shrink, f.form], **quietly).then(self._plan, **plan)
        f.form.change(_for_form, f.form, self._of_form(), **quietly)
        for changed in (f.photo.change, f.truth.change, f.file.change, f.form.change):
            changed(self._plan, **plan)
        for component in (f.shrink, f.scale, f.solver, f.weights, f.sampling, f.along, f.across, f.degrees, f.radius):
            component.input(self._plan, **plan)
        for name, component in (("updates", f.updates), ("noise", f.noise)):
            component.input(partial(self._typed, name), **plan)
        f.estimate.click(lambda: "estimate", None, f.form, **quietly)
        f.reset.click(_automatic, self.session, [self.session, f.form, f.solver, f.weights], **quietly).then(
            self._plan, **plan
        )

        shown = [f.pair, f.scores, f.download, *f.parts, f.errors, *f.maps]
        place = [self.session, f.down_at, f.across_at, f.zoom]
        buttons = [f.run, f.stop, f.run_all, f.stop_all]
        heavy: dict[str, Any] = {"concurrency_limit": AT_ONCE, "concurrency_id": "enlarge", **quietly}
        f.run.click(
            self._enlarge, [*asked, f.down_at, f.across_at, f.zoom], [f.status, f.curve, *buttons, *shown], **heavy
        )
        f.run_all.click(
            self._enlarge_all, [f.photos, *asked], [f.status, f.curve, *buttons, f.table, f.archive, f.command], **heavy
        )
        for button in (f.stop, f.stop_all):
            button.click(self._cancel, None, f.status, **quietly)
        for slider in (f.down_at, f.across_at, f.zoom):
            slider.input(self._look, place, f.parts, trigger_mode="always_last", **quietly)
        for part in f.parts:
            part.select(self._move, place, [f.down_at, f.across_at, *f.parts], **quietly)

    def _of_form(self) -> list[Any]:
        f = self.fields
        return [f.along, f.across, f.degrees, f.radius, f.file, f.sampling]

    # --- what would be done ---

    def _asked(
        self, session: Session, photo: Upload | None, kind: str, shrink: str, truth: Upload | None, values: Sequence[Any]
    ) -> tuple[Problem | None, Choices]:
        """The photo, none before there is one, and how it is to be enlarged."""
        scale, form, sampling, along, across, degrees, radius, file, noise, solver, weights, updates = values
        original = kind == ORIGINAL
        if not scale:
            raise InputError("no scale: give a factor, such as 2")
        if original and (not shrink or names.is_file(shrink)):
            raise InputError("an original is shrunk by a kernel that has a name, such as g2.0d")
        if form == SHRUNK and not original:
            raise InputError("nothing is shrunk here: choose another kernel, or say that the photo is an original")
        kernel_file = None if file is None else session.named(file)
        chosen = KernelChoice(form, sampling, along, across, degrees, radius, kernel_file)
        kernel = chosen.name(shrunk=shrink)
        if "noise" in session.typed and kernel not in ESTIMATE:
            kernel = names.with_noise(kernel or session.taken_for, noise)
        choices = Choices(
            float(scale), kernel, *(None if value == AUTOMATIC else value for value in (solver, weights)),
            updates=int(updates) if "updates" in session.typed else None,
        )  # fmt: skip
        if photo is None:
            return None, choices
        return session.problem(photo, scale=float(scale), shrink=shrink if original else None, hr=truth), choices

    def _typed(self, name: str, session: Session, *asked: Any) -> Shown:
        session.typed |= {name}
        return self._plan(session, *asked)

    def _plan(self, session: Session, photo: Any, kind: str, shrink: str, truth: Any, *values: Any) -> Shown:
        """Show what would be done."""
        f = self.fields
        try:
            problem, choices = self._asked(session, photo, kind, shrink, truth, values)
            if problem is None:
                kernel = None if choices.kernel in ESTIMATE else choices.kernel
                return {f.seen: "", f.command: "", **self._drawn(kernel, choices.scale, session)}
            plan = metasr.plan(problem.photo, **choices.arguments())
            if "noise" not in session.typed:
                session.taken_for = plan.degradation
            lines = [*plan.seen, *plan.chosen, *plan.why]
            return {
                f.seen: "\n".join(f"- {plain(session.told(line))}" for line in lines),
                **self._drawn(plan.degradation, choices.scale, session),
                **self._filled_in(session, plan, choices),
                f.command: _commands(problem, choices),
            }
        except MetasrError as error:
            return {f.seen: f"**{plain(session.told(error))}**", f.kernel: None, f.kernel_told: "", f.command: ""}

    def _filled_in(self, session: Session, plan: Plan, choices: Choices) -> Shown:
        """Fields that the program decides on, where nobody has."""
        f = self.fields
        estimated = choices.kernel in ESTIMATE
        shown: Shown = {f.noise: gr.Slider(interactive=not estimated)}
        if estimated or "noise" not in session.typed:
            noise = min(plan.noise, MAX_NOISE)
            shown[f.noise] = gr.Slider(value=round(noise), interactive=not estimated)
        if "updates" not in session.typed:
            more = f": {plan.updates}" if plan.updates > MAX_UPDATES else ""
            label = f"Updates on the photo{more}"
            shown[f.updates] = gr.Slider(value=min(plan.updates, MAX_UPDATES), label=label)
        return shown

    def _drawn(self, kernel: str | None, scale: float, session: Session) -> Shown:
        """A kernel's picture."""
        f = self.fields
        if kernel is None:
            return {f.kernel: None, f.kernel_told: ""}
        degradation = names.parse(kernel, scale=scale)
        taps, told = degradation.kernel, session.told(degradation)
        if taps is None:
            taps = direct_kernel(degradation, size=21)
            told += ": no blur beyond the shrinking itself"
        picture = None if taps is None else array(to_uint8(kernel_picture(taps)))
        return {f.kernel: picture, f.kernel_told: plain(told)}

    # --- doing it ---

    def _enlarge(self, session: Session, *values: Any, request: gr.Request) -> Iterator[Shown]:
        """Enlarge one photo and show it, telling how far it is."""
        f = self.fields
        photo, kind, shrink, truth, *choices_and_place = values
        *chosen, down, across, zoom = choices_and_place

        def task(listener: Callable[[Progress], None]) -> Result:
            problem, choices = self._asked(session, photo, kind, shrink, truth, chosen)
            if problem is None:
                raise InputError("no photo yet: drop one above, or take one of those that come with the page")
            return enlarge(problem, choices, progress=listener)

        work = Work(task)
        yield from self._shown_while(work, session, request, one=True)
        if not work.succeeded:
            return
        session.result = result = work.result
        yield {
            f.status: status(f"Done: {session.told(result.told)}", 1.0),
            f.pair: self._pair(session, result),
            f.scores: scores(result),
            f.download: gr.DownloadButton(value=str(result.output), interactive=True),
            f.errors: gr.Accordion(visible=TRUTH in result.images),
            **dict(zip(f.parts, self._look(session, down, across, zoom), strict=True)),
            **dict(zip(f.maps, error_maps(result), strict=True)),
        }

    def _enlarge_all(
        self, photos: list[Upload] | None, session: Session, *asked: Any, request: gr.Request
    ) -> Iterator[Shown]:
        """Enlarge several photos, one after the other; one that cannot be enlarged does not keep the others."""
        f = self.fields
        rows: list[list[str]] = []
        outputs: list[Path] = []
        chosen = asked[4:]

        def one(upload: Upload, number: int, listener: Callable[[Progress], None]) -> Path:
            _, choices = self._asked(session, None, PHOTO, "", None, chosen)
            photo = session.named(upload)
            (done,) = metasr.upscale(photo, overwrite=True, progress=listener, **choices.arguments())
            rows[number][1] = session.told(done)
            return done.output

        for number, upload in enumerate(photos or []):
            rows.append([upload.name, ""])
            work = Work(partial(one, upload, number))
            place = f"{number + 1} of {len(photos or [])}: "
            for shown in self._shown_while(work, session, request, one=False, place=place):
                yield {**shown, f.table: rows}
            if work.succeeded:
                outputs.append(work.result)
            elif isinstance(work.error, MetasrError):
                rows[number][1] = session.told(work.error)
            yield {f.table: rows}
            if isinstance(work.error, Cancelled):
                break
        told = f"{len(outputs)} of {pluralize(len(photos or []), 'photo')} enlarged" if photos else "no photos yet"
        ready = gr.DownloadButton(value=str(zipped(outputs, session.folder)), interactive=True) if outputs else gr.skip()
        command = self._asked(session, None, PHOTO, "", None, chosen)[1].command([u.name for u in photos or []])
        yield {f.status: status(told, 1.0), f.archive: ready, f.command: command if photos else ""}

    def _shown_while(
        self, work: Work[Any], session: Session, request: gr.Request, *, one: bool, place: str = ""
    ) -> Iterator[Shown]:
        """The progress of a work, its end, and its failure where it fails; ends it where the tab is left."""
        f = self.fields
        ready = [gr.Button(interactive=True), gr.Button(interactive=False)]
        busy = [gr.Button(interactive=False), gr.Button(interactive=True)]
        hidden = [gr.Button(interactive=False), gr.Button(interactive=False)]
        buttons = [f.run, f.stop, f.run_all, f.stop_all]
        waiting = [*busy, *hidden] if one else [*hidden, *busy]
        key = str(request.session_hash)
        self.works[key] = work
        losses: list[tuple[int, float]] = []
        try:
            yield {f.status: status(f"{place}begun", 0.0), f.curve: gr.LinePlot(visible=False),
                   **dict(zip(buttons, waiting, strict=True))}  # fmt: skip
            for reports in work:
                known = [r for r in reports if r.loss is not None]
                losses += [(r.done, float(r.loss or 0)) for r in known]
                shown: Shown = {f.status: status(place + told_of(work), work.share)}
                if known and len(losses) > 1:
                    shown[f.curve] = gr.LinePlot(value=curve(losses), visible=True, x_title=known[-1].what)
                yield shown
        except Cancelled:
            yield {f.status: status(f"{place}cancelled", None)}
        except MetasrError as error:
            yield {f.status: status(session.told(error), None, alert=True)}
        finally:
            work.cancel()
            self.works.pop(key, None)
        yield dict(zip(buttons, [*ready, *ready], strict=True))

    def _cancel(self, request: gr.Request) -> str | Any:
        work = self.works.get(str(request.session_hash))
        if work is None:
            return gr.skip()
        work.cancel()
        return status("cancelling, after this step", None)

    def _leave(self, request: gr.Request) -> None:
        """Whoever leaves the page needs no result."""
        work = self.works.get(str(request.session_hash))
        if work is not None:
            work.cancel()

    # --- looking at it ---

    def _pair(self, session: Session, result: Result) -> tuple[str, str]:
        """Files of the slider's two pictures."""
        paths = []
        for name in (PLAIN, RESULT):
            path = session.folder / f"shown_{name}.png"
            Image.fromarray(array(reduced(result.images[name], VIEW))).save(path)
            paths.append(str(path))
        return paths[0], paths[1]

    def _look(self, session: Session, down: float, across: float, zoom: int) -> list[Any]:
        """The zoomed parts, all of one place."""
        result = session.result
        if result is None:
            return [None, None, None]
        parts = []
        for name in (PLAIN, RESULT, TRUTH):
            image = result.images.get(name)
            part = None if image is None else magnified(image, (down / 100, across / 100), side=ZOOMED // int(zoom), zoom=int(zoom))
            parts.append(gr.Image(value=None if part is None else array(part), visible=part is not None))
        return parts

    def _move(self, session: Session, down: float, across: float, zoom: int, point: gr.SelectData) -> list[Any]:
        """Bring what was clicked at to the middle of the zoomed parts."""
        if session.result is None:
            return [gr.skip()] * 5
        size = session.result.images[RESULT].shape[-2:]
        at = (float(point.index[1]), float(point.index[0]))
        new = moved((down / 100, across / 100), at, (size[0], size[1]), side=ZOOMED // int(zoom), zoom=int(zoom))
        places = [round(100 * share, 1) for share in new]
        return [*places, *self._look(session, *places, zoom)]


def _close(session: Session | None) -> None:
    if session is not None:
        session.close()


def _for_kind(kind: str, form: str) -> list[Any]:
    """The fields that only an original has, and the kernel that goes with it."""
    if kind == ORIGINAL:
        return [gr.Dropdown(visible=True), SHRUNK]
    return [gr.Dropdown(visible=False), AUTOMATIC if form == SHRUNK else form]


def _for_form(form: str) -> list[Any]:
    """The fields that belong to a form of kernel."""
    gaussian, disc, file = form == GAUSSIAN, form == DISC, form == FILE
    shown = [gaussian, gaussian, gaussian, disc, file, gaussian or disc or file]
    return [gr.update(visible=visible) for visible in shown]


def _automatic(session: Session) -> list[Any]:
    session.typed = frozenset()
    session.taken_for = "bicubic"
    return [session, AUTOMATIC, AUTOMATIC, AUTOMATIC]


def _commands(problem: Problem, choices: Choices) -> str:
    command = choices.command([problem.shown])
    return f"{problem.command}\n{command}" if problem.command else command
