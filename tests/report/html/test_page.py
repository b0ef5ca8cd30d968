"""The report as one HTML file."""

import base64
import html
import re
from dataclasses import replace
from functools import lru_cache
from html.parser import HTMLParser
from typing import Any

import pytest

from metasr.report.html.figures import COLOURS
from metasr.report.html.page import _CSS, page
from metasr.report.html.training import _lines
from metasr.report.run_data import ReportData, RunData, StageData, SweepData
from metasr.report.sweep_table import Job, SweepTable
from report_samples import png, row, rows, run_data, svg_of

VOID = {"br", "img", "meta", "hr"}


class Reader(HTMLParser):
    """Checks that every element is closed in its place, and collects what a test asks for."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def sweep() -> ReportData:
    jobs = [
        Job(
            ("order=first", "seed=1"),
            (row(35.0, published_psnr_y=36.05),),
            command="again order=first seed=1",
            folder="a",
        ),
        Job(
            ("order=first", "seed=2"),
            (row(36.0, published_psnr_y=36.05),),
            command="again order=first seed=2",
            folder="b",
        ),
        Job(("order=second", "seed=1"), (), "loss became nan", command="again order=second", folder="c"),
    ]
    runs = [run_data(f"order=first, seed={i}", line="order=first", rows=rows(34.0 + i), sweep="s") for i in (1, 2)]
    return ReportData(runs, [SweepData("s", SweepTable(jobs))], version="1.2.3")


def plain(label: str = "one", **values: Any) -> RunData:
    """A run without anything to plot."""
    return run_data(label, **({"stages": (), "losses": {}, "rates": None, "pictures": {}} | values))


@lru_cache
def every_page(name: str) -> str:
    return page(EVERY[name])


EVERY = {
    "one": ReportData([run_data()], version="1.2.3"),
    "two": ReportData([run_data("a"), run_data("b", experiment="other", config={"seed": 2})], version="1.2.3"),
    "sweep": sweep(),
    "nothing but a beginning": ReportData(
        [
            run_data(
                rows=(), stages=(), config={}, overrides=(), losses={}, pictures={}, rates=None, unfinished="no table"
            )
        ]
    ),
}
every_report = pytest.mark.parametrize("name", EVERY)


@every_report
def test_well_formed(name):
    text = every_page(name)
    assert text.startswith('<!doctype html>\n<html lang="en">')
    reader = read(text)
    found = [a["id"] for _, a in reader.elements if a.get("id")]
    assert len(found) == len(set(found))
    assert {a["href"].removeprefix("#") for a in reader.of("a")} == {a["id"] for a in reader.of("section")}


def test_the_same_data_give_the_same_file_and_others_another():
    assert page(EVERY["one"]) == every_page("one")
    same = page(ReportData([plain()]))
    for changed in ({"config": {"seed": 2}}, {"rows": rows(30.0)}, {"notes": ["n"]}):
        assert page(ReportData([plain(**changed)])) != same


@every_report
def test_needs_nothing_else(name):
    text = every_page(name)
    reader = read(text)
    assert "http" not in text.replace('http-equiv="Content', "")
    assert not {"script", "link", "iframe", "object", "form"} & {name for name, _ in reader.elements}
    assert all(image["src"].startswith("data:image/png;base64,") for image in reader.of("img"))
    assert not re.search(r"@import|url\((?!#)", text)
    (policy,) = [m["content"] for m in reader.of("meta") if m.get("http-equiv")]
    assert policy.startswith("default-src 'none'")


@every_report
def test_can_be_read_on_a_phone_by_keyboard_and_aloud(name):
    reader = read(every_page(name))
    assert any(m.get("name") == "viewport" and "width=device-width" in m["content"] for m in reader.of("meta"))
    assert all(image["alt"] for image in reader.of("img"))
    assert all(svg.get("aria-label") or svg.get("aria-hidden") == "true" for svg in reader.of("svg"))
    assert all(th.get("scope") in ("col", "row") for th in reader.of("th"))
    tables, boxes = len(reader.of("table")), [d for d in reader.of("div") if d.get("class") == "scroll"]
    assert tables == len(reader.of("caption"))
    assert len(boxes) == tables + len(reader.of("img"))
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in boxes)


def test_sections_in_order_and_only_those_with_something_in_them():
    def headings(name: str) -> list[str]:
        return re.findall(r"<h2>(.*?)</h2>", every_page(name))

    whole = ["Results", "Adaptation", "Pictures", "Kernels", "Learned rates", "Training", "What differs", "Run cards"]
    assert headings("two") == [*whole, "Environment"]
    assert headings("one") == [*(h for h in whole if h != "What differs"), "Environment"]
    assert headings("nothing but a beginning") == ["Run cards"]


def test_names_are_text_and_never_html():
    evil = '<script>alert("1")</script>&\'"<img src=x onerror=y>'
    stage = StageData(
        f"02_{evil}", {"status": evil, "versions": {evil: evil}, "metrics": {evil: 1.0}}, {evil: [(0, 1.0)]}
    )
    run = run_data(
        evil, experiment=evil, folder=evil, rows=[row(30.0, testset=evil, degradation=evil, solver=evil, weights=evil)],
        stages=[stage], config={evil: evil}, overrides=[evil], losses={(evil, evil, evil): [1.0, 0.5]},
        pictures={f"{evil}.png": png()}, unfinished=evil, notes=[evil],
    )  # fmt: skip
    jobs = [Job((f"a={evil}", "seed=1"), (), evil, folder="x")]
    data = ReportData(
        [run, replace(run, label="b", config={})], [SweepData(evil, SweepTable(jobs))], [(evil, evil)], evil
    )
    text = page(data)
    reader = read(text)
    assert "script" not in {name for name, _ in reader.elements}
    assert not any("onerror" in a for _, a in reader.elements)
    assert evil in "".join(reader.text)
    assert "<script" not in text


def test_results_with_published_numbers_and_gaps():
    text = page(ReportData([plain(), plain("b", rows=rows(36.25))]))
    assert "<strong>36.25 (+0.20)</strong>" in text
    assert "35.50 (-0.55)" in text
    assert "<strong>35.50" not in text
    assert '<td class="n">-0.55</td>' in text
    assert text.count(">29.79<") == 2  # in the comparison, and once for both runs below
    assert re.search(r"<td>all</td><td>interpolate_aligned</td>", text)


def test_a_single_runs_table_has_neither_a_column_of_runs_nor_one_of_nothing():
    text = page(ReportData([plain(rows=rows(published=None)[1:])]))
    heads = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', text)
    assert "run" not in heads
    assert "published" not in heads
    assert "HF error" not in heads
    assert "PSNR dB" in heads


def test_sweeps_with_means_spreads_commands_and_failures():
    text = every_page("sweep")
    plain = "".join(read(text).text)
    assert '<td class="n">35.50 ± 0.71</td>' in text
    commands = re.findall(r"<summary>Run one of its runs again</summary>.*?</table>", text)[0]
    assert re.findall(r'row">(.*?)</th><td>(.*?)</td><td><code>(.*?)</code>', commands) == [
        ("order=first, seed=1", "finished", "again order=first seed=1"),
        ("order=first, seed=2", "finished", "again order=first seed=2"),
        ("order=second, seed=1", "failed", "again order=second"),
    ]
    assert "Failed: s, order=second, seed=1: loss became nan" in plain
    assert "Shaded: ± one sample standard deviation" in plain
    assert "Shaded" not in every_page("one")


def test_a_sweep_of_which_nothing_is_finished():
    jobs = [Job(("seed=1",), (), "why")]
    assert "No run of it is finished." in page(ReportData([], [SweepData("s", SweepTable(jobs))]))


def test_what_a_reader_must_know_comes_first():
    runs = [
        plain("a", unfinished="no table yet", notes=["made by metasr 0.0.1"]),
        plain("b", experiment="other", rows=rows(bicubic=20.0)),
    ]
    text = page(ReportData(runs, left_out=[("/there", "it is damaged")]))
    notice = html.unescape(re.sub(r"<[^>]+>", "", re.findall(r'class="notice".*?</div>', text)[0]))
    assert "Runs of different experiments are compared: mzsr_x2, other." in notice
    assert "Unfinished: a: no table yet" in notice
    assert "a: made by metasr 0.0.1" in notice
    assert "Bicubic interpolation differs between the runs on 5 images of set5" in notice
    assert "Left out: /there: it is damaged" in notice
    assert text.index('class="notice"') < text.index('id="results"')
    assert 'class="notice"' not in every_page("one")


def test_learned_rates_are_tinted_by_their_logarithm():
    text = every_page("one")
    tints = re.findall(r'class="rate" style="background:rgba\(63,127,208,([\d.]+)\)">([\de.+-]+)<', text)
    assert [value for _, value in tints] == [
        "1.00e-02",
        "5.00e-03",
        "2.00e-02",
        "1.00e-01",
    ]  # tensors down, steps across
    depths = {value: float(depth) for depth, value in tints}
    assert depths["5.00e-03"] == 0.0
    assert depths["1.00e-01"] == 0.45
    assert depths["1.00e-02"] == pytest.approx(0.45 * 0.2314, abs=0.006)


def test_equal_pictures_are_shown_once_and_pictures_of_many_runs_in_part():
    runs = [plain(f"r{i}", pictures={"bird.png": png(), "own.png": png((i, 0, 0))}) for i in range(8)]
    text = page(ReportData(runs))
    assert len(read(text).of("img")) == 1 + 6
    assert "bird — all runs" in text
    assert "Of 8 runs 6 are shown" in text


def test_older_runs_without_losses_show_the_curves_they_drew():
    assert "stored no losses" in page(ReportData([plain(pictures={"adaptation.png": png()})]))
    assert "stored no losses" not in every_page("one")


def test_metrics_beyond_those_drawn_are_named():
    metrics = {"train/loss": [(0, 1.0), (1, 0.5)], **{f"x/{i:02d}": [(0, 1.0), (1, 2.0)] for i in range(14)}}
    text = page(ReportData([plain(rows=(), stages=[StageData("01_a", {}, metrics)])]))
    assert "01_a: train/loss</figcaption>" in text
    assert "Logged too, not drawn: x/11, x/12, x/13." in text


def trained(*metrics: dict[str, Any], **stage: Any) -> ReportData:
    """Runs of one line, each with a stage that logged something."""
    runs = [
        plain(f"a, seed={i}", line="a", rows=(), stages=[StageData("01_a", {}, logged, **stage)])
        for i, logged in enumerate(metrics, start=1)
    ]
    return ReportData(runs)


def training_of(data: ReportData) -> str:
    return re.findall(r'<section id="training">.*?</section>', page(data), re.DOTALL)[0]


def test_seeds_are_drawn_thin_with_their_mean_as_far_as_all_have_one():
    metrics = [{"train/loss": [(0, 1.0), (1, 2.0), (2, 4.0)]}, {"train/loss": [(0, 3.0), (1, 6.0)]}]
    text = training_of(trained(*metrics))
    assert "a (2 seeds)</li>" in text
    assert "Thin: single seeds; thick: their mean" in text
    lines = [p.get("style", "") for p in svg_of(text[text.index("<figure") :]).iter("path")
             if COLOURS[0] in p.get("style", "") and "clip" in str(p.attrib)]  # fmt: skip
    assert [("stroke-opacity: 0.45" in style, "stroke-width: 0.8" in style) for style in lines] == [
        (True, True), (True, True), (False, False),
    ]  # fmt: skip
    faint, other, mean = _lines(0, [m["train/loss"] for m in metrics])
    assert (list(faint.ys), list(other.ys)) == ([1.0, 2.0, 4.0], [3.0, 6.0])
    assert (list(mean.xs), list(mean.ys), mean.faint) == ([0, 1], [2.0, 4.0], False)
    alone = training_of(trained(metrics[0]))
    assert "seeds" not in alone
    assert "stroke-opacity: 0.45" not in alone


def test_what_was_logged_once_is_a_table_and_no_plot():
    text = training_of(trained({"val/psnr_y": [(6, 30.0)]}, {"val/psnr_y": [(6, 31.0)], "other": [(2, 0.5)]}))
    assert "<svg" not in text.partition("</ul>")[2]
    assert re.findall(r"<tr>(.*?)</tr>", text)[1:] == [
        '<th scope="row"><code>val/psnr_y</code></th><td class="n">6</td><td class="n">30.5 ± 0.71</td>',
        '<th scope="row"><code>other</code></th><td class="n">2</td><td class="n">0.5</td>',
    ]


def test_validation_pictures_and_maps_are_told_apart():
    both = trained({}, picture=png((1, 1, 1)), maps=png((2, 2, 2)))
    found = re.findall(r"base64,([^\"]*)\".*?<figcaption>(.*?)</figcaption>", training_of(both))
    told = {caption: base64.b64decode(source) for source, caption in found}
    assert told == {
        f"01_a, a, seed=1: {text}": png((i, i, i))
        for i, text in enumerate(
            (
                "the first validation image enlarged bicubically and by the stage&#39;s weights, and the truth",
                "what its networks look at in the first validation image",
            ),
            start=1,
        )
    }
    assert "look at" not in training_of(trained({}, picture=png()))


def test_estimated_kernels_are_with_the_kernels():
    text = page(ReportData([plain(pictures={"kernels_estimated.png": png(), "kernel_curves.png": png()})]))
    assert "<h2>Kernels</h2>" in text
    assert "<h2>Pictures</h2>" not in text


def test_pictures_keep_a_size_at_which_their_captions_can_be_read():
    (image,) = read(page(ReportData([plain(pictures={"a.png": png(size=(130, 70))})]))).of("img")
    assert (image["width"], image["height"], image["style"]) == ("130", "70", "--least:104px")
    assert "max-width: max(100%, var(--least))" in _CSS.read_text(encoding="utf-8")


@pytest.mark.parametrize(("second", "told"), [({"seed": 2}, "1 choice<"), ({"seed": 2, "x": 1}, "2 choices<")])
def test_how_many_choices_differ(second, told):
    assert told in page(ReportData([plain(config={"seed": 1}), plain("b", config=second)]))
