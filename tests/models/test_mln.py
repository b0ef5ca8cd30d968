"""The meta-learning network."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metasr.degradation.resize import imresize
from metasr.errors import InputError
from metasr.models.mln import MLN
from receptive import reach


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_published_size_and_its_parts() -> None:
    net = MLN()
    assert size(net) == 2_073_219
    assert {name: size(child) for name, child in net.named_children()} == {
        "head": 3_584, "body": 885_504, "tail": 1_184_131
    }  # fmt: skip
    assert {key.split(".")[0] for key in net.state_dict()} == {"head", "body", "tail"}


@pytest.mark.parametrize(("scale", "convs"), [(2, 1 + 1), (3, 1 + 1), (4, 2 + 1)])
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (5, 7)])
def test_any_size_at_any_scale(scale: int, convs: int, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = MLN(scale=scale, width=6, depth=2)
    lr = torch.rand(2, 3, *shape)
    assert net(lr).shape == (2, 3, scale * shape[0], scale * shape[1])
    assert net.features(lr).shape == (2, 6, *shape)
    assert sum(isinstance(m, nn.Conv2d) for m in net.tail) == convs


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_is_tail_of_body_of_head_plus_the_enlarged_image(scale: int) -> None:
    torch.manual_seed(0)
    net = MLN(scale=scale, width=5, depth=3).double()
    lr = torch.rand(2, 3, 5, 7, dtype=torch.float64)
    x = lr
    convs = [m for part in (net.head, net.body) for m in part if isinstance(m, nn.Conv2d)]
    assert len(convs) == 4
    for conv in convs:
        x = F.conv2d(x, conv.weight, conv.bias, padding=1)
        x = torch.where(x > 0, x, 0.1 * x)
    torch.testing.assert_close(net.features(lr), x, rtol=0, atol=1e-13)
    tail = [m for m in net.tail if isinstance(m, nn.Conv2d)]
    for conv in tail[:-1]:
        x = F.pixel_shuffle(F.conv2d(x, conv.weight, conv.bias, padding=1), 2 if scale == 4 else scale)
    x = F.conv2d(x, tail[-1].weight, tail[-1].bias, padding=1) + imresize(lr, scale)
    torch.testing.assert_close(net(lr), x, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("scale", "depth"), [(2, 1), (3, 2), (4, 2)])
def test_receptive_radius_is_true(scale: int, depth: int) -> None:
    torch.manual_seed(0)
    net = MLN(scale=scale, width=6, depth=depth).double()
    assert reach(net, scale=scale, side=2 * depth + 13) == net.receptive_radius == depth + 3


def test_is_differentiable_twice() -> None:
    torch.manual_seed(0)
    net = MLN(scale=2, width=3, depth=1).double()
    soft = copy.deepcopy(net)
    for part in (soft.head, soft.body):
        for i, layer in enumerate(part):
            if isinstance(layer, nn.LeakyReLU):
                part[i] = nn.Softplus()  # without kinks, for finite differences
    lr = torch.rand(1, 3, 3, 4, dtype=torch.float64)
    names, weights = zip(*soft.named_parameters(), strict=True)

    def loss(*given: torch.Tensor) -> torch.Tensor:
        state = dict(zip(names, given, strict=True))
        return torch.nn.utils.stateless.functional_call(soft, state, (lr,)).square().sum()

    given = tuple(w.detach().requires_grad_() for w in weights)
    gradients = torch.autograd.grad(loss(*given), given, create_graph=True)
    squared = sum(g.square().sum() for g in gradients)
    second = torch.autograd.grad(squared, given)
    torch.manual_seed(1)
    way = [torch.randn_like(w) for w in weights]
    step = 1e-6

    def squared_at(offset: float) -> float:
        moved = tuple((w + offset * d).detach().requires_grad_() for w, d in zip(weights, way, strict=True))
        return float(sum(g.square().sum() for g in torch.autograd.grad(loss(*moved), moved)))

    numeric = (squared_at(step) - squared_at(-step)) / (2 * step)
    exact = float(sum((g * d).sum() for g, d in zip(second, way, strict=True)))
    assert exact == pytest.approx(numeric, rel=1e-6)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"scale": 8}, "this network enlarges by 2, 3 or 4, got scale 8; train one for the nearest of these"),
    ({"scale": 2.5}, "got scale 2.5"),
    ({"width": 0}, "at least 1 channel and 1 layer, got width 0 and depth 6"),
    ({"depth": 0}, "got width 128 and depth 0"),
])  # fmt: skip
def test_impossible_sizes_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MLN(**arguments)
