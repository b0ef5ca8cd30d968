"""Augmentation of patches, repeatable and in range."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from metasr.data.augment import Augment
from metasr.errors import InputError
from small_problems import picture

NOTHING = {"flips": False, "turns": False, "moved_share": 0.0, "coloured_share": 0.0}


def batch(count: int = 6, side: int = 17) -> Tensor:
    return torch.cat([picture(side, side, seed=i) for i in range(count)])


def apply(hr: Tensor, *, seed: int = 0, **options: Any) -> Tensor:
    return Augment(**{**NOTHING, **options})(hr, generator=torch.Generator().manual_seed(seed))


def test_the_same_generator_means_the_same_patches() -> None:
    augment, hr = Augment(), batch()
    first = augment(hr, generator=torch.Generator().manual_seed(3))
    torch.rand(7)  # the global generator has no part in it
    assert torch.equal(augment(hr, generator=torch.Generator().manual_seed(3)), first)
    assert not torch.equal(augment(hr, generator=torch.Generator().manual_seed(4)), first)
    state = torch.get_rng_state()
    augment(hr, generator=torch.Generator().manual_seed(5))
    assert torch.equal(torch.get_rng_state(), state)


def test_nothing_asked_for_changes_nothing() -> None:
    assert torch.equal(apply(batch()), batch())


def test_result_is_an_image_batch_of_the_same_shape() -> None:
    hr = batch()
    got = apply(hr, flips=True, turns=True, moved_share=1.0, shift=0.3, scale=0.4, coloured_share=1.0, saturation=1.0)
    assert got.shape == hr.shape
    assert got.dtype == torch.float32
    assert 0 <= got.min() <= got.max() <= 1
    assert got.isfinite().all()


@pytest.mark.parametrize(("option", "count"), [("flips", 4), ("turns", 3)])
def test_flips_and_turns_only_move_pixels_and_all_of_them_occur(option: str, count: int) -> None:
    hr = picture(9, 9).expand(64, -1, -1, -1)
    got = apply(hr, **{option: True})
    variants = {
        "flips": [hr[0], hr[0].flip(-1), hr[0].flip(-2), hr[0].flip(-1, -2)],
        "turns": [hr[0], hr[0].rot90(1, (-2, -1)), hr[0].rot90(-1, (-2, -1))],
    }[option]
    found = [next(i for i, v in enumerate(variants) if torch.equal(v, image)) for image in got]
    assert sorted(set(found)) == list(range(count))


def ramp(side: int = 33) -> Tensor:
    """Red grows to the right, green downwards: a shifted and scaled ramp tells how."""
    axis = torch.linspace(0.2, 0.8, side)
    return torch.stack([axis.expand(side, side), axis[:, None].expand(side, side), torch.full((side, side), 0.5)])[None]


def test_shift_and_scale_are_within_their_bounds_and_differ_by_patch() -> None:
    side, slope = 33, 0.6 / 32
    hr = ramp(side).expand(40, -1, -1, -1)
    got = apply(hr, moved_share=1.0, shift=0.0625, scale=0.1)
    inner = slice(8, -8)
    across = got[:, 0, side // 2, inner]  # red along the middle row
    zoom = slope / ((across[:, -1] - across[:, 0]) / (across.shape[1] - 1))
    assert 0.9 <= zoom.min() < 0.93
    assert 1.07 < zoom.max() < 1.11  # this bicubic kernel does not keep ramps exactly
    shift = (0.5 - got[:, 0, side // 2, side // 2]) / slope * zoom
    assert -0.0625 * side - 0.01 <= shift.min() < -1.3
    assert 1.3 < shift.max() <= 0.0625 * side + 0.01


def test_shares_are_of_patches() -> None:
    hr = batch(1).expand(200, -1, -1, -1)
    for options in ({"moved_share": 0.25}, {"coloured_share": 0.25, "saturation": 0.5}):
        changed = (apply(hr, **options) != hr).flatten(1).any(1).float().mean().item()
        assert 0.15 < changed < 0.35


def test_hue_keeps_the_largest_channel_and_saturation_keeps_grey() -> None:
    hr = 0.2 + 0.6 * batch()
    hued = apply(hr, coloured_share=1.0, hue=0.1, saturation=0.0)
    torch.testing.assert_close(hued.amax(1), hr.amax(1), rtol=0, atol=1e-5)  # the value of HSV
    assert 1e-4 < (hued - hr).abs().max() < 0.1
    faded = apply(hr, coloured_share=1.0, hue=0.0, saturation=0.1)
    assert (faded - hr).abs().max() > 1e-3
    grey = hr.mean(1, keepdim=True).expand(-1, 3, -1, -1).contiguous()
    torch.testing.assert_close(apply(grey, coloured_share=1.0), grey, rtol=0, atol=1e-5)


def test_switching_one_change_off_leaves_the_others_as_they_were() -> None:
    hr = batch()
    both = apply(hr, flips=True, turns=True)
    assert torch.equal(apply(apply(hr, flips=True), turns=True), both)


@pytest.mark.parametrize(
    ("option", "value", "bound"),
    [
        ("moved_share", 1.5, "1"), ("shift", -0.1, "1"), ("scale", 0.95, "0.9"), ("coloured_share", math.nan, "1"),
        ("hue", 4.0, "3.14"), ("saturation", 2.0, "1"),
    ],
)  # fmt: skip
def test_impossible_options_are_refused(option: str, value: float, bound: str) -> None:
    with pytest.raises(InputError, match=f"augmentation: {option} must be between 0 and {bound}, got {value}"):
        Augment(**{option: value})


def test_other_than_square_rgb_patches_are_refused() -> None:
    with pytest.raises(InputError, match=r"square RGB patches \(B, 3, N, N\), got \(2, 3, 8, 9\); cut them so"):
        apply(torch.rand(2, 3, 8, 9))
    with pytest.raises(InputError, match=r"square RGB patches \(B, 3, N, N\), got \(2, 1, 8, 8\)"):
        apply(torch.rand(2, 1, 8, 8))
