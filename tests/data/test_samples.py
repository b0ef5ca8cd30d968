import re

import pytest
import torch

from metasr.data import catalog
from metasr.data.catalog import image_set

SPLITS = {"train": 11, "val": 2, "test": 4}


@pytest.mark.parametrize(("split", "count"), SPLITS.items())
def test_each_split_needs_no_root(split, count, monkeypatch):
    monkeypatch.delenv("METASR_DATA", raising=False)
    images = image_set("samples", split=split)
    assert len(images) == count
    for i in range(count):
        image = images.load(i)
        assert image.dtype == torch.float32
        assert image.shape[0] == 3
        assert min(image.shape[1:]) >= 256
        assert max(image.shape[1:]) <= 640
        assert image.std() > 0.04, f"{images.names[i]} is nearly flat"


def test_test_images_divide_by_every_scale_and_are_in_colour():
    images = image_set("samples", split="test")
    assert {"astronaut", "chelsea", "coffee"} <= set(images.names)
    for i in range(len(images)):
        image = images.load(i)
        assert image.shape[1] % 12 == image.shape[2] % 12 == 0
        assert (image[0] - image[2]).abs().mean() > 0.02


def test_all_is_every_split_and_none_is_in_two():
    everything = image_set("samples", split="all")
    assert len(everything) == sum(SPLITS.values())
    assert len(set(everything.names)) == len(everything)


def test_they_stay_small():
    files = [p for p in catalog._SAMPLES.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) < 4_500_000


def test_every_image_is_credited_with_a_free_licence():
    text = (catalog._SAMPLES / "CREDITS.md").read_text(encoding="utf-8")
    for split in SPLITS:
        section = re.split(r"^## ", text.split(f"## {split}\n")[1], flags=re.M)[0]
        rows = [
            [c.strip() for c in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `")
        ]
        assert sorted(row[0].strip("`") for row in rows) == sorted(
            p.name for p in image_set("samples", split=split).paths
        )
        assert all(row[3].startswith(("public domain", "CC0")) for row in rows)


def test_the_catalog_states_the_right_counts():
    assert catalog.info("samples").counts == SPLITS
