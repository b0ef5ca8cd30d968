"""Upscaling a user's photos."""

import os
import shutil
from pathlib import Path

import numpy as np
import png
import pytest
import torch
from PIL import Image

from metasr.config.photos import adapt_steps
from metasr.degradation import names
from metasr.degradation.kernels import isotropic
from metasr.degradation.resize import imresize
from metasr.errors import DataError, InputError, OutputError, WeightsError
from metasr.io.images import read_photo
from metasr.jobs.photo_files import pairs_of_files
from metasr.jobs.upscale import Upscaled, upscale_task
from metasr.solvers.interpolate import InterpolateSolver
from running import picture, save_picture
from running import upscale_config as config


def interpolate(source: Path, output: Path | None = None, **values: object) -> list[Upscaled]:
    return list(upscale_task(config("interpolate", input=source, output=output, **values)))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_rgb_is_what_the_solver_gives(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "a.png", 23, 31)
    done = interpolate(source)
    assert [(d.source, d.output, d.updates, d.weights) for d in done] == [(source, tmp_path / "a_x2.png", 0, "-")]
    lr = read_photo(source).rgb[None]
    want = InterpolateSolver().solve(lr, scale=2).sr[0]
    got = read_photo(tmp_path / "a_x2.png")
    assert got.rgb.shape == (3, 46, 62)
    assert (got.rgb - want).abs().max() <= 0.5 / 255 + 1e-6
    assert (got.grey, got.alpha, got.bits) == (False, None, 8)


def test_greyscale_stays_greyscale(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "g.png", 21, 25, 1)
    for solver, steps in (("interpolate", None), ("network", None)):
        list(upscale_task(config(solver, input=source, adapt_steps=steps, overwrite=True)))
        with Image.open(tmp_path / "g_x2.png") as image:
            assert image.mode == "L"
            assert image.size == (50, 42)


def test_palette_becomes_colour(tmp_path: Path) -> None:
    image = Image.fromarray(picture(20, 26)).quantize(16)
    image.save(tmp_path / "p.gif")
    interpolate(tmp_path / "p.gif")
    with Image.open(tmp_path / "p_x2.png") as made:
        assert (made.mode, made.size) == ("RGB", (52, 40))


def test_alpha_is_carried_along(tmp_path: Path) -> None:
    values = picture(20, 26, 4)
    values[:10, :, 3] = 0
    values[10:, :, 3] = 255
    Image.fromarray(values).save(tmp_path / "a.png")
    interpolate(tmp_path / "a.png")
    made = pixels(tmp_path / "a_x2.png")
    assert made.shape == (40, 52, 4)
    assert (made[:15, :, 3] == 0).all()
    assert (made[25:, :, 3] == 255).all()
    plain = interpolate(save_picture(tmp_path / "b.png", 20, 26), tmp_path / "b.jpg")
    assert plain[0].output.is_file()
    with pytest.raises(
        OutputError, match=r"\.jpg cannot hold the image's transparency \(alpha\); write .*c\.png instead"
    ):
        interpolate(tmp_path / "a.png", tmp_path / "c.jpg")
    assert not (tmp_path / "c.jpg").exists()


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_stay_sixteen(tmp_path: Path, channels: int) -> None:
    values = picture(20, 26, 3, full=65535)[..., :channels]
    writer = png.Writer(26, 20, greyscale=channels == 1, bitdepth=16)
    with (tmp_path / "s.png").open("wb") as file:
        writer.write(file, values.reshape(20, -1).tolist())
    interpolate(tmp_path / "s.png")
    made = read_photo(tmp_path / "s_x2.png")
    assert (made.bits, made.grey) == (16, channels == 1)
    want = imresize(torch.from_numpy(values.astype(np.float64) / 65535).movedim(-1, 0)[None], 2)[0].clamp(0, 1)
    assert (made.rgb[:channels] - want).abs().max() < 2 / 65535


def test_exif_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    Image.fromarray(picture(20, 30)).save(tmp_path / "e.jpg", exif=exif, quality=100)
    interpolate(tmp_path / "e.jpg")
    with Image.open(tmp_path / "e_x2.png") as made:
        assert made.size == (40, 60)
        assert made.getexif().get(274, 1) == 1
    turned = imresize(read_photo(tmp_path / "e.jpg").rgb[None], 2)[0].clamp(0, 1)
    assert (read_photo(tmp_path / "e_x2.png").rgb - turned).abs().max() < 0.01


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif", ".bmp", ".PNG"])
def test_other_formats(tmp_path: Path, suffix: str) -> None:
    source = save_picture(tmp_path / "a.png", 17, 13)
    made = interpolate(source, tmp_path / f"out{suffix}")
    assert read_photo(made[0].output).rgb.shape == (3, 34, 26)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (22, 21), (37, 50)])
def test_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    source = save_picture(tmp_path / "a.png", *size)
    for solver in ("interpolate", "interpolate_aligned", "network"):
        made = list(upscale_task(config(solver, input=source, overwrite=True)))
        assert read_photo(made[0].output).rgb.shape == (3, 2 * size[0], 2 * size[1])


def test_any_size_adapts(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "a.png", 27, 34)
    made = list(upscale_task(config("adapt", input=source, adapt_steps=1)))
    assert (made[0].updates, made[0].weights) == (1, "released/mzsr_x2_bicubic_meta")
    direct = list(upscale_task(config("adapt", input=source, output=tmp_path / "d.png", adapt_steps=1, kernel="g2.0d")))
    assert direct[0].weights == "released/mzsr_x2_meta"


def test_other_scales_go_by_the_one_that_the_weights_know(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = save_picture(tmp_path / "a.png", 25, 31)
    made = list(upscale_task(config("adapt", input=source, adapt_steps=1, scale=1.5)))
    assert made[0].output.name == "a_x1.5.png"
    assert read_photo(made[0].output).rgb.shape == (3, 38, 47)
    assert not caplog.records
    list(upscale_task(config("adapt", input=source, adapt_steps=1, scale=3)))
    told = "mzsr_x2_bicubic_meta knows no scale above x2: enlarged by that, and from there to x3 by interpolation"
    assert told in caplog.text
    list(upscale_task(config("adapt", input=source, adapt_steps=1, scale=3, kernel="g1.3b", overwrite=True)))
    assert "was trained for scale 2 and is used for 3" in caplog.text  # a kernel belongs to its scale
    with pytest.raises(InputError, match=r"scale must be whole, got 1\.5"):
        list(upscale_task(config("adapt", input=source, scale=1.5, kernel="area")))


@pytest.mark.parametrize("scale", [0.0, -2.0, float("nan"), float("inf")])
def test_impossible_scales(tmp_path: Path, scale: float) -> None:
    source = save_picture(tmp_path / "a.png", 9, 9)
    with pytest.raises(InputError, match="scale must be a finite number above 0"):
        interpolate(source, scale=scale)


@pytest.mark.parametrize(("solver", "steps"), [("network", None), ("adapt", 2)])
def test_tiles_do_not_change_the_result(tmp_path: Path, solver: str, steps: int | None) -> None:
    source = save_picture(tmp_path / "a.png", 45, 52)
    made = {}
    for tile in (16, 256):
        kernel = "iso_1_b" if solver == "adapt" else "bicubic"
        cfg = config(solver, input=source, output=tmp_path / f"{tile}.png", adapt_steps=steps, kernel=kernel)
        cfg.solver.tile = tile
        if solver == "adapt":
            cfg.solver.backward_precision = "float32"  # so that rounding is the images' alone, on every CPU
        list(upscale_task(cfg))
        made[tile] = pixels(tmp_path / f"{tile}.png").astype(int)
    difference = np.abs(made[16] - made[256])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001  # rounding alone


def test_a_kernel_file_is_the_kernel(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "a.png", 45, 37)
    np.save(tmp_path / "k.npy", isotropic(2.0).numpy())
    for i, kernel in enumerate((str(tmp_path / "k.npy"), "iso_2_d", "bicubic")):
        list(upscale_task(config("adapt", input=source, output=tmp_path / f"{i}.png", kernel=kernel, adapt_steps=1)))
    assert (pixels(tmp_path / "0.png") == pixels(tmp_path / "1.png")).all()
    assert (pixels(tmp_path / "0.png") != pixels(tmp_path / "2.png")).any()


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("g2.0x", r"unknown degradation 'g2\.0x': did you mean 'g2\.0d'.*or a kernel file"),
        ("nowhere.npy", r"no kernel file nowhere\.npy"),
        ("nan.npy", r"kernel must be finite"),
        ("pickle.npy", r"cannot read a kernel from .*pickle\.npy"),
    ],
)
def test_wrong_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("nan.npy", np.full((3, 3), np.nan))
    np.save("pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    source = save_picture(tmp_path / "a.png", 45, 37)
    with pytest.raises((InputError, DataError), match=message):
        interpolate(source, kernel=kernel)
    assert not (tmp_path / "a_x2.png").exists()


def test_an_image_smaller_than_the_kernel_is_named(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "tiny.png", 15, 40)
    with pytest.raises(InputError, match=r"tiny\.png: image of 15x40 is smaller than the 21x21 kernel"):
        list(upscale_task(config("adapt", input=source, kernel="g2.0d", adapt_steps=1)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.png"]


def test_without_updates_no_kernel_is_too_large(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "tiny.png", 15, 40)
    made = list(upscale_task(config("adapt", input=source, kernel="g2.0d", adapt_steps=0)))
    assert made[0].updates == 0


# Where results go


def test_folder_to_folder(tmp_path: Path) -> None:
    for name in ("b10.png", "b9.jpg", "sub/c.png"):
        save_picture(tmp_path / "in" / name, 11, 14)
    (tmp_path / "in" / "notes.txt").write_text("kept out")
    done = interpolate(tmp_path / "in", tmp_path / "new" / "out")
    assert [d.output.name for d in done] == ["b9.png", "b10.png"]
    assert sorted(p.name for p in (tmp_path / "new" / "out").iterdir()) == ["b10.png", "b9.png"]


def test_folder_beside_itself_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_picture(tmp_path / "scans.v1" / "a.png", 9, 9)
    interpolate(tmp_path / "scans.v1")
    assert (tmp_path / "scans.v1_x2" / "a.png").is_file()
    monkeypatch.chdir(tmp_path / "scans.v1")
    interpolate(Path("."), scale=3.0)
    assert (tmp_path / "scans.v1_x3" / "a.png").is_file()


def test_file_into_an_existing_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    interpolate(save_picture(tmp_path / "a.b.jpg", 9, 9), tmp_path / "out")
    assert (tmp_path / "out" / "a.b.png").is_file()


def test_names_that_differ_by_suffix_alone_stay_apart(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        save_picture(tmp_path / "in" / name, 9, 9)
    done = interpolate(tmp_path / "in", tmp_path / "out")
    assert sorted(d.output.name for d in done) == ["a.jpg.png", "a.png.png"]


def test_a_file_for_a_folders_output(tmp_path: Path) -> None:
    save_picture(tmp_path / "in" / "a.png", 9, 9)
    with pytest.raises(OutputError, match=r"input is a folder, so output must be a folder too, but .*o\.png is a file"):
        interpolate(tmp_path / "in", save_picture(tmp_path / "o.png", 9, 9))


def test_an_existing_output(tmp_path: Path) -> None:
    source, target = save_picture(tmp_path / "a.png", 9, 9), tmp_path / "a_x2.png"
    target.write_text("mine")
    with pytest.raises(
        OutputError, match=r"a_x2\.png exists already; choose another name, or allow it: overwrite=true"
    ):
        interpolate(source)
    assert target.read_text() == "mine"
    interpolate(source, overwrite=True)
    assert pixels(target).shape == (18, 18, 3)


def test_a_folder_with_one_existing_output_fails_before_any_work(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / "in" / name, 9, 9)
    save_picture(tmp_path / "out" / "b.png", 9, 9)
    with pytest.raises(OutputError, match="exists already"):
        interpolate(tmp_path / "in", tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["b.png"]


@pytest.mark.parametrize("how", ["same", "spelling", "symlink", "hard link", "folder link", "into its folder"])
def test_the_input_is_never_written_over(tmp_path: Path, how: str) -> None:
    source = save_picture(tmp_path / "in" / "a.png", 9, 9)
    output = {
        "same": source, "spelling": tmp_path / "in" / ".." / "in" / "a.png", "symlink": tmp_path / "s.png",
        "hard link": tmp_path / "h.png", "folder link": tmp_path / "link" / "a.png", "into its folder": tmp_path / "in",
    }[how]  # fmt: skip
    if how == "symlink":
        output.symlink_to(source)
    elif how == "hard link":
        os.link(source, output)
    elif how == "folder link":
        (tmp_path / "link").symlink_to(tmp_path / "in")
    before = source.read_bytes()
    with pytest.raises(OutputError, match="input itself, which is never written over"):
        interpolate(source, output, overwrite=True)
    assert source.read_bytes() == before


def test_no_input_is_written_over_by_another_ones_output(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.jpg.png"):
        save_picture(tmp_path / "in" / name, 9, 9)
    before = {p: p.read_bytes() for p in (tmp_path / "in").iterdir()}
    with pytest.raises(OutputError, match=r"a\.jpg\.png is an input itself"):
        interpolate(tmp_path / "in", tmp_path / "in", overwrite=True)
    assert {p: p.read_bytes() for p in (tmp_path / "in").iterdir()} == before
    shutil.rmtree(tmp_path / "in")
    for name in ("a.jpg", "a_side_by_side.png"):
        save_picture(tmp_path / "in" / name, 9, 9)
    with pytest.raises(OutputError, match=r"is an input itself"):
        interpolate(tmp_path / "in", tmp_path / "in", overwrite=True, side_by_side=True)


def test_an_output_below_a_file(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "a.png", 9, 9)
    with pytest.raises(OutputError, match=r"cannot write .*: .*a\.png is a file, not a folder"):
        interpolate(source, source / "x.png")
    with pytest.raises(OutputError, match=r"expected a file name that ends in \.png, .*got '.*x\.gif'"):
        interpolate(source, tmp_path / "x.gif")


def test_side_by_side(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "cost $5 & $6.png", 33, 41, 1)
    interpolate(source, tmp_path / "o.png", side_by_side=True)
    assert pixels(tmp_path / "o_side_by_side.png").shape[2] >= 3
    interpolate(source, side_by_side=True)
    assert (tmp_path / "cost $5 & $6_x2_side_by_side.png").is_file()


# What comes in


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, r"no file or folder .*; give an existing image or a folder of images"),
        (lambda p: p.write_bytes(b""), r"is empty|0 bytes|truncated"),
        (lambda p: p.write_text("not an image"), r"none of the known formats"),
        (lambda p: p.mkdir(), r"expected images .* directly in .*, found no file"),
        (lambda p: p.write_bytes(save_picture(p.with_name("w.png")).read_bytes()[:400]), r"truncated|damaged"),
    ],
)
def test_wrong_inputs(tmp_path: Path, make: object, message: str) -> None:
    make(tmp_path / "in.png")  # type: ignore[operator]
    with pytest.raises((InputError, DataError), match=message):
        interpolate(tmp_path / "in.png", tmp_path / ("out" if (tmp_path / "in.png").is_dir() else "out.png"))
    assert not list(tmp_path.glob("out*"))


def test_no_input() -> None:
    with pytest.raises(InputError, match="task=upscale needs input=FILE or input=FOLDER"):
        list(upscale_task(config("interpolate")))


def test_wrong_weights(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "a.png", 9, 9)
    with pytest.raises(WeightsError, match="no released weights 'x'"):
        list(upscale_task(config("adapt", input=source, weights="released/x")))
    with pytest.raises(WeightsError, match="no weights file"):
        list(upscale_task(config("adapt", input=source, weights=tmp_path / "none.pt")))


@pytest.mark.parametrize(("value", "want"), [(None, 10), (3, 3), ([0, 5, 1], 5), (0, 0)])
def test_number_of_updates(value: object, want: int) -> None:
    assert adapt_steps(config("adapt", adapt_steps=value)) == want


@pytest.mark.parametrize("value", [-1, [], [1, -2], "ten", 1.5, [1.5]])
def test_impossible_numbers_of_updates(value: object) -> None:
    with pytest.raises(InputError, match="adapt_steps must be a number of at least 0, or a list of them"):
        adapt_steps(config("adapt", adapt_steps=value))


def test_solvers_without_updates_take_none() -> None:
    assert adapt_steps(config("interpolate", adapt_steps=5)) is None


def test_pairs_are_checked_without_touching_anything(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "a.png", 9, 9)
    assert pairs_of_files([source], None, scale=4) == [(source, tmp_path / "a_x4.png")]
    assert names.parse("bicubic", scale=4).scale == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png"]


def test_one_bad_photo_does_not_keep_a_folder_from_being_done(tmp_path: Path) -> None:
    save_picture(tmp_path / "in" / "a.png", 9, 7)
    save_picture(tmp_path / "in" / "c.png", 9, 7)
    (tmp_path / "in" / "b.png").write_bytes(b"not a picture")
    results = upscale_task(config("interpolate", input=tmp_path / "in", output=tmp_path / "out"))
    assert [next(results).output.name for _ in range(2)] == ["a.png", "c.png"]
    with pytest.raises(DataError, match=r"1 of 3 photos were left out.*: b\.png; the others are done"):
        next(results)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]
