"""A killed evaluation goes on where it stopped, and ends with the same files."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from metasr.data.catalog import ImageSet
from metasr.evaluation.evaluate import Entry, evaluate
from metasr.evaluation.loss_curves import LossCurves
from metasr.evaluation.manifest import Manifest
from metasr.evaluation.parts import FOLDER_NAME, Parts
from metasr.evaluation.results import Table
from metasr.evaluation.solved import together
from metasr.figures.kernel_pictures import KernelBook
from metasr.figures.picture_book import PictureBook
from metasr.io.images import list_images
from metasr.meta.inner_loop import Trace
from metasr.metrics.protocol import LumaProtocol
from metasr.solvers.base import Solution
from metasr.solvers.interpolate import InterpolateSolver
from running import save_picture

DEGRADATIONS = ["g2.0d", "bicubic_n5"]


class Counting:
    """Tells losses and a kernel, counts its images, and may kill its process at one of them."""

    def __init__(self, *, dies_at: int = 0) -> None:
        self.solved = 0
        self.dies_at = dies_at

    def solve(self, lr: torch.Tensor, *, scale: float, degradation: object = None, seed: int = 0) -> Solution:
        self.solved += 1
        if self.solved == self.dies_at:
            os.kill(os.getpid(), 9)
        sr = InterpolateSolver().solve(lr, scale=scale).sr
        kernel = torch.full((11, 11), 1 / 121)
        losses = [float(lr.mean()), float(lr.std())]
        return Solution(sr, kernel, Trace(losses=losses, kernel_psnr=[40.0, 41.5]), updates=2, stopped="flat")


def images_in(folder: Path) -> ImageSet:
    return ImageSet("mine", "test", tuple(list_images(folder)))


def job(folder: Path, photos: Path, solver: Counting, *, question: str = "q") -> dict[str, bytes]:
    """An evaluation with everything that is written of it."""
    book, losses, kernels, manifest = PictureBook(), LossCurves(), KernelBook(), Manifest(1)
    parts = Parts(folder, question, keep_pixels=book.wants_pixels)
    table = evaluate(
        images_in(photos), DEGRADATIONS, lambda _: [Entry("own", "-", solver)], scale=2, seed=1,
        protocol=LumaProtocol(), watch=together(book, losses, kernels), manifest=manifest, parts=parts,
    )  # fmt: skip
    book.draw(folder / "pictures", {})
    kernels.write(folder)
    parts.remove()
    rows = [{k: v for k, v in vars(row).items() if k != "seconds"} for row in table.images]
    (folder / "rows.txt").write_text(repr(rows))
    (folder / "curves.csv").write_text(losses.to_csv())
    (folder / "manifest.json").write_text(manifest.to_json())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i, (height, width) in enumerate([(53, 61), (47, 50), (61, 44)]):
        save_picture(folder / f"img{i}.png", height, width, seed=i)
    (folder / "img3.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a job that is left in peace writes."""
    folder = tmp_path_factory.mktemp("whole")
    files = job(folder, photos, Counting())
    assert not (folder / FOLDER_NAME).exists()
    return files


def test_what_was_solved_is_not_solved_again_and_all_files_are_the_same(
    photos: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    left = Counting()

    def stop(image: str, *_: object) -> bool:
        if left.solved == 4:
            raise KeyboardInterrupt
        return False

    book = PictureBook()
    parts = Parts(tmp_path / "cut", "q", keep_pixels=lambda i, d: stop(i) or book.wants_pixels(i, d))
    with pytest.raises(KeyboardInterrupt):
        evaluate(images_in(photos), DEGRADATIONS, lambda _: [Entry("own", "-", left)], scale=2, seed=1,
                 protocol=LumaProtocol(), watch=book, parts=parts)  # fmt: skip
    again = Counting()
    assert job(tmp_path / "cut", photos, again) == whole
    assert again.solved == 6 - 3


def test_another_question_image_or_damage_is_solved_again(photos: Path, tmp_path: Path) -> None:
    def unfinished(question: str, solver: Counting) -> Table:
        return evaluate(images_in(photos), DEGRADATIONS[:1], lambda _: [Entry("own", "-", solver)], scale=2, seed=1,
                        protocol=LumaProtocol(), parts=Parts(tmp_path, question))  # fmt: skip

    counts = []
    for question in ("a", "a", "b"):
        solver = Counting()
        unfinished(question, solver)
        counts.append(solver.solved)
    assert counts == [3, 0, 3]
    damaged = sorted(tmp_path.glob(f"{FOLDER_NAME}/*/*.npz"))[0]
    damaged.write_bytes(damaged.read_bytes()[:99])
    for question in ("a", "b"):
        unfinished(question, solver := Counting())
        counts.append(solver.solved)
    assert sorted(counts[3:]) in ([0, 0], [0, 1])  # the unreadable image's part holds no solution
    before = (photos / "img1.png").read_bytes()
    try:
        save_picture(photos / "img1.png", 47, 50, seed=99)
        unfinished("a", solver := Counting())
        assert solver.solved == 1
    finally:
        (photos / "img1.png").write_bytes(before)


def test_a_new_job_takes_over_what_another_left(photos: Path, tmp_path: Path) -> None:
    solver = Counting()
    evaluate(images_in(photos), DEGRADATIONS[:1], lambda _: [Entry("own", "-", solver)], scale=2, seed=1,
             protocol=LumaProtocol(), parts=Parts(tmp_path / "evaluate" / "first", "q"))  # fmt: skip
    for folder, question, left in (("other", "another", 3), ("second", "q", 0), ("third", "q", 3)):
        parts = Parts(tmp_path / "evaluate" / folder, question)
        parts.adopt(tmp_path / "evaluate")
        rows = [Entry("own", "-", again := Counting())]
        evaluate(images_in(photos), DEGRADATIONS[:1], lambda _, rows=rows: rows, scale=2, seed=1,
                 protocol=LumaProtocol(), parts=parts)  # fmt: skip
        assert again.solved == left
        if folder == "second":
            parts.remove()


def killed_until_done(folder: Path, photos: Path, moments: list[int]) -> dict[str, bytes]:
    """Run the job in processes that kill themselves at the given images, then to its end."""
    here = str(Path(__file__).parent)
    script = (
        f"import importlib.util as u, sys; from pathlib import Path; s = u.spec_from_file_location('parts_job', "
        f"{here + '/test_parts.py'!r}); m = u.module_from_spec(s); s.loader.exec_module(m); "
        "m.job(Path(sys.argv[1]), Path(sys.argv[2]), m.Counting(dies_at=int(sys.argv[3])))"
    )
    tests = str(Path(__file__).parents[1])
    for moment in moments:
        done = subprocess.run(
            [sys.executable, "-c", script, str(folder), str(photos), str(moment)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([tests, *sys.path])}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == -9, done.stderr
        assert not (folder / "rows.txt").exists()
    return job(folder, photos, Counting())


@pytest.mark.slow
def test_killed_twice_it_ends_with_the_same_files(photos: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    assert killed_until_done(tmp_path / "killed", photos, [2, 3]) == whole


@pytest.mark.slow
def test_killed_at_twenty_random_images_it_ends_with_the_same_files(
    photos: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    draw = random.Random(7)
    for i in range(10):
        first = draw.randint(1, 5)
        moments = [first, draw.randint(1, 6 - (first - 1))]
        assert killed_until_done(tmp_path / f"killed{i}", photos, moments) == whole
