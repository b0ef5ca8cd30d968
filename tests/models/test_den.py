"""The degradation extraction network."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metasr.errors import InputError
from metasr.models.den import DegradationEncoder


@pytest.mark.parametrize(("channels", "size"), [(3, 1_276_992), (128, 1_348_992)])
def test_published_sizes(channels: int, size: int) -> None:
    encoder = DegradationEncoder(channels=channels)
    assert sum(p.numel() for p in encoder.parameters()) == size
    assert len(encoder.state_dict()) == 16
    assert encoder(torch.rand(1, channels, 9, 7)).shape == (1, 256)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (5, 7), (8, 3)])
def test_is_six_convolutions_the_mean_and_two_linear_layers(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    encoder = DegradationEncoder(channels=2, width=4).double()
    image = torch.rand(3, 2, *shape, dtype=torch.float64)
    x = image
    convs = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    for conv, stride in zip(convs, (1, 1, 2, 1, 2, 1), strict=True):
        x = F.conv2d(x, conv.weight, conv.bias, padding=1, stride=stride)
        x = torch.where(x > 0, x, 0.1 * x)
    first, last = (m for m in encoder.modules() if isinstance(m, nn.Linear))
    x = x.flatten(2).mean(2) @ first.weight.T + first.bias
    x = torch.where(x > 0, x, 0.1 * x) @ last.weight.T + last.bias
    assert x.shape == (3, 16)
    torch.testing.assert_close(encoder(image), x, rtol=0, atol=1e-13)


def test_images_of_a_batch_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    encoder = DegradationEncoder(width=4).double()
    images = torch.rand(8, 3, 7, 5, dtype=torch.float64)
    alone = torch.cat([encoder(image[None]) for image in images])
    torch.testing.assert_close(encoder(images), alone, rtol=0, atol=1e-14)


@pytest.mark.parametrize("arguments", [{"channels": 0}, {"width": 0}])
def test_impossible_sizes_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(InputError, match="at least 1 channel, got channels"):
        DegradationEncoder(**arguments)
