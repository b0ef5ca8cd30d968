"""A network for photos by the feed-forward solver: told what the file tells, in tiles, on any grid."""

from dataclasses import replace

import pytest
import torch

from metasr.data.catalog import image_set
from metasr.degradation.names import parse
from metasr.degradation.resize import imresize, middle
from metasr.errors import InputError
from metasr.io.images import Photo
from metasr.io.jpeg import of_quality
from metasr.jobs.upscale import upscale_photo
from metasr.meta.rates import FixedRates
from metasr.metrics.protocol import LumaProtocol
from metasr.models.photo import PhotoNet
from metasr.paths import weights_folder
from metasr.runs.architecture import make_network
from metasr.runs.weights import from_release
from metasr.solvers.network import NetworkSolver
from metasr.solvers.photo import PhotoSolver
from small_problems import bits, picture


def trained(scales: tuple[int, ...] = (2,)) -> PhotoNet:
    """As if: what it adds is not 0."""
    torch.manual_seed(0)
    network = PhotoNet(scales, widths=(4, 6), blocks=(1, 1))
    for tail in network.tails.values():
        torch.nn.init.normal_(tail.weight, std=0.05)  # type: ignore[arg-type]
    return network


def solver(**options: object) -> NetworkSolver:
    return NetworkSolver(trained((2, 3)), enlarge_first=False, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [2, 3])
def test_tiles_change_nothing(scale: int) -> None:
    lr, known = picture(45, 51), parse("bicubic_n5_q60c", scale=scale)
    whole = solver(tile=None).solve(lr, scale=scale, degradation=known).sr
    assert whole.shape[-2:] == (45 * scale, 51 * scale)
    for tile in (13, 20):
        torch.testing.assert_close(
            solver(tile=tile).solve(lr, scale=scale, degradation=known).sr, whole, atol=1e-5, rtol=0
        )


def test_the_ensemble_turns_with_the_image() -> None:
    lr, known = picture(20, 26), parse("bicubic_q60c", scale=2)
    sr = solver(ensemble=True).solve(lr, scale=2, degradation=known).sr
    turned = solver(ensemble=True).solve(lr.rot90(1, (-2, -1)), scale=2, degradation=known).sr
    torch.testing.assert_close(turned.rot90(-1, (-2, -1)), sr, atol=1e-5, rtol=0)


def test_directly_subsampled_images_are_put_where_they_belong() -> None:
    network = PhotoNet((2,), widths=(4, 6), blocks=(1, 1))  # which adds nothing yet
    known = parse("direct", scale=2)
    lr = known(picture(64, 64))
    sr = NetworkSolver(network, enlarge_first=False).solve(lr, scale=2, degradation=known).sr
    aligned = imresize(lr, 2, shift=known.shift)
    assert float((sr - aligned).abs()[..., 4:-4, 4:-4].mean()) < 0.3 * float((imresize(lr, 2) - aligned).abs().mean())


def test_a_files_own_compression_reaches_the_solver() -> None:
    told = []

    class Asking(NetworkSolver):
        def solve(self, lr, *, scale, degradation=None, seed=0):  # type: ignore[no-untyped-def]
            told.append(degradation.jpeg)
            return super().solve(lr, scale=scale, degradation=degradation, seed=seed)

    asking = Asking(trained(), enlarge_first=False)
    photo = Photo(rgb=picture(24, 24)[0], jpeg=of_quality(60, subsampling="4:2:0"))
    enlarged, _ = upscale_photo(asking, photo, parse("bicubic", scale=2))
    other, _ = upscale_photo(asking, replace(photo, jpeg=None), parse("bicubic", scale=2))
    upscale_photo(asking, photo, parse("bicubic_q90", scale=2))  # what was typed comes first
    assert told == [photo.jpeg, None, of_quality(90)]
    assert enlarged.jpeg is None
    assert not torch.equal(enlarged.rgb, other.rgb)


def test_a_scale_that_it_was_not_trained_for() -> None:
    with pytest.raises(InputError, match="these weights enlarge by x2, x3, but scale 4 was asked for"):
        solver().solve(picture(20, 20), scale=4)


def test_updates_learn_from_the_son_and_leave_the_weights_alone() -> None:
    network = trained()
    before = bits(network)
    known = parse("bicubic_n2_q80c", scale=2)
    lr = known(picture(96, 120), generator=torch.Generator().manual_seed(0))
    solver = PhotoSolver(network, rates=FixedRates([3e-2]))
    found = solver.snapshots(lr, scale=2, updates=(0, 1, 6), degradation=known, seed=3)
    assert torch.equal(
        found[0].sr, NetworkSolver(network, enlarge_first=False).solve(lr, scale=2, degradation=known).sr
    )
    assert found[6].trace.losses[-1] < found[6].trace.losses[0]
    assert [found[n].updates for n in (0, 1, 6)] == [0, 1, 6]
    assert not torch.equal(found[6].sr, found[0].sr)
    again = PhotoSolver(network, rates=FixedRates([3e-2]), steps=6).solve(lr, scale=2, degradation=known, seed=3)
    assert torch.equal(again.sr, found[6].sr)
    assert bits(network) == before


def test_the_loss_is_the_whole_images_whatever_the_tiles() -> None:
    known = parse("bicubic_q80c", scale=2)
    lr = known(picture(101, 120))
    losses = [
        PhotoSolver(trained(), tile=tile, steps=2).solve(lr, scale=2, degradation=known).trace.losses
        for tile in (None, 12)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_sons_are_compressed_as_the_photo_was() -> None:
    lr = picture(48, 48)
    compressed = parse("bicubic_q20c", scale=2)
    one, other = (
        PhotoSolver(trained(), steps=1).solve(lr, scale=2, degradation=known).trace.losses[0]
        for known in (compressed, parse("bicubic", scale=2))
    )
    assert one != other


def test_what_it_cannot_run() -> None:
    with pytest.raises(InputError, match=r"solver photo runs a PhotoNet, .* got Linear"):
        PhotoSolver(torch.nn.Linear(1, 1))
    with pytest.raises(InputError, match=r"too small to learn from"):
        PhotoSolver(trained(), steps=1).solve(picture(12, 40), scale=2)
    with pytest.raises(InputError, match=r"adapt_pixels must be at least 1"):
        PhotoSolver(trained(), adapt_pixels=0)


@pytest.mark.parametrize(
    ("name", "gain"), [("bicubic", 1.0), ("bicubic_q75c", 0.25), ("bicubic_n5_q85c", 0.25), ("sig_1.2_b", 2.0)]
)
def test_the_released_weights_are_worth_what_they_are_said_to_be(name: str, gain: float) -> None:
    """In dB on Y beyond bicubic enlargement, on the middle of the first embedded test photo."""
    weights = from_release(weights_folder(), "photo_x2")
    network = make_network(weights.architecture, origin="its card", state=weights.network)
    weights.load_into(network)
    images = image_set("samples", split="test")
    hr = middle(images.load(0)[None], (192, 192))
    known = parse(name, scale=2)
    lr = known(hr, generator=torch.Generator().manual_seed(0))
    protocol = LumaProtocol()
    sr = PhotoSolver(network).solve(lr, scale=2, degradation=known).sr
    assert protocol(sr, hr, scale=2).psnr_y > protocol(imresize(lr, 2).clamp(0, 1), hr, scale=2).psnr_y + gain
