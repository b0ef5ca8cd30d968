"""The plain residual network."""

from pathlib import Path

import pytest
import torch
from torch import nn

from metasr.errors import InputError
from metasr.models.plain_cnn import PlainCNN


def test_published_size_and_names() -> None:
    model = PlainCNN()
    assert sum(p.numel() for p in model.parameters()) == 225_091
    assert list(model.state_dict()) == [f"conv{i}.{kind}" for i in range(1, 9) for kind in ("weight", "bias")]


@pytest.mark.data
def test_reference_weights_fit(shared_weights: Path) -> None:
    load_file = pytest.importorskip("safetensors.torch").load_file
    state = load_file(shared_weights / "mzsr_x2_meta.safetensors")
    assert state.pop("inner_rates").shape == (5, 16)
    model = PlainCNN()
    model.load_state_dict(state, strict=True)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(("channels", "layers"), [(5, 2), (4, 5), (1, 3)])
def test_is_convolutions_with_relu_between_plus_the_input(channels: int, layers: int) -> None:
    torch.manual_seed(0)
    model = PlainCNN(channels=channels, layers=layers).double()
    convs = list(model.children())
    by_hand = nn.Sequential(*(m for conv in convs for m in (conv, nn.ReLU())))[:-1]
    image = torch.rand(2, 3, 7, 11, dtype=torch.float64)
    assert [(c.kernel_size, c.padding) for c in convs] == [((3, 3), (1, 1))] * layers
    torch.testing.assert_close(model(image), image + by_hand(image), rtol=0, atol=1e-14)


@pytest.mark.parametrize("layers", [2, 3, 8])
def test_receptive_radius_is_true(layers: int) -> None:
    """One pixel is changed; the output changes in just the square of that radius."""
    torch.manual_seed(0)
    model = PlainCNN(channels=8, layers=layers).double()
    side = 2 * layers + 7
    image = torch.rand(1, 3, side, side + 2, dtype=torch.float64)
    other = image.clone()
    other[..., side // 2, side // 2 + 1] += 0.5
    with torch.no_grad():
        changed = (model(other) - model(image))[0].abs().amax(0) > 0
    rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
    assert (int(rows.min()), int(rows.max())) == (side // 2 - layers, side // 2 + layers)
    assert (int(columns.min()), int(columns.max())) == (side // 2 + 1 - layers, side // 2 + 1 + layers)
    assert model.receptive_radius == layers


def test_starts_near_the_identity_with_he_weights_before_the_last_layer() -> None:
    torch.manual_seed(0)
    model = PlainCNN()
    for i in range(1, 9):
        conv = getattr(model, f"conv{i}")
        fan_in = 9 * (3 if i == 1 else 64)
        want = (2 / fan_in) ** 0.5 * (0.1 if i == 8 else 1.0)
        assert conv.weight.std().item() == pytest.approx(want, rel=0.05)
        assert not conv.bias.any()
    image = torch.rand(1, 3, 24, 20)
    with torch.no_grad():
        assert (model(image) - image).abs().mean() < 0.15


@pytest.mark.parametrize(("channels", "layers"), [(64, 1), (0, 8)])
def test_impossible_sizes_are_refused(channels: int, layers: int) -> None:
    with pytest.raises(InputError, match=f"at least 2 layers and 1 channel, got {layers} and {channels}"):
        PlainCNN(channels=channels, layers=layers)
