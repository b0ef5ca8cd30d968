"""Sizes, formats and metadata of enlargements, by the command, the task and the function."""

import io
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import metasr
from metasr.cli import main
from metasr.errors import InputError
from metasr.io.images import read_photo, write_photo
from metasr.jobs.upscale import upscale_task
from metasr.metrics.protocol import LumaProtocol
from running import picture, run_py, save_picture, upscale_config

SIZES = [
    ({"width": 77}, "a_w77.png", (56, 77)),
    ({"height": 100}, "a_h100.png", (100, 138)),
    ({"width": 100, "height": 90}, "a_100x90.png", (73, 100)),
    ({"max_side": 120}, "a_max120.png", (88, 120)),
    ({"megapixels": 0.01}, "a_0.01mp.png", (86, 118)),
    ({"max_side": 30}, "a_max30.png", (22, 30)),
]


@pytest.mark.parametrize(("size", "name", "shape"), SIZES)
@pytest.mark.parametrize("way", ["command", "task", "function"])
def test_a_size_instead_of_a_scale(
    tmp_path: Path, way: str, size: dict[str, float], name: str, shape: tuple[int, int]
) -> None:
    source = save_picture(tmp_path / "a.png", 37, 51)
    if way == "command":
        words = [word for key, value in size.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        assert main(["upscale", str(source), "--solver", "interpolate", *words]) == 0
    elif way == "task":
        list(upscale_task(upscale_config("interpolate", input=source, **size)))
    else:
        (done,) = metasr.upscale(source, solver="interpolate", **size)  # type: ignore[arg-type]
        assert done.output == tmp_path / name
    assert read_photo(tmp_path / name).rgb.shape[1:] == shape


@pytest.mark.parametrize("solver", ["network", "unfolded", "adapt"])
def test_photos_of_several_sizes_come_out_alike(tmp_path: Path, solver: str, caplog: pytest.LogCaptureFixture) -> None:
    photos = [save_picture(tmp_path / f"{side}.png", side, 20) for side in (26, 14, 15)]
    photos.append(save_picture(tmp_path / "large.png", 60, 20))
    steps = {"steps": 1} if solver == "adapt" else {}
    done = metasr.upscale(photos, tmp_path / "out", solver=solver, max_side=50, kernel="bicubic", **steps)  # type: ignore[arg-type]
    assert [max(read_photo(one.output).rgb.shape[1:]) for one in done] == [50] * 4
    assert [one.updates for one in done] == [steps.get("steps", 0)] * 3 + [0]
    assert done[-1].weights == "-"
    assert "large.png is 20x60 already: it is made smaller" in caplog.text
    beyond = [r for r in caplog.records if "knows no scale above" in r.message]
    assert len(beyond) == (0 if solver == "unfolded" else 1)


def test_a_loaded_solver_takes_all_that_belongs_to_files(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "a.png", 37, 51)
    solver = metasr.load(solver="back_project")
    (done,) = metasr.upscale(source, solver=solver, max_side=120, format="webp", quality=80, kernel="g1.3b")
    assert done.output.name == "a_max120.webp"
    assert read_photo(done.output).rgb.shape == (3, 88, 120)
    frames = [Image.fromarray(picture(20, 30, seed=seed)) for seed in (1, 2)]
    frames[0].save(tmp_path / "b.tif", save_all=True, append_images=frames[1:])
    (done,) = metasr.upscale(tmp_path / "b.tif", solver=solver, frame=1)
    small = read_photo(done.output).rgb[:, ::2, ::2].mean()
    assert abs(float(small) * 255 - picture(20, 30, seed=2).mean()) < 5
    with pytest.raises(InputError, match=r"upscaling needs a scale above 1, got 0\.5"):
        metasr.upscale(source, solver=solver, scale=0.5)
    for given in ({"estimator": "ddsr"}, {"weights": "mzsr_x2"}, {"foo": 1}):
        with pytest.raises(InputError, match="are those of the solver that was given; give them to load"):
            metasr.upscale(source, solver=solver, **given)  # type: ignore[arg-type]


def test_what_the_command_takes_the_function_takes_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = [Image.fromarray(picture(40, 44, seed=seed)) for seed in (1, 2)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    kernels = np.zeros((2, 5, 5))
    kernels[0, 2, 2] = kernels[1, 2, 3] = 1
    np.save(tmp_path / "k.npy", kernels)
    made = {}
    for name, choices in {
        "first": {"kernel_index": 0}, "second": {"kernel_index": 1},
        "turned": {"kernel_index": 1, "flip_kernel": True}, "frame": {"kernel_index": 0, "frame": 1},
    }.items():  # fmt: skip
        out = tmp_path / f"{name}.png"
        metasr.upscale(tmp_path / "a.gif", out, kernel=f"{tmp_path}/k.npy", solver="back_project", **choices)  # type: ignore[arg-type]
        words = [word for key, value in choices.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        words = [word for word in words if word != "True"]
        again = tmp_path / f"{name}_again.png"
        how = ["-k", f"{tmp_path}/k.npy", "--solver", "back_project", "-o", str(again)]
        assert main(["upscale", str(tmp_path / "a.gif"), *how, *words]) == 0
        assert again.read_bytes() == out.read_bytes()
        made[name] = out.read_bytes()
    assert len(set(made.values())) == 4
    assert "a.gif holds 2 frames, of which the first is read; choose another by frame=N (--frame N)" in caplog.text
    with pytest.raises(Exception, match="at most 9 are read; if that is its true size, allow it"):
        metasr.upscale(tmp_path / "a.gif", tmp_path / "x.png", max_pixels=9)
    with pytest.raises(InputError, match="estimator must be one of ddsr, parametric, got 'good'"):
        metasr.upscale(tmp_path / "a.gif", kernel="estimate", estimator="good")
    (done,) = metasr.upscale(
        tmp_path / "a.gif", tmp_path / "e.png", kernel="estimate", estimator="parametric", save_kernel=True,
        solver="back_project", side_by_side=True, frame=0,
    )  # fmt: skip
    assert done.assumed.startswith("estimated: ")
    assert (tmp_path / "e_kernel.npy").is_file()
    assert (tmp_path / "e_side_by_side.png").is_file()


@pytest.mark.parametrize(
    ("format", "quality"), [("png", None), ("jpg", None), ("jpg", 30), ("webp", None), ("webp", 30)]
)
def test_formats_and_their_quality(tmp_path: Path, format: str, quality: int | None) -> None:
    source = save_picture(tmp_path / "in" / "a.png", 37, 51)
    (done,) = metasr.upscale(source.parent, tmp_path / "out", solver="interpolate", format=format, quality=quality)
    with Image.open(done.output) as image:
        assert image.format == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[format]
    whole, *_ = metasr.upscale(source, tmp_path / "whole.png", solver="interpolate")
    psnr = LumaProtocol()(read_photo(done.output).rgb[None], read_photo(whole.output).rgb[None], scale=2).psnr_y
    lossless = format == "png" or (format == "webp" and quality is None)
    assert (psnr > 90) if lossless else (25 < psnr < 65)
    if quality is not None:
        (best,) = metasr.upscale(source, tmp_path / f"best.{format}", solver="interpolate", quality=100)
        assert done.output.stat().st_size < 0.6 * best.output.stat().st_size


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "gif"], "format must be one of png, jpg, webp, got 'gif'"),
        (["--format", "jpg", "-o", "x.png"], "format jpg was asked for, but the output is named x.png; leave one out"),
        (["--quality", "80"], "quality is for jpg and webp, and a_x2.png would be written without loss"),
        (["--quality", "0", "-o", "x.jpg"], "quality must be 1 to 100, got 0"),
        (["--quality", "101", "-o", "x.jpg"], "quality must be 1 to 100, got 101"),
        (["--format", "png", "--quality", "80"], "quality is for jpg and webp"),
        (["--width", "100", "--scale", "2"], "a scale and a size (width, height, max_side, megapixels) exclude"),
        (["--width", "100", "--max-side", "2"], "width and max_side exclude each other"),
        (["--megapixels", "-1"], "megapixels must be above 0, got -1"),
        (["--width", "1000000"], "scale must be at most 100, got 19607.8; enlarge in several goes"),
    ],
)
def test_choices_that_do_not_fit(
    tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_picture(tmp_path / "a.png", 37, 51)
    monkeypatch.chdir(tmp_path)
    assert main(["upscale", "a.png", "--solver", "interpolate", *words]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.slow
def test_the_task_as_it_is_typed(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "a.png", 37, 51)
    typed = ("task=upscale", "solver=interpolate", f"input={source}", "width=77")
    done = run_py(*typed, "format=webp", "quality=70", outputs=tmp_path / "outputs")
    assert (done.returncode, done.stderr) == (0, "")
    assert read_photo(tmp_path / "a_w77.webp").rgb.shape == (3, 56, 77)
    refused = run_py(*typed, "scale=3", outputs=tmp_path / "outputs")
    assert refused.returncode == 2
    assert "a scale and a size (width, height, max_side, megapixels) exclude each other" in refused.stderr


def test_date_and_place_go_along_unless_they_are_not_to(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[271], tags[0x8825] = "Lumix", {1: "N", 2: (48.0, 30.0, 1.5)}
    Image.fromarray(picture(20, 30)).save(tmp_path / "a.jpg", exif=tags.tobytes(), dpi=(300, 300))
    assert main(["upscale", str(tmp_path / "a.jpg"), "--solver", "interpolate", "--format", "jpg"]) == 0
    assert main(["upscale", str(tmp_path / "a.jpg"), "--solver", "interpolate", "--no-metadata"]) == 0
    with Image.open(tmp_path / "a_x2.jpg") as image:
        assert image.getexif()[271] == "Lumix"
        assert image.getexif().get_ifd(0x8825)[2] == (48.0, 30.0, 1.5)
        assert image.info["dpi"] == (300, 300)
    with Image.open(tmp_path / "a_x2.png") as image:
        assert not image.getexif()
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    list(upscale_task(upscale_config("interpolate", input=tmp_path / "a.jpg", metadata=False, overwrite=True)))
    assert read_photo(tmp_path / "a_x2.png").exif is None


def test_a_format_on_standard_output(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = save_picture(tmp_path / "a.png", 9, 11)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(source.read_bytes())))
    assert main(["upscale", "-", "--solver", "interpolate", "--format", "webp", "--max-side", "33"]) == 0
    with Image.open(io.BytesIO(capsysbinary.readouterr().out)) as image:
        assert (image.format, image.size) == ("WEBP", (33, 27))


def test_heic_photos(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    heif = pytest.importorskip("pillow_heif", reason="needs the extra heic")
    tags = Image.Exif()
    tags[271], tags[274] = "Phone", 6  # lies on its side
    heif.from_pillow(Image.fromarray(picture(32, 48))).save(tmp_path / "a.heic", quality=95, exif=tags.tobytes())
    (done,) = metasr.upscale(tmp_path, tmp_path / "out", solver="interpolate", format="jpg")
    assert read_photo(done.output).rgb.shape == (3, 96, 64)
    with Image.open(done.output) as image:
        assert image.getexif()[271] == "Phone"
        assert 274 not in image.getexif()
    found = read_photo(tmp_path / "a.heic").rgb.permute(1, 2, 0).numpy() * 255
    assert np.abs(found - np.rot90(picture(32, 48), -1)).mean() < 4
    (tmp_path / "b.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:600])
    with pytest.raises(Exception, match=r"header is damaged|truncated or damaged"):
        read_photo(tmp_path / "b.heic")


def test_heic_without_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from metasr.io import heif

    monkeypatch.setattr(heif, "can_read", lambda: False)
    monkeypatch.setattr(heif, "register", lambda: False)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    save_picture(tmp_path / "b.png", 9, 9)
    with pytest.raises(Exception, match=r"a\.heic: HEIC is read by pillow-heif: pip install 'metasr\[heic\]', or"):
        read_photo(tmp_path / "a.heic")
    with caplog.at_level(logging.WARNING):
        done = metasr.upscale(tmp_path, tmp_path / "out", solver="interpolate")
    assert [one.source.name for one in done] == ["b.png"]
    assert "1 file left out (HEIC is read by pillow-heif: pip install 'metasr[heic]'" in caplog.text


def test_avif_and_webp_photos(tmp_path: Path) -> None:
    for suffix in ("avif", "webp"):
        Image.fromarray(picture(32, 48)).save(tmp_path / f"a.{suffix}", quality=95)
        (done,) = metasr.upscale(tmp_path / f"a.{suffix}", solver="interpolate", overwrite=True)
        assert read_photo(done.output).rgb.shape == (3, 64, 96)


def test_a_photo_of_16_bits_becomes_a_jpeg_of_8(tmp_path: Path) -> None:
    photo = read_photo(save_picture(tmp_path / "a.png", 9, 11))
    write_photo(type(photo)(photo.rgb, bits=16), tmp_path / "b.png")
    (done,) = metasr.upscale(tmp_path / "b.png", solver="interpolate", format="jpg")
    assert read_photo(done.output).bits == 8
