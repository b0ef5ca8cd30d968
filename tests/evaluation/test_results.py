import csv
import io
import math
from dataclasses import replace

import pytest

from metasr.evaluation.printing import format_pivot, format_rows, updates_text
from metasr.evaluation.results import ImageRow, Table, read_means

HEADER = (
    "testset,degradation,scale,solver,weights,updates,images,psnr_y,ssim_y,seconds,published_psnr_y,published_ssim_y,"
    "hf_error_y,own_stop,requested,taken,exact,grey,failed"
)


def row(degradation="g2.0d", solver="interpolate", weights="-", updates=0, image="a", psnr=30.0, ssim=0.9, seconds=0.5,
        testset="set5", scale=2.0) -> ImageRow:  # fmt: skip
    named = {"adapt": f"MZSR({updates})", "interpolate": "Bicubic"}.get(solver, "")
    return ImageRow(
        testset, degradation, scale, solver, weights, updates, image, psnr, ssim, seconds, published_as=named,
        requested=updates if solver == "adapt" else None,
    )  # fmt: skip


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
        "set5,g2.0d,2,interpolate,-,0,2,28.5000,0.8500,0.1500,28.7300,0.8449,nan,False,,0,0,0,0",
        "set5,g2.0d,2,interpolate_aligned,-,0,1,29.5000,0.8500,0.5000,,,nan,False,,0,0,0,0",
        "set5,g2.0d,2,adapt,run,0,1,30.0000,0.9000,1.0000,,,nan,False,0,0,0,0,0",
        "set5,g2.0d,2,adapt,run,10,1,35.9870,0.9433,4.5670,36.0500,0.9439,nan,False,10,10,0,0,0",
        "set5,iso_3_d,2,interpolate,-,0,2,28.5000,0.8500,0.1500,,,nan,False,,0,0,0,0",
        "set5,iso_3_d,2,interpolate_aligned,-,0,1,29.5000,0.8500,0.5000,,,nan,False,,0,0,0,0",
        "set5,iso_3_d,2,adapt,run,0,1,30.0000,0.9000,1.0000,,,nan,False,0,0,0,0,0",
        "set5,iso_3_d,2,adapt,run,10,1,35.9870,0.9433,4.5670,,,nan,False,10,10,0,0,0",
    ]
    again = read_means(table.to_csv())
    assert [(r.key, r.request, r.images, r.psnr_y, r.own_stop) for r in again] == [
        (r.key, r.request, r.images, r.psnr_y, r.own_stop) for r in table.rows
    ]


def test_a_table_of_an_older_version_is_read():
    older = HEADER.partition(",requested")[0]
    (found,) = read_means(f"{older}\nset5,g2.0d,2,adapt,run,10,5,35.5,0.94,0.5,36.05,0.9439,nan,False\n")
    assert (found.request, found.updates, found.published_psnr_y, found.failed) == (10, 10.0, 36.05, 0)
    for text, told in (("a,b\n", "lacks the columns testset"), (f"{older}\n", "no rows"),
                       (f"{older}\nset5,g2.0d,2,adapt,run,ten\n", "line 2")):  # fmt: skip
        with pytest.raises(ValueError, match=told):
            read_means(text)


def test_csv_of_single_images():
    table = Table([row(image="a,b", scale=2.2), row(psnr=float("inf"), image="=c", solver="adapt", weights="run")])
    assert table.images_to_csv().splitlines() == [
        "testset,degradation,scale,solver,weights,updates,image,psnr_y,ssim_y,seconds,hf_error_y,stopped,requested,luma,"
        "published_as,failed",
        'set5,g2.0d,2.2,interpolate,-,0,"a,b",30.0000,0.9000,0.5000,nan,,,bt601,Bicubic,',
        "set5,g2.0d,2,adapt,run,0,'=c,inf,0.9000,0.5000,nan,,0,bt601,MZSR(0),",
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
    ],
)
def test_means_are_over_images_alone(other):
    table = Table([row(psnr=10), row(psnr=20, image="b"), row(**other, psnr=90)])
    assert [(r.images, r.psnr_y) for r in table.rows] == [(2, 15.0), (1, 90.0)]


def test_a_solver_that_stops_itself_has_one_row_with_the_mean_of_its_updates():
    taken = [replace(row(solver="own", weights="run", updates=n, image=str(n)), stopped=why, hf_error_y=float(n))
             for n, why in ((2, "both fell"), (5, "both fell"), (1000, ""))]  # fmt: skip
    (mean,) = Table(taken).rows
    assert (mean.updates, mean.images, mean.own_stop, mean.hf_error_y) == (1007 / 3, 3, True, 1007 / 3)
    text = format_rows(Table(taken[:2], compare=False), title="t")
    assert ["g2.0d", "own", "run", "3.5", "2", "30.00", "0.9000", "0.50"] in lines(text)
    assert "both fell" in Table(taken).images_to_csv()


def test_images_stand_behind_the_number_of_updates_that_was_asked_for_whenever_they_stopped():
    easy = [replace(row(solver="ddsr", updates=400, image=f"easy{i}", psnr=40.0), requested=1000, stopped="flat")
            for i in range(3)]  # fmt: skip
    hard = replace(row(solver="ddsr", updates=1000, image="hard", psnr=20.0), requested=1000)
    (mean,) = Table([*easy, hard]).rows
    assert (mean.psnr_y, mean.images, mean.updates, mean.taken, mean.own_stop) == (35.0, 4, 1000, 550.0, False)
    assert updates_text(mean) == "1000 (took 550)"
    assert updates_text(replace(mean, taken=1000.0)) == "1000"
    text = format_rows(Table([*easy, hard]), title="t")
    assert ["g2.0d", "ddsr", "-", "1000", "(took", "550)", "4", "35.00", "0.9000", "0.50"] in lines(text)
    assert "ddsr\n" not in text
    assert "1000 updates" in format_pivot(Table([*easy, hard]), title="t")


def test_exact_images_are_counted_beside_the_mean_over_the_others():
    table = Table([row(psnr=30.0), row(psnr=32.0, image="b"), row(psnr=math.inf, image="flat")])
    (mean,) = table.rows
    assert (mean.psnr_y, mean.images, mean.exact) == (31.0, 3, 1)
    for text in (format_rows(table, title="t"), format_pivot(table, title="t")):
        assert "g2.0d, interpolate: 1 of 3 images came out exact (infinite PSNR); the mean is over the others" in text
    (all_exact,) = Table([row(psnr=math.inf)]).rows
    assert (all_exact.psnr_y, all_exact.exact) == (math.inf, 1)


def test_failures_are_named_and_left_out():
    lost = replace(row(solver="adapt", weights="run", image="b", psnr=math.nan, ssim=math.nan, seconds=math.nan),
                   failed="the loss is nan")  # fmt: skip
    table = Table([row(), row(image="b"), row(solver="adapt", weights="run", psnr=35.0), lost])
    plain, adapted = table.rows
    assert (plain.images, plain.failed, adapted.images, adapted.failed, adapted.psnr_y) == (2, 0, 1, 1, 35.0)
    for text in (format_rows(table, title="t"), format_pivot(table, title="t")):
        assert "1 failure, left out of the means:\n  b, g2.0d, adapt (run): the loss is nan" in text
    assert "35.00 (1)" in format_pivot(table, title="t")
    (none,) = Table([lost]).rows
    assert (none.images, none.failed) == (0, 1)
    assert math.isnan(none.psnr_y)
    assert lines(format_rows(Table([lost]), title="t"))[3] == ["g2.0d", "adapt", "run", "0", "0", "-", "-", "-"]


def test_grey_images_are_told_of():
    table = Table([replace(row(image="g"), luma="grey"), row(image="c")])
    assert table.rows[0].grey == 1
    assert "1 image of 2 is grey, and scored by the grey values as they are" in format_rows(table, title="t")


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
    assert ["g2.0d", "28.50", "29.50", "(1)", "30.00", "(1)", "35.99", "(1)", "36.05", "4.57"] in found
    assert ["iso_3_d", "28.50", "29.50", "(1)", "30.00", "(1)", "35.99", "(1)", "-", "4.57"] in found
    assert found[1] == ["bicubic", "bicubic", "this", "run", "this", "run", "published", "s", "/", "image"]
    columns = ["as", "published", "aligned", "0", "updates", "10", "updates", "MZSR(10)", "10", "updates"]
    assert found[2] == ["degradation", *columns]


def test_pivot_says_which_columns_time_is_shown(table):
    text = format_pivot(table, title="t", highlight=("adapt", "run", 0))
    assert ["g2.0d", "28.50", "29.50", "(1)", "30.00", "(1)", "35.99", "(1)", "36.05", "1.00"] in lines(text)
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
    assert ["g2.0d", "interpolate", "-", "0", "2", "28.50", "0.8500", "0.15", "28.73", "/", "0.8449", "-0.23"] in found
    assert ["interpolate_aligned", "-", "0", "1", "29.50", "0.8500", "0.50", "-", "-"] in found
    assert ["adapt", "run", "10", "1", "35.99", "0.9433", "4.57", "36.05", "/", "0.9439", "-0.06"] in found
    assert ["iso_3_d", "interpolate", "-", "0", "2", "28.50", "0.8500", "0.15", "-", "-"] in found
    assert text.count("g2.0d") == 1  # named once, above its rows


def test_no_line_ends_in_blanks(table):
    for text in (format_pivot(table, title="t"), format_rows(table, title="t")):
        assert all(line == line.rstrip() for line in text.splitlines())
        assert "\x1b" not in text
