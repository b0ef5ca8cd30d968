"""Data set × degradation × solver -> table."""

import math
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from metasr.config import build
from metasr.data.catalog import ImageSet
from metasr.degradation import names
from metasr.degradation.resize import imresize
from metasr.errors import DivergenceError, InputError
from metasr.evaluation.evaluate import Entry, evaluate, require_scores
from metasr.evaluation.results import ImageRow, Table
from metasr.io.images import Photo, list_images, read_image, write_photo
from metasr.metrics.protocol import LumaProtocol
from metasr.paths import weights_folder
from metasr.runs.weights import released_for
from metasr.solvers.base import Solution
from metasr.solvers.interpolate import InterpolateSolver
from running import compose, save_picture


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    folder = tmp_path_factory.mktemp("images")
    for i, (height, width) in enumerate([(53, 61), (47, 50), (61, 44)]):
        save_picture(folder / f"img{i}.png", height, width, seed=i)
    return ImageSet("mine", "test", tuple(list_images(folder)))


def scores(table: Table) -> dict[tuple[object, ...], tuple[float, float]]:
    rows = table.images
    return {(r.degradation, r.solver, r.weights, r.updates, r.image): (r.psnr_y, r.ssim_y) for r in rows}


def run(images: ImageSet, degradations: list[str], *, seed: int = 1, entries: object = None) -> Table:
    made = entries or (lambda _: [])
    return evaluate(images, degradations, made, scale=2, seed=seed, protocol=LumaProtocol())  # type: ignore[arg-type]


def test_the_interpolation_rows_are_always_there(images: ImageSet) -> None:
    table = run(images, ["g2.0d", "bicubic", "g0.2d_n5"])
    assert [(r.degradation, r.solver, r.weights, r.updates, r.images) for r in table.rows] == [
        (d, s, "-", 0, 3) for d in ("g2.0d", "bicubic", "g0.2d_n5") for s in ("interpolate", "interpolate_aligned")
    ]
    assert {r.testset for r in table.rows} == {"mine"}
    by = {(r.degradation, r.solver): r.psnr_y for r in table.rows}
    assert by["g2.0d", "interpolate_aligned"] > by["g2.0d", "interpolate"]
    assert by["bicubic", "interpolate_aligned"] == by["bicubic", "interpolate"]


def test_noise_depends_on_seed_and_name_alone(images: ImageSet) -> None:
    whole = scores(run(images, ["g2.0d_n10", "bicubic_n10"]))
    turned = ImageSet(images.name, images.split, images.paths[::-1])
    assert scores(run(turned, ["bicubic_n10", "g2.0d_n10"])) == whole
    first = scores(run(images.subset(1), ["g2.0d_n10"]))
    assert first.items() <= whole.items()
    assert len(first) == 2
    assert all(a != b for a, b in zip(scores(run(images, ["g2.0d_n10", "bicubic_n10"], seed=2)).values(),
                                      whole.values(), strict=True))  # fmt: skip


def test_two_images_do_not_share_their_noise(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / name, seed=5)
    found = scores(run(ImageSet("twins", "test", tuple(list_images(tmp_path))), ["bicubic_n10"]))
    assert found["bicubic_n10", "interpolate", "-", 0, "a"] != found["bicubic_n10", "interpolate", "-", 0, "b"]


def test_adaptation_rows_by_number_of_updates(images: ImageSet) -> None:
    degradation = names.parse("g2.0d", scale=2)
    weights = released_for(weights_folder(), degradation)
    cfg = compose("+experiment=mzsr_x2", "logger=none")
    solver = build.solver(cfg, weights=weights, steps=2)
    network = {k: v.clone() for k, v in solver.network.state_dict().items()}  # type: ignore[attr-defined]
    seen: list[int] = []
    table = evaluate(
        images.subset(1), ["g2.0d"], lambda _: [Entry("adapt", weights.label, solver, (2, 0, 1))], scale=2, seed=1,
        protocol=LumaProtocol(), watch=lambda solved: seen.append(solved.solution.updates),
    )  # fmt: skip
    assert [(r.solver, r.updates) for r in table.rows] == [
        ("interpolate", 0), ("interpolate_aligned", 0), ("adapt", 0), ("adapt", 1), ("adapt", 2),
    ]  # fmt: skip
    assert seen == [0, 0, 0, 1, 2]
    after = solver.network.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(network[k], after[k]) for k in network)
    psnr = [r.psnr_y for r in table.rows]
    assert min(psnr[3:]) > psnr[2]  # with the released weights, adaptation helps a blurred picture


def test_snapshots_are_what_separate_adaptations_give(images: ImageSet) -> None:
    weights = released_for(weights_folder(), names.parse("g2.0d", scale=2))
    cfg = compose("+experiment=mzsr_x2", "logger=none")
    one = images.subset(1)
    both = run(one, ["g2.0d_n3"], entries=lambda _: [Entry("adapt", "w", build.solver(cfg, weights=weights), (1, 2))])
    alone = run(one, ["g2.0d_n3"], entries=lambda _: [Entry("adapt", "w", build.solver(cfg, weights=weights, steps=2))])
    assert scores(both)["g2.0d_n3", "adapt", "w", 2, "img0"] == scores(alone)["g2.0d_n3", "adapt", "w", 2, "img0"]


def test_two_names_of_one_degradation_are_counted_once(images: ImageSet) -> None:
    table = run(images, ["g2.0d", "iso_2_d", "g2.0d"])
    assert [(r.degradation, r.images) for r in table.rows] == [("g2.0d", 3)] * 2


def test_an_odd_size_is_cut_to_a_multiple_of_the_scale(images: ImageSet) -> None:
    seen = []
    evaluate(
        images, ["bicubic"], lambda _: [], scale=3, seed=1, protocol=LumaProtocol(),
        watch=lambda solved: seen.append(tuple(solved.hr.shape[-2:])),
    )  # fmt: skip
    assert set(seen) == {(51, 60), (45, 48), (60, 42)}


def test_a_real_scale(images: ImageSet) -> None:
    table = evaluate(images, ["bicubic", "g0.2d"], lambda _: [], scale=1.5, seed=1, protocol=LumaProtocol())
    assert all(r.scale == 1.5 and r.psnr_y > 20 for r in table.rows)
    plain, aligned = (r.psnr_y for r in table.rows if r.degradation == "g0.2d")
    assert aligned > plain + 1  # a quarter of a pixel
    with pytest.raises(InputError, match=r"scale must be whole, got 1.5"):
        evaluate(images, ["area"], lambda _: [], scale=1.5, seed=1, protocol=LumaProtocol())


def test_an_image_smaller_than_the_kernel(tmp_path: Path) -> None:
    save_picture(tmp_path / "small.png", 15, 19)
    with pytest.raises(InputError, match=r"(?i)small.*kernel|kernel.*(small|large)"):
        run(ImageSet("s", "test", (tmp_path / "small.png",)), ["g2.0d"])


def test_own_names_and_published_numbers(images: ImageSet) -> None:
    table = evaluate(
        images, ["g2.0d"], lambda _: [Entry("mine", "-", InterpolateSolver())], scale=2, seed=1,
        protocol=LumaProtocol(), testset="set5",
    )  # fmt: skip
    assert table.rows[0].published_psnr_y == 28.73
    assert table.rows[2].published_psnr_y == 28.73  # what it is counts, whatever it is called
    off = evaluate(
        images, ["g2.0d"], lambda _: [], scale=2, seed=1, protocol=LumaProtocol(), testset="set5", compare=False
    )
    assert off.rows[0].published_psnr_y is None
    assert isinstance(table.images[0], ImageRow)


def save_grey(path: Path, height: int = 40, width: int = 52) -> Path:
    with Image.open(save_picture(path, height, width, seed=3)) as image:
        image.convert("L").save(path)
    return path


def test_a_grey_image_is_scored_on_its_grey_values(tmp_path: Path) -> None:
    save_grey(tmp_path / "grey.png")
    found = run(ImageSet("g", "test", tuple(list_images(tmp_path))), ["bicubic"])
    grey = read_image(tmp_path / "grey.png")[:1]
    small = imresize(grey[None], 0.5).mul(255).round().div(255).clamp(0, 1)
    again = imresize(small, 2).clamp(0, 1)[0, 0].mul(255).round().double()[2:-2, 2:-2]
    error = float((again - grey[0].mul(255).round().double()[2:-2, 2:-2]).square().mean())
    assert found.images[0].psnr_y == pytest.approx(20 * math.log10(255) - 10 * math.log10(error), abs=1e-4)
    assert (found.images[0].luma, found.rows[0].grey) == ("grey", 1)


def test_a_flat_picture_does_not_make_the_mean_infinite(images: ImageSet, tmp_path: Path) -> None:
    Image.new("RGB", (48, 36), (90, 120, 30)).save(tmp_path / "flat.png")
    whole = ImageSet("f", "test", (*images.paths, tmp_path / "flat.png"))
    (mean, _), (without, _) = run(whole, ["bicubic"]).rows, run(images, ["bicubic"]).rows
    assert (mean.images, mean.exact) == (4, 1)
    assert mean.psnr_y == pytest.approx(without.psnr_y, abs=1e-9)
    assert [r.psnr_y for r in run(whole, ["bicubic"]).images if r.image == "flat"] == [math.inf, math.inf]


@pytest.mark.parametrize(("size", "reason"), [((14, 14), "smaller|small"), ((13, 40), "11x11|window|small")])
def test_an_image_that_is_too_small_is_a_named_failure(
    images: ImageSet, tmp_path: Path, size: tuple[int, int], reason: str
) -> None:
    save_picture(tmp_path / "tiny.png", *size)
    whole = ImageSet("t", "test", (images.paths[0], tmp_path / "tiny.png", *images.paths[1:]))
    table = run(whole, ["g2.0d"])
    assert [(r.images, r.failed) for r in table.rows] == [(3, 1), (3, 1)]
    assert {f.image for f in table.failures} == {"tiny"}
    assert all(re.search(reason, f.failed) for f in table.failures)
    assert scores(run(images, ["g2.0d"])).items() <= scores(table).items()


def test_a_damaged_image_is_a_named_failure(images: ImageSet, tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(images.paths[0].read_bytes()[:700])
    table = run(ImageSet("d", "test", (tmp_path / "cut.png", *images.paths)), ["bicubic"])
    assert {(f.image, "cut.png" in f.failed) for f in table.failures} == {("cut", True)}
    assert [(r.images, r.failed) for r in table.rows] == [(3, 1), (3, 1)]


class Diverging:
    """Fails on images of one height."""

    def __init__(self, height: int) -> None:
        self.height = height

    def solve(self, lr: Tensor, *, scale: float, degradation: object = None, seed: int = 0) -> Solution:
        if lr.shape[-2] == self.height:
            raise DivergenceError("the loss of step 3 is nan")
        return InterpolateSolver().solve(lr, scale=scale)


def test_one_images_divergence_is_a_listed_failure(images: ImageSet) -> None:
    table = run(images, ["bicubic"], entries=lambda _: [Entry("new", "-", Diverging(23))])
    (failed,) = table.failures
    assert (failed.image, failed.solver, failed.failed) == ("img1", "new", "the loss of step 3 is nan")
    assert [(r.solver, r.images, r.failed) for r in table.rows] == [
        ("interpolate", 3, 0), ("interpolate_aligned", 3, 0), ("new", 2, 1),
    ]  # fmt: skip
    require_scores(table)
    one = ImageSet("one", "test", images.paths[1:2])
    with pytest.raises(InputError, match=r"new on bicubic: every image failed.*image 'img1': .*step 3 is nan"):
        require_scores(run(one, ["bicubic"], entries=lambda _: [Entry("new", "-", Diverging(23))]))


def test_ready_pairs_are_scored_as_those_that_are_made(images: ImageSet, tmp_path: Path) -> None:
    degradation = names.parse("g2.0d", scale=2)
    for i, name in enumerate(images.names):
        hr = LumaProtocol().crop_reference(images.load(i)[None], 2)
        write_photo(Photo(degradation(hr)[0]), tmp_path / f"{name}.png")
    pairs = ImageSet("lr", "test", tuple(list_images(tmp_path)))
    given = evaluate(images, ["g2.0d"], lambda _: [], scale=2, seed=1, protocol=LumaProtocol(), lr_images=pairs)
    assert scores(given) == scores(run(images, ["g2.0d"]))
    odd = ImageSet("lr", "test", (pairs.paths[1], *pairs.paths[1:]))
    mixed = evaluate(images, ["g2.0d"], lambda _: [], scale=2, seed=1, protocol=LumaProtocol(), lr_images=odd)
    assert {f.image for f in mixed.failures} == {"img0"}
    assert "expected its LR image" in mixed.failures[0].failed
