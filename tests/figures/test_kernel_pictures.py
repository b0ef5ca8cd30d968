"""Estimated kernels: which are kept, and what is written of them."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from metasr.degradation import names
from metasr.degradation.direct_kernel import direct_kernel
from metasr.degradation.kernels import isotropic
from metasr.degradation.pipeline import Degradation
from metasr.evaluation.loss_curves import LossCurves
from metasr.evaluation.results import ImageRow
from metasr.evaluation.solved import Entry, Solved
from metasr.figures.kernel_pictures import COLUMNS, KernelBook
from metasr.figures.kernels import Course, courses, estimates, likeness
from metasr.io.csv import parse_csv
from metasr.jobs.run import execute
from metasr.meta.inner_loop import Trace
from metasr.metrics.kernel import kernel_psnr
from metasr.metrics.protocol import LumaProtocol
from metasr.solvers.base import Solution
from metasr.solvers.interpolate import InterpolateSolver
from running import compose, save_picture

HR = torch.rand(1, 3, 38, 46, generator=torch.Generator().manual_seed(0))
ENTRY = Entry("ddsr", "-", InterpolateSolver())


def solution(kernel: Tensor | None, updates: int, *, off: float = 0.1, known: bool = True) -> Solution:
    trace = Trace(
        losses=[1.0 / (i + 1) for i in range(updates)], seconds=[0.5 * (i + 1) for i in range(updates)],
        kernel_psnr=[40.0 + i for i in range(updates)] if known else [],
    )  # fmt: skip
    return Solution(sr=(HR + off).clamp(0, 1), kernel=kernel, trace=trace, updates=updates)


def watch(book: KernelBook, image: str, degradation: Degradation, found: Solution) -> None:
    psnr = LumaProtocol()(found.sr, HR, scale=2).psnr_y
    row = ImageRow("t", str(degradation), 2.0, "ddsr", "-", found.updates, image, psnr, 0.9, 1.0)
    book(Solved(row, degradation, ENTRY, found, HR))


def rows(book: KernelBook) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(book.to_csv())))


def test_curves_by_step() -> None:
    book, degradation = KernelBook(), names.parse("iso_4_d", scale=2)
    for updates, off in ((2, 0.2), (4, 0.1)):
        watch(book, "b", degradation, solution(isotropic(3.0, size=11), updates, off=off))
    found = rows(book)
    assert tuple(found[0]) == COLUMNS
    assert [(r["degradation"], r["solver"], r["weights"], r["image"]) for r in found] == [
        ("iso_4_d", "ddsr", "-", "b")
    ] * 5
    assert [int(r["updates"]) for r in found] == [0, 1, 2, 3, 4]  # the loss before any update is that of 0
    assert [float(r["loss"]) for r in found[:4]] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4], rel=1e-5)
    assert [float(r["kernel_psnr"]) for r in found[:4]] == [40, 41, 42, 43]
    assert float(found[4]["kernel_psnr"]) == pytest.approx(
        likeness(isotropic(3.0, size=11), degradation.kernel), rel=1e-5
    )
    assert [r["seconds"] for r in found] == ["", "0.5", "1", "1.5", "2"]
    want = {n: LumaProtocol()((HR + off).clamp(0, 1), HR, scale=2).psnr_y for n, off in ((2, 0.2), (4, 0.1))}
    assert {int(r["updates"]): float(r["psnr_y"]) for r in found if r["psnr_y"]} == pytest.approx(want, rel=1e-5)


def test_an_estimate_without_steps_is_measured() -> None:
    book, degradation = KernelBook(), names.parse("iso_4_d", scale=2)
    estimate = isotropic(3.0)
    watch(book, "b", degradation, solution(estimate, 0))
    (found,) = rows(book)
    assert float(found["kernel_psnr"]) == pytest.approx(float(kernel_psnr(estimate, degradation.kernel)), rel=1e-5)
    assert (found["updates"], found["loss"], found["seconds"]) == ("0", "", "")
    unknown = KernelBook()
    watch(unknown, "b", names.parse("bicubic", scale=2), solution(estimate, 0))
    assert rows(unknown)[0]["kernel_psnr"] == ""


def test_a_kernel_before_direct_subsampling_is_measured_against_blur_and_resizing_in_one(tmp_path: Path) -> None:
    book, degradation = KernelBook(), names.parse("iso_4_b", scale=2)
    whole = direct_kernel(degradation, size=11)
    assert whole is not None
    for image, direct in (("as one", True), ("blur alone", False)):
        watch(book, image, degradation, replace(solution(whole, 0), direct=direct))
    as_one, alone = (float(r["kernel_psnr"]) for r in rows(book))
    assert as_one > 300  # none of it is an error
    assert alone == pytest.approx(likeness(whole, degradation.kernel), rel=1e-5)  # type: ignore[arg-type]
    assert book.write(tmp_path)


def test_a_kernel_that_was_given_is_no_estimate(tmp_path: Path) -> None:
    book, degradation = KernelBook(), names.parse("iso_4_d", scale=2)
    watch(book, "b", degradation, solution(degradation.kernel, 3))
    watch(book, "b", names.parse("bicubic", scale=2), solution(None, 3))
    assert rows(book) == []
    assert book.write(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_both_files_of_curves_count_updates_alike() -> None:
    book, losses = KernelBook(), LossCurves()
    degradation, found = names.parse("iso_4_d", scale=2), solution(isotropic(3.0, size=11), 3)
    watch(book, "b", degradation, found)
    watch(losses, "b", degradation, found)  # type: ignore[arg-type]
    told = [{int(r["updates"]): r["loss"] for r in parse_csv(each.to_csv()) if r["loss"]} for each in (book, losses)]
    assert told[0] == told[1] == {0: "1", 1: "0.5", 2: "0.333333"}


def test_what_is_written(tmp_path: Path) -> None:
    book = KernelBook()
    for name in ("iso_4_d", "bicubic"):
        watch(book, "a $1 & co", names.parse(name, scale=2), solution(isotropic(3.0, size=11), 3))
    made = book.write(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in made] == [
        "pictures/kernels_estimated.png", "pictures/kernel_curves.png",
    ]  # fmt: skip
    assert (tmp_path / "kernel_curves.csv").read_text() == book.to_csv()
    for path in made:
        with Image.open(path) as image:
            assert min(image.size) > 100


def test_likeness_cuts_the_truth_to_the_estimate() -> None:
    estimate, truth = isotropic(2.0, size=11), isotropic(4.0)
    want = kernel_psnr(estimate, truth[5:16, 5:16])
    assert likeness(estimate, truth) == pytest.approx(float(want))
    assert likeness(isotropic(2.0), isotropic(4.0, size=11)) == pytest.approx(
        float(kernel_psnr(isotropic(2.0), torch.nn.functional.pad(isotropic(4.0, size=11), (5, 5, 5, 5))))
    )


def test_pictures_change_with_what_they_show(tmp_path: Path) -> None:
    kinds = {
        "same": (isotropic(2.0), isotropic(2.0)), "other": (isotropic(3.0), isotropic(2.0)),
        "alone": (isotropic(2.0), None), "small": (isotropic(2.0, size=11), isotropic(2.0)),
    }  # fmt: skip
    drawn = {key: estimates({"x": pair}, tmp_path / f"{key}.png").read_bytes() for key, pair in kinds.items()}
    assert len(set(drawn.values())) == len(drawn)
    lines = [Course([1.0, 0.5], [40.0, 41.0], [1.0, 2.0], {2: 25.0}), Course([1.0, 0.5], [], [1.0, 2.0], {2: 25.0}),
             Course([1.0, 0.5], [40.0, 41.0], [1.0, 2.0], {2: 26.0, 1: 25.0})]  # fmt: skip
    pictures = [courses({"x": line}, tmp_path / f"{i}.png").read_bytes() for i, line in enumerate(lines)]
    assert len(set(pictures)) == 3


def test_a_run_of_a_blind_solver_writes_them(tmp_path: Path) -> None:
    save_picture(tmp_path / "photos" / "a.png", 80, 88)
    cfg = compose(
        "+experiment=ddsr_x2",
        "profile=smoke",
        "logger=none",
        f"testset={tmp_path / 'photos'}",
        "degradations=[iso_4_d]",
    )
    (tmp_path / "run").mkdir()
    execute(cfg, tmp_path / "run")
    found = list(csv.DictReader((tmp_path / "run" / "kernel_curves.csv").open()))
    assert {row["solver"] for row in found} == {"ddsr"}
    assert all(float(row["kernel_psnr"]) > 20 for row in found if row["loss"])
    assert any(row["psnr_y"] for row in found)
    for name in ("kernels_estimated", "kernel_curves"):
        assert (tmp_path / "run" / "pictures" / f"{name}.png").is_file()
