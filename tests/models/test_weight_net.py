"""Weight-Net and its maps."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from metasr.errors import InputError
from metasr.models.weight_net import WeightNet, high_pass, normalise_weights

ALL = ("content", "sr", "error", "high_pass")


def images(count: int = 2, size=(11, 17), seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def lively(**options) -> WeightNet:
    """One whose weights differ from the start."""
    torch.manual_seed(0)
    return WeightNet(**({"channels": 6, "layers": 4, "last_gain": 20.0} | options))


def test_size() -> None:
    assert sum(p.numel() for p in WeightNet().parameters()) == 28_928
    assert [c.in_channels for c in WeightNet(ALL, 8, layers=3).convs] == [12, 8, 8]


@pytest.mark.parametrize("over", ["image", "batch"])
@pytest.mark.parametrize("size", [(11, 17), (1, 1), (48, 5)])
def test_weights_have_mean_one(over: str, size: tuple[int, int]) -> None:
    weights = lively()(images(3, size), over=over)
    assert weights.shape == (3, *size)
    assert weights.min() > 0
    means = weights.mean((1, 2))
    assert weights.mean().item() == pytest.approx(1, abs=1e-5)
    if over == "image":
        torch.testing.assert_close(means, torch.ones(3), rtol=0, atol=1e-5)
    else:
        assert means.std() > 1e-3


def test_over_the_batch_images_compare_with_each_other() -> None:
    raw = torch.tensor([[[1.0, 3.0]], [[2.0, 2.0]]])
    assert normalise_weights(raw).tolist() == [[[0.5, 1.5]], [[1.0, 1.0]]]
    assert normalise_weights(3 * raw, over="batch").tolist() == [[[0.5, 1.5]], [[1.0, 1.0]]]
    raw = torch.tensor([[[1.0, 3.0]], [[6.0, 6.0]]])
    assert normalise_weights(raw, over="batch").tolist() == [[[0.25, 0.75]], [[1.5, 1.5]]]


def test_weights_of_zero_become_equal() -> None:
    raw = torch.zeros(2, 3, 5)
    raw[1, 0, 0] = 2.0
    got = normalise_weights(raw)
    assert torch.equal(got[0], torch.ones(3, 5))
    assert got[1].sum().item() == pytest.approx(15)
    raw = torch.zeros(1, 3, 5, requires_grad=True)
    normalise_weights(raw).sum().backward()
    assert raw.grad.isfinite().all()


def test_training_begins_with_nearly_equal_weights() -> None:
    torch.manual_seed(0)
    weights = WeightNet()(images(2, (40, 33)))
    assert 0 < weights.std() < 0.1


@pytest.mark.parametrize("floor", [0.0, 0.1, 0.5])
def test_no_weight_is_more_than_the_floor_allows(floor: float) -> None:
    weights = lively(floor=floor, last_gain=1e4)(images(1))
    ratio = (weights.max() / weights.min()).item()
    assert ratio <= 1 / floor * 1.0001 if floor else ratio > 100
    if floor:
        assert ratio > 0.9 / floor


@pytest.mark.parametrize("over", ["image", "batch"])
def test_a_common_shift_changes_nothing_and_cannot_flatten_the_sigmoid(over: str) -> None:
    net = lively()
    before = net(images(), over=over)
    net.convs[-1].register_forward_hook(lambda _layer, _given, output: output + 50.0)
    torch.testing.assert_close(net(images(), over=over), before, rtol=0, atol=1e-3)


def test_temperature_softens() -> None:
    contrasts = [lively(temperature=t)(images()).std().item() for t in (0.3, 1.0, 10.0)]
    assert contrasts[0] > contrasts[1] > contrasts[2] > 0


@pytest.mark.parametrize("name", ALL)
def test_it_looks_at_its_inputs_and_nothing_else(name: str) -> None:
    net = lively(inputs=(name,))
    given = {"content": images(), "sr": images(seed=1), "error": images(seed=2)}
    base = net(**given)
    for other in given:
        changed = net(**(given | {other: images(seed=7)}))
        concerned = other == {"high_pass": "content"}.get(name, name)
        assert torch.equal(changed, base) is not concerned
    flat = net(**(given | {"content": given["content"] + 0.25}))
    assert torch.allclose(flat, base, atol=1e-5) is (name != "content")  # a high-pass does not see brightness


def test_no_gradient_goes_through_what_it_sees() -> None:
    net = lively(inputs=("sr", "error"))
    sr, error = images(seed=1).requires_grad_(), images(seed=2).requires_grad_()
    net(images(), sr, error).square().sum().backward()
    assert sr.grad is None
    assert error.grad is None
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_a_flat_image_has_equal_weights_to_its_borders() -> None:
    weights = lively()(torch.full((1, 3, 9, 14), 0.3))
    torch.testing.assert_close(weights, torch.ones(1, 9, 14), rtol=0, atol=1e-5)


def test_high_pass_is_the_image_less_its_binomial_blur() -> None:
    image = images(size=(9, 13)).double()
    taps = np.array([1, 4, 6, 4, 1]) / 16
    blurred = correlate1d(correlate1d(image.numpy(), taps, axis=2, mode="nearest"), taps, axis=3, mode="nearest")
    np.testing.assert_allclose(high_pass(image).numpy(), image.numpy() - blurred, atol=1e-14)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ()}, r"one or more of content, sr, error, high_pass, each once, got \[\]"),
        ({"inputs": ("content", "lr")}, r"got \['content', 'lr'\]"),
        ({"inputs": ("sr", "sr")}, r"each once, got \['sr', 'sr'\]"),
        ({"layers": 1}, "at least 2 layers and 1 channel, got 1 and 32"),
        ({"channels": 0}, "got 5 and 0"),
        ({"temperature": 0.0}, r"temperature must be above 0 and its floor in \[0, 1\), got 0.0 and 0.1"),
        ({"floor": 1.0}, "got 1.0 and 1.0"),
    ],
)
def test_bad_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        WeightNet(**options)


def test_layers_are_named() -> None:
    with pytest.raises(TypeError, match="positional arguments"):
        WeightNet(ALL, 8, 3)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="also looks at 'error', which did not come; pass error="):
        WeightNet(("content", "error"))(images(), sr=images())
    with pytest.raises(InputError, match=r"must have shape \(B, H, W\) and not be empty, got \(3, 5\)"):
        normalise_weights(torch.ones(3, 5))
    with pytest.raises(InputError, match=r"not be empty, got \(1, 0, 5\)"):
        normalise_weights(torch.ones(1, 0, 5))
    with pytest.raises(InputError, match="over 'image' or 'batch', got 'pixel'"):
        normalise_weights(torch.ones(1, 3, 5), over="pixel")
