"""Edges of cut-outs after enlargement, against enlarging colours multiplied by their opacity."""

import pytest
import torch

from metasr.degradation.resize import imresize
from metasr.errors import InputError
from metasr.io.transparency import fill_transparent


def disc(*, soft: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey 250 on transparent black, 37 x 41."""
    rows, columns = torch.meshgrid(torch.arange(37.0), torch.arange(41.0), indexing="ij")
    distance = ((rows - 17.3).square() + (columns - 20.1).square()).sqrt()
    alpha = (12.5 - distance).clamp(0, 1) if soft else (distance < 12.5).float()
    alpha = (alpha * 255).round() / 255
    return (alpha > 0).float()[None].repeat(3, 1, 1) * 250 / 255, alpha[None]


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("ground", [0.0, 1.0])
@pytest.mark.parametrize("scale", [2, 3])
def test_no_dark_fringe(soft: bool, ground: float, scale: int) -> None:
    rgb, alpha = disc(soft=soft)

    def large(image: torch.Tensor) -> torch.Tensor:
        return imresize(image[None], scale)[0]

    opacity = large(alpha).clamp(0, 1)
    colour = torch.where(opacity > 0, large(rgb * alpha) / large(alpha), 0)  # multiplied by opacity, enlarged, divided
    want = colour * opacity + (1 - opacity) * ground

    def off(colours: torch.Tensor) -> float:
        shown = large(colours).clamp(0, 1) * opacity + (1 - opacity) * ground
        return float((shown - want.clamp(0, 1)).abs().max() * 255)

    assert off(fill_transparent(rgb, alpha)) <= 3
    assert off(rgb) > 10  # what it is for


def test_colours_come_from_the_nearest_pixel_that_is_seen() -> None:
    rgb = torch.rand(3, 7, 5)
    alpha = torch.zeros(1, 7, 5)
    alpha[0, 1, 1], alpha[0, 6, 4] = 1.0, 0.004
    filled = fill_transparent(rgb, alpha)
    assert torch.equal(filled[:, 0, 0], rgb[:, 1, 1])
    assert torch.equal(filled[:, 5, 4], rgb[:, 6, 4])
    assert torch.equal(filled[:, 1, 1], rgb[:, 1, 1])
    assert torch.equal(filled[:, 6, 4], rgb[:, 6, 4])


@pytest.mark.parametrize("opacity", [0.0, 0.3, 1.0])
def test_the_same_opacity_everywhere_changes_nothing(opacity: float) -> None:
    rgb = torch.rand(3, 7, 5)
    assert fill_transparent(rgb, torch.full((1, 7, 5), opacity)) is rgb


def test_shapes() -> None:
    with pytest.raises(InputError, match=r"alpha must be \(1, H, W\) for rgb of \(3, 7, 5\), got \(7, 5\)"):
        fill_transparent(torch.rand(3, 7, 5), torch.rand(7, 5))
