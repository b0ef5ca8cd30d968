"""Fathers and sons."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from metasr.degradation.kernels import anisotropic
from metasr.degradation.names import parse
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import InputError
from metasr.solvers.ensemble import SYMMETRIES, transform
from metasr.solvers.zssr.internal_pairs import InternalPairs, at_scale, enlarge, enlarged_son
from small_problems import picture


def pairs(lr: Tensor, degradation: Degradation, *, seed: int = 0, **options: Any) -> InternalPairs:
    chosen = {"sizes": 3, "smallest": 0.5, "pixels": 10**6, "crop": 8, **options}
    return InternalPairs([lr], degradation, generator=torch.Generator().manual_seed(seed), **chosen)


def corner() -> Tensor:
    """A kernel with all its weight off its middle, so that no turn or flip leaves it as it is."""
    kernel = torch.zeros(3, 3)
    kernel[0, 1], kernel[1, 1] = 0.75, 0.25
    return kernel


def test_fathers_are_the_image_and_smaller_versions_in_eight_orientations() -> None:
    lr = picture(23, 31)
    made = pairs(lr, parse("bicubic", scale=2))
    assert len(made.whole) == 8
    assert len(made.reduced) == 24
    for pair, symmetry in zip(made.whole, SYMMETRIES, strict=True):
        assert torch.equal(pair.father, transform(lr, symmetry)[0])
    sides = sorted(min(p.father.shape[-2:]) for p in made.reduced)
    assert sides[0] >= 12
    assert sides[-1] <= 23
    assert len(set(sides)) > 6
    assert all(p.father.shape == p.source.shape for p in [*made.whole, *made.reduced])


@pytest.mark.parametrize("downsample", ["direct", "bicubic", "area"])
@pytest.mark.parametrize("kernel", [None, corner()])
def test_sons_are_made_by_the_degradation_itself_however_the_father_lies(downsample: Any, kernel: Any) -> None:
    lr, degradation = picture(23, 31), Degradation(scale=2, kernel=kernel, downsample=downsample, noise_std=0.1)
    for pair in (made := pairs(lr, degradation)).whole + made.reduced:
        son = replace(degradation, noise_std=0.0, quantise=None)(pair.father[None])
        want = imresize(son, 2, size=tuple(pair.father.shape[-2:]), shift=degradation.shift)
        torch.testing.assert_close(pair.source, want[0])


def test_sons_of_direct_subsampling_lie_where_their_fathers_do() -> None:
    """Of a smooth father, the enlarged son is the father; without the move it would be half a pixel away."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    smooth = (0.5 + 0.4 * torch.sin(y / 9) * torch.cos(x / 11)).expand(1, 3, -1, -1)
    source = enlarged_son(smooth, parse("direct", scale=2))
    assert (source - smooth)[..., 4:-4, 4:-4].abs().max() < 2e-3
    moved = imresize(smooth[..., ::2, ::2], 2)
    assert (moved - smooth)[..., 4:-4, 4:-4].abs().max() > 2e-2


@pytest.mark.parametrize("scale", [1.5, 2, 2.7, 3])
def test_draws_are_crops_of_pairs(scale: float) -> None:
    made = pairs(picture(23, 31), parse("bicubic", scale=scale), crop=9)
    source, target = made.draw(5, generator=torch.Generator().manual_seed(1))
    assert source.shape == target.shape == (5, 3, 9, 9)
    every = [*made.whole, *made.reduced]
    for s, t in zip(source, target, strict=True):
        assert any(
            torch.equal(pair.father[:, y : y + 9, x : x + 9], t)
            and torch.equal(pair.source[:, y : y + 9, x : x + 9], s)
            for pair in every
            for y in range(pair.father.shape[-2] - 8)
            for x in range(pair.father.shape[-1] - 8)
        )


def test_seed_share_and_count_of_draws() -> None:
    made = pairs(picture(23, 31), parse("bicubic", scale=2))

    def drawn(seed: int, **options: Any) -> Tensor:
        return made.draw(6, generator=torch.Generator().manual_seed(seed), **options)[1]

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert not torch.equal(drawn(1, whole_share=0.0), drawn(1, whole_share=1.0))
    marked = pairs(torch.full((1, 3, 23, 31), 0.25), parse("bicubic", scale=2))
    for pair in marked.reduced:
        pair.father.fill_(0.75)
    values = marked.draw(400, generator=torch.Generator().manual_seed(0), whole_share=0.25)[1][:, 0, 0, 0]
    assert (values == 0.25).double().mean().item() == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize("scale", [2, 2.7])
def test_noise_of_sons_is_enlarged_noise_drawn_anew(scale: float) -> None:
    made = pairs(picture(64, 64), parse("bicubic", scale=scale), crop=32, sizes=0)
    generator = torch.Generator().manual_seed(0)

    def noise() -> Tensor:
        state = generator.get_state()
        quiet = made.draw(64, generator=generator)[0]
        generator.set_state(state)
        return made.draw(64, generator=generator, noise_std=0.1)[0] - quiet

    one, two = noise(), noise()
    assert not torch.equal(one, two)
    want = imresize(torch.randn(64, 3, 40, 40, generator=generator) * 0.1, scale)[..., 10:-10, 10:-10].std()
    assert one.std().item() == pytest.approx(want.item(), rel=0.05)
    edges = torch.cat([one[..., 0, :].flatten(), one[..., -1, :].flatten()]).std()
    assert edges.item() == pytest.approx(want.item(), rel=0.15)  # no louder at the border


@pytest.mark.parametrize("size", [(1, 1), (1, 8), (9, 2), (5, 6)])
def test_images_of_any_size(size: tuple[int, int]) -> None:
    made = pairs(picture(*size), parse("bicubic", scale=2))
    source, target = made.draw(3, generator=torch.Generator())
    assert source.shape == target.shape
    assert source.shape[:2] == (3, 3)
    assert 1 <= min(source.shape[-2:]) <= max(source.shape[-2:]) <= 8


def test_large_images_are_seen_in_parts_of_bounded_area() -> None:
    lr = picture(60, 90)
    made = pairs(lr, parse("bicubic", scale=2), pixels=600)
    areas = [p.father.shape[-2] * p.father.shape[-1] for p in [*made.whole, *made.reduced]]
    assert max(areas) <= 600 * 1.1
    corners = {tuple(p.father[:, 0, 0].tolist()) for p in made.whole}
    assert len(corners) == 8  # another part each


def test_no_father_is_smaller_than_the_kernel_or_the_crop() -> None:
    degradation = Degradation(scale=2, kernel=anisotropic(2.0, 1.0, 0.3, size=15).float(), downsample="direct")
    assert min(min(p.father.shape[-2:]) for p in pairs(picture(20, 24), degradation).reduced) >= 15
    assert (
        min(min(p.father.shape[-2:]) for p in pairs(picture(20, 24), parse("direct", scale=2), crop=18).reduced) >= 18
    )
    assert pairs(picture(15, 24), degradation).reduced == []


def test_an_image_smaller_than_the_kernel_is_refused() -> None:
    with pytest.raises(
        InputError, match="an image of 20x31 is too small to be degraded once more by a kernel of 21x21"
    ):
        pairs(picture(20, 31), parse("g2.0d", scale=2))


def test_contrast_is_nothing_where_sons_are_their_fathers() -> None:
    assert pairs(torch.full((1, 3, 12, 13), 0.3), parse("bicubic", scale=2)).contrast < 1e-6
    assert pairs(picture(12, 13), parse("bicubic", scale=1)).contrast == 0
    assert pairs(picture(12, 13), parse("bicubic", scale=2)).contrast > 0.01


@pytest.mark.parametrize("downsample", ["direct", "bicubic"])
def test_a_gaussian_between_is_the_gaussian_of_that_much_less_width(downsample: Any) -> None:
    kernel = anisotropic(6.0, 3.0, 0.4, size=21).float()
    between = at_scale(Degradation(scale=3, kernel=kernel, downsample=downsample, name="x"), 2.0)
    assert between.kernel is not None
    assert (between.scale, between.downsample, between.name) == (2.0, downsample, "")
    size = between.kernel.shape[-1]
    assert size % 2 == 1
    assert between.kernel.sum().item() == pytest.approx(1, abs=1e-5)
    want = anisotropic(6.0 * 4 / 9, 3.0 * 4 / 9, 0.4, size=size).float()
    assert (between.kernel - want).abs().max() < 0.1 * want.max()  # cubic sampling widens it a little
    offsets = torch.arange(size) - size // 2
    assert abs(float((between.kernel.sum(1) * offsets).sum())) < 1e-4


def test_without_a_kernel_only_the_scale_changes() -> None:
    between = at_scale(parse("bicubic", scale=2), 1.5)
    assert (between.scale, between.kernel, str(between)) == (1.5, None, "bicubic")


def test_enlarging_undoes_the_displacement() -> None:
    lr = picture(9, 11, dtype=torch.float64)
    torch.testing.assert_close(enlarge(lr, parse("direct", scale=2)), imresize(lr, 2, shift=0.5))
    assert enlarge(lr, parse("bicubic", scale=1.5)).shape[-2:] == (math.ceil(13.5), math.ceil(16.5))
