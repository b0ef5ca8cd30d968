"""The kernel generator."""

import pytest
import torch

from metasr.errors import InputError
from metasr.models.kernel_net import KernelNet


@pytest.mark.parametrize(("size", "count"), [(11, 322_121), (15, 426_225), (19, 562_361), (21, 642_441)])
def test_published_numbers_of_parameters(size: int, count: int) -> None:
    assert sum(p.numel() for p in KernelNet(size).parameters()) == count


def test_it_is_a_kernel_and_what_it_is_written_as() -> None:
    net, code = KernelNet(5, code=7, hidden=9).double(), torch.rand(7, dtype=torch.float64) * 40
    kernel = net(code)
    assert kernel.shape == (5, 5)
    assert kernel.min() > 0
    inner = (net.inner.weight @ code + net.inner.bias).clamp(0, 6)
    logits = net.outer.weight @ inner + net.outer.bias
    torch.testing.assert_close(kernel.flatten(), logits.exp() / logits.exp().sum())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 4}, "kernel size must be odd and at least 1, got 4"),
        ({"size": -1}, "kernel size must be odd and at least 1, got -1"),
        ({"size": 5, "hidden": 0}, "code and hidden must be at least 1, got 200 and 0"),
        ({"size": 5, "code": 0}, "code and hidden must be at least 1, got 0 and 1000"),
    ],
)
def test_impossible_sizes(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        KernelNet(**arguments)
