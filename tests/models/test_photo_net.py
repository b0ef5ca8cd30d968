"""The network for photos: what it begins as, what it is told, sizes."""

import pytest
import torch

from metasr.degradation.names import parse
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.degradation.told import CONDITIONS, conditions, told
from metasr.errors import InputError
from metasr.io.jpeg import of_quality
from metasr.models.photo import PhotoNet


def small(scales: tuple[int, ...] = (2, 3, 4)) -> PhotoNet:
    torch.manual_seed(0)
    return PhotoNet(scales, widths=(4, 6), blocks=(1, 1))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_it_begins_as_bicubic_enlargement_at_any_size(scale: int) -> None:
    lr = torch.rand(2, 3, 13, 18)
    torch.testing.assert_close(small()(lr, Degradation(scale=scale)), imresize(lr, scale))


def test_its_size_is_as_its_configuration_tells() -> None:
    assert sum(p.numel() for p in PhotoNet((2,)).parameters()) == 1_552_844


def test_what_it_is_told_of_each_image() -> None:
    each = (None, of_quality(95), of_quality(30, subsampling="4:2:0"))
    noise = torch.tensor([0.0, 0.05, 0.1], dtype=torch.float64)
    told = conditions(Degradation(scale=2, jpeg=each, noise_std=noise), count=3)
    assert told.shape == (3, CONDITIONS)
    assert told[0].tolist() == [0, 0, 0, 0]
    torch.testing.assert_close(told[:, 0], torch.tensor([0.0, 0.5, 1.0]))
    assert 0.3 < float(told[1, 1]) < 0.5 < 1.0 < float(told[2, 1]) < 1.2
    assert told[:, 3].tolist() == [0, 0, 1]
    alike = conditions(parse("bicubic_n12.75_q95", scale=2), count=3)
    torch.testing.assert_close(alike, told[1:2].expand(3, -1))


def test_what_it_is_told_matters_and_stays_with_its_image() -> None:
    network, lr = small(), torch.rand(2, 3, 16, 16)
    torch.nn.init.normal_(network.tails["x2"].weight)  # type: ignore[arg-type]
    both = Degradation(scale=2, jpeg=(of_quality(40), None), noise_std=torch.tensor([0.0, 0.04]))
    together = network(lr, both)
    for index in range(2):
        alone = network(lr[index : index + 1], both.of_one(index))
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-5, rtol=0)
    assert not torch.allclose(together, network(lr, Degradation(scale=2)))
    assert torch.equal(network(told(lr, both)), together)


def test_the_farthest_pixel_that_it_sees() -> None:
    network = small((2,))
    torch.nn.init.ones_(network.tails["x2"].weight)  # type: ignore[arg-type]
    lr = torch.rand(1, 3, 96, 96, requires_grad=True)
    network(lr, Degradation(scale=2))[0, 0, 96, 96].backward()
    assert lr.grad is not None
    rows = lr.grad[0].abs().sum((0, 2)).nonzero().flatten()
    assert max(48 - int(rows.min()), int(rows.max()) - 48) <= network.receptive_radius


@pytest.mark.parametrize("wrong", [{"scales": ()}, {"scales": (1,)}, {"scales": (2, 2)}, {"scales": (2.5,)},
                                   {"widths": (0, 4)}, {"blocks": (1,)}])  # fmt: skip
def test_what_cannot_be_made(wrong: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(InputError, match="PhotoNet needs"):
        PhotoNet(**wrong)  # type: ignore[arg-type]


def test_a_scale_without_a_layer() -> None:
    with pytest.raises(InputError, match=r"enlarge by x2, x3, x4, but scale 2\.5"):
        small()(torch.rand(1, 3, 16, 16), Degradation(scale=2.5))
