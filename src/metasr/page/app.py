"""What the page's fields set off; all that is computed, other rooms compute."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

import metasr
from metasr.config.photo_weights import ESTIMATE
from metasr.data.catalog import image_set
from metasr.degradation import names
from metasr.degradation.direct_kernel import direct_kernel
from metasr.degradation.pipeline import Degradation
from metasr.errors import Cancelled, InputError, MetasrError
from metasr.figures.views import kernel_picture, magnified, moved, reduced
from metasr.io.images import read_image, to_uint8
from metasr.jobs.plan import Plan
from metasr.jobs.upscale import Upscaled
from metasr.page.choices import AUTOMATIC, DISC, ESTIMATES, FILE, GAUSSIAN, SHRUNK, Choices, KernelChoice
from metasr.page.fields import MAX_NOISE, MAX_UPDATES, ORIGINAL, PHOTO, Fields
from metasr.page.session import PLAIN, RESULT, TRUTH, Problem, Result, Session, Sessions, Upload, enlarge
from metasr.page.shown import VIEW, array, curve, error_maps, plain, scores, status, told_of, zipped
from metasr.page.work import Work
from metasr.solvers.progress import Listener
from metasr.text import pluralize

PREVIEW = 600
"""The longer side of the photo beside its fields."""

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
        self.sessions = Sessions(root)
        self.samples = [Path(shutil.copy(path, root)) for path in image_set("samples", split="test").paths]

    def blocks(self) -> gr.Blocks:
        """The page, to be launched."""
        with gr.Blocks(title="metasr", analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as blocks:
            self.fields = Fields(self.samples)
            self._connect(blocks)
        blocks.queue(default_concurrency_limit=4)
        return blocks

    def _connect(self, blocks: gr.Blocks) -> None:
        """Say which field sets off what."""
        f = self.fields
        asked = [f.kind, f.shrink, *f.choices]
        planned = [f.seen, f.kernel, f.kernel_told, f.updates, f.noise, f.command]
        of_form = [f.along, f.across, f.degrees, f.radius, f.file, f.sampling]
        quietly: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        plan: dict[str, Any] = {"inputs": asked, "outputs": planned, "trigger_mode": "always_last", **quietly}
        blocks.unload(self._leave)

        for name, file in (("photo", f.photo), ("truth", f.truth), ("file", f.file), ("photos", f.photos)):
            taken = file.change(self._taking(name), file, None, preprocess=False, **quietly)
            if name == "photo":
                taken = taken.then(self._preview, None, f.preview, **quietly)
            taken.then(self._plan, **plan)
        f.samples.select(self._sample, None, [f.photo, f.kind, f.shrink, f.form, *of_form], **quietly)
        f.kind.input(_for_kind, [f.kind, f.form], [f.shrink, f.form, *of_form], **quietly).then(self._plan, **plan)
        f.form.input(_for_form, f.form, of_form, **quietly).then(self._plan, **plan)
        for component in (f.shrink, f.scale, f.solver, f.weights, f.sampling, f.along, f.across, f.degrees, f.radius):
            component.input(self._plan, **plan)
        for name, component in (("updates", f.updates), ("noise", f.noise)):
            component.input(self._typing(name), **plan)
        f.estimate.click(_estimate, None, [f.form, *of_form], **quietly).then(self._plan, **plan)
        all_automatic = f.reset.click(self._automatic, None, [f.solver, f.weights, f.form, *of_form], **quietly)
        all_automatic.then(self._plan, **plan)

        place = [f.down_at, f.across_at, f.zoom]
        shown = [f.pair, f.scores, f.download, *f.parts, f.errors, *f.maps]
        working = [f.status, f.curve, f.run, f.stop, f.run_all, f.stop_all]
        heavy: dict[str, Any] = {"concurrency_limit": AT_ONCE, "concurrency_id": "enlarge", **quietly}
        f.run.click(self._enlarge, [*asked, *place], [*working, *shown], **heavy)
        f.run_all.click(self._enlarge_all, asked, [*working, f.table, f.archive, f.command], **heavy)
        for button in (f.stop, f.stop_all):
            button.click(self._cancel, None, f.status, **quietly)
        for slider in place:
            slider.input(self._look, place, f.parts, trigger_mode="always_last", **quietly)
        f.meet.input(_meet, f.meet, f.pair, trigger_mode="always_last", **quietly)
        for part in f.parts:
            part.select(self._move, place, [f.down_at, f.across_at, *f.parts], **quietly)

    def _session(self, request: gr.Request) -> Session:
        return self.sessions.of(str(request.session_hash))

    def _leave(self, request: gr.Request) -> None:
        self.sessions.leave(str(request.session_hash))

    # --- what would be done ---

    def _taking(self, field: str) -> Callable[[gr.Request, Any], None]:
        """What keeps the files that a field was given; that they were uploaded, gradio has made sure of."""

        def take(request: gr.Request, payload: Any) -> None:
            files = payload if isinstance(payload, list) else [] if payload is None else [payload]
            self._session(request).uploads[field] = [
                Upload(Path(file["path"]), file.get("orig_name") or Path(file["path"]).name) for file in files
            ]

        return take

    def _typing(self, name: str) -> Callable[..., Shown]:
        """What notes that a field was changed by hand, which the program fills in otherwise."""

        def typed(request: gr.Request, *asked: Any) -> Shown:
            self._session(request).typed |= {name}
            return self._plan(request, *asked)

        return typed

    def _sample(self, chosen: gr.SelectData) -> list[Any]:
        """An embedded photograph, which is an original."""
        return [str(self.samples[chosen.index]), ORIGINAL, *_for_kind(ORIGINAL, AUTOMATIC)]

    def _automatic(self, request: gr.Request) -> list[Any]:
        """Leave everything to the program."""
        session = self._session(request)
        session.typed, session.taken_for = frozenset(), "bicubic"
        return [AUTOMATIC, AUTOMATIC, AUTOMATIC, *_for_form(AUTOMATIC)]

    def _preview(self, request: gr.Request) -> Any:
        """The photo itself; nothing where it cannot be read, which ``_plan`` tells."""
        photo = self._session(request).upload("photo")
        if photo is None:
            return gr.Image(value=None, visible=False)
        try:
            shown = array(to_uint8(reduced(read_image(photo.path), PREVIEW)))
        except MetasrError:
            return gr.Image(value=None, visible=False)
        return gr.Image(value=shown, visible=True)

    def _asked(self, session: Session, kind: str, shrink: str, values: Sequence[Any]) -> tuple[Problem | None, Choices]:
        """The photo, none before there is one, and how it is to be enlarged."""
        scale, form, sampling, along, across, degrees, radius, noise, solver, weights, updates = values
        original = kind == ORIGINAL
        if not scale:
            raise InputError("no scale: give a factor, such as 2")
        if original and (not shrink or names.is_file(shrink)):
            raise InputError("an original is shrunk by a kernel that has a name, such as g2.0d")
        if form == SHRUNK and not original:
            raise InputError("nothing is shrunk here: choose another kernel, or say that the photo is an original")
        file = session.upload("file")
        path = None if file is None else session.named(file)
        kernel = KernelChoice(form, sampling, along, across, degrees, radius, path).name(shrunk=shrink)
        if "noise" in session.typed and kernel not in ESTIMATE:
            kernel = names.with_noise(kernel or session.taken_for, noise)
        choices = Choices(
            float(scale),
            kernel,
            solver=None if solver == AUTOMATIC else solver,
            weights=None if weights == AUTOMATIC else weights,
            updates=int(updates) if "updates" in session.typed else None,
        )
        return session.problem(scale=float(scale), shrink=shrink if original else None), choices

    def _plan(self, request: gr.Request, kind: str, shrink: str, *values: Any) -> Shown:
        """Show what would be done; nothing where something else was asked meanwhile, which is quicker to tell."""
        session = self._session(request)
        session.asked += 1
        number = session.asked
        shown = self._planned(session, kind, shrink, values)
        return shown if number == session.asked else {self.fields.seen: gr.skip()}

    def _planned(self, session: Session, kind: str, shrink: str, values: Sequence[Any]) -> Shown:
        f = self.fields
        try:
            problem, choices = self._asked(session, kind, shrink, values)
            if problem is None:
                named = choices.kernel is not None and choices.kernel not in ESTIMATE
                kernel = names.parse(str(choices.kernel), scale=choices.scale) if named else None
                return {f.seen: "", f.command: "", **self._drawn(kernel, session)}
            plan = metasr.plan(problem.photo, **choices.arguments())
            if "noise" not in session.typed:
                session.taken_for = names.without_compression(plan.problem)
            command = choices.command([problem.shown])
            return {
                f.seen: "\n".join(f"- {plain(session.told(line))}" for line in [*plan.seen, *plan.chosen, *plan.why]),
                f.command: f"{problem.command}\n{command}".strip(),
                **self._drawn(plan.problem, session),
                **self._filled_in(session, plan, choices),
            }
        except MetasrError as error:
            return {f.seen: f"**{plain(session.told(error))}**", f.kernel: None, f.kernel_told: "", f.command: ""}

    def _filled_in(self, session: Session, plan: Plan, choices: Choices) -> Shown:
        """Fields that the program decides on, where nobody has."""
        f, shown = self.fields, {}
        estimated = choices.kernel in ESTIMATE
        if estimated or "noise" not in session.typed:
            shown[f.noise] = gr.Slider(value=round(min(plan.noise, MAX_NOISE)), interactive=not estimated)
        else:
            shown[f.noise] = gr.Slider(interactive=True)
        if "updates" not in session.typed:
            more = f": {plan.updates}" if plan.updates > MAX_UPDATES else ""
            shown[f.updates] = gr.Slider(value=min(plan.updates, MAX_UPDATES), label=f"Updates on the photo{more}")
        return shown

    def _drawn(self, degradation: Degradation | None, session: Session) -> Shown:
        """A kernel's picture."""
        f = self.fields
        if degradation is None:
            return {f.kernel: None, f.kernel_told: ""}
        taps, told = degradation.kernel, session.told(degradation)
        if taps is None:
            taps = direct_kernel(replace(degradation, jpeg=None, noise_std=0.0), size=21)
            told += ": no blur beyond the shrinking itself"
        picture = None if taps is None else array(to_uint8(kernel_picture(taps)))
        return {f.kernel: picture, f.kernel_told: plain(told)}

    # --- doing it ---

    def _enlarge(self, request: gr.Request, kind: str, shrink: str, *values: Any) -> Iterator[Shown]:
        """Enlarge one photo and show it, telling how far it is."""
        f, session = self.fields, self._session(request)
        *chosen, down, across, zoom = values

        def task(listener: Listener) -> Result:
            problem, choices = self._asked(session, kind, shrink, chosen)
            if problem is None:
                raise InputError("no photo yet: drop one above, or take one of those that come with the page")
            return enlarge(problem, choices, progress=listener)

        work = Work(task)
        yield from self._shown_while(work, session)
        if not work.succeeded:
            return
        session.result = result = work.result
        yield {
            f.status: status(f"Done: {session.told(result.told)}", 1.0),
            f.pair: self._pair(session, result),
            f.scores: scores(result),
            f.download: gr.DownloadButton(value=str(result.output), interactive=True),
            f.errors: gr.Accordion(visible=TRUTH in result.images),
            **dict(zip(f.parts, self._look(request, down, across, zoom), strict=True)),
            **dict(zip(f.maps, error_maps(result), strict=True)),
        }

    def _enlarge_all(self, request: gr.Request, _kind: str, _shrink: str, *chosen: Any) -> Iterator[Shown]:
        """Enlarge several photos, one after the other; one that cannot be enlarged does not keep the others."""
        f, session = self.fields, self._session(request)
        photos = session.uploads.get("photos", [])
        rows = [[photo.name, ""] for photo in photos]
        outputs: list[Path] = []

        def one(photo: Upload, listener: Listener) -> Upscaled:
            _, choices = self._asked(session, PHOTO, "", chosen)
            (done,) = metasr.upscale(session.named(photo), overwrite=True, progress=listener, **choices.arguments())
            return done

        for number, photo in enumerate(photos):
            work = Work(partial(one, photo))
            for shown in self._shown_while(work, session, place=f"{number + 1} of {len(photos)}: "):
                yield {**shown, f.table: rows}
            if work.succeeded:
                outputs.append(work.result.output)
            rows[number][1] = session.told(work.result if work.succeeded else work.error)
            yield {f.table: rows}
            if isinstance(work.error, Cancelled):
                break
        told = f"{len(outputs)} of {pluralize(len(photos), 'photo')} enlarged" if photos else "no photos yet"
        last: Shown = {f.status: status(told, 1.0 if photos else None, alert=not photos)}
        if outputs:
            _, choices = self._asked(session, PHOTO, "", chosen)
            last[f.archive] = gr.DownloadButton(value=str(zipped(outputs, session.folder)), interactive=True)
            last[f.command] = choices.command([photo.name for photo in photos], output="enlarged/")
        yield last

    def _shown_while(self, work: Work[Any], session: Session, *, place: str = "") -> Iterator[Shown]:
        """The progress of a work, its end, and its failure where it fails; ends it where nobody waits any more."""
        f = self.fields
        session.work = work
        losses: list[tuple[int, float]] = []
        try:
            yield {f.status: status(f"{place}begun", 0.0), f.curve: gr.LinePlot(visible=False), **self._ready(False)}
            for reports in work:
                known = [report for report in reports if report.loss is not None]
                losses += [(report.done, float(report.loss or 0)) for report in known]
                shown: Shown = {f.status: status(place + told_of(work), work.share)}
                if known and len(losses) > 1:
                    shown[f.curve] = gr.LinePlot(value=curve(losses), visible=True, x_title=known[-1].what)
                yield shown
        except Cancelled:
            yield {f.status: status(f"{place}cancelled", None)}
        except MetasrError as error:
            yield {f.status: status(session.told(error), None, alert=True)}
        except Exception as error:
            told = f"failed by a defect, which the terminal tells more of: {type(error).__name__}: {error}"
            yield {f.status: status(session.told(told), None, alert=True), **self._ready(True)}
            raise
        finally:
            work.cancel()
            session.work = None
        yield self._ready(True)

    def _ready(self, ready: bool) -> Shown:
        """Whether something may be begun, or cancelled."""
        f = self.fields
        begin, end = gr.Button(interactive=ready), gr.Button(interactive=not ready)
        return {f.run: begin, f.run_all: begin, f.stop: end, f.stop_all: end}

    def _cancel(self, request: gr.Request) -> Any:
        work = self._session(request).work
        if work is None:
            return gr.skip()
        work.cancel()
        return status("cancelling, after this step", None)

    # --- looking at it ---

    def _pair(self, session: Session, result: Result) -> tuple[str, str]:
        """Files of the slider's two pictures."""
        paths = []
        for name in (PLAIN, RESULT):
            path = session.folder / f"shown_{name}.png"
            Image.fromarray(array(reduced(result.images[name], VIEW))).save(path)
            paths.append(str(path))
        return paths[0], paths[1]

    def _look(self, request: gr.Request, down: float, across: float, zoom: int) -> list[Any]:
        """The zoomed parts, all of one place."""
        result = self._session(request).result
        if result is None:
            return [gr.skip()] * 3
        centre, zoom = (down / 100, across / 100), int(zoom)
        parts = []
        for name in (PLAIN, RESULT, TRUTH):
            image = result.images.get(name)
            part = None if image is None else array(magnified(image, centre, side=ZOOMED // zoom, zoom=zoom))
            parts.append(gr.Image(value=part, visible=part is not None))
        return parts

    def _move(self, request: gr.Request, point: gr.SelectData, down: float, across: float, zoom: int) -> list[Any]:
        """Bring what was clicked at to the middle of the zoomed parts."""
        result = self._session(request).result
        if result is None:
            return [gr.skip()] * 5
        height, width = result.images[RESULT].shape[-2:]
        at, zoom = (float(point.index[1]), float(point.index[0])), int(zoom)
        new = moved((down / 100, across / 100), at, (height, width), side=ZOOMED // zoom, zoom=zoom)
        places = [round(100 * share, 1) for share in new]
        return [*places, *self._look(request, places[0], places[1], zoom)]


def _meet(position: float) -> Any:
    """Move the slider's handle, which the mouse alone can drag."""
    return gr.ImageSlider(slider_position=position)


def _estimate() -> list[Any]:
    return [ESTIMATES[0], *_for_form(ESTIMATES[0])]


def _for_kind(kind: str, form: str) -> list[Any]:
    """The fields that only an original has, and the kernel that goes with it."""
    if kind == ORIGINAL:
        form = SHRUNK
    elif form == SHRUNK:
        form = AUTOMATIC
    return [gr.Dropdown(visible=kind == ORIGINAL), form, *_for_form(form)]


def _for_form(form: str) -> list[Any]:
    """The fields that belong to a form of kernel."""
    gaussian, disc, file = form == GAUSSIAN, form == DISC, form == FILE
    shown = [gaussian, gaussian, gaussian, disc, file, gaussian or disc or file]
    return [gr.update(visible=visible) for visible in shown]
