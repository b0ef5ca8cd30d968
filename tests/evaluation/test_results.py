import csv
import io
from dataclasses import replace

import pytest

from metasr.evaluation.results import ImageRow, Table, format_pivot, format_rows

HEADER = (
    "testset,degradation,scale,solver,weights,updates,images,psnr_y,ssim_y,seconds,published_psnr_y,published_ssim_y,"
    "hf_error_y,own_stop"
)


def row(degradation="g2.0d", solver="interpolate", weights="-", updates=0, image="a", psnr=30.0, ssim=0.9, seconds=0.5,
        testset="set5", scale=2.0) -> ImageRow:  # fmt: skip
    return ImageRow(testset, degradation, scale, solver, weights, updates, image, psnr, ssim, seconds)


@pytest.fixture
def table() -> Table:
    table = Table()
    for degradation in ("g2.0d", "iso_3_d"):
        table.add(row(degradation, image="a", psnr=28.0, ssim=0.80, seconds=0.1))
        table.add(row(degradation, "interpolate_aligned", psnr=29.5, ssim=0.85))
        table.add(row(degradation, image="b", psnr=29.0, ssim=0.90, seconds=0.2))
        table.add(row(degradation, "adapt", "run", 0, psnr=30.0, seconds=1.0))
        table.add(row(degradation, "adapt", "run", 10, psnr=35.987, ssim=0.9433, seconds=4.567))
    return table


def lines(text: str) -> list[list[str]]:
    return [line.replace("│", " ").replace("┃", " ").split() for line in text.splitlines()]


def test_csv_header():
    assert Table().to_csv() == HEADER + "\n"


def test_csv(table):
    assert table.to_csv().splitlines() == [
        HEADER,
        "set5,g2.0d,2,interpolate,-,0,2,28.5000,0.8500,0.1500,28.7300,0.8449,nan,False",
        "set5,g2.0d,2,interpolate_aligned,-,0,1,29.5000,0.8500,0.5000,,,nan,False",
        "set5,g2.0d,2,adapt,run,0,1,30.0000,0.9000,1.0000,,,nan,False",
        "set5,g2.0d,2,adapt,run,10,1,35.9870,0.9433,4.5670,36.0500,0.9439,nan,False",
        "set5,iso_3_d,2,interpolate,-,0,2,28.5000,0.8500,0.1500,,,nan,False",
        "set5,iso_3_d,2,interpolate_aligned,-,0,1,29.5000,0.8500,0.5000,,,nan,False",
        "set5,iso_3_d,2,adapt,run,0,1,30.0000,0.9000,1.0000,,,nan,False",
        "set5,iso_3_d,2,adapt,run,10,1,35.9870,0.9433,4.5670,,,nan,False",
    ]


def test_csv_of_single_images():
    table = Table([row(image="a,b", scale=2.2), row(psnr=float("inf"), image="c")])
    assert table.images_to_csv().splitlines() == [
        "testset,degradation,scale,solver,weights,updates,image,psnr_y,ssim_y,seconds,hf_error_y,stopped",
        'set5,g2.0d,2.2,interpolate,-,0,"a,b",30.0000,0.9000,0.5000,nan,',
        "set5,g2.0d,2,interpolate,-,0,c,inf,0.9000,0.5000,nan,",
    ]
    assert len(list(csv.DictReader(io.StringIO(table.images_to_csv())))) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"testset": "b100"},
        {"degradation": "g0.2d"},
        {"scale": 3.0},
        {"solver": "adapt"},
        {"weights": "w"},
        {"updates": 1},
    ],
)
def test_means_are_over_images_alone(other):
    table = Table([row(psnr=10), row(psnr=20, image="b"), row(**other, psnr=90)])
    assert [(r.images, r.psnr_y) for r in table.rows] == [(2, 15.0), (1, 90.0)]


def test_a_solver_that_stops_itself_has_one_row_with_the_mean_of_its_updates():
    taken = [replace(row(solver="metric_constrained", weights="run", updates=n, image=str(n)), stopped="both fell",
                     hf_error_y=float(n)) for n in (2, 5)]  # fmt: skip
    table = Table([*taken, row(solver="metric_constrained", weights="run", updates=5)])
    mean, given = table.rows
    assert (mean.updates, mean.images, mean.own_stop, mean.hf_error_y) == (3.5, 2, True, 3.5)
    assert (given.updates, given.own_stop) == (5, False)
    assert mean.key != given.key
    assert ["g2.0d", "metric_constrained", "run", "3.5", "30.00", "0.9000", "0.50"] in lines(
        format_rows(Table(taken, compare=False), title="t")
    )
    assert "both fell" in table.images_to_csv()


def test_published_numbers_can_be_left_out(table):
    plain = Table(table.images, compare=False)
    assert all(r.published_psnr_y is None and r.published_ssim_y is None for r in plain.rows)
    assert plain.to_csv().splitlines()[0] == HEADER
    assert "published" not in format_rows(plain, title="t")
    assert "MZSR" not in format_pivot(plain, title="t")


def test_another_scale_or_set_has_no_published_number():
    known = Table([row(), row(scale=3.0), row(testset="mine")]).rows
    assert [r.published_psnr_y for r in known] == [28.73, None, None]


def test_pivot(table):
    text = format_pivot(table, title="Set5 x2")
    found = lines(text)
    assert text.startswith("Set5 x2\n")
    assert ["g2.0d", "28.50", "29.50", "30.00", "35.99", "36.05", "4.57"] in found
    assert ["iso_3_d", "28.50", "29.50", "30.00", "35.99", "-", "4.57"] in found
    assert found[1] == ["bicubic", "bicubic", "this", "run", "this", "run", "published", "s", "/", "image"]
    columns = ["as", "published", "aligned", "0", "updates", "10", "updates", "MZSR(10)", "10", "updates"]
    assert found[2] == ["degradation", *columns]


def test_pivot_says_which_columns_time_is_shown(table):
    text = format_pivot(table, title="t", highlight=("adapt", "run", 0))
    assert ["g2.0d", "28.50", "29.50", "30.00", "35.99", "36.05", "1.00"] in lines(text)
    assert lines(text)[2][-3:] == ["MZSR(10)", "0", "updates"]


def test_pivot_has_one_column_for_released_weights_and_gaps_where_nothing_was_measured():
    table = Table(
        [
            row("g2.0d", "adapt", "released/mzsr_x2", 1, psnr=35.0),
            row("bicubic", "adapt", "released/mzsr_x2_bicubic", 1, psnr=36.0),
            row("bicubic", "network", "folder/mine", 0, psnr=37.0),
        ]
    )
    text = format_pivot(table, title="t", highlight=("adapt", "released/mzsr_x2", 1))
    assert [line for line in lines(text) if line and line[0] in ("g2.0d", "bicubic")] == [
        ["g2.0d", "35.00", "-", "36.05", "0.50"],
        ["bicubic", "36.00", "37.00", "37.25", "0.50"],
    ]
    assert "1 update " in text
    assert "1 updates" not in text
    assert text.count("released") == 1
    assert ["released", "mine", "published", "s", "/", "image"] in lines(text)


def test_rows(table):
    text = format_rows(table, title="All of it")
    found = lines(text)
    assert text.startswith("All of it\n")
    assert ["g2.0d", "interpolate", "-", "0", "28.50", "0.8500", "0.15", "28.73", "/", "0.8449", "-0.23"] in found
    assert ["interpolate_aligned", "-", "0", "29.50", "0.8500", "0.50", "-", "-"] in found
    assert ["adapt", "run", "10", "35.99", "0.9433", "4.57", "36.05", "/", "0.9439", "-0.06"] in found
    assert ["iso_3_d", "interpolate", "-", "0", "28.50", "0.8500", "0.15", "-", "-"] in found
    assert text.count("g2.0d") == 1  # named once, above its rows


def test_no_line_ends_in_blanks(table):
    for text in (format_pivot(table, title="t"), format_rows(table, title="t")):
        assert all(line == line.rstrip() for line in text.splitlines())
        assert "\x1b" not in text
