"""The job that tells offsets: files, folders, kernels, and what is refused."""

from pathlib import Path

import pytest

from metasr.cli import main
from metasr.degradation.resize import imresize
from metasr.errors import DataError, InputError
from metasr.io.images import Photo, write_photo
from metasr.jobs.offset import Summary, Told, offset_task, offsets, pairs_of
from metasr.jobs.prepare import prepare
from running import compose, run_py, save_picture


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HR images, and LR images prepared of them."""
    top = tmp_path_factory.mktemp("offsets")
    for i, name in enumerate(("a", "b")):
        save_detailed(top / "hr" / f"{name}.png", i)
    list(prepare(top / "hr", top / "d", "g2.0d", scale=4.0))
    list(prepare(top / "hr", top / "p", "ddsr_x4"))
    return top


def save_detailed(path: Path, seed: int) -> None:
    """Detail in both directions, at an odd size."""
    import torch

    noise = torch.rand(1, 3, 31, 37, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    write_photo(Photo(imresize(noise, 5, size=(147, 181))[0].clamp(0, 1)), path)


def test_two_files(folders: Path) -> None:
    (told,) = offsets(folders / "d/lr/a.png", folders / "hr/a.png", kernel="g2.0d")
    assert isinstance(told, Told)
    assert (told.offset.down, told.offset.right) == pytest.approx((1.5, 1.5), abs=0.05)
    assert told.offset.convention == "direct"
    assert told.consistency.largest <= 0.51
    assert "a.png against a.png: LR sits 1." in str(told)
    assert "as rounding to 8 bits leaves it" in str(told)


def test_folders_with_a_kernel_for_each(folders: Path) -> None:
    *pairs, summary = offsets(folders / "p/lr", folders / "hr", kernel=str(folders / "p/kernels"))
    assert len(pairs) == 2
    for told in pairs:
        assert told.offset.convention == "ddsr"
        assert told.consistency.largest <= 1.001
        assert "as truncation to 8 bits leaves it" in str(told)
    assert isinstance(summary, Summary)
    assert str(summary).startswith("2 pairs: +2.9") or str(summary).startswith("2 pairs: +3.0")
    assert str(summary).endswith("all ddsr")
    mixed = Summary((pairs[0], next(offsets(folders / "d/lr/a.png", folders / "hr/a.png"))))  # type: ignore[arg-type]
    assert str(mixed).endswith("of different conventions")
    bicubic = list(offsets(folders / "p/lr", folders / "hr"))
    assert bicubic[0].consistency.mean > 3 * pairs[0].consistency.mean


def test_through_the_command(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["offset", str(folders / "d/lr"), str(folders / "hr"), "-k", "g2.0d"]) == 0
    shown = capsys.readouterr().out
    assert "as direct subsampling (0::s)" in shown
    assert "enlarge with shift=(1.5" in shown or "enlarge with shift=(1.4" in shown
    assert main(["offset", str(folders / "d/lr"), str(folders / "hr"), "-s", "2"]) == 2
    assert "LR and HR sizes do not match scale 2" in capsys.readouterr().err


@pytest.mark.slow
def test_through_the_program(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["offset", str(folders / "d/lr"), str(folders / "hr"), "-k", "g2.0d"])
    pair = (f"input={folders / 'd/lr'}", f"reference={folders / 'hr'}")
    done = run_py("task=offset", *pair, "kernel=g2.0d", "logger=none", outputs=tmp_path)
    assert (done.returncode, done.stdout) == (0, capsys.readouterr().out)
    wrong = run_py("task=offset", *pair, "scale=2", "logger=none", outputs=tmp_path)
    assert wrong.returncode == 2
    assert "LR and HR sizes do not match scale 2" in wrong.stderr


def test_partners_by_name(tmp_path: Path) -> None:
    for name in ("lr/a.png", "lr/bx4.png", "lr/c_x2.jpg", "lr/d.png", "hr/a.jpg", "hr/b.png", "hr/c.png", "hr/hr_d.png",
                 "hr/e.png"):  # fmt: skip
        save_picture(tmp_path / name, 9, 9)
    pairs = pairs_of(tmp_path / "lr", tmp_path / "hr")
    assert [(a.name, b.name) for a, b in pairs] == [
        ("a.png", "a.jpg"), ("bx4.png", "b.png"), ("c_x2.jpg", "c.png"), ("d.png", "hr_d.png"),
    ]  # fmt: skip
    for name in ("one/f.png", "one/hr_f.png"):
        save_picture(tmp_path / name, 9, 9)
    assert [(a.name, b.name) for a, b in pairs_of(tmp_path / "one", tmp_path / "one")] == [("f.png", "hr_f.png")]
    save_picture(tmp_path / "lr" / "lonely.png", 9, 9)
    with pytest.raises(DataError, match=r"1 image of .*lr have no image of their name in .*hr: lonely\.png; name them"):
        pairs_of(tmp_path / "lr", tmp_path / "hr")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (["input=a.png"], "task=offset needs input=LR and reference=HR"),
        (["reference=a.png"], "task=offset needs input=LR and reference=HR"),
        (["input=a.png", "reference=b.png", "output=x"], "task=offset writes nothing: leave output= out"),
    ],
)
def test_the_task_needs_two_images(choices: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        offset_task(compose("task=offset", *choices))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "none.png"}, r"no file or folder none\.png; give an existing one as input=PATH"),
        ({"reference": "none.png"}, r"no file or folder none\.png; give an existing one as reference=PATH"),
        ({"kernel": "g2.0x"}, r"unknown degradation 'g2\.0x'"),
        ({"kernel": "none.mat"}, r"no kernel file none\.mat"),
    ],
)
def test_wrong_choices(folders: Path, values: dict[str, str], message: str) -> None:
    given = {"source": folders / "d/lr/a.png", "reference": folders / "hr/a.png", **values}
    with pytest.raises((InputError, DataError), match=message):
        list(offsets(**given))  # type: ignore[arg-type]


def test_pairs_that_do_not_fit(folders: Path, tmp_path: Path) -> None:
    lr, hr = folders / "d/lr/a.png", folders / "hr/a.png"
    with pytest.raises(InputError, match="two images or two folders, got one of each"):
        list(offsets(lr, folders / "hr"))
    with pytest.raises(InputError, match=r"a\.png and .*a\.png: the LR image must be smaller than the HR one"):
        list(offsets(hr, lr))
    with pytest.raises(InputError, match="no whole multiple of LR of 30x31; give the factor"):
        list(offsets(save_picture(tmp_path / "odd.png", 30, 31), hr))
    with pytest.raises(InputError, match="do not show the same"):
        list(offsets(folders / "d/lr/b.png", hr))
    with pytest.raises(InputError, match="an offset needs a scale above 1, got 1"):
        list(offsets(lr, hr, scale=1.0))
    save_picture(tmp_path / "lr" / "z.png", 36, 45)
    save_picture(tmp_path / "hr" / "z.png", 147, 181)
    with pytest.raises(DataError, match=r"has no kernel for z\.png: it would be z\.npy or kernel_z\.mat"):
        list(offsets(tmp_path / "lr", tmp_path / "hr", kernel=str(folders / "p/kernels")))
