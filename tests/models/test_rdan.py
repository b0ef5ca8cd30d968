"""MRDA's SR network, and what it shares with KDSR's."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.errors import InputError
from metasr.models.conditioned import RGB_MEAN, MeanShift
from metasr.models.rdan import RDAN, RDABlock, RDAConv
from receptive import reach


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.1 * x)


def aware(conv: RDAConv, x: Tensor, v: Tensor) -> Tensor:
    """The RDA convolution, image by image."""
    inner, outer = conv.kernel[0].weight, conv.kernel[2].weight
    images = []
    for image, own in zip(x, v, strict=True):
        kernels = (outer @ leaky(inner @ own)).view(-1, 1, 3, 3)
        mask = (image * conv.mask.weight.view(-1, 1, 1)).sum(0) + conv.mask.bias
        convolved = leaky(F.conv2d(image[None], kernels, padding=1, groups=len(image)))[0]
        images.append(image + convolved / (1 + (-mask).exp()))
    return torch.stack(images)


def plain(conv: nn.Conv2d, x: Tensor) -> Tensor:
    return F.conv2d(x, conv.weight, conv.bias, padding=1)


def block(b: RDABlock, x: Tensor, v: Tensor) -> Tensor:
    inner = leaky(plain(b.conv1, leaky(aware(b.aware1, x, v))))
    return x + plain(b.conv2, leaky(aware(b.aware2, inner, v)))


def test_published_sizes() -> None:
    assert size(RDAConv(64)) == 41_025
    assert size(RDABlock(64)) == 155_906
    net = RDAN()
    state = net.state_dict()
    assert size(net) == 4_561_721
    assert sum(v.numel() for v in state.values()) == 4_561_721 + 24
    assert len(state) == 339
    assert len(list(net.parameters())) == 335


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7)])
def test_is_the_chain_by_hand(scale: int, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = RDAN(scale=scale, width=4, blocks=2, vector=12).double()
    lr, vector = torch.rand(3, 3, *shape, dtype=torch.float64), torch.randn(3, 12, dtype=torch.float64)
    mean = torch.tensor([0.4488, 0.4371, 0.4040]).double().view(3, 1, 1)
    v = leaky(vector @ net.compress.weight.T)
    start = plain(net.head, lr - mean)
    x = start
    for b in net.blocks:
        x = block(b, x, v)
    x = plain(net.close, x) + start
    convs = [m for m in net.tail if isinstance(m, nn.Conv2d)]
    for conv in convs[:-1]:
        x = F.pixel_shuffle(plain(conv, x), 2 if scale == 4 else scale)
    got = net(lr, vector)
    assert got.shape == (3, 3, scale * shape[0], scale * shape[1])
    torch.testing.assert_close(got, plain(convs[-1], x) + mean, rtol=0, atol=1e-12)


def test_swapped_vectors_swap_the_outputs_and_change_them() -> None:
    torch.manual_seed(0)
    net = RDAN(scale=2, width=4, blocks=2, vector=12).double()
    lr = torch.rand(1, 3, 5, 7, dtype=torch.float64).expand(2, -1, -1, -1)
    vector = torch.randn(2, 12, dtype=torch.float64)
    sr = net(lr, vector)
    torch.testing.assert_close(net(lr, vector.flip(0)), sr.flip(0), rtol=0, atol=1e-14)
    assert (sr[0] - sr[1]).abs().max() > 1e-5


def test_every_tensor_takes_part() -> None:
    torch.manual_seed(0)
    net = RDAN(scale=4, width=4, blocks=2, vector=12)
    net(torch.rand(2, 3, 5, 7), torch.randn(2, 12)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(("scale", "blocks"), [(2, 2), (3, 1), (4, 1)])
def test_receptive_radius_is_true(scale: int, blocks: int) -> None:
    torch.manual_seed(0)
    net = RDAN(scale=scale, width=4, blocks=blocks, vector=12).double()
    vector = torch.randn(1, 12, dtype=torch.float64)
    assert reach(net, vector, scale=scale, side=8 * blocks + 11) == net.receptive_radius == 4 * blocks + 4


def test_the_mean_colour_is_taken_and_given_back_also_in_mixed_precision() -> None:
    image = torch.rand(2, 3, 5, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        less = MeanShift(-1)(image)
        back = MeanShift(1)(less)
    assert less.dtype == back.dtype == torch.float32
    torch.testing.assert_close(less, image - torch.tensor(RGB_MEAN).view(3, 1, 1), rtol=0, atol=0)
    torch.testing.assert_close(back, image, rtol=0, atol=1e-7)
    assert list(MeanShift(1).parameters()) == []


def test_other_vectors_are_refused() -> None:
    net = RDAN(scale=2, width=4, blocks=1, vector=12)
    for wrong in (torch.zeros(2, 11), torch.zeros(1, 12)):
        got = tuple(wrong.shape)
        with pytest.raises(InputError, match=rf"must have shape \(2, 12\), one per image, got \({got[0]}, {got[1]}\)"):
            net(torch.rand(2, 3, 5, 7), wrong)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"scale": 1}, "enlarges by 2, 3 or 4, got scale 1"),
    ({"width": 0}, "got width 0, blocks 27, vector 256"),
    ({"blocks": 0}, "got width 64, blocks 0, vector 256"),
    ({"vector": 0}, "got width 64, blocks 27, vector 0"),
])  # fmt: skip
def test_impossible_sizes_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RDAN(**arguments)
