"""The plain network written out: the same numbers as autograd, and nothing else taken for it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from metasr.models.plain_cnn import PlainCNN
from metasr.solvers import plain_steps
from metasr.solvers.plain_steps import backward_type, forward_of, l1_gradients, layers_of

CORE = (slice(2, 11), slice(0, 9))


class Other(PlainCNN):
    """A subclass may compute anything."""


def network(channels: int = 5, layers: int = 4, dtype: torch.dtype = torch.float64) -> PlainCNN:
    torch.manual_seed(0)
    net = PlainCNN(channels=channels, layers=layers, last_gain=1.0).to(dtype)
    with torch.no_grad():
        for p in net.parameters():
            if p.dim() == 1:
                p.normal_(0, 0.1)
    return net


def by_autograd(net: PlainCNN, source: Tensor, target: Tensor) -> tuple[Tensor, list[Tensor]]:
    loss = (net(source)[..., CORE[0], CORE[1]] - target).abs().sum()
    return loss.detach(), list(torch.autograd.grad(loss, list(net.parameters())))


def images(height: int, width: int, *, batch: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    source = torch.rand(batch, 3, height, width, dtype=dtype)
    return source, torch.rand(batch, 3, height, width, dtype=dtype)[..., CORE[0], CORE[1]]


def written_out(net: PlainCNN, source: Tensor, target: Tensor, backward: torch.dtype) -> tuple[Tensor, list[Tensor]]:
    layers = layers_of(net)
    assert layers is not None
    loss, found = l1_gradients(layers, source, target, CORE, backward=backward)
    return loss, [found[id(p)] for p in net.parameters()]


@pytest.mark.parametrize(("channels", "layers", "batch"), [(5, 4, 1), (4, 2, 3), (32, 3, 2)])
def test_gradients_are_autograds(channels: int, layers: int, batch: int) -> None:
    net = network(channels, layers)
    source, target = images(13, 10, batch=batch)
    before = source.clone()
    loss, gradients = written_out(net, source, target, torch.float64)
    want_loss, want = by_autograd(net, source, target)
    assert loss.item() == pytest.approx(want_loss.item(), rel=1e-12)
    for got, expected in zip(gradients, want, strict=True):
        assert (got - expected).norm() <= 1e-12 * expected.norm()
        assert not got.requires_grad
    assert torch.equal(source, before)


def test_an_error_of_zero_sends_nothing_back() -> None:
    """As autograd has it: the absolute value's slope is 0 there."""
    net, (source, _) = network(), images(13, 10)
    target = forward_of(net)(source)[..., CORE[0], CORE[1]].clone()
    loss, gradients = written_out(net, source, target, torch.float64)
    assert loss == 0
    assert all(not g.any() for g in gradients)


@pytest.mark.parametrize("height", [45, 48])  # as a whole, and in strips
def test_backward_in_bfloat16_is_off_by_its_rounding(height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_steps, "SMALLEST_STRIP", 1)
    net = network(32, 4, torch.float32)
    source, target = images(height, 53, dtype=torch.float32)
    plain_loss, plain = written_out(net, source, target, torch.float32)
    loss, gradients = written_out(net, source, target, torch.bfloat16)
    assert torch.equal(loss, plain_loss)  # the forward pass does not change
    assert all(g.dtype == torch.float32 for g in gradients)
    assert not torch.equal(gradients[0], plain[0])
    for got, expected in zip(gradients, plain, strict=True):
        assert (got - expected).norm() < 2e-2 * expected.norm()
    assert torch.equal(gradients[-1], plain[-1])  # a count of signs: exact, however many pixels share the mean


@pytest.mark.parametrize("height", [8, 44])
def test_weight_gradient_in_strips_is_the_whole_images(height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random values tell one row from another."""
    monkeypatch.setattr(plain_steps, "SMALLEST_STRIP", 1)
    torch.manual_seed(0)
    conv = nn.Conv2d(32, 32, 3, padding=1)
    below, signal = (
        torch.randn(1, 32, height, 19).bfloat16().contiguous(memory_format=torch.channels_last) for _ in range(2)
    )
    want = torch.nn.grad.conv2d_weight(below.float(), conv.weight.shape, signal.float(), padding=1)
    by_weight, by_bias = plain_steps._weight_gradient(conv, below, signal)
    assert (by_weight - want).norm() < 4e-3 * want.norm()
    assert (by_bias - signal.float().sum((0, 2, 3))).norm() < 4e-3 * by_bias.norm()


def test_a_shared_parameters_gradients_add_up() -> None:
    net = network()
    net.conv3.weight = net.conv2.weight
    source, target = images(13, 10)
    _, gradients = written_out(net, source, target, torch.float64)
    for got, expected in zip(gradients, by_autograd(net, source, target)[1], strict=True):
        assert (got - expected).norm() <= 1e-12 * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_output_is_the_networks(dtype: torch.dtype) -> None:
    net, (image, _) = network(dtype=dtype), images(13, 10, batch=2, dtype=dtype)
    run = forward_of(net)
    assert run is not net
    before = image.clone()
    got = run(image)
    torch.testing.assert_close(got, net(image).detach(), rtol=0, atol=2e-6 if dtype == torch.float32 else 1e-13)
    assert not got.requires_grad
    assert torch.equal(image, before)
    assert run(image[0]).shape == image[0].shape  # without a batch: the network's own affair


def hooked(net: PlainCNN) -> PlainCNN:
    net.register_forward_hook(lambda *_: None)
    return net


def with_layer(change: Callable[[PlainCNN], object]) -> PlainCNN:
    net = network()
    change(net)
    return net


def set_layer(layer: nn.Module) -> Callable[[PlainCNN], object]:
    return lambda net: net.add_module("conv2", layer)


def bind(net: PlainCNN) -> None:
    net.forward = lambda image: 2 * image  # type: ignore[method-assign]


NOT_PLAIN: dict[str, Callable[[], nn.Module]] = {
    "another class": lambda: nn.Conv2d(3, 3, 3, padding=1),
    "a subclass": lambda: Other(channels=5, layers=4).double(),
    "a hook": lambda: hooked(network()),
    "a hook on a layer": lambda: with_layer(lambda net: net.conv2.register_forward_pre_hook(lambda *_: None)),
    "another forward": lambda: with_layer(bind),
    "another layer": lambda: with_layer(set_layer(nn.Identity())),
    "circular padding": lambda: with_layer(set_layer(nn.Conv2d(5, 5, 3, padding=1, padding_mode="circular").double())),
    "a wider kernel": lambda: with_layer(set_layer(nn.Conv2d(5, 5, 5, padding=2).double())),
    "dilation": lambda: with_layer(set_layer(nn.Conv2d(5, 5, 3, padding=2, dilation=2).double())),
    "no bias": lambda: with_layer(set_layer(nn.Conv2d(5, 5, 3, padding=1, bias=False).double())),
    "another type": lambda: with_layer(set_layer(nn.Conv2d(5, 5, 3, padding=1).float())),
    "a parametrised weight": lambda: with_layer(
        lambda net: nn.utils.parametrize.register_parametrization(net.conv2, "weight", nn.Identity())
    ),
}


@pytest.mark.parametrize("make", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_whatever_may_compute_something_else_is_left_alone(make: Callable[[], nn.Module]) -> None:
    net = make()
    assert layers_of(net) is None
    assert forward_of(net) is net


def test_autocast_is_left_alone() -> None:
    net = network(dtype=torch.float32)
    assert layers_of(net) is not None
    with torch.autocast("cpu", torch.bfloat16):
        assert layers_of(net) is None


@pytest.mark.parametrize("native", [True, False])
def test_the_backward_type_is_cheaper_only_where_it_pays(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_steps, "native_bfloat16", lambda: native)
    single, double = (torch.rand(1, 3, 4, 4, dtype=dtype) for dtype in (torch.float32, torch.float64))
    for channels, cheap in ((64, native), (32, native), (40, False)):
        layers = layers_of(network(channels, 3, torch.float32))
        assert layers is not None
        assert backward_type("auto", layers, single) == (torch.bfloat16 if cheap else torch.float32)
        assert backward_type("auto", layers, double) == torch.float64
        assert backward_type("bfloat16", layers, single) == torch.bfloat16
        assert backward_type("bfloat16", layers, double) == torch.float64
        assert backward_type("float32", layers, single) == torch.float32
