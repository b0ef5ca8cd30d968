"""The image generator."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metasr.errors import InputError
from metasr.models.skip_net import NonLocal, SkipNet, concat_cropped


def tiny(levels: int = 3) -> SkipNet:
    torch.manual_seed(0)
    return SkipNet(width=4, skip=2, levels=levels)


def test_published_number_of_parameters() -> None:
    assert sum(p.numel() for p in SkipNet().parameters()) == 2_359_939


def test_only_the_lower_levels_look_everywhere() -> None:
    def blocks(levels: int) -> list[str]:
        return [name for name, m in tiny(levels).named_modules() if isinstance(m, NonLocal)]

    assert blocks(2) == []
    assert [name.split(".")[1] for name in blocks(5)] == ["2", "3", "4"]


@pytest.mark.parametrize("size", [(9, 9), (9, 40), (33, 17), (37, 50), (64, 63)])
def test_any_size_keeps_its_size_in_range(size: tuple[int, int]) -> None:
    image = tiny()(torch.rand(1, 3, *size))
    assert image.shape == (1, 3, *size)
    assert 0 < image.min() < image.max() < 1


def test_the_least_side_is_told() -> None:
    net = tiny(4)
    assert net.minimum_side == 17
    assert net(torch.rand(1, 3, 17, 17)).isfinite().all()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        net(torch.rand(1, 3, 16, 16))


def test_training_and_evaluation_are_one_and_nothing_is_stored() -> None:
    net, noise = tiny(), torch.rand(1, 3, 21, 18)
    torch.testing.assert_close(net.train()(noise), net.eval()(noise), rtol=0, atol=0)
    assert list(net.buffers()) == []


def test_every_parameter_has_a_part_in_the_image() -> None:
    net = tiny()
    for name, parameter in net.named_parameters():
        if "norm" in name and parameter.eq(0).all():
            nn.init.ones_(parameter)
    net(torch.rand(1, 3, 29, 31))[0, 0, 3, 4].backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    # a constant before a normalisation is taken away by it: no bias of a normalised convolution matters
    assert all(name.endswith("bias") for name in idle)


def test_a_strided_convolution_reflects_at_its_border() -> None:
    net = tiny(1)
    conv = next(m for m in net.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2))
    image = torch.rand(1, 3, 9, 12)
    want = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="reflect"), conv.weight, conv.bias, stride=2)
    torch.testing.assert_close(conv(image), want)


def test_the_non_local_block_begins_as_the_identity() -> None:
    image = torch.rand(1, 4, 7, 6)
    torch.testing.assert_close(NonLocal(4)(image), image)


@pytest.mark.parametrize("size", [(7, 6), (2, 2), (1, 5)])
def test_the_non_local_block_is_every_position_by_every_other(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    block = NonLocal(6).double()
    nn.init.normal_(block.norm.weight)
    nn.init.normal_(block.norm.bias)
    image = torch.rand(1, 6, *size, dtype=torch.float64)
    pool = (lambda x: F.max_pool2d(x, 2)) if min(size) > 1 else (lambda x: x)
    theta = block.theta(image)[0].flatten(1).T  # (N, inner)
    phi, g = (pool(m(image))[0].flatten(1).T for m in (block.phi, block.g))  # (n, inner)
    seen = (theta @ phi.T / len(phi)) @ g  # the square matrix that the block avoids
    want = image + block.norm(block.back(seen.T.reshape(1, 3, *size)))
    torch.testing.assert_close(block(image), want)


def test_concatenation_cuts_the_middle() -> None:
    one, two = torch.arange(35.0).view(1, 1, 5, 7), torch.arange(16.0).view(1, 1, 4, 4)
    joined = concat_cropped((one, two))
    assert joined.shape == (1, 2, 4, 4)
    torch.testing.assert_close(joined[0, 0], one[0, 0, :4, 1:5])
    torch.testing.assert_close(joined[0, 1], two[0, 0])


@pytest.mark.parametrize("arguments", [{"width": 1}, {"levels": 0}, {"skip": 0}, {"channels": 0}])
def test_impossible_sizes(arguments: dict[str, int]) -> None:
    with pytest.raises(InputError, match="must be at least 1 and width at least 2"):
        SkipNet(**arguments)


@pytest.mark.parametrize("arguments", [{"width": 6}, {"skip": 3}, {"levels": 2}, {"slope": 0.1}])
def test_every_argument_changes_the_image(arguments: dict[str, float]) -> None:
    noise = torch.rand(1, 3, 12, 14)
    torch.manual_seed(0)
    other = SkipNet(**({"width": 4, "skip": 2, "levels": 3} | arguments))  # type: ignore[arg-type]
    assert not torch.allclose(tiny()(noise), other(noise), atol=1e-4)
