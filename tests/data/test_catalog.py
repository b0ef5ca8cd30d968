import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metasr.data.catalog import CATALOG, ImageSet, describe, image_set, info
from metasr.errors import DataError, InputError

TEST_SETS = ["set5", "set14", "b100", "urban100", "manga109", "general100"]

# name, split, files below the root, how many of them belong
LAYOUTS = [
    ("set5", "test", ["set5/a.png", "set5/b.png"], 2),
    ("set5", "test", ["Set5/HR/a.png", "Set5/LR_bicubic/X2/ax2.png"], 1),
    ("set5", "test", ["SET5/image_SRF_2/img_001_SRF_2_HR.png", "SET5/image_SRF_2/img_001_SRF_2_LR.png"], 1),
    ("set5", "test", ["Set5/Set5_HR/a.png", "Set5/Set5_LR_x2/a.png"], 1),
    ("set14", "test", ["benchmark/Set14/HR/a.png", "benchmark/Set14/LR/x.png"], 1),
    ("set14", "test", ["Set14/GTmod12/a.png", "Set14/LRbicx4/a.png"], 1),
    ("b100", "test", ["BSD100/1.png"], 1),
    (
        "b100",
        "test",
        ["BSDS500/BSR/BSDS500/data/images/val/3096.jpg", "BSDS500/BSR/BSDS500/data/images/train/1.jpg"],
        1,
    ),
    ("urban100", "test", ["Urban100/img_001.png"], 1),
    ("general100", "test", ["General-100/im_1.bmp"], 1),
    ("div2k", "train", ["DIV2K/DIV2K_train_HR/0001.png", "DIV2K/DIV2K_valid_HR/0801.png"], 1),
    ("div2k", "val", ["DIV2K_train_HR/0001.png", "DIV2K_valid_HR/0801.png"], 1),
    ("flickr2k", "train", ["Flickr2K/Flickr2K_HR/000001.png", "Flickr2K/Flickr2K_LR_bicubic/X2/1.png"], 1),
    ("df2k", "train", ["DIV2K/DIV2K_train_HR/0001.png", "Flickr2K/Flickr2K_HR/000001.png"], 2),
    ("df2k", "val", ["DIV2K/DIV2K_valid_HR/0801.png", "Flickr2K/Flickr2K_HR/000001.png"], 1),
    ("df2k", "train", ["DF2K/DF2K_train_HR/1.png", "DF2K/DF2K_train_HR/2.png"], 2),
    ("bsds500", "train", [f"BSDS500/data/images/{s}/{i}.jpg" for i, s in enumerate(("train", "test", "val"))], 2),
    ("bsds500", "train", ["bsds400_train/2018.jpg", "bsds400_train/2092.jpg"], 2),
    ("ucmerced", "train", [f"UCMerced_LandUse/Images/river/river{i}.tif" for i in (49, 50, 60, 70)], 2),
    ("ucmerced", "val", [f"UCMerced_LandUse/Images/river/river{i}.tif" for i in (49, 50, 60, 70)], 1),
    ("ucmerced", "test", [f"UCMerced_LandUse/Images/runway/runway{i}.tif" for i in (49, 54, 60, 70)], 1),
    ("t91", "train", ["T91/t1.png", "T91/t10.png", "T91/t2.png"], 3),
]


def write(root: Path, *names: str, size: tuple[int, int] = (7, 5)) -> None:
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)


@pytest.mark.filterwarnings("ignore:.*are not comparable")
@pytest.mark.parametrize(("name", "split", "files", "count"), LAYOUTS)
def test_common_layouts_are_found(name, split, files, count, tmp_path):
    write(tmp_path, *files)
    found = image_set(name, split=split, root=tmp_path)
    assert len(found) == count
    assert found.load(0).shape == (3, 5, 7)


@pytest.mark.filterwarnings("ignore:.*are not comparable")
@pytest.mark.parametrize("folder", ["Set5", "anything"])
def test_the_root_may_be_the_sets_own_folder(folder, tmp_path):
    write(tmp_path, f"{folder}/b10.png", f"{folder}/b9.png", f"{folder}/notes.png.txt.png")
    assert image_set("set5", split="test", root=tmp_path / folder).names[:2] == ("b9", "b10")


@pytest.mark.filterwarnings("ignore:.*are not comparable")
def test_the_environment_names_the_root(tmp_path, monkeypatch):
    write(tmp_path, "Set14/a.png")
    monkeypatch.setenv("METASR_DATA", str(tmp_path))
    assert image_set("set14", split="test").paths == (tmp_path / "Set14" / "a.png",)


def test_a_wrong_count_is_warned_of(tmp_path):
    write(tmp_path, "Set5/a.png")
    with pytest.warns(UserWarning, match="has 5 images, found 1"):
        image_set("set5", split="test", root=tmp_path)


@pytest.mark.parametrize("name", TEST_SETS)
@pytest.mark.parametrize("split", ["train", "val"])
def test_test_sets_are_not_learned_from(name, split, tmp_path):
    write(tmp_path, "a.png")
    with pytest.raises(DataError, match=r"test set.*train on samples, div2k"):
        image_set(name, split=split, root=tmp_path, val_fraction=0.5)


def test_bsds500_keeps_b100_out(tmp_path):
    with pytest.raises(DataError, match="test set B100"):
        image_set("bsds500", split="val", root=tmp_path)
    write(tmp_path, "BSDS500/2018.jpg", "BSDS500/3096.jpg")
    with pytest.raises(DataError, match=r"1 of the 2 images .* are test images of B100 \(3096"):
        image_set("bsds500", root=tmp_path)


@pytest.mark.filterwarnings("ignore:.*are not comparable")
@pytest.mark.parametrize(
    ("size", "cropped"),
    [((481, 321), (320, 480)), ((321, 481), (480, 320)), ((480, 320), (320, 480)), ((60, 40), (40, 60))],
)
def test_b100_is_cropped_to_its_top_left(size, cropped, tmp_path):
    write(tmp_path, "B100/a.png", size=size)
    images = image_set("b100", split="test", root=tmp_path)
    whole = dataclasses.replace(images, crop=None).load(0)
    assert images.load(0).shape == (3, *cropped)
    assert (images.load(0) == whole[:, : cropped[0], : cropped[1]]).all()


def test_published_sets_hold_images_out_on_request(tmp_path):
    write(tmp_path, *(f"T91/t{i}.png" for i in range(91)))
    assert len(image_set("t91", root=tmp_path)) == 91
    with pytest.raises(DataError, match=r"val_fraction \(data\.val_fraction=0\.05\)"):
        image_set("t91", split="val", root=tmp_path)
    train, val = (image_set("t91", split=s, root=tmp_path, val_fraction=0.1) for s in ("train", "val"))
    assert (len(train), len(val)) == (82, 9)
    assert not set(train.names) & set(val.names)


def test_a_plain_folder_is_split_by_name_alone(tmp_path):
    write(tmp_path, *(f"one/{i}.png" for i in range(40)), *(f"two/{i}.png" for i in range(40)))
    sets = {s: image_set("image_folder", split=s, root=tmp_path / "one") for s in ("train", "val", "test", "all")}
    assert [len(s) for s in sets.values()] == [38, 2, 40, 40]
    assert set(sets["train"].names) | set(sets["val"].names) == set(sets["all"].names)
    assert image_set("image_folder", split="val", root=tmp_path / "two").names == sets["val"].names
    assert len(image_set("image_folder", root=tmp_path / "one", val_fraction=0)) == 40
    write(tmp_path, "three/a.png", "three/b.png")
    assert len(image_set("image_folder", split="val", root=tmp_path / "three")) == 1


def test_sub_folders_of_a_plain_folder_are_honoured(tmp_path):
    write(tmp_path, *(f"Train/{i}.png" for i in range(4)))
    train, val = (image_set("image_folder", split=s, root=tmp_path) for s in ("train", "val"))
    assert (len(train), len(val)) == (3, 1)
    assert not set(train.paths) & set(val.paths)
    with pytest.raises(DataError, match="nothing for 'test'"):
        image_set("image_folder", split="test", root=tmp_path)
    write(tmp_path, "val/x.png", "test/y.png")
    assert [len(image_set("image_folder", split=s, root=tmp_path)) for s in ("train", "val", "test", "all")] == [
        4,
        1,
        1,
        6,
    ]


def test_a_plain_folder_is_searched_with_its_sub_folders(tmp_path):
    write(tmp_path, *(f"{trip}/{i}.png" for trip in ("alps/day1", "alps/day2", "sea") for i in range(10)))
    train, val = (image_set("image_folder", split=s, root=tmp_path) for s in ("train", "val"))
    assert (len(train), len(val)) == (28, 2)
    assert not set(train.paths) & set(val.paths)
    every = image_set("image_folder", split="all", root=tmp_path)
    assert len(set(every.names)) == 30  # told apart by their folders
    assert every.names[0] == "alps/day1/0.png"
    assert image_set("image_folder", split="all", root=tmp_path / "sea").names[0] == "0"
    write(tmp_path, "val/night/x.png", "val/y.png", "train/deep/in/z.png")
    assert len(image_set("image_folder", split="val", root=tmp_path)) == 2
    assert image_set("image_folder", split="train", root=tmp_path).names == ("z",)


def test_a_download_that_fails_names_the_folders(tmp_path, monkeypatch):
    def fetch(archive, folder):
        raise DataError(f"{archive.url} is out of reach.")

    monkeypatch.setattr("metasr.data.catalog.fetch", fetch)
    for name, split, layout in (
        ("div2k", "train", "ROOT/DIV2K/DIV2K_train_HR/*.png and ROOT/DIV2K/DIV2K_valid_HR/*.png"),
        ("flickr2k", "train", "ROOT/Flickr2K/Flickr2K_HR/*.png"),
        ("urban100", "test", "ROOT/Urban100/*.png, or in ROOT/Urban100/: HR"),
    ):
        with pytest.raises(DataError) as told:
            image_set(name, split=split, root=tmp_path, download=True)
        assert "is out of reach. Or get " in str(told.value)
        assert layout in str(told.value)
        assert "data.root=FOLDER" in str(told.value)


def test_one_image_cannot_be_split(tmp_path):
    write(tmp_path, "a.png")
    assert len(image_set("image_folder", split="test", root=tmp_path)) == 1
    with pytest.raises(DataError, match=r"one image only.*val_fraction=0 \(data\.val_fraction=0\)"):
        image_set("image_folder", split="train", root=tmp_path)
    with pytest.raises(DataError, match="val_fraction=0"):
        image_set("image_folder", split="val", root=tmp_path, val_fraction=0)


def test_what_is_missing_is_told(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"no data set 'set55': did you mean 'set5'"):
        info("set55")
    monkeypatch.delenv("METASR_DATA", raising=False)
    with pytest.raises(DataError, match=r"give root \(data.root=FOLDER, or testset_root=FOLDER .* METASR_DATA"):
        image_set("div2k")
    with pytest.raises(DataError, match=r"no such folder. Expected: ROOT/DIV2K.*download=True \(data.download=true\)"):
        image_set("div2k", root=tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"as root \(data.root=FOLDER, or testset_root=FOLDER .*METASR_DATA"):
        image_set("div2k", root=tmp_path / "nowhere")
    with pytest.raises(DataError, match="it is empty"):
        image_set("div2k", root=tmp_path)
    (tmp_path / "Set5").mkdir()
    with pytest.raises(DataError, match="found there: Set5/"):
        image_set("set5", split="test", root=tmp_path)
    with pytest.raises(DataError, match="found no file"):
        image_set("image_folder", root=tmp_path / "Set5")
    with pytest.raises(DataError, match="registration"):
        image_set("manga109", split="test", root=tmp_path, download=True)
    with pytest.raises(DataError, match="test images are not public"):
        image_set("div2k", split="test", root=tmp_path)


def test_wrong_arguments_are_told():
    with pytest.raises(InputError, match="split must be one of"):
        image_set("samples", split="valid")
    with pytest.raises(InputError, match="val_fraction must be in"):
        image_set("samples", val_fraction=1.5)
    with pytest.raises(InputError, match="max_images must be at least 1"):
        image_set("samples").subset(0)


def test_a_fingerprint_follows_names_and_bytes_and_not_the_place(tmp_path):
    write(tmp_path, *(f"{folder}/{name}.png" for folder in ("one", "two") for name in "a"))
    (tmp_path / "two" / "a.png").write_bytes((tmp_path / "one" / "a.png").read_bytes())
    one, two = (ImageSet("x", "test", (tmp_path / folder / "a.png",)) for folder in ("one", "two"))
    assert one.fingerprint() == two.fingerprint()
    assert len(one.fingerprint()) == 64
    (tmp_path / "two" / "a.png").rename(tmp_path / "two" / "b.png")
    assert one.fingerprint() != ImageSet("x", "test", (tmp_path / "two" / "b.png",)).fingerprint()
    with (tmp_path / "one" / "a.png").open("ab") as file:
        before = two = one.fingerprint()
        file.write(b"x")
    assert one.fingerprint() != before


def test_a_subset_is_the_first_images():
    images = image_set("samples", split="test")
    assert images.subset(2).paths == images.paths[:2]
    assert images.subset(99).paths == images.paths
    assert images.subset(None) is images


@pytest.mark.parametrize("name", CATALOG)
def test_every_set_describes_itself(name):
    text = describe(name)
    for heading in ("splits:", "structure:", "licence:", "source:"):
        assert heading in text
    assert CATALOG[name].name == name
    for archive in CATALOG[name].archives:
        assert archive.url in text
        assert archive.known_hash is None or archive.known_hash.partition(":")[0] in ("md5", "sha256")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "split", "count"), [("set5", "test", 5), ("set14", "test", 14), ("b100", "test", 100)]
)
def test_the_benchmarks_are_found(name, split, count, shared_data):
    images = image_set(name, split=split, root=shared_data)
    assert len(images) == count
    if name == "b100":
        assert {tuple(images.load(i).shape) for i in range(0, 100, 9)} == {(3, 320, 480), (3, 480, 320)}


@pytest.mark.data
def test_bsds500_trains_on_400_images_apart_from_b100(shared_data):
    train = image_set("bsds500", root=shared_data)
    assert len(train) == 400
    assert not set(train.names) & set(image_set("b100", split="test", root=shared_data).names)
    assert info("bsds500").apart == set(image_set("b100", split="test", root=shared_data).names)


def test_files_that_share_a_stem_are_named_in_full(tmp_path):
    write(tmp_path, "a.jpg", "a.png", "b.png")
    images = image_set("image_folder", split="test", root=tmp_path)
    assert images.names == ("a.jpg", "a.png", "b.png")
    assert image_set("image_folder", split="test", root=tmp_path).subset(1).names == ("a",)


def test_a_fingerprint_of_unchanged_files_is_not_computed_again(tmp_path, monkeypatch):
    write(tmp_path, "a.png")
    path = tmp_path / "a.png"
    os.utime(path, (1e9, 1e9))
    first = ImageSet("x", "test", (path,)).fingerprint()
    with monkeypatch.context() as patch:
        patch.setattr("metasr.data.catalog._hash_files", lambda _: pytest.fail("hashed again"))
        assert ImageSet("y", "train", (path,)).fingerprint() == first
    path.write_bytes(path.read_bytes()[:-1] + b"x")  # of the same size
    assert ImageSet("x", "test", (path,)).fingerprint() != first
    second = ImageSet("x", "test", (path,)).fingerprint()
    path.write_bytes(path.read_bytes()[:-1] + b"y")  # at once
    assert ImageSet("x", "test", (path,)).fingerprint() != second
