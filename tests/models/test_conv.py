"""The convolution that is closed under differentiation, against PyTorch's own and finite differences."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from metasr.errors import InputError
from metasr.models.conv import Conv2d, ConvTranspose2d, conv2d, conv_transpose2d

PLAIN: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {  # kernel, options
    "plain": ((3, 3), {}),
    "padded": ((3, 3), {"padding": 1}),
    "pointwise": ((1, 1), {}),
    "stride": ((3, 2), {"stride": 2, "padding": (1, 0)}),
    "uneven stride": ((2, 3), {"stride": (3, 1)}),
    "dilation": ((3, 3), {"dilation": (2, 1), "padding": (2, 1)}),
    "groups": ((3, 3), {"groups": 2, "padding": 1}),
    "depthwise": ((3, 2), {"groups": 4, "stride": (1, 2)}),
    "all": ((3, 2), {"stride": (2, 1), "padding": (3, 1), "dilation": (1, 2), "groups": 2}),
    "valid": ((3, 3), {"padding": "valid", "stride": 2}),
    "same": ((5, 3), {"padding": "same"}),
    "same, even": ((2, 4), {"padding": "same", "dilation": (1, 3)}),
}
TRANSPOSED: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {
    "plain": ((3, 3), {}),
    "stride": ((3, 2), {"stride": (2, 3), "padding": (1, 0)}),
    "all": ((2, 3), {"stride": 2, "padding": 1, "groups": 2, "dilation": (3, 2)}),
    "output padding": ((3, 2), {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2), "groups": 2}),
}
CASES = [("plain", name) for name in PLAIN] + [("transposed", name) for name in TRANSPOSED]
Function = Callable[..., Tensor]
CUDA = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def problem(
    kind: str, name: str, *, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[Function, Function, list[Tensor]]:
    """Ours, PyTorch's, and features, weight and bias to give to both."""
    kernel, options = (PLAIN if kind == "plain" else TRANSPOSED)[name]
    groups = options.get("groups", 1)
    shape = (8, 4 // groups, *kernel) if kind == "plain" else (4, 8 // groups, *kernel)
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(s, generator=generator, dtype=torch.float64) for s in ((2, 4, 5, 7), shape, (8,))]
    ours, theirs = (conv2d, F.conv2d) if kind == "plain" else (conv_transpose2d, F.conv_transpose2d)

    def own(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        return ours(x, w, bias=b, **options)

    def stock(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        return theirs(x, w, b, **options)

    return own, stock, [t.to(dtype).requires_grad_() for t in inputs]


def derivatives(function: Function, inputs: Sequence[Tensor], order: int) -> list[Tensor]:
    """Gradients of nonlinear scalars of one another, up to an order: every mixed derivative takes part."""
    found: list[Tensor] = []
    level = [function(*inputs)]
    for i in range(order):
        mixed = [(t * torch.linspace(0.5, 1.5, t.numel(), dtype=t.dtype).reshape(t.shape)).tanh() for t in level]
        scalar = torch.stack([m.square().sum() for m in mixed]).sum()
        level = list(torch.autograd.grad(scalar, inputs, create_graph=i + 1 < order))
        found += level
    return found


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_values_and_three_orders_equal_pytorchs(kind: str, name: str) -> None:
    own, stock, inputs = problem(kind, name)
    assert torch.equal(own(*inputs), stock(*inputs))
    orders = 1 if name == "output padding" else 3  # PyTorch's own has no second derivative then
    for got, want in zip(derivatives(own, inputs, orders), derivatives(stock, inputs, orders), strict=True):
        assert want.abs().max() > 1e-6
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9 * float(want.detach().abs().max()))


@pytest.mark.parametrize(("kind", "name"), [*CASES[1:4], ("plain", "all"), *CASES[-2:]])
def test_finite_differences(kind: str, name: str) -> None:
    own, _, inputs = problem(kind, name)
    assert torch.autograd.gradcheck(own, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(own, inputs, fast_mode=True)


def test_third_order_against_finite_differences() -> None:
    """The second-order gradient of a scalar is itself checked: each of the three maps is differentiated twice."""
    torch.manual_seed(0)
    x, w, v = (torch.randn(s, dtype=torch.float64) for s in ((1, 2, 4, 3), (2, 2, 3, 2), (2, 2, 3, 2)))

    def curvature(x: Tensor, w: Tensor) -> Tensor:
        (first,) = torch.autograd.grad(conv2d(x, w, padding=1).tanh().sum(), w, create_graph=True)
        return torch.stack(torch.autograd.grad((first * v).sum(), [x], create_graph=True)).sum()

    inputs = (x.requires_grad_(), w.requires_grad_())
    assert torch.autograd.gradcheck(curvature, inputs)
    assert torch.autograd.gradgradcheck(curvature, inputs, fast_mode=True)


def test_every_derivative_is_one_of_three_kernels() -> None:
    """What it is for: no kernel is as large as a feature map, as in PyTorch's own second derivative."""
    x, w = torch.randn(2, 3, 17, 19, requires_grad=True), torch.randn(4, 3, 3, 3, requires_grad=True)

    class Shapes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten.convolution.default:
                seen.append(tuple(args[1].shape))
            return func(*args, **(kwargs or {}))

    for function, largest in ((conv2d, 3), (F.conv2d, 17)):
        seen: list[tuple[int, ...]] = []
        with Shapes():
            (first,) = torch.autograd.grad(function(x, w, padding=1).square().sum(), x, create_graph=True)
            torch.autograd.grad(first.square().sum(), [x, w])
        assert max(shape[-2] for shape in seen) == largest


@pytest.mark.parametrize("needs", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_what_is_asked_for_is_differentiated(needs: tuple[bool, bool, bool]) -> None:
    own, stock, inputs = problem("plain", "padded")
    asked = [t.detach().requires_grad_(need) for t, need in zip(inputs, needs, strict=True)]
    (wanted,) = [t for t in asked if t.requires_grad]
    for create in (False, True):
        got, want = (
            torch.autograd.grad(f(*asked).square().sum(), wanted, create_graph=create)[0] for f in (own, stock)
        )
        torch.testing.assert_close(got, want)
        if create:
            torch.testing.assert_close(
                *(torch.autograd.grad(g.square().sum(), wanted)[0] for g in (got, want)), rtol=1e-10, atol=1e-10
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_first_derivatives_are_pytorchs_bit_for_bit(dtype: torch.dtype) -> None:
    own, stock, inputs = problem("plain", "padded", dtype=dtype)
    got, want = (torch.autograd.grad(f(*inputs).tanh().sum(), inputs) for f in (own, stock))
    assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))


def test_without_batch_and_without_bias() -> None:
    own, stock, (x, w, _) = problem("plain", "stride")
    single = x[0].detach().requires_grad_()
    assert torch.equal(own(single, w, None), stock(single, w, None))
    got, want = (derivatives(lambda x, w, f=f: f(x, w, None), [single, w], 2) for f in (own, stock))
    for g, s in zip(got, want, strict=True):
        torch.testing.assert_close(g, s, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_lower_precisions(dtype: torch.dtype, error: float) -> None:
    own, stock, inputs = problem("plain", "padded", dtype=dtype)
    assert own(*inputs).dtype == dtype
    assert torch.equal(own(*inputs), stock(*inputs))
    exact = [t.detach().double().requires_grad_() for t in inputs]

    def second(f: Function, given: Sequence[Tensor]) -> list[Tensor]:
        first = torch.autograd.grad(f(*given).square().mean(), given, create_graph=True)
        return list(torch.autograd.grad(torch.stack([g.square().sum() for g in first]).sum(), given))

    for got, want in zip(second(own, inputs), second(stock, exact), strict=True):
        assert got.dtype == dtype
        assert (got.double() - want).norm() < error * want.norm()


def test_autocast_lowers_what_pytorchs_does_and_comes_back() -> None:
    own, stock, inputs = problem("plain", "padded", dtype=torch.float32)
    found = []
    for function in (own, stock):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = function(*inputs)
        first = torch.autograd.grad(output.float().square().mean(), inputs, create_graph=True)
        found.append([output, *first, *torch.autograd.grad(first[1].square().sum(), inputs[:2])])
    for got, want in zip(*found, strict=True):
        assert got.dtype == want.dtype
        assert (got - want).float().norm() <= 2e-2 * want.float().norm()
    assert found[0][0].dtype == torch.bfloat16
    assert [g.dtype for g in found[0][1:]] == [torch.float32] * 5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert own(*(t.double() for t in inputs)).dtype == torch.float64


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
def test_derivatives_taken_under_autocast_keep_their_precision(device: str) -> None:
    own, _, given = problem("plain", "padded", dtype=torch.float32)
    inputs = [t.detach().to(device).requires_grad_() for t in given]
    found = []
    for enabled in (False, True):
        output = own(*inputs)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=enabled):
            first = torch.autograd.grad(output.square().mean(), inputs, create_graph=True)
            found.append(torch.autograd.grad(first[1].square().sum(), inputs[:2]))
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


def test_channels_last_stays_through_all_derivatives() -> None:
    x = torch.randn(2, 4, 9, 11).contiguous(memory_format=torch.channels_last).requires_grad_()
    w = torch.randn(6, 4, 3, 3, requires_grad=True)
    output = conv2d(x, w, padding=1)
    (first,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in (output, first, second))


# --- transforms ---


def test_per_sample_gradients_by_vmap() -> None:
    layer = Conv2d(3, 4, 3, padding=1).double()
    images = torch.randn(5, 3, 6, 7, dtype=torch.float64)
    parameters = {k: v.detach() for k, v in layer.named_parameters()}

    def loss(p: dict[str, Tensor], image: Tensor) -> Tensor:
        return torch.func.functional_call(layer, p, (image[None],)).tanh().sum()

    found = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, images)
    for i, image in enumerate(images):
        want = torch.autograd.grad(layer(image[None]).tanh().sum(), list(layer.parameters()))
        for name, gradient in zip(parameters, want, strict=True):
            torch.testing.assert_close(found[name][i], gradient)


@pytest.mark.parametrize("way", ["func", "dual", "over reverse"])
def test_forward_mode(way: str) -> None:
    own, stock, inputs = problem("plain", "all")
    tangents = [torch.randn_like(t) for t in inputs]
    _, want = torch.func.jvp(stock, tuple(t.detach() for t in inputs), tuple(tangents))
    if way == "func":
        _, got = torch.func.jvp(own, tuple(t.detach() for t in inputs), tuple(tangents))
    elif way == "dual":
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(t, v) for t, v in zip(inputs, tangents, strict=True)]
            got = forward_ad.unpack_dual(own(*duals)).tangent
    else:  # a Hessian-vector product

        def gradient(function: Function) -> Callable[..., Any]:
            return torch.func.grad(lambda *t: function(*t).tanh().sum(), argnums=(0, 1, 2))

        (_, got), (_, want) = (
            torch.func.jvp(gradient(f), tuple(t.detach() for t in inputs), tuple(tangents)) for f in (own, stock)
        )
    torch.testing.assert_close(got, want)


def test_no_gradient_no_record() -> None:
    own, _, inputs = problem("plain", "padded")
    with torch.no_grad():
        assert own(*inputs).grad_fn is None
    assert own(*(t.detach() for t in inputs)).grad_fn is None
    assert type(own(*inputs).grad_fn).__name__ == "_ConvolutionBackward"


def test_complex_numbers_are_left_to_pytorch() -> None:
    x, w = (torch.randn(s, dtype=torch.complex128, requires_grad=True) for s in ((1, 2, 5, 4), (3, 2, 3, 3)))
    got, want = (torch.autograd.grad(f(x, w).abs().sum(), [x, w]) for f in (conv2d, F.conv2d))
    for g, s in zip(got, want, strict=True):
        torch.testing.assert_close(g, s)


def test_shapes_without_numbers() -> None:
    layer = Conv2d(3, 4, 3, stride=2).to("meta")
    assert layer(torch.empty(2, 3, 9, 7, device="meta")).shape == (2, 4, 4, 3)


# --- layers ---

LAYERS: list[tuple[type[nn.Module], type[nn.Module], tuple[Any, ...], dict[str, Any]]] = [
    (Conv2d, nn.Conv2d, (4, 6, 3), {}),
    (Conv2d, nn.Conv2d, (4, 6, (3, 5)), {"stride": 2, "padding": (1, 2), "groups": 2, "bias": False}),
    (Conv2d, nn.Conv2d, (4, 6, 3), {"padding": "same", "dilation": 2, "padding_mode": "reflect"}),
    (Conv2d, nn.Conv2d, (4, 6, (2, 3)), {"padding": "same"}),
    (Conv2d, nn.Conv2d, (4, 6, 3), {"padding": "valid", "stride": (2, 1)}),
    (Conv2d, nn.Conv2d, (4, 6, 3), {"padding": (2, 1), "padding_mode": "circular", "stride": (1, 2)}),
    (Conv2d, nn.Conv2d, (4, 6, 3), {"padding": 1, "padding_mode": "replicate"}),
    (ConvTranspose2d, nn.ConvTranspose2d, (4, 6, 3), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}),
    (ConvTranspose2d, nn.ConvTranspose2d, (4, 6, (2, 3)), {"bias": False, "dilation": (2, 1)}),
]


@pytest.mark.parametrize(("ours", "theirs", "arguments", "options"), LAYERS)
def test_layers_are_pytorchs(ours: Any, theirs: Any, arguments: Any, options: Any) -> None:
    torch.manual_seed(0)
    own = ours(*arguments, **options)
    torch.manual_seed(0)
    stock = theirs(*arguments, **options)
    assert isinstance(own, theirs)
    assert own.extra_repr() == stock.extra_repr()
    states = own.state_dict(), stock.state_dict()
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    stock.load_state_dict(states[0])
    image = torch.randn(2, 4, 9, 11, dtype=torch.float64)
    own, stock = own.double(), stock.double()
    assert torch.equal(own(image), stock(image))
    found = [derivatives(lambda *p, m=m: m(image), list(m.parameters()), 2) for m in (own, stock)]
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    assert type(own(image).grad_fn).__name__ in ("_ConvolutionBackward", "SelectBackward0")


def test_transposed_layer_takes_an_output_size() -> None:
    layer = ConvTranspose2d(2, 3, 3, stride=2)
    stock = nn.ConvTranspose2d(2, 3, 3, stride=2)
    stock.load_state_dict(layer.state_dict())
    image = torch.randn(1, 2, 4, 5)
    for size in ([9, 11], [10, 12], [9, 12]):
        assert torch.equal(layer(image, output_size=size), stock(image, output_size=size))


@pytest.mark.parametrize(("padding", "stride"), [("full", 1), ("same", 2)])
def test_padding_words_that_mean_nothing_are_refused(padding: str, stride: int) -> None:
    x, w = torch.randn(1, 1, 5, 5), torch.randn(1, 1, 3, 3, requires_grad=True)
    with pytest.raises(InputError, match=rf"'same' at stride 1, got '{padding}' at stride \({stride}, {stride}\)"):
        conv2d(x, w, padding=padding, stride=stride)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("kind", "name"), CASES[:-1])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_cuda_equals_cpu(kind: str, name: str, layout: torch.memory_format) -> None:
    own, _, inputs = problem(kind, name)
    there = [
        (t.detach().cuda().contiguous(memory_format=layout) if t.dim() == 4 else t.detach().cuda()).requires_grad_()
        for t in inputs
    ]
    found = []
    for given in (there, inputs):
        first = torch.autograd.grad(own(*given).square().mean(), given, create_graph=True)
        found.append([*first, *torch.autograd.grad(first[1].square().sum(), given[:2])])
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got.cpu(), want, rtol=1e-9, atol=1e-9)
