"""Preparing LR images: what is written, that it is right, and what is refused."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from metasr.cli import main
from metasr.data.catalog import ImageSet
from metasr.degradation import names
from metasr.degradation.kernel_files import load_kernel
from metasr.degradation.kernels import isotropic
from metasr.degradation.published_ddsr import PublishedDraws
from metasr.errors import DataError, InputError, OutputError
from metasr.evaluation.evaluate import evaluate
from metasr.io.images import list_images, read_image, read_photo
from metasr.jobs.prepare import Prepared, PrepareOptions, mask_square, prepare, prepare_task
from metasr.metrics.protocol import LumaProtocol
from metasr.seeds import generator_from
from running import compose, run_py, save_picture


def made(source: Path, output: Path, degradation: str, *, scale: float | None = None, **values: Any) -> list[Prepared]:
    options = PrepareOptions(**{key.removeprefix("prepare__"): value for key, value in values.items()})
    return list(prepare(source, output, degradation, scale=scale, options=options))


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def hr(tmp_path: Path) -> Path:
    """HR images of odd sizes, whose natural order is not that of their names' letters."""
    save_picture(tmp_path / "hr" / "img2.png", 53, 61)
    save_picture(tmp_path / "hr" / "img10.jpg", 47, 38, seed=1)
    return tmp_path / "hr"


@pytest.mark.data
def test_set5_comes_out_bit_for_bit(shared_data: Path, tmp_path: Path) -> None:
    """Check 5.A.1 on files: LR images without one differing pixel, kernels to 1e-12."""
    made(shared_data / "set5", tmp_path / "out", "ddsr_x4", prepare__hr=True)
    theirs = shared_data / "ddsr_set5_x4"
    for path in list_images(tmp_path / "out" / "lr"):
        for ours, other in ((path, path.name), (tmp_path / "out" / "hr" / path.name, f"hr_{path.name}")):
            with Image.open(ours) as a, Image.open(theirs / other) as b:
                assert (np.asarray(a) != np.asarray(b.convert("RGB"))).sum() == 0
        kernel = load_kernel(tmp_path / "out" / "kernels" / f"{path.stem}.npy", normalise=False)
        want = load_kernel(theirs / f"kernel_{path.stem}.mat", normalise=False)
        assert (kernel - want).abs().max() <= 1e-12
    assert [row["name"] for row in manifest(tmp_path / "out")["images"]] == [
        "baby", "bird", "butterfly", "head", "woman",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["g2.0d", "bicubic_n10", "disc_3_d", "sig_1.6_b"])
def test_lr_images_are_those_that_an_evaluation_makes(hr: Path, tmp_path: Path, name: str) -> None:
    seen = {}

    class Eye:
        def solve(self, lr, *, scale, degradation=None, seed=0):
            raise AssertionError

    def watch(solved):
        source = generator_from(5, solved.row.image, str(solved.degradation), "degrade")
        seen[solved.row.image] = solved.degradation(solved.hr, generator=source)

    images = ImageSet("hr", "test", tuple(list_images(hr)))
    evaluate(images, [name], lambda _: [], scale=3, seed=5, protocol=LumaProtocol(), watch=watch)
    done = made(hr, tmp_path / "out", name, scale=3.0, seed=5)
    assert [(d.folder, d.degradation, d.images, d.seed) for d in done] == [(tmp_path / "out", name, 2, 5)]
    for image, lr in seen.items():
        assert torch.equal((read_image(tmp_path / "out" / "lr" / f"{image}.png") * 255).round(), (lr[0] * 255).round())


def test_kernels_and_manifest_tell_what_was_done(hr: Path, tmp_path: Path) -> None:
    made(hr, tmp_path / "out", "g2.0d", seed=3)
    told = manifest(tmp_path / "out")
    assert (told["degradation"], told["scale"], told["seed"], told["shift"]) == ("g2.0d", 2.0, 3, None)
    assert [(r["name"], r["source"], r["hr_size"], r["lr_size"]) for r in told["images"]] == [
        ("img2", "img2.png", [52, 60], [26, 30]), ("img10", "img10.jpg", [46, 38], [23, 19]),
    ]  # fmt: skip
    row = told["images"][0]
    assert (row["offset"], row["noise_std"], row["downsample"], row["quantise"]) == ([0.5, 0.5], 0, "direct", "round")
    kernel = tmp_path / "out" / row["kernel"]
    assert torch.equal(load_kernel(kernel, normalise=False), isotropic(2.0))
    again = names.parse(str(kernel), scale=2)(read_image(hr / "img2.png")[None][..., :52, :60])
    assert (again[0] - read_image(tmp_path / "out" / row["lr"])).abs().max() < 1e-6
    made(hr, tmp_path / "plain", "bicubic")
    assert not (tmp_path / "plain" / "kernels").exists()
    assert "kernel" not in manifest(tmp_path / "plain")["images"][0]


def test_the_same_command_twice_writes_the_same_files(hr: Path, tmp_path: Path) -> None:
    for name in ("ddsr_x2_n10", "g2.0d_n10"):
        folders = [tmp_path / f"{name}{i}" for i in range(3)]
        for folder, seed in zip(folders, (1, 1, 2), strict=True):
            made(hr, folder, name, seed=seed, prepare__mask="square", prepare__mask_side=5, prepare__hr=True)
        first, second, other = map(tree, folders)
        assert first == second
        assert {k for k in first if first[k] != other[k]} >= {"lr/img2.png", "masks/img2.png", "manifest.json"}


def test_published_draws_go_by_the_letters_of_names(hr: Path, tmp_path: Path) -> None:
    made(hr, tmp_path / "out", "ddsr_x2", seed=4, prepare__multiple=2)
    draws = PublishedDraws(2, seed=4)
    assert [row["name"] for row in manifest(tmp_path / "out")["images"]] == ["img10", "img2"]
    for name, file, (height, width) in (("img10", "img10.jpg", (46, 38)), ("img2", "img2.png", (52, 60))):
        drawn = draws.draw(read_image(hr / file)[None][..., :height, :width])
        assert torch.equal(read_image(tmp_path / "out" / "lr" / f"{name}.png") * 255, (drawn.lr[0] * 255).round())
    cut = tmp_path / "cut"
    made(hr, cut, "ddsr_x2")
    assert [row["hr_size"] for row in manifest(cut)["images"]] == [[36, 36], [48, 60]]


def test_both_phase_conventions(hr: Path, tmp_path: Path) -> None:
    told = {shift: made(hr, tmp_path / shift, "ddsr_x4", shift=shift)[0] for shift in ("published", "centre")}
    assert told["published"].offset == pytest.approx((3, 3), abs=0.1)
    assert "3 px down and 3 px right (HR pixels) of bicubic alignment" in str(told["published"]).replace("2.99", "3")
    assert told["centre"].offset == pytest.approx((0, 0), abs=0.1)
    assert "aligned as bicubic resizing aligns" in str(told["centre"])
    assert manifest(tmp_path / "centre")["shift"] == "centre"
    assert tree(tmp_path / "centre")["lr/img2.png"] != tree(tmp_path / "published")["lr/img2.png"]
    many = made(hr, tmp_path / "disc", "ddsr_disc_x4", seed=2)[0]
    assert many.offset is None or many.offset == pytest.approx((2.5, 2.5), abs=0.5)


def test_a_set_makes_a_folder_for_each(hr: Path, tmp_path: Path) -> None:
    done = made(hr, tmp_path / "out", "gaussian8")
    assert len(done) == 8
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(d.folder.name for d in done)
    for one in done:
        assert manifest(one.folder)["degradation"] == one.degradation == one.folder.name
        assert len(list_images(one.folder / "lr")) == 2


def test_covered_and_dark(hr: Path, tmp_path: Path) -> None:
    made(hr, tmp_path / "clean", "ddsr_x2")
    clean = {row["name"]: row for row in manifest(tmp_path / "clean")["images"]}
    places = set()
    for seed, kind in ((1, "square"), (1, "published")):
        folder = tmp_path / kind
        made(hr, folder, "ddsr_x2", seed=seed, prepare__mask=kind, prepare__mask_side=7)
        for name in clean:
            mask = read_photo(folder / "masks" / f"{name}.png")
            lr, whole = (read_image(f / "lr" / f"{name}.png") for f in (folder, tmp_path / "clean"))
            assert mask.grey
            assert sorted(mask.rgb.unique().tolist()) == [0, 1]
            assert int((mask.rgb[0] == 0).sum()) == 49
            assert torch.equal(lr, whole * mask.rgb)
            top, left = (int((mask.rgb[0] == 0).nonzero()[0][axis]) for axis in (0, 1))
            places.add((kind, top == left))
    assert ("published", True) in places
    assert ("square", False) in places
    made(hr, tmp_path / "dark", "ddsr_x2", prepare__gain=0.3)
    dark = read_photo(tmp_path / "dark" / "lr" / "img2.png")
    assert dark.bits == 16  # 0.3 of the 8-bit image is not rounded to 8 bits again
    assert (dark.rgb - 0.3 * read_image(tmp_path / "clean" / "lr" / "img2.png")).abs().max() < 1 / 65535
    made(hr, tmp_path / "suite", "g2.0d", prepare__gain=0.3)
    photo = read_photo(tmp_path / "suite" / "lr" / "img2.png")
    assert photo.bits == 8
    assert photo.rgb.max() <= 0.3 + 0.5 / 255


def test_the_masks_place() -> None:
    seen = [mask_square((9, 31), 4, generator=torch.Generator().manual_seed(i))[0, 0] for i in range(300)]
    corners = {tuple((mask == 0).nonzero()[0].tolist()) for mask in seen}
    assert {c[0] for c in corners} == set(range(6))
    assert {c[1] for c in corners} == set(range(28))
    line = [mask_square((9, 31), 4, generator=torch.Generator().manual_seed(i), diagonal=True)[0, 0] for i in range(99)]
    assert {tuple((mask == 0).nonzero()[0].tolist()) for mask in line} == {(i, i) for i in range(5)}
    with pytest.raises(InputError, match="side must be at least 1 pixel, got 0"):
        mask_square((9, 31), 0, generator=torch.Generator())
    with pytest.raises(InputError, match=r"a square of 9 pixels leaves nothing or too little to see .* of 9x31"):
        mask_square((9, 31), 9, generator=torch.Generator())


def test_greyscale_alpha_and_sixteen_bits(tmp_path: Path) -> None:
    save_picture(tmp_path / "hr" / "grey.png", 41, 43, 1)
    save_picture(tmp_path / "hr" / "clear.png", 41, 43, 4)
    made(tmp_path / "hr", tmp_path / "out", "g2.0d", prepare__hr=True)
    for kind in ("lr", "hr"):
        assert read_photo(tmp_path / "out" / kind / "grey.png").grey
        assert read_photo(tmp_path / "out" / kind / "clear.png").alpha is None
    made(tmp_path / "hr", tmp_path / "noisy", "g2.0d_n20")
    noisy = read_photo(tmp_path / "noisy" / "lr" / "grey.png")
    assert not noisy.grey  # the channels' noise is their own


def test_one_image_and_real_scales(hr: Path, tmp_path: Path) -> None:
    made(hr / "img2.png", tmp_path / "one", "bicubic", scale=2.5)
    assert [row["lr_size"] for row in manifest(tmp_path / "one")["images"]] == [[22, 25]]


CHOICES = {"shift": "centre", "hr": True, "mask": "square", "mask_side": 3, "gain": 0.5, "multiple": 4}


def test_through_the_command(hr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [f"--{key.replace('_', '-')}" + ("" if value is True else f"={value}") for key, value in CHOICES.items()]
    assert main(["prepare", str(hr), "-o", str(tmp_path / "a"), "-d", "ddsr_x4_n10", "--seed", "7", *options]) == 0
    assert "2 LR images of ddsr_x4_n10, x4, seed 7" in capsys.readouterr().out
    keys = {key if key == "shift" else f"prepare__{key}": value for key, value in CHOICES.items()}
    made(hr, tmp_path / "b", "ddsr_x4_n10", seed=7, **keys)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert main(["prepare", str(hr), "-o", str(tmp_path / "c"), "-d", "ddsr_x4", "-s", "2"]) == 2
    assert "is for scale 4, but scale=2" in capsys.readouterr().err


@pytest.mark.slow
def test_through_the_program(hr: Path, tmp_path: Path) -> None:
    choices = [f"{'' if key == 'shift' else 'prepare.'}{key}={value}" for key, value in CHOICES.items()]
    done = run_py(
        "task=prepare", f"input={hr}", f"output={tmp_path / 'a'}", "degradation=ddsr_x4_n10", "seed=7", *choices,
        "logger=none", outputs=tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    keys = {key if key == "shift" else f"prepare__{key}": value for key, value in CHOICES.items()}
    made(hr, tmp_path / "b", "ddsr_x4_n10", seed=7, **keys)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    wrong = run_py("task=prepare", f"input={hr}", f"output={tmp_path / 'c'}", "degradation=ddsr_x4", "scale=2",
                   outputs=tmp_path / "out")  # fmt: skip
    assert wrong.returncode == 2
    assert wrong.stderr == "error: degradation=ddsr_x4 is for scale 4, but scale=2; leave scale= out\n"


# What is refused


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"degradation": "g2.0x"}, r"unknown degradation 'g2\.0x': did you mean"),
        ({"degradation": "ddsr_x5"}, "the published draws are for scale 2, 3, 4, 8, got 5"),
        ({"degradation": "none.mat"}, r"no kernel file none\.mat"),
        ({"shift": "left"}, "shift must be 'published' .* or 'centre'"),
        ({"shift": "centre"}, r"shift=centre is for the ddsr_\.\.\. degradations.*g2\.0d displaces an image by 0\.5"),
        ({"scale": 1.0}, "LR images need a scale above 1, got 1"),
        ({"prepare__mask": "circle"}, "prepare.mask must be one of none, square, published, got 'circle'"),
        ({"prepare__mask": "square"}, "a square of 40 pixels leaves nothing or too little to see of an LR image"),
        ({"prepare__gain": 0.0}, r"prepare.gain must be in \(0, 1\], got 0"),
        ({"prepare__gain": 1.5}, r"prepare.gain must be in \(0, 1\], got 1\.5"),
        ({"prepare__multiple": 0}, "prepare.multiple must be at least 1, got 0"),
        ({"prepare__multiple": 3}, "prepare.multiple must be a multiple of the scale 2, got 3"),
        ({"prepare__multiple": 100}, "has nothing left when its sides are cut to multiples of 100"),
        ({"degradation": "iso_2_d", "scale": 60.0}, "nothing left when its sides are cut to multiples of 60"),
        ({"degradation": "ddsr_x4", "seed": -1}, "take a seed from 0"),
    ],
)
def test_wrong_choices(hr: Path, tmp_path: Path, values: dict, message: str) -> None:
    given = {"output": tmp_path / "out", "degradation": "g2.0d", **values}
    with pytest.raises((InputError, DataError), match=message):
        made(hr, **given)
    assert not (tmp_path / "out").exists()


def test_the_task_needs_paths_and_a_degradation(hr: Path) -> None:
    with pytest.raises(InputError, match="task=prepare needs input=HR_FOLDER output=FOLDER degradation=NAME"):
        prepare_task(compose("task=prepare", f"input={hr}", "degradation=g2.0d"))
    with pytest.raises(InputError, match=r"task=prepare needs degradation=NAME, for instance g2\.0d"):
        prepare_task(compose("task=prepare", f"input={hr}", "output=out"))


def test_the_task_takes_its_choices_from_the_config(hr: Path, tmp_path: Path) -> None:
    choices = ("degradation=g2.0d", "seed=3", "prepare.gain=0.5", "prepare.hr=true", "prepare.multiple=4")
    list(prepare_task(compose("task=prepare", f"input={hr}", f"output={tmp_path / 'task'}", *choices)))
    made(hr, tmp_path / "plain", "g2.0d", seed=3, gain=0.5, hr=True, multiple=4)
    assert tree(tmp_path / "task") == tree(tmp_path / "plain")


def test_missing_and_unfit_inputs(hr: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file or folder .*nowhere; give a folder of HR images"):
        made(tmp_path / "nowhere", tmp_path / "out", "g2.0d")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected images"):
        made(tmp_path / "empty", tmp_path / "out", "g2.0d")
    save_picture(hr / "small.png", 15, 40)
    with pytest.raises(InputError, match=r"small\.png: image of 14x40 is smaller than the 21x21 kernel"):
        made(hr, tmp_path / "out", "g2.0d")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_nothing_is_written_over(hr: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made(hr, out, "g2.0d")
    before = tree(out)
    with pytest.raises(OutputError, match="exists already; choose another name, or allow it: overwrite=true"):
        made(hr, out, "iso_4_d")
    assert tree(out) == before
    shutil.rmtree(out / "lr")
    with pytest.raises(OutputError, match=r"img2\.npy exists already"):
        made(hr, out, "iso_4_d")
    shutil.rmtree(out / "kernels")
    with pytest.raises(OutputError, match=r"manifest\.json exists already"):
        made(hr, out, "iso_4_d")
    made(hr, out, "iso_4_d", overwrite=True)
    assert manifest(out)["degradation"] == "iso_4_d"


@pytest.mark.parametrize("how", ["same", "lr", "hr", "link"])
def test_the_input_is_never_written_into(tmp_path: Path, how: str) -> None:
    source = tmp_path / {"lr": "lr", "hr": "hr"}.get(how, "in")
    save_picture(source / "a.png", 41, 43)
    output = {"same": source, "link": tmp_path / "link"}.get(how, tmp_path)
    if how == "link":
        output.symlink_to(source)
    before = tree(source)
    with pytest.raises(OutputError, match="into the input's own folder"):
        made(source, output, "g2.0d", overwrite=True, prepare__hr=True)
    assert tree(source) == before
    assert set(os.listdir(tmp_path)) <= {source.name, "link"}


def test_an_input_that_is_linked_is_not_written_over(hr: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "lr").mkdir(parents=True)
    os.link(hr / "img2.png", tmp_path / "out" / "lr" / "img2.png")
    before = tree(hr)
    with pytest.raises(OutputError, match="is an input itself"):
        made(hr, tmp_path / "out", "g2.0d", overwrite=True)
    assert tree(hr) == before
