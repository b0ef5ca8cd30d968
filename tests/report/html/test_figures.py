"""Plots of the HTML report, and the colours they and the page are drawn in."""

import re

from metasr.report.html.blocks import Plot
from metasr.report.html.figures import _MOST_POINTS, COLOURS, Line, plot
from metasr.report.html.page import _CSS
from report_samples import svg_of


def line_points(figure: Plot, colour: str) -> int:
    """How many points the curve of a colour has."""
    (path,) = [
        p for p in svg_of(figure).iter("path") if f"stroke: {colour}" in p.get("style", "") and "clip" in str(p.attrib)
    ]
    return len(re.findall("[ML]", path.get("d", "")))


def test_a_plot_is_svg_in_the_pages_own_ink():
    figure = plot([Line(0, [0, 1, 2], [1.0, 2.0, 4.0], [0.1, 0.1, 0.1])], title="T & <t>", xlabel="x", ylabel="$y_{")
    svg = svg_of(figure)
    assert figure.title == "T & <t>"
    assert "currentColor" in figure.inside
    assert "#010203" not in figure.inside
    assert "$y_{" in "".join(svg.itertext())
    assert not re.search(r"xmlns|metadata|<style|matplotlib", figure.inside)
    used = set(re.findall(r"url\(#([^)]*)\)", figure.inside))
    assert used == set(re.findall(r' id="([^"]*)"', figure.inside)) - set(re.findall(r'href="#([^"]*)"', figure.inside))


def test_other_lines_are_another_plot():
    def drawn(ys: list[float], number: int = 0) -> str:
        return plot([Line(number, range(len(ys)), ys)], title="t", xlabel="x", ylabel="y").inside

    assert drawn([1.0, 2.0]) == drawn([1.0, 2.0])
    assert drawn([1.0, 2.0]) != drawn([1.0, 2.5])
    assert COLOURS[1] in drawn([1.0, 2.0], number=1)
    assert drawn([1.0, 2.0], number=0) != drawn([1.0, 2.0], number=len(COLOURS))  # dashed


def test_points_that_are_not_finite_are_left_out_and_long_lines_thinned():
    nan, inf = float("nan"), float("inf")
    figure = plot([Line(0, [0, 1, 2, 3], [1.0, nan, inf, 2.0])], title="t", xlabel="x", ylabel="y")
    assert line_points(figure, COLOURS[0]) == 2
    many = plot([Line(0, range(5000), [i % 7 for i in range(5000)])], title="t", xlabel="x", ylabel="y")
    assert 2 < line_points(many, COLOURS[0]) <= _MOST_POINTS
    plot([Line(0, [], []), Line(1, [0], [nan])], title="nothing at all", xlabel="x", ylabel="y", log=True)


def test_an_axis_is_logarithmic_where_that_shows_more():
    def ticks(ys: list[float]) -> str:
        figure = plot([Line(0, range(len(ys)), ys)], title="t", xlabel="x", ylabel="y", log=True)
        return "".join("".join(svg_of(figure).itertext()).split())

    assert "10−1" in ticks([1.0, 0.01])  # ten to the minus one
    assert "10−1" not in ticks([1.0, 0.9])
    assert "10−1" not in ticks([1.0, 0.0])


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_by_day_and_by_night():
    css = _CSS.read_text(encoding="utf-8")
    schemes = [
        dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    ]
    assert len(schemes) == 3  # light, dark, print
    for colours in schemes:
        for ink in ("text", "muted"):
            assert contrast(colours[ink], colours["page"]) >= 4.5
        assert contrast(colours["text"], colours["warn"]) >= 4.5
        assert all(contrast(line, colours["page"]) >= 3 for line in COLOURS)
