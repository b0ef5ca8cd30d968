"""A network for photos by the feed-forward solver: told what the file tells, in tiles, on any grid."""

from dataclasses import replace

import pytest
import torch

from metasr.degradation.names import parse
from metasr.degradation.resize import imresize
from metasr.errors import InputError
from metasr.io.images import Photo
from metasr.io.jpeg import of_quality
from metasr.jobs.upscale import upscale_photo
from metasr.models.photo import PhotoNet
from metasr.solvers.network import NetworkSolver
from small_problems import picture


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
