"""Ready LR/HR pairs to learn from: matched by name, cut in one place."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from metasr.data.catalog import ImageSet
from metasr.data.datamodule import PatchData
from metasr.data.pairs import PairedPool, with_lr
from metasr.data.patches import PatchPool, flatten
from metasr.data.tasks import PairSampler, TaskSampler
from metasr.degradation.pipeline import DegradationSampler
from metasr.errors import DataError, InputError

SIZES = [(26, 36), (19, 23), (14, 60)]  # of HR images; the second is odd


def charted(height: int, width: int, label: int) -> torch.Tensor:
    """Row, column and number of the picture, in LR pixels, so that a pair tells whether it fits."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns, torch.full_like(rows, label)]).to(torch.uint8)


def pool(side: int = 8) -> PairedPool:
    hr = [charted(h, w, i) for i, (h, w) in enumerate(SIZES)]
    lr = [image[:, ::2, ::2] for image in hr]
    return PairedPool(PatchPool(hr, patch_size=side), flatten(lr), names=["a", "b", "c"])


def test_patches_of_a_pair_are_of_one_place() -> None:
    lr, hr = pool().pairs(400, generator=torch.Generator().manual_seed(0))
    assert lr.shape == (400, 3, 4, 4)
    assert hr.shape == (400, 3, 8, 8)
    lr, hr = ((x * 255).round() for x in (lr, hr))
    rows = torch.nn.functional.avg_pool2d(hr[:, :2], 2)  # the mean of the four pixels of an LR pixel
    assert torch.equal(lr[:, :2] + 0.5, rows)
    assert torch.equal(lr[:, 2, 0, 0], hr[:, 2, 0, 0])
    assert set(lr[:, 2].unique().tolist()) == {0, 1, 2}


def test_no_patch_leaves_its_hr_image() -> None:
    hr = [charted(19, 23, 0)]
    paired = PairedPool(PatchPool(hr, patch_size=10), flatten([hr[0][:, ::2, ::2]]), names=["a"])
    _, cut = paired.pairs(300, generator=torch.Generator().manual_seed(0))
    rows = (cut[:, 0] * 255).round()
    assert (rows.flatten(1).max(1).values - rows.flatten(1).min(1).values == 9).all()
    with pytest.raises(DataError, match="no training image holds a patch of 10x10"):
        PatchPool([charted(10, 10, 0)], patch_size=10).limit(torch.tensor([[0, 1]]))


def write(folder: Path, sizes: list[tuple[int, int]], names: list[str]) -> None:
    folder.mkdir()
    for i, ((height, width), name) in enumerate(zip(sizes, names, strict=True)):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(
            folder / name
        )


def images(folder: Path, names: list[str]) -> ImageSet:
    return ImageSet("mine", "train", tuple(folder / name for name in names))


NAMES = ["0801.png", "0802.png", "0803.png"]


@pytest.mark.parametrize("small", [NAMES, ["0801x2.png", "0802_x2.bmp", "0803.jpg"]])
def test_matched_by_name(tmp_path: Path, small: list[str]) -> None:
    write(tmp_path / "hr", SIZES, NAMES)
    write(tmp_path / "lr", [*((-(-h // 2), -(-w // 2)) for h, w in SIZES), (3, 3)], [*small, "other.png"])
    found = with_lr(images(tmp_path / "hr", NAMES), tmp_path / "lr")
    assert [path.name for path in found.lr] == small
    assert found.only([2, 0]).lr == (found.lr[2], found.lr[0])
    assert found.fingerprint() != images(tmp_path / "hr", NAMES).fingerprint()

    sampler = PairSampler(batch_size=5, degradations=DegradationSampler(scales=(2.0,)))
    data = PatchData(found, sampler=sampler, patch_size=8, steps=1, seed=0, stage="x")
    data.setup("fit")
    pairs = sampler.draw(data.pool, generator=torch.Generator().manual_seed(1))
    assert (pairs.lr.shape, pairs.hr.shape) == ((5, 3, 4, 4), (5, 3, 8, 8))
    assert pairs.degradation.scale == 2


def test_mismatches_are_named(tmp_path: Path) -> None:
    write(tmp_path / "hr", SIZES, NAMES)
    write(tmp_path / "lr", [(13, 18)], ["0801.png"])
    with pytest.raises(DataError, match=r"2 images of mine have no LR image .*: 0802\.png, 0803\.png; name them alike"):
        with_lr(images(tmp_path / "hr", NAMES), tmp_path / "lr")


def test_pairs_that_do_not_fit() -> None:
    hr = PatchPool([charted(h, w, 0) for h, w in SIZES], patch_size=8)
    lr = flatten([charted(h, w, 0) for h, w in [(13, 18), (7, 8), (7, 30)]])
    with pytest.raises(DataError, match=r"1 LR image.* 2 times smaller .*: b \(7x8 beside 19x23\)"):
        PairedPool(hr, lr, names=["a", "b", "c"])
    with pytest.raises(InputError, match="patch_size must be a multiple of the pairs' scale 2, got 7"):
        PairedPool(PatchPool([charted(26, 36, 0)], patch_size=7), flatten([charted(13, 18, 0)]), names=["a"])


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (PairSampler(batch_size=2, degradations=DegradationSampler(scales=(3.0,))), "pairs of scale 2, got scale 3"),
        (
            TaskSampler(meta_batch=1, support=1, query=1, degradations=DegradationSampler(scales=(2.0,))),
            r"ready LR/HR pairs \(data\.lr_root\)",
        ),
    ],
)
def test_samplers_that_cannot_use_them(sampler: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sampler.draw(pool(), generator=torch.Generator())


def test_a_pair_is_left_out_when_either_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path / "hr", SIZES, NAMES)
    write(tmp_path / "lr", [(-(-h // 2), -(-w // 2)) for h, w in SIZES], NAMES)
    (tmp_path / "lr" / "0802.png").write_bytes(b"no image")
    found = with_lr(images(tmp_path / "hr", NAMES), tmp_path / "lr")
    sampler = PairSampler(batch_size=5, degradations=DegradationSampler(scales=(2.0,)))
    data = PatchData(found, sampler=sampler, patch_size=8, steps=1, seed=0, stage="x", unreadable="skip")
    assert data.left_out == {"unreadable": ["0802"]}
    assert [path.stem for path in data.images.lr] == ["0801", "0803"]
    data.setup("fit")
    assert isinstance(data.pool, PairedPool)
