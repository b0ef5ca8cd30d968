"""The layout of the page: what there is to fill in, and where results appear."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from metasr.config.help import solver_names
from metasr.degradation.kernel_files import KERNEL_SUFFIXES
from metasr.page.choices import AUTOMATIC, BICUBICALLY, FORMS, NAMED, SAMPLINGS, SHRUNK
from metasr.paths import weights_folder
from metasr.runs.weights import released

PHOTO, ORIGINAL = "a photo to enlarge", "an original: shrink it first, then score the result"
SHRINK_BY = ("g2.0d", *(name for name in NAMED if name != "g2.0d"), "bicubic_n5", "bicubic_q75c")
MAX_UPDATES = 20
MAX_NOISE = 30

CSS = """
.gradio-container { max-width: 1400px !important; margin: auto; }
#title p { margin: 0; }
#status progress { width: 100%; height: 1rem; accent-color: #ea580c; appearance: auto; }
#status [role=alert] { border-left: 4px solid #d33; padding: .3rem .8rem; font-weight: 600; overflow-wrap: anywhere; }
#samples .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)) !important; }
#seen { overflow-wrap: anywhere; }
#kernel img, .zoomed img { image-rendering: pixelated; }
#scores table { width: 100%; }
@media (max-width: 500px) { .gradio-container .block { max-width: calc(100vw - 64px); } }
"""


class Fields:
    """All components, made within a ``gr.Blocks``; ``choices`` are those that tell how to enlarge, in order.

    Args:
        samples: photographs to offer.
    """

    def __init__(self, samples: Sequence[Path]) -> None:
        gr.Markdown(
            "# metasr\nSuper-resolution that adapts to the image in front of it. All of it happens on this machine.",
            elem_id="title",
        )
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                self._inputs(samples)
                self._choices()
            with gr.Column(scale=7, min_width=320):
                self._results()
        self.choices = [
            self.scale, self.form, self.sampling, self.along, self.across, self.degrees, self.radius,
            self.noise, self.solver, self.weights, self.updates,
        ]  # fmt: skip

    def _inputs(self, samples: Sequence[Path]) -> None:
        with gr.Tabs():
            with gr.Tab("One photo"):
                self.photo = gr.File(label="Photo", height=130, elem_id="photo")
                self.samples = gr.Gallery(
                    [str(path) for path in samples], label="or one of these", columns=4, height=110, buttons=[],
                    allow_preview=False, interactive=False, object_fit="cover", elem_id="samples",
                )  # fmt: skip
                self.preview = gr.Image(
                    label="Photo", interactive=False, buttons=[], height=240, visible=False, elem_id="preview"
                )
                self.kind = gr.Radio([PHOTO, ORIGINAL], value=PHOTO, label="It is", elem_id="kind")
                self.shrink = gr.Dropdown(
                    list(SHRINK_BY), value=SHRINK_BY[0], label="Shrink it by", allow_custom_value=True, visible=False,
                    info="a kernel's name, as `metasr kernels` lists them", elem_id="shrink",
                )  # fmt: skip
                with gr.Accordion("I have the original of this photo", open=False, elem_id="truth_of"):
                    self.truth = gr.File(label="Original in full size", height=130, elem_id="truth")
                with gr.Row():
                    self.run = gr.Button("Enlarge", variant="primary", elem_id="run")
                    self.stop = gr.Button("Cancel", variant="stop", interactive=False, elem_id="stop")
                self.seen = gr.Markdown(elem_id="seen")
            with gr.Tab("Several photos"):
                self.photos = gr.File(file_count="multiple", label="Photos", height=200, elem_id="photos")
                with gr.Row():
                    self.run_all = gr.Button("Enlarge all", variant="primary", elem_id="run_all")
                    self.stop_all = gr.Button("Cancel", variant="stop", interactive=False, elem_id="stop_all")
                self.table = gr.Dataframe(
                    headers=["photo", "result"], interactive=False, label="Results", wrap=True, elem_id="table",
                    buttons=[],
                )  # fmt: skip
                self.archive = gr.DownloadButton("Download all (ZIP)", interactive=False, elem_id="archive")

    def _choices(self) -> None:
        with gr.Accordion("Choices", open=True):
            self.scale = gr.Number(2, label="Scale", minimum=1.1, maximum=8, step=1, elem_id="scale")
            self.form = gr.Dropdown(
                [*FORMS, SHRUNK], value=AUTOMATIC, label="Kernel: how it came to be small", elem_id="form"
            )
            self.along = gr.Slider(
                0.2, 6, 1.6, step=0.1, label="Width along the angle", info="standard deviation, pixels of the result",
                visible=False, elem_id="along",
            )  # fmt: skip
            self.across = gr.Slider(0.2, 6, 1.6, step=0.1, label="Width across it", visible=False, elem_id="across")
            self.degrees = gr.Slider(0, 180, 0, step=1, label="Angle in degrees", visible=False, elem_id="degrees")
            self.radius = gr.Slider(0.5, 10, 2, step=0.5, label="Radius in pixels", visible=False, elem_id="radius")
            self.file = gr.File(
                label="Kernel file", file_types=list(KERNEL_SUFFIXES), visible=False, height=130, elem_id="file"
            )
            self.sampling = gr.Radio(
                list(SAMPLINGS), value=BICUBICALLY, label="Then shrunk", visible=False, elem_id="sampling"
            )
            with gr.Row():
                with gr.Column(min_width=120):
                    self.kernel = gr.Image(
                        label="Kernel", interactive=False, height=150, buttons=[], format="png", elem_id="kernel"
                    )
                with gr.Column(min_width=120):
                    self.kernel_told = gr.Markdown(elem_id="kernel_told")
                    self.estimate = gr.Button("Estimate it from the photo", size="sm", elem_id="estimate")
            self.noise = gr.Slider(
                0, MAX_NOISE, 0, step=1, label="Noise", info="standard deviation, 0-255 scale", elem_id="noise"
            )
            self.updates = gr.Slider(0, MAX_UPDATES, 10, step=1, label="Updates on the photo", elem_id="updates")
            with gr.Row():
                self.solver = gr.Dropdown(
                    [AUTOMATIC, *(name for name in solver_names() if name != "auto")],
                    value=AUTOMATIC,
                    label="Solver",
                    min_width=140,
                    elem_id="solver",
                )
                self.weights = gr.Dropdown(
                    [AUTOMATIC, *released(weights_folder())], value=AUTOMATIC, label="Weights", min_width=140,
                    elem_id="weights",
                )  # fmt: skip
            self.reset = gr.Button("Leave all to the program", size="sm", elem_id="reset")

    def _results(self) -> None:
        self.status = gr.HTML(elem_id="status")
        self.curve = gr.LinePlot(
            x="updates", y="loss", label="Adaptation: the solver's own loss", height=180, visible=False, buttons=[],
            elem_id="curve",
        )  # fmt: skip
        self.pair = gr.ImageSlider(
            label="Bicubic | metasr", interactive=False, type="filepath", buttons=["fullscreen"], max_height=640,
            elem_id="pair",
        )  # fmt: skip
        self.meet = gr.Slider(
            0, 100, 50, step=1, label="Where they meet (%)", info="or drag the handle between them", elem_id="meet"
        )
        self.scores = gr.Markdown(elem_id="scores")
        with gr.Row():
            self.download = gr.DownloadButton("Download PNG", interactive=False, variant="primary", elem_id="download")
        with gr.Accordion("Zoomed in step", open=True):
            with gr.Row():
                self.parts = [
                    gr.Image(
                        label=label, interactive=False, buttons=[], format="png", min_width=160,
                        elem_id=f"part_{label}", elem_classes="zoomed", visible=label != "original",
                    )
                    for label in ("bicubic", "metasr", "original")
                ]  # fmt: skip
            with gr.Row():
                self.across_at = gr.Slider(0, 100, 50, step=0.5, label="Across (%)", min_width=140, elem_id="across_at")
                self.down_at = gr.Slider(0, 100, 50, step=0.5, label="Down (%)", min_width=140, elem_id="down_at")
                self.zoom = gr.Slider(1, 8, 4, step=1, label="Zoom", min_width=140, elem_id="zoom")
        with gr.Accordion("Error maps", open=True, visible=False, elem_id="errors") as self.errors:
            with gr.Row():
                self.maps = [
                    gr.Image(label=f"{label}: error", interactive=False, buttons=[], format="png", min_width=160)
                    for label in ("bicubic", "metasr")
                ]
            gr.Markdown("Mean error of the channels, dark for none, brightest from 32 of 255 levels on.")
        self.command = gr.Textbox(
            label="The command that does the same", interactive=False, buttons=["copy"], lines=2, elem_id="command"
        )
