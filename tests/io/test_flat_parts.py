"""Flat parts of a photo keep their colour."""

import pytest
import torch

from metasr.errors import InputError
from metasr.io.flat_parts import keep_flat


def photo() -> torch.Tensor:
    """Grey noise beside 16 columns of one colour."""
    lr = torch.rand(3, 20, 32, generator=torch.Generator().manual_seed(0))
    lr[:, :, 16:] = torch.tensor([200.0, 30.0, 90.0])[:, None, None] / 255
    return lr


@pytest.mark.parametrize("size", [(40, 64), (30, 48), (60, 96), (41, 65)])
def test_flat_is_the_photos_colour_and_the_rest_is_left(size: tuple[int, int]) -> None:
    lr = photo()
    sr = torch.rand(3, *size, generator=torch.Generator().manual_seed(1))
    kept = keep_flat(sr, lr)
    factor = size[1] / 32
    inner, outer = int(19 * factor), int(17 * factor)
    torch.testing.assert_close(kept[..., inner:], lr[:, :1, -1:].expand_as(kept[..., inner:]), rtol=0, atol=1e-6)
    assert torch.equal(kept[..., :outer], sr[..., :outer])


def test_the_change_is_gradual() -> None:
    lr = photo()
    sr = lr.repeat_interleave(4, -1).repeat_interleave(4, -2)
    sr[..., 64:] += 4 / 255
    step = (keep_flat(sr, lr)[..., 64:]).diff(dim=-1).abs().max()
    assert 0 < float(step) * 255 < 1.2


def test_a_displaced_image_is_flat_further_inside() -> None:
    lr = photo()
    sr = torch.zeros(3, 40, 64)
    near, far = (keep_flat(sr, lr, shift=(0.0, s)).any(0).any(0).nonzero().min() for s in (0.5, 4.0))
    assert far == near + 4


def test_nothing_flat_changes_nothing() -> None:
    lr = torch.rand(3, 9, 9)
    sr = torch.rand(3, 18, 18)
    assert keep_flat(sr, lr) is sr
    with pytest.raises(InputError, match=r"expected \(3, H, W\)"):
        keep_flat(sr[0], lr)
