"""Drawn patches among photos."""

import pytest
import torch

from metasr.data.drawings import Drawings
from metasr.errors import InputError
from small_problems import picture


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_share_of_the_patches_is_drawn_the_others_only_turned() -> None:
    patch = (picture(48, 48) * 255).round() / 255
    batch = patch.expand(200, -1, -1, -1)
    varied = Drawings(share=0.3, photo_share=0.5)(batch, generator=generator())
    assert varied.shape == batch.shape
    assert varied.min() >= 0
    assert varied.max() <= 1
    views = torch.stack([v.flip(f) for v in (patch[0], patch[0].mT) for f in ((), (-1,), (-2,), (-2, -1))])
    same = (varied[:, None] == views).flatten(2).all(-1)  # (200, 8)
    assert 0.22 < float((~same.any(1)).double().mean()) < 0.38
    assert bool(same.any(0).all())  # all eight
    mostly = (varied[:, None] == views).double().flatten(2).mean(-1).amax(1)  # drawn upon: the rest is the photo's
    assert bool(((mostly > 0.2) & (mostly < 1)).any())


def test_the_same_generator_draws_the_same() -> None:
    batch = picture(40, 40).expand(6, -1, -1, -1)
    first, again = (Drawings(share=1.0)(batch, generator=generator()) for _ in range(2))
    assert torch.equal(first, again)
    assert len({tuple(one.flatten().tolist()) for one in first}) == 6


def test_drawings_are_in_few_colours_with_text_and_lines() -> None:
    drawn = Drawings(share=1.0, photo_share=0.0)(picture(64, 64).expand(20, -1, -1, -1), generator=generator())
    levels = (drawn * 255).round().permute(0, 2, 3, 1).reshape(20, -1, 3)
    largest = [int(one.unique(dim=0, return_counts=True)[1].max()) for one in levels]
    assert sum(count > 0.3 * 64 * 64 for count in largest) > 10
    steps = drawn.diff(dim=-1).abs().amax((1, 2, 3))
    assert float(steps.median()) > 0.2


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"photo_share": -0.1}, {"shapes": 0}])
def test_what_cannot_be_drawn(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Drawings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="square RGB patches"):
        Drawings()(torch.rand(2, 3, 8, 9), generator=generator())
