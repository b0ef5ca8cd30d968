"""MAML-SR's network: its blocks, its outputs, and that it can be differentiated twice."""

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.degradation.resize import pad_symmetric
from metasr.errors import InputError
from metasr.meta.inner_loop import inner_loop
from metasr.meta.rates import FixedRates
from metasr.models import attention, blocks
from metasr.models.attention import CrossScaleAttention, SpatialAttention, SpectralAttention
from metasr.models.blocks import Bridge, DeepHead, FeatureEncoder, UpJoin, enlarge_features, norm_layer
from metasr.models.maml_sr_net import MAMLSRNet
from small_problems import picture


def net(width: int = 4, **options: object) -> MAMLSRNet:
    torch.manual_seed(0)
    return MAMLSRNet(width, **options)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- blocks ---


@pytest.mark.parametrize(("channels", "groups"), [(2, 1), (4, 2), (6, 1), (8, 4), (16, 8), (32, 8), (256, 8)])
def test_group_norm_has_at_least_two_channels_a_group(channels: int, groups: int) -> None:
    layer = norm_layer("group", channels)
    assert isinstance(layer, nn.GroupNorm)
    assert layer.num_groups == groups


def test_no_norm_keeps_statistics() -> None:
    for kind in ("group", "batch", "none"):
        assert list(norm_layer(kind, 4).buffers()) == []
    with pytest.raises(InputError, match="norm must be one of group, batch, none, got 'instance'"):
        norm_layer("instance", 4)


def test_feature_encoder_by_hand() -> None:
    torch.manual_seed(0)
    block, x = FeatureEncoder(3, 4).double(), torch.randn(2, 3, 7, 9, dtype=torch.float64)

    def norm(y: Tensor, layer: nn.Module) -> Tensor:
        g = y.reshape(2, 2, -1)
        g = (g - g.mean(2, keepdim=True)) / (g.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return g.reshape(y.shape) * layer.weight[:, None, None] + layer.bias[:, None, None]

    a = norm(F.conv2d(x, block.conv1.weight, block.conv1.bias, padding=1), block.norm1).clamp_min(0)
    a = norm(F.conv2d(a, block.conv2.weight, block.conv2.bias, padding=1), block.norm2)
    b = norm(F.conv2d(x, block.skip.weight, block.skip.bias), block.norm_skip)
    torch.testing.assert_close(block(x), (a + b).clamp_min(0), rtol=0, atol=1e-12)


def test_bridge_lets_a_tenth_of_the_negative_through() -> None:
    block = Bridge(2, norm="none").double()
    with torch.no_grad():
        for conv in (block.conv1, block.conv2):
            conv.weight.zero_()
            conv.weight[0, 0, 1, 1] = conv.weight[1, 1, 1, 1] = 1
            conv.bias.zero_()
    x = torch.tensor([2.0, -3.0], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, 3, 5)
    want = torch.tensor([2.0, -0.03], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, 3, 5)
    torch.testing.assert_close(block(x), want)


def test_up_join_doubles_and_joins() -> None:
    block = UpJoin(6, 3)
    below, level = torch.randn(2, 6, 3, 5), torch.randn(2, 3, 6, 10)
    got = block(below, level)
    assert torch.equal(got[:, 3:], level)
    want = F.conv_transpose2d(below, block.conv.weight, stride=2, padding=1)
    torch.testing.assert_close(got[:, :3], want.clamp_min(0))
    assert block.conv.bias is None


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_enlarging_keeps_corners_and_is_linear_between(factor: int) -> None:
    x = torch.arange(3.0)[:, None] * 10 + torch.arange(4.0)
    got = enlarge_features(x[None, None], factor)[0, 0]
    want = torch.linspace(0, 20, 3 * factor)[:, None] + torch.linspace(0, 3, 4 * factor)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-4)


def test_head_gives_an_image_of_the_full_size() -> None:
    assert DeepHead(10, 6, factor=4)(torch.randn(2, 10, 3, 5)).shape == (2, 3, 12, 20)


# --- attention ---


def test_spatial_attention_by_hand() -> None:
    torch.manual_seed(0)
    part, x = SpatialAttention(), torch.randn(2, 5, 6, 7)
    pooled = torch.stack([x.mean(1), x.max(1).values], 1)
    gains = torch.sigmoid(F.conv2d(pooled, part.conv.weight, padding=1))
    torch.testing.assert_close(part(x), x * gains)
    assert count(part) == 2 * 9


def test_spectral_attention_by_hand() -> None:
    torch.manual_seed(0)
    part, x = SpectralAttention(5), torch.randn(2, 5, 6, 7)
    flat = x.flatten(2)
    pooled = torch.cat([flat.mean(2), flat.max(2).values], 1)  # (2, 10)
    gains = torch.sigmoid(pooled @ part.conv.weight[:, :, 0, 0].T)
    torch.testing.assert_close(part(x), x * gains[:, :, None, None])
    assert count(part) == 10 * 5


def pyramid(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    sizes = [(4, 8, 12), (6, 4, 6), (2, 2, 3)]
    return [torch.randn(2, c, h, w, generator=generator, dtype=dtype) for c, h, w in sizes]


@pytest.mark.parametrize("kind", ["both", "spatial", "spectral"])
def test_cross_scale_attention_by_hand(kind: str) -> None:
    torch.manual_seed(0)
    block, levels = CrossScaleAttention(4, (6, 2), kind=kind, norm="none"), pyramid()
    brought = [
        F.interpolate(project(x), scale_factor=factor, mode="bilinear", align_corners=True)
        for project, x, factor in zip(block.project, levels[1:], (2, 4), strict=True)
    ]
    joined = torch.cat([levels[0], *brought], 1)
    halves = [half(joined) for half in (block.spatial, block.spectral) if half is not None]
    assert len(halves) == (2 if kind == "both" else 1)
    want = F.relu(levels[0] + F.conv2d(torch.cat(halves, 1), block.merge.weight, block.merge.bias, padding=1))
    torch.testing.assert_close(block(levels), want)
    assert set(block.gains(levels)) == ({"spatial", "spectral"} if kind == "both" else {kind})


def test_every_deeper_level_reaches_the_result() -> None:
    block, levels = CrossScaleAttention(4, (6, 2)), pyramid()
    before = block(levels)
    for i in range(3):
        changed = [x + (j == i) * torch.rand_like(x) for j, x in enumerate(levels)]
        assert not torch.equal(block(changed), before)


@pytest.mark.parametrize("kind", ["none", "global"])
def test_attention_of_no_kind_is_refused(kind: str) -> None:
    with pytest.raises(InputError, match=f"'both', 'spatial' or 'spectral' to be built, got '{kind}'"):
        CrossScaleAttention(4, (6,), kind=kind)


def softplus_for_kinks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network without kinks, so that finite differences have a derivative to agree with."""
    for module in (blocks, attention):
        smooth = SimpleNamespace(
            relu=F.softplus,
            leaky_relu=lambda x, slope: slope * x + (1 - slope) * F.softplus(x),
            interpolate=F.interpolate,
        )
        monkeypatch.setattr(module, "F", smooth)


@pytest.mark.parametrize(
    "make",
    [lambda: SpatialAttention(), lambda: SpectralAttention(4), lambda: FeatureEncoder(4, 2), lambda: Bridge(4)],
)
def test_blocks_differentiate_twice(make: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    softplus_for_kinks(monkeypatch)
    torch.manual_seed(0)
    block = make().double()
    x = torch.randn(1, 4, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(block, (x,))


# --- the network ---


def test_number_of_parameters() -> None:
    assert count(MAMLSRNet()) == 8_489_058
    assert count(MAMLSRNet(attention="none", deep_supervision=False)) == 6_665_955
    both, spatial, spectral, none = (count(net(attention=a)) for a in ("both", "spatial", "spectral", "none"))
    assert none < spatial < spectral < both


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (16, 16), (37, 50), (64, 33)])
@pytest.mark.parametrize(
    "options", [{}, {"norm": "batch"}, {"norm": "none"}, {"residual": "none"}, {"attention": "none"}]
)
def test_any_size_is_kept(size: tuple[int, int], options: dict[str, str]) -> None:
    outputs = net(**options).forward_all(torch.rand(1, 3, *size))
    for image in (outputs.final, *outputs.deep):
        assert image.shape == (1, 3, *size)
        assert image.isfinite().all()
    assert len(outputs.deep) == 3


def test_sizes_are_mirrored_up_to_the_next_multiple_of_16() -> None:
    model, image = net(), picture(37, 50)
    padded = pad_symmetric(image, (0, 14, 0, 11))
    assert padded.shape[-2:] == (48, 64)
    torch.testing.assert_close(model(image), model(padded)[..., :37, :50])


def test_forward_is_the_final_image_and_deep_the_others() -> None:
    model, image = net(), torch.rand(2, 3, 21, 34)
    outputs = model.forward_all(image)
    assert torch.equal(model(image), outputs.final)
    assert all(torch.equal(a, b) for a, b in zip(model.deep(image), outputs.deep, strict=True))
    some = model.forward_all(image, heads=(0, 2))
    assert len(some.deep) == 2
    assert torch.equal(some.deep[0], outputs.deep[0])
    assert torch.equal(some.deep[1], outputs.deep[2])
    assert len({tuple(i.flatten().tolist()) for i in (outputs.final, *outputs.deep)}) == 4


@pytest.mark.parametrize("which", range(3))
def test_intermediate_images_come_from_their_levels_coarse_to_fine(which: int) -> None:
    """What only a finer level feeds, a coarser head does not see."""
    model, image = net(attention="none"), torch.rand(1, 3, 32, 48)
    before = model.forward_all(image)
    with torch.no_grad():
        model.up[2 - which].conv.weight.mul_(-1)  # how level 2 - which is reached from below
    after = model.forward_all(image)
    same = [torch.equal(a, b) for a, b in zip(before.deep, after.deep, strict=True)]
    # up[3] feeds 1/8, up[2] feeds 1/4, up[1] feeds 1/2, up[0] the final image alone
    assert same == [True] * (which + 1) + [False] * (2 - which)
    assert not torch.equal(before.final, after.final)


def test_the_global_residual_starts_near_the_identity_and_the_sigmoid_does_not() -> None:
    image = picture(32, 48)
    outputs = net(8).forward_all(image)
    assert all((x - image).abs().mean() < 0.1 for x in (outputs.final, *outputs.deep))
    squashed = net(8, residual="none").forward_all(image)
    for x in (squashed.final, *squashed.deep):
        assert 0 < x.min() <= x.max() < 1
        assert (x - 0.5).abs().mean() < 0.1


def test_last_gain_scales_what_is_added() -> None:
    image = picture(32, 48)
    whole, tenth = (net(last_gain=g).forward_all(image) for g in (1.0, 0.1))
    for a, b in zip((whole.final, *whole.deep), (tenth.final, *tenth.deep), strict=True):
        torch.testing.assert_close(a - image, 10 * (b - image), rtol=1e-3, atol=1e-5)


def test_without_deep_supervision_there_are_no_intermediate_images() -> None:
    model = net(deep_supervision=False)
    image = torch.rand(1, 3, 16, 24)
    assert model.deep(image) == ()
    assert model.forward_all(image).deep == ()
    assert not any(name.startswith("heads") for name, _ in model.named_parameters())


@pytest.mark.parametrize("kind", ["both", "spatial", "spectral", "none"])
def test_attention_maps(kind: str) -> None:
    model = net(attention=kind)
    maps = model.attention_maps(torch.rand(2, 3, 37, 50))
    halves = {"both": ("spatial", "spectral"), "none": ()}.get(kind, (kind,))
    assert list(maps) == [f"{half} {level}" for level in ("1", "1/2", "1/4") for half in halves]
    if "spatial" in halves:
        assert [maps[f"spatial {n}"].shape for n in ("1", "1/2", "1/4")] == [
            (2, 1, 37, 50), (2, 1, 19, 25), (2, 1, 10, 13),
        ]  # fmt: skip
    if "spectral" in halves:
        assert [maps[f"spectral {n}"].shape for n in ("1", "1/2", "1/4")] == [(2, c, 1, 1) for c in (16, 24, 32)]
    assert all(0 < m.min() <= m.max() < 1 for m in maps.values())


def test_activation_maps() -> None:
    model, image = net(), picture(37, 50)
    maps = model.activation_maps(image)
    assert list(maps) == ["1/8", "1/4", "1/2", *(f"1/{n} {w} attention" for n in (4, 2) for w in ("before", "after"))]
    assert all(m.shape == (1, 1, 37, 50) and m.min() >= 0 for m in maps.values())
    assert not torch.equal(maps["1/4 before attention"], maps["1/4 after attention"])
    assert list(net(attention="none").activation_maps(image)) == ["1/8", "1/4", "1/2"]
    assert list(net(deep_supervision=False, attention="none").activation_maps(image)) == ["1/8", "1/4", "1/2"]
    encoder = model.down[1](F.max_pool2d(model.down[0](pad_symmetric(image, (0, 14, 0, 11))), 2))
    want = F.interpolate(encoder.abs().mean(1, keepdim=True), (48, 64), mode="bilinear", align_corners=True)
    torch.testing.assert_close(maps["1/2 before attention"], want[..., :37, :50])


def test_an_image_does_not_depend_on_its_batch() -> None:
    model, batch = net(), torch.rand(3, 3, 19, 33)
    torch.testing.assert_close(model(batch)[1:2], model(batch[1:2]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.eval()(batch), model.train()(batch))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 5}, "width must be an even number of at least 2, got 5"),
        ({"width": 0}, "width must be an even number of at least 2, got 0"),
        ({"residual": "local"}, "residual must be one of global, none, got 'local'"),
        ({"attention": "self"}, "attention must be one of both, spatial, spectral, none, got 'self'"),
        ({"norm": "layer"}, "norm must be one of group, batch, none, got 'layer'"),
    ],
)
def test_impossible_networks_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MAMLSRNet(**options)


# --- through the inner step ---


def two_losses(source: Tensor, target: Tensor) -> tuple[Callable[[nn.Module], Tensor], Callable[[nn.Module], Tensor]]:
    def inner(model: nn.Module) -> Tensor:
        touched = 0.0 * torch.stack([p.sum() for p in model.parameters()]).sum()
        return touched + torch.stack([F.mse_loss(image, target) for image in model.deep(source)]).sum()

    return inner, lambda model: F.mse_loss(model(source), target)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_meta_gradient_against_finite_differences(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Second order, through pooling, enlargement, both attentions, normalisation and heads."""
    softplus_for_kinks(monkeypatch)
    model = net(2, norm=norm, last_gain=1.0).double()
    generator = torch.Generator().manual_seed(3)
    source, target = (torch.rand(2, 3, 19, 33, generator=generator, dtype=torch.float64) for _ in range(2))
    inner, outer = two_losses(source, target)

    def value(order: str = "none") -> Tensor:
        return outer(inner_loop(model, inner, steps=1, rates=FixedRates((0.3,)), order=order))

    parameters = list(model.parameters())
    found = {
        order: torch.autograd.grad(value(order), parameters, materialize_grads=True) for order in ("second", "first")
    }
    start = [p.detach().clone() for p in parameters]
    step = 1e-6  # so small that no maximum changes its place
    for seed in range(2):
        draw = torch.Generator().manual_seed(seed)
        direction = [torch.randn(p.shape, generator=draw, dtype=torch.float64) for p in parameters]
        moved = []
        for k in (-2, -1, 1, 2):
            with torch.no_grad():
                for p, s, d in zip(parameters, start, direction, strict=True):
                    p.copy_(s + k * step * d)
            moved.append(value().item())
        difference = (moved[0] - 8 * moved[1] + 8 * moved[2] - moved[3]) / (12 * step)
        exact = {o: sum(float((g * d).sum()) for g, d in zip(found[o], direction, strict=True)) for o in found}
        assert exact["second"] == pytest.approx(difference, rel=1e-8)
        assert exact["first"] != pytest.approx(difference, rel=1e-2)


def test_second_order_alone_teaches_the_heads() -> None:
    model = net(4)
    inner, outer = two_losses(picture(16, 16), picture(16, 16, seed=1))
    for order, learns in (("second", True), ("first", False)):
        adapted = inner_loop(model, inner, steps=1, rates=FixedRates((0.1,)), order=order)
        gradients = torch.autograd.grad(outer(adapted), list(model.parameters()), materialize_grads=True)
        heads = [g.abs().max() for (n, _), g in zip(model.named_parameters(), gradients, strict=True) if "heads" in n]
        assert (max(heads) > 0) == learns
        assert math.isfinite(sum(float(g.abs().sum()) for g in gradients))
