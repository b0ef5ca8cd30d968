"""Encoder and body together, and what they cost."""

import inspect

import pytest
import torch
from torch import nn

from metasr.errors import InputError
from metasr.models.blind import BlindSR
from metasr.models.den import DegradationEncoder
from metasr.models.kdsr import KDSRBody, KDSREncoder
from metasr.models.mln import MLN
from metasr.models.rdan import RDAN
from mrda.multadds import multiply_adds

NARROW = {
    "mrda": lambda scale: BlindSR(DegradationEncoder(width=3), RDAN(scale=scale, width=4, blocks=2, vector=12)),
    "kdsr": lambda scale: BlindSR(KDSREncoder(width=4, blocks=1), KDSRBody(scale=scale, width=4, blocks=2)),
}


def count(module: nn.Module) -> int:
    return sum(v.numel() for v in module.state_dict().values())


def test_published_sizes_of_mrda() -> None:
    student = BlindSR(DegradationEncoder(), RDAN())
    teacher = BlindSR(DegradationEncoder(channels=128), RDAN())
    assert (count(student), count(teacher)) == (5_838_737, 5_910_737)
    names = list(student.state_dict())
    assert sum(n.startswith("encoder.") for n in names) == 16
    assert sum(n.startswith("body.") for n in names) == 339
    assert len(names) == 16 + 339


@pytest.mark.parametrize("kind", NARROW)
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (4, 4), (5, 7)])
def test_any_size_and_the_same_alone_as_in_a_batch(kind: str, scale: int, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = NARROW[kind](scale).double()
    lr = torch.rand(8, 3, *shape, dtype=torch.float64)
    with torch.no_grad():
        together = net(lr)
        alone = torch.cat([net(image[None]) for image in lr])
    assert together.shape == (8, 3, scale * shape[0], scale * shape[1])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)
    assert net.scale == scale


@pytest.mark.parametrize("kind", NARROW)
def test_is_the_body_of_the_encoders_vector_and_takes_the_lr_image_only(kind: str) -> None:
    torch.manual_seed(0)
    net = NARROW[kind](2)
    lr = torch.rand(2, 3, 5, 7)
    assert list(inspect.signature(net.forward).parameters) == ["lr"]
    assert torch.equal(net.vector(lr), net.encoder(lr))
    assert torch.equal(net(lr), net.body(lr, net.vector(lr)))


def test_tiles_with_the_vector_of_the_whole_image_have_no_seams() -> None:
    torch.manual_seed(0)
    net = NARROW["mrda"](2).double()
    overlap = net.body.receptive_radius
    lr = torch.rand(1, 3, 5, 2 * overlap + 6, dtype=torch.float64)
    with torch.no_grad():
        whole, vector = net(lr), net.vector(lr)
        left = net.body(lr[..., : overlap + 3], vector)[..., :6]
        own_vector = net(lr[..., : overlap + 3])[..., :6]
    torch.testing.assert_close(left, whole[..., :6], rtol=0, atol=1e-13)
    assert (own_vector - whole[..., :6]).abs().max() > 1e-9


def test_multiply_adds_are_the_published() -> None:
    lr = (1, 3, 180, 320)
    student = multiply_adds(BlindSR(DegradationEncoder(), RDAN()), lr)
    assert student == pytest.approx(172.13e9, rel=0.005)
    assert student == pytest.approx(171.53e9, rel=1e-4)
    large = BlindSR(KDSREncoder(width=128, blocks=5), KDSRBody(width=128, blocks=28))
    assert multiply_adds(large, lr) == pytest.approx(623.61e9, rel=0.005)
    assert multiply_adds(BlindSR(KDSREncoder(), KDSRBody()), lr) == pytest.approx(228.6e9, rel=1e-3)  # not as published
    assert multiply_adds(MLN(), lr) == pytest.approx(224.2e9, rel=1e-3)


def test_multiply_adds_count_products() -> None:
    assert multiply_adds(nn.Conv2d(4, 6, 3, padding=1, groups=2), (2, 4, 5, 7)) == 2 * 6 * 2 * 9 * 5 * 7
    assert multiply_adds(nn.Linear(5, 3), (2, 5)) == 2 * 15
    narrow = BlindSR(DegradationEncoder(width=1), RDAN(scale=2, width=2, blocks=1, vector=4))
    pixels = 3 * 5
    encoder = 9 * (3 * 15 + 15 + 2 * 6 + 4 * 6 + 8 * 2 + 16 * 2) + 2 * 16
    aware = 2 * 2 + 2 * 18 + pixels * (2 + 2 * 9)
    body = 4 * 2 + 9 * pixels * (6 + 4) + 2 * (aware + 9 * pixels * 4) + 9 * pixels * (2 * 8 + 4 * 2 * 3)
    assert multiply_adds(narrow, (1, 3, 3, 5)) == encoder + body
    assert next(narrow.parameters()).device.type == "cpu"
    with pytest.raises(InputError, match="needs the shape of the network's input"):
        multiply_adds(narrow)


def test_how_it_begins() -> None:
    """After He's initialisation images differ in their vectors; after torch's own next to nothing is left of it."""
    images = (
        torch.rand(6, 3, 17, 13, generator=torch.Generator().manual_seed(0))
        * torch.linspace(0.1, 1, 6)[:, None, None, None]
    )
    spread = {}
    for init in ("torch", "he"):
        torch.manual_seed(0)
        made = BlindSR(DegradationEncoder(width=8), RDAN(width=8, blocks=1, vector=32), init=init)
        with torch.no_grad():
            vectors = made.vector(images)
        spread[init] = float(vectors.std(0).mean() / vectors.abs().mean())
    assert spread["torch"] < 0.05 < 0.3 < spread["he"]


def test_he_begins_anew_what_makes_kernels_and_leaves_the_rest_of_the_body() -> None:
    torch.manual_seed(0)
    plain = BlindSR(DegradationEncoder(width=4), RDAN(width=4, blocks=1, vector=16)).state_dict()
    torch.manual_seed(0)
    he = BlindSR(DegradationEncoder(width=4), RDAN(width=4, blocks=1, vector=16), init="he").state_dict()
    changed = {k for k, v in plain.items() if not torch.equal(v, he[k])}
    steered = {k for k in plain if "kernel" in k or "compress" in k}
    assert changed == {k for k in plain if k.startswith("encoder.")} | steered
    with pytest.raises(InputError, match="init must be one of torch, he, got 'xavier'"):
        BlindSR(DegradationEncoder(), RDAN(), init="xavier")
