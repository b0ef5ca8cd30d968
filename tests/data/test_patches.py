"""The pool of training patches.

The pictures here carry their own coordinates: red is the row, green the column, blue the picture. So a patch tells
where it came from and how it was turned.
"""

import resource
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from metasr.data.patches import DiskPixels, PatchPool, flatten
from metasr.errors import DataError, InputError, OutputError

SIZES = [(13, 18), (9, 11), (7, 30)]  # odd, even, and one just as high as a patch
SIDE = 7


def charted(height: int, width: int, label: int) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns, torch.full_like(rows, label)]).to(torch.uint8)


PICTURES = [charted(h, w, i) for i, (h, w) in enumerate(SIZES)]


def draw(count: int, *, seed: int = 0, augment: bool = True) -> Tensor:
    pool = PatchPool(PICTURES, patch_size=SIDE)
    return pool.draw(count, generator=torch.Generator().manual_seed(seed), augment=augment)


def whence(patch: Tensor) -> tuple[int, int, int, tuple[int, bool]]:
    """Picture, row, column, and the turn and flip that make the patch of the picture's part there."""
    levels = (patch.double() * 255).round().to(torch.uint8)
    rows, columns, label = levels
    which, top, left = int(label[0, 0]), int(rows.min()), int(columns.min())
    part = PICTURES[which][:, top : top + SIDE, left : left + SIDE]
    same = [
        (turns, flip)
        for turns in range(4)
        for flip in (False, True)
        if torch.equal(levels, (part.flip(-1) if flip else part).rot90(turns, (-2, -1)))
    ]
    assert len(same) == 1, "not a part of a picture under one of the eight turns and flips"
    return which, top, left, same[0]


def test_every_patch_is_a_part_of_a_picture_in_one_of_eight_orientations() -> None:
    found = Counter(whence(patch)[3] for patch in draw(1600))
    assert len(found) == 8
    assert all(140 < n < 260 for n in found.values())  # 200 each, standard deviation 13


def test_upright_without_augmentation() -> None:
    assert {whence(patch)[3] for patch in draw(200, augment=False)} == {(0, False)}


def test_all_positions_of_all_pictures_are_equally_likely() -> None:
    places = [(i, y, x) for i, (h, w) in enumerate(SIZES) for y in range(h - SIDE + 1) for x in range(w - SIDE + 1)]
    each = 40
    patches = (draw(each * len(places)).double() * 255).round().long()
    found = Counter(
        zip(
            patches[:, 2, 0, 0].tolist(),
            patches[:, 0].flatten(1).min(1).values.tolist(),
            patches[:, 1].flatten(1).min(1).values.tolist(),
            strict=True,
        )
    )
    assert set(found) == set(places)
    chi_squared = sum((n - each) ** 2 / each for n in found.values())
    freedom = len(places) - 1
    assert abs(chi_squared - freedom) < 5 * (2 * freedom) ** 0.5


def test_orientation_and_position_do_not_depend_on_each_other() -> None:
    counts = torch.zeros(2, 8)
    for patch in draw(1600, seed=3):
        which, top, left, (turns, flip) = whence(patch)
        height, width = SIZES[which]
        lower = 2 * (top * (width - SIDE + 1) + left) >= (height - SIDE + 1) * (width - SIDE + 1)
        counts[int(lower), turns + 4 * flip] += 1
    expected = counts.sum(1, keepdim=True) * counts.sum(0, keepdim=True) / counts.sum()
    assert ((counts - expected).square() / expected).sum() < 7 + 5 * 14**0.5


@pytest.mark.parametrize("augment", [True, False])
def test_a_seed_means_the_same_patches(augment: bool) -> None:
    assert torch.equal(draw(20, seed=5, augment=augment), draw(20, seed=5, augment=augment))
    assert not torch.equal(draw(20, seed=5, augment=augment), draw(20, seed=6, augment=augment))
    generator = torch.Generator().manual_seed(5)
    pool = PatchPool(PICTURES, patch_size=SIDE)
    one, two = (pool.draw(20, generator=generator, augment=augment) for _ in range(2))
    assert torch.equal(one, draw(20, seed=5, augment=augment))
    assert not torch.equal(one, two)


def test_augmentation_leaves_the_places_as_they_are() -> None:
    assert [whence(p)[:3] for p in draw(50)] == [whence(p)[:3] for p in draw(50, augment=False)]


def test_all_256_levels_come_back_exactly() -> None:
    levels = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(3, 16, 16)
    from_bytes = PatchPool([levels], patch_size=16)
    from_floats = PatchPool([levels.float() / 255], patch_size=16)
    from_doubles = PatchPool([levels.double() / 255], patch_size=16)
    for pool in (from_bytes, from_floats, from_doubles):
        patch = pool.draw(1, generator=torch.Generator().manual_seed(0), augment=False)
        assert patch.dtype == torch.float32
        assert torch.equal(patch[0], levels.float() / 255)


def test_floats_are_rounded_to_the_nearest_level_and_clipped() -> None:
    values = torch.tensor([-0.5, 0.4999 / 255, 0.5001 / 255, 254.6 / 255, 1.5])
    pool = PatchPool([values.expand(3, 1, 5)], patch_size=1)
    patches = pool.draw(300, generator=torch.Generator().manual_seed(0))
    assert {round(v * 255, 4) for v in patches.flatten().tolist()} == {0.0, 1.0, 255.0}


def test_picture_of_just_the_patch_size() -> None:
    picture = charted(SIDE, SIDE, 9)
    patch = PatchPool([picture], patch_size=SIDE).draw(3, generator=torch.Generator(), augment=False)
    assert torch.equal(patch, (picture.float() / 255).expand(3, -1, -1, -1))


def test_shape_and_layout() -> None:
    patches = draw(4)
    assert patches.shape == (4, 3, SIDE, SIDE)
    assert patches.is_contiguous()


def test_pool_is_not_part_of_checkpoints() -> None:
    assert PatchPool(PICTURES, patch_size=SIDE).state_dict() == {}


def test_pictures_that_are_too_small_are_named() -> None:
    with pytest.raises(
        DataError,
        match=r"2 of 3 training images are smaller than the 10x10 patch: small \(9x11\), flat \(7x30\); leave",
    ):
        PatchPool(PICTURES, patch_size=10, names=["large", "small", "flat"])
    with pytest.raises(DataError, match=r"image 0 \(13x18\), image 1 \(9x11\), image 2 \(7x30\); leave"):
        PatchPool(PICTURES, patch_size=14)
    with pytest.raises(DataError, match=r"7 of 7 .*g \(9x9\); leave them out .*or lower patch_size"):
        PatchPool([charted(9, 9, 0)] * 7, patch_size=10, names=list("abcdefg"))


def test_no_pictures_and_no_patch_size_are_refused() -> None:
    with pytest.raises(DataError, match="no training images"):
        PatchPool([], patch_size=8)
    with pytest.raises(InputError, match="patch_size must be at least 1, got 0"):
        PatchPool(PICTURES, patch_size=0)


def test_a_generator_is_read_once_and_its_pictures_are_let_go() -> None:
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def pictures() -> Iterator[Tensor]:
        nonlocal most
        for picture in PICTURES * 4:
            most = max(most, sum(ref() is not None for ref in alive))
            made = picture.float() / 255
            alive.append(weakref.ref(made))
            yield made
            del made

    pool = PatchPool(pictures(), patch_size=SIDE)
    assert most <= 1
    assert torch.equal(pool.pixels, PatchPool(PICTURES * 4, patch_size=SIDE).pixels)


def test_flat_pictures_are_taken_without_a_copy() -> None:
    flat = flatten(PICTURES)
    assert flat.sizes == tuple(SIZES)
    assert torch.equal(flat.values[: 13 * 18].reshape(13, 18, 3).permute(2, 0, 1), PICTURES[0])
    one, two = (PatchPool(flat, patch_size=side) for side in (SIDE, 3))
    assert one.pixels.data_ptr() == two.pixels.data_ptr() == flat.values.data_ptr()
    patches = one.draw(9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(patches, draw(9))


class NoDoubles(TorchDispatchMode):
    """Fails where a float64 tensor comes to be on the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.device.type == "meta":
            assert result.dtype != torch.float64, func
        return result


def test_no_double_precision_on_the_device() -> None:
    pool = PatchPool(PICTURES, patch_size=SIDE)
    with NoDoubles():
        pool.to("meta")  # a device without values, here in place of one without float64
        patches = pool.draw(4, generator=torch.Generator())
    assert pool.pixels.device.type == patches.device.type == "meta"
    assert patches.shape == (4, 3, SIDE, SIDE)


def test_pictures_on_disk_give_the_same_patches(tmp_path: Path) -> None:
    disk = DiskPixels(tmp_path / "new")
    for picture in PICTURES:
        disk.append(picture)
    for side in (SIDE, 3):
        from_disk, from_memory = (PatchPool(kept, patch_size=side) for kept in (disk, PICTURES))
        for augment in (False, True):
            one, two = (
                pool.draw(40, generator=torch.Generator().manual_seed(1), augment=augment)
                for pool in (from_disk, from_memory)
            )
            assert torch.equal(one, two)
    assert torch.equal(PatchPool(disk, patch_size=SIDE).of_side(3).draw(4, generator=torch.Generator()),
                       PatchPool(PICTURES, patch_size=3).draw(4, generator=torch.Generator()))  # fmt: skip
    assert list((tmp_path / "new").iterdir()) == []  # a file without a name: nothing to clear away


def test_a_disk_without_room_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write .*file/decoded images: .* a part of the path is a file"):
        DiskPixels(tmp_path / "file")
    disk = DiskPixels(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OutputError, match="cannot write the file of decoded images: File too large"):
            disk.append(PICTURES[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_small_pictures_can_be_left_out() -> None:
    pool = PatchPool([charted(6, 30, 7), *PICTURES, charted(6, 6, 8)], patch_size=SIDE, skip_small=True)
    patches = pool.draw(300, generator=torch.Generator().manual_seed(2))
    assert torch.equal(patches, draw(300, seed=2))
    with pytest.raises(DataError, match="2 of 2 training images are smaller"):
        PatchPool([charted(6, 30, 7)] * 2, patch_size=SIDE, skip_small=True)
