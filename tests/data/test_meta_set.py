"""The meta-data set, and batches that bring it along."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metasr.data.catalog import image_set
from metasr.data.meta_set import MetaSet, WeightedSampler, content_hash, require_disjoint, take
from metasr.data.patches import PatchPool
from metasr.degradation.kernels import GaussianSampler
from metasr.degradation.pipeline import DegradationSampler
from metasr.errors import DataError, InputError
from metasr.seeds import generator_from

SIZES = {"a": (31, 40), "b": (26, 23), "c": (23, 57)}
POOL = PatchPool([torch.randint(0, 256, (3, 40, 31), generator=generator_from(0), dtype=torch.uint8)], patch_size=21)
DEGRADATIONS = DegradationSampler(kernels=GaussianSampler(size=7), scales=(2.0,), downsample="direct")


def pixels(seed: int, size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "wanted"
    place.mkdir()
    for i, (name, size) in enumerate(SIZES.items()):
        Image.fromarray(pixels(i, size)).save(place / f"{name}.png")
    return place


def of(folder: Path, **options) -> MetaSet:
    return MetaSet("image_folder", root=folder, split="all", **options)


def sampler(folder: Path, **options) -> WeightedSampler:
    meta = options.pop("meta_set", None) or of(folder)
    given = {"batch_size": 4, "meta_batch": 5, "patch_size": 21, "degradations": DEGRADATIONS, "meta_set": meta}
    return WeightedSampler(**(given | options))


# --- the images ---


def test_all_of_a_folder_or_some_by_name(folder: Path) -> None:
    assert of(folder).images.names == ("a", "b", "c")
    assert of(folder, images=["c", "a.png"]).images.names == ("c", "a")
    assert str(of(folder, images=["c"])) == "1 images of image_folder: c"


@pytest.mark.parametrize("names", [("brick", "ascent"), ("grass", "leaves")])
def test_embedded_images_are_of_the_training_split(names: tuple[str, str]) -> None:
    meta = MetaSet(images=names)
    train = image_set("samples", split="train")
    assert len(meta) == 2
    assert set(meta.images.paths) <= set(train.paths)
    assert meta.patches(48).shape == (32, 3, 48, 48)


def test_one_image_is_enough(folder: Path) -> None:
    for name in ("b", "c"):
        (folder / f"{name}.png").unlink()
    assert of(folder, crops=3).patches(31).shape == (3, 3, 31, 31)


def test_crops_are_parts_of_their_image_and_always_the_same(folder: Path) -> None:
    crops = of(folder, crops=6).patches(21)
    assert crops.shape == (18, 3, 21, 21)
    assert crops.dtype == torch.uint8
    for i, size in enumerate(SIZES.values()):
        image = torch.from_numpy(pixels(i, size)).permute(2, 0, 1)
        every = image.unfold(1, 21, 1).unfold(2, 21, 1)  # (3, rows, columns, 21, 21)
        places = set()
        for crop in crops[6 * i : 6 * i + 6]:
            same = (every == crop[:, None, None]).all(0).all(-1).all(-1)  # (rows, columns)
            assert same.sum() == 1
            places.add(tuple(same.nonzero()[0].tolist()))
        middle = ((size[0] - 20) // 2, (size[1] - 20) // 2)
        assert middle in places
        assert len(places) > 3
        assert {y for y, _ in places} <= set(range(size[0] - 20))
    assert torch.equal(of(folder, crops=6).patches(21), crops)


def test_crops_of_another_size_are_cut_anew(folder: Path) -> None:
    meta = of(folder, crops=2)
    assert meta.patches(21).shape[-1] == 21
    assert meta.patches(13).shape[-1] == 13
    assert torch.equal(meta.patches(21), of(folder, crops=2).patches(21))


def test_the_crops_spread_over_the_image(tmp_path: Path) -> None:
    Image.fromarray(np.indices((64, 64)).transpose(1, 2, 0).astype(np.uint8)[..., [0, 1, 1]]).save(tmp_path / "x.png")
    corners = of(tmp_path, crops=16).patches(8)[:, :2, 0, 0].float()  # (16, 2) row and column
    for axis in range(2):
        hit = torch.histc(corners[:, axis], 4, 0, 57)
        assert hit.min() >= 2  # of 16 over 4 quarters
    apart = torch.cdist(corners, corners) + 99 * torch.eye(16)
    assert apart.min() > 5


def test_the_fingerprint_is_of_files_and_crops(folder: Path) -> None:
    prints = [of(folder), of(folder, images=["a", "b"]), of(folder, images=["b", "a"]), of(folder, crops=3)]
    first = prints[0].fingerprint()
    assert len({m.fingerprint() for m in prints}) == 4
    assert of(folder).fingerprint() == first == sampler(folder).fingerprint()
    Image.fromarray(pixels(9, SIZES["a"])).save(folder / "a.png")
    assert of(folder).fingerprint() != first


def test_bad_meta_sets_are_refused(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    cases = [
        (lambda: of(folder, images=[]), "the meta-data set is empty: name at least one image of a, b, c"),
        (lambda: of(folder, images=["a", "d"]), r"image_folder \(all\) has no image 'd': .*known: a, b, c"),
        (lambda: MetaSet(images=["brik"]), r"samples \(train\) has no image 'brik': did you mean 'brick'"),
        (lambda: of(folder, images=["a", "a.png"]), "names an image twice: a, a.png; name each once"),
        (lambda: of(empty), "empty"),
        (lambda: MetaSet("image_folder"), r"needs to know which: give its root \(meta_set.root=FOLDER\)"),
        (
            lambda: of(folder).patches(27),
            r"2 of 3 images of the meta-data set are smaller than the 27x27 patch: b \(26x23\), c \(23x57\); leave",
        ),
        (lambda: sampler(folder, patch_size=24), r"smaller than the 24x24 patch: b \(26x23\), c \(23x57\)"),
    ]
    for make, message in cases:
        with pytest.raises(DataError, match=message):
            make()
    with pytest.raises(InputError, match="at least 1 crop per image, got crops=0"):
        of(folder, crops=0)


# --- what may not be tested on ---


def test_a_test_image_in_the_meta_set_is_refused_whatever_its_file_is_called(folder: Path, tmp_path: Path) -> None:
    test = tmp_path / "test"
    test.mkdir()
    Image.fromarray(pixels(1, SIZES["b"])).save(test / "renamed.bmp")
    Image.fromarray(pixels(7, SIZES["a"])).save(test / "a.png")
    found = image_set("image_folder", split="all", root=test)
    with pytest.raises(DataError, match=r"1 of 3 images .* test images of image_folder \(b is renamed\): what is"):
        require_disjoint(of(folder), found)
    require_disjoint(of(folder, images=["a", "c"]), found)


def test_the_ready_made_sets_are_no_test_images() -> None:
    test = image_set("samples", split="test")
    for names in (("brick", "ascent"), ("grass", "leaves")):
        require_disjoint(MetaSet(images=names), test)


def test_content_hash_tells_shapes_apart() -> None:
    image = torch.full((3, 4, 6), 0.4)
    assert content_hash(image) == content_hash(image.clone()) == content_hash(image + 1e-4)
    assert content_hash(image) != content_hash(image.reshape(3, 6, 4))
    changed = image.clone()
    changed[2, 3, 5] += 1 / 255
    assert content_hash(changed) != content_hash(image)


# --- batches ---


def test_a_batch_has_pairs_and_meta_pairs(folder: Path) -> None:
    batch = sampler(folder, meta_set=of(folder, crops=2)).draw(POOL, generator=generator_from(1))
    assert batch.batch_size == 4
    for pairs, count in ((batch.pairs, 4), (batch.meta, 5)):
        assert pairs.hr.shape == (count, 3, 21, 21)
        assert pairs.lr.shape == (count, 3, 11, 11)  # ceil(21 / 2)
        assert pairs.degradation.kernel.shape == (count, 7, 7)
        torch.testing.assert_close(pairs.degradation(pairs.hr), pairs.lr, rtol=0, atol=1e-6)
    crops = of(folder, crops=2).patches(21).float() / 255
    where = [int((crops == one).flatten(1).all(1).nonzero()) for one in batch.meta.hr]
    assert len(set(where)) == 5


def test_meta_pairs_have_the_batchs_scale_and_kernels_of_their_own(folder: Path) -> None:
    both = DegradationSampler(kernels=GaussianSampler(size=7), scales=(2.0, 3.0), downsample="direct")
    draw = sampler(folder, degradations=both).draw
    scales = set()
    for seed in range(8):
        batch = draw(POOL, generator=generator_from(seed))
        assert batch.meta.degradation.scale == batch.pairs.degradation.scale
        assert batch.meta.lr.shape[-1] == {2.0: 11, 3.0: 7}[batch.meta.degradation.scale]
        kernels = torch.cat([batch.pairs.degradation.kernel, batch.meta.degradation.kernel])
        assert all((a - b).abs().max() > 1e-4 for a, b in combinations(kernels, 2))
        scales.add(batch.pairs.degradation.scale)
    assert scales == {2.0, 3.0}


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_batches_depend_on_the_generator_alone(folder: Path, noise: float) -> None:
    made = sampler(folder, degradations=DegradationSampler(scales=(2.0,), noise_std=(noise, noise)))
    one, same, other = (made.draw(POOL, generator=generator_from(s)) for s in (1, 1, 2))
    for a, b, c in zip(one[:2], same[:2], other[:2], strict=True):
        assert torch.equal(a.lr, b.lr)
        assert torch.equal(a.hr, b.hr)
        assert not torch.equal(a.hr, c.hr)


def test_candidates_are_drawn_where_they_are_wanted(folder: Path) -> None:
    for sampling, count in (("none", 4), ("choose", 9), ("weight", 9)):
        batch = sampler(folder, sampling=sampling, candidates=9).draw(POOL, generator=generator_from(1))
        assert (len(batch.pairs.hr), batch.batch_size, len(batch.meta.hr)) == (count, 4, 5)


def test_a_small_meta_set_gives_all_its_crops(folder: Path) -> None:
    made = sampler(folder, meta_set=of(folder, images=["b"], crops=2), meta_batch=9)
    assert len(made.draw(POOL, generator=generator_from(1)).meta.hr) == 2


def test_all_meta_pairs_are_always_the_same(folder: Path) -> None:
    one, two = sampler(folder).meta_pairs(), sampler(folder).meta_pairs()
    assert torch.equal((one.hr * 255).round().byte(), of(folder).patches(21))
    assert torch.equal(one.lr, two.lr)
    torch.testing.assert_close(one.degradation(one.hr), one.lr, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kernels", [None, GaussianSampler(size=7)])
def test_taken_pairs_keep_their_kernels(folder: Path, kernels: GaussianSampler | None) -> None:
    made = sampler(folder, degradations=DegradationSampler(kernels=kernels, scales=(3.0,), downsample="direct"))
    pairs = made.draw(POOL, generator=generator_from(1)).pairs
    got = take(pairs, torch.tensor([3, 1]))
    assert torch.equal(got.hr, pairs.hr[[3, 1]])
    torch.testing.assert_close(got.degradation(got.hr), got.lr, rtol=0, atol=1e-6)
    assert kernels is None or torch.equal(got.degradation.kernel, pairs.degradation.kernel[[3, 1]])


def test_bad_samplers_are_refused(folder: Path) -> None:
    cases = [
        ({"batch_size": 0}, "must each be at least 1, got 0, 5 and 21"),
        ({"meta_batch": 0}, "got 4, 0 and 21"),
        ({"sampling": "best"}, "one of none, choose, weight, got 'best'"),
        ({"sampling": "choose", "candidates": 4}, "sampling=choose needs more candidates than the 4 pairs .* got 4"),
        ({"sampling": "weight"}, "sampling=weight needs more candidates than the 4 pairs of a batch, got 1"),
    ]
    for options, message in cases:
        with pytest.raises(InputError, match=message):
            sampler(folder, **options)
    with pytest.raises(InputError, match="the pool cuts patches of 21, the meta-data set those of 19; give both"):
        sampler(folder, patch_size=19).draw(POOL, generator=generator_from(1))
