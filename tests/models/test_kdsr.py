"""KDSR's networks."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.errors import InputError
from metasr.models.blind import BlindSR
from metasr.models.kdsr import KDSRBody, KDSREncoder
from receptive import reach


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.1 * x)


def plain(conv: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(conv, nn.Conv2d)
    return F.conv2d(x, conv.weight, conv.bias, padding=1)


@pytest.mark.parametrize(("width", "blocks", "residual", "student", "teacher"), [
    (64, 53, 9, 5_795_099, 5_822_747), (128, 28, 5, 14_191_003, 14_246_299)
])  # fmt: skip
def test_published_sizes(width: int, blocks: int, residual: int, student: int, teacher: int) -> None:
    for channels, want in ((3, student), (51, teacher)):
        encoder = KDSREncoder(channels=channels, width=width, blocks=residual)
        net = BlindSR(encoder, KDSRBody(width=width, blocks=blocks))
        assert sum(p.numel() for p in net.parameters()) == want - 24
        assert sum(v.numel() for v in net.state_dict().values()) == want


@pytest.mark.parametrize("shape", [(1, 1), (5, 7)])
def test_the_encoder_by_hand(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    encoder = KDSREncoder(channels=2, width=4, blocks=2).double()
    image = torch.rand(3, 2, *shape, dtype=torch.float64)
    x = leaky(plain(encoder.head[0], image))
    for b in encoder.blocks:
        x = x + plain(b.conv2, leaky(plain(b.conv1, x)))
    for i in (0, 2, 4):
        x = leaky(plain(encoder.widen[i], x))
    v = x.mean((2, 3))
    for i in (0, 2):
        v = leaky(v @ encoder.mlp[i].weight.T + encoder.mlp[i].bias)
    assert v.shape == (3, 16)
    torch.testing.assert_close(encoder(image), v, rtol=0, atol=1e-13)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_body_by_hand(scale: int) -> None:
    torch.manual_seed(0)
    body = KDSRBody(scale=scale, width=4, blocks=2).double()
    lr, vector = torch.rand(2, 3, 5, 7, dtype=torch.float64), torch.randn(2, 16, dtype=torch.float64)
    v = leaky(vector @ body.compress.weight.T + body.compress.bias)
    start = plain(body.head, lr - torch.tensor([0.4488, 0.4371, 0.4040]).double().view(3, 1, 1))
    x = start
    for b in body.blocks:
        convolved = []
        for image, own in zip(x, v, strict=True):
            kernels = b.aware.kernel[2].weight @ leaky(b.aware.kernel[0].weight @ own)
            convolved.append(F.conv2d(image[None], kernels.view(4, 1, 3, 3), padding=1, groups=4))
        x = x + plain(b.conv, leaky(torch.cat(convolved)))
    x = plain(body.close, x) + start
    want = body.add_mean(body.tail(x))
    torch.testing.assert_close(body(lr, vector), want, rtol=0, atol=1e-13)


def test_receptive_radius_is_true() -> None:
    torch.manual_seed(0)
    body = KDSRBody(scale=2, width=4, blocks=3).double()
    assert reach(body, torch.randn(1, 16, dtype=torch.float64), scale=2, side=25) == body.receptive_radius == 10


@pytest.mark.parametrize(("make", "message"), [
    (lambda: KDSREncoder(channels=0), "at least 1 channel, got channels 0, width 64, blocks 9"),
    (lambda: KDSREncoder(width=0), "got channels 3, width 0, blocks 9"),
    (lambda: KDSREncoder(blocks=-1), "got channels 3, width 64, blocks -1"),
    (lambda: KDSRBody(width=0), "at least 1 channel and 1 block, got width 0 and blocks 53"),
    (lambda: KDSRBody(blocks=0), "got width 64 and blocks 0"),
    (lambda: KDSRBody(scale=5), "enlarges by 2, 3 or 4, got scale 5"),
])  # fmt: skip
def test_impossible_sizes_are_refused(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
