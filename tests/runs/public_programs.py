"""The public networks of MRDA and KDSR, by the names of their files: random weights, and what comes of them.

Written from the networks' description (layers, sizes, names), as functions of a state dict, so that nothing here
shares a line with the networks that are tested against them.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

MEAN = torch.tensor((0.4488, 0.4371, 0.4040))
State = dict[str, Tensor]


def _convs(state: State, *layers: tuple[str, int, int, int]) -> None:
    for name, inputs, outputs, side in layers:
        state[f"{name}.weight"] = torch.randn(outputs, inputs, side, side) / (inputs * side**2) ** 0.5
        state[f"{name}.bias"] = torch.randn(outputs) / 10


def _linears(state: State, *layers: tuple[str, int, int], bias: bool = True) -> None:
    for name, inputs, outputs in layers:
        state[f"{name}.weight"] = torch.randn(outputs, inputs) / inputs**0.5
        if bias:
            state[f"{name}.bias"] = torch.randn(outputs) / 10


def _frame(state: State, width: int, scale: int) -> None:
    """What both programs' SR networks have around their blocks."""
    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        state[f"G.{name}.weight"], state[f"G.{name}.bias"] = torch.eye(3)[..., None, None], sign * MEAN
    _convs(state, ("G.head.0", 3, width, 3), ("G.body.1", width, width, 3))
    _tail(state, "G.tail", width, scale)


def _tail(state: State, name: str, width: int, scale: int) -> None:
    for i, factor in enumerate({2: (2,), 3: (3,), 4: (2, 2)}[scale]):
        _convs(state, (f"{name}.0.{2 * i}", width, width * factor**2, 3))
    _convs(state, (f"{name}.1", width, 3, 3))


def mrda(
    *, scale: int, width: int = 4, blocks: int = 2, encoder: int = 3, teacher_of: int | None = None, seed: int = 0
) -> State:
    """A student's state, or that of a teacher of so many feature maps."""
    torch.manual_seed(seed)
    state: State = {}
    _frame(state, width, scale)
    _linears(state, ("G.compress.0", 4 * encoder, width), bias=False)
    for i in range(blocks):
        block = f"G.body.0.body.{i}"
        for j in (1, 2):
            aware = f"{block}.da_conv{j}"
            _linears(state, (f"{aware}.kernel.0", width, width), (f"{aware}.kernel.2", width, 9 * width), bias=False)
            _convs(state, (f"{aware}.conv", width, 1, 1), (f"{block}.conv{j}", width, width, 3))
    of = "E_st" if teacher_of is None else "E"
    widths = (teacher_of or 3, encoder, encoder, 2 * encoder, 2 * encoder, 4 * encoder, 4 * encoder)
    _convs(state, *((f"{of}.E.{2 * i}", widths[i], widths[i + 1], 3) for i in range(6)))
    _linears(state, (f"{of}.mlp.0", 4 * encoder, 4 * encoder), (f"{of}.mlp.2", 4 * encoder, 4 * encoder))
    return state


def mln(*, scale: int, width: int = 4, seed: int = 1) -> State:
    """The state of MRDA's meta-learned network."""
    torch.manual_seed(seed)
    state: State = {}
    _convs(state, ("head.0", 3, width, 3), *((f"body.{2 * i}", width, width, 3) for i in range(6)))
    _tail(state, "tail", width, scale)
    return state


def kdsr(
    *, scale: int, width: int = 4, blocks: int = 3, residual: int = 2, teacher: bool = False, seed: int = 2
) -> State:
    """A student's state, or a teacher's."""
    torch.manual_seed(seed)
    state: State = {}
    _frame(state, width, scale)
    for i in range(blocks):
        block = f"G.body.0.body.{i}"
        kernel = f"{block}.da_conv1.kernel"
        _linears(state, (f"{kernel}.0", width, width), (f"{kernel}.2", width, 9 * width), bias=False)
        _convs(state, (f"{block}.conv1", width, width, 3))
    of = "E" if teacher else "E_st"
    _convs(state, (f"{of}.E.0", 3 + 3 * scale**2 if teacher else 3, width, 3))
    for i in range(residual):
        _convs(state, *((f"{of}.E.{2 + i}.body.{j}", width, width, 3) for j in (0, 2)))
    widths = (width, 2 * width, 2 * width, 4 * width)
    _convs(state, *((f"{of}.E.{2 + residual + 2 * i}", widths[i], widths[i + 1], 3) for i in range(3)))
    _linears(state, (f"{of}.mlp.0", 4 * width, 4 * width), (f"{of}.mlp.2", 4 * width, 4 * width))
    _linears(state, (f"{of}.compress.0", 4 * width, width))
    return state


def _act(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


def _conv(state: State, name: str, x: Tensor, **how: int) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], **{"padding": 1, **how})


def _linear(state: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def _kernels(state: State, name: str, features: Tensor, vector: Tensor) -> Tensor:
    """Each image's channels convolved with its own kernels."""
    b, c, h, w = features.shape
    kernels = _linear(state, f"{name}.2", _act(_linear(state, f"{name}.0", vector))).view(-1, 1, 3, 3)
    return F.conv2d(features.reshape(1, -1, h, w), kernels, groups=b * c, padding=1).view(b, c, h, w)


def _enlarged(state: State, name: str, features: Tensor) -> Tensor:
    for i in range(2):
        if f"{name}.0.{2 * i}.weight" in state:
            wide = _conv(state, f"{name}.0.{2 * i}", features)
            features = F.pixel_shuffle(wide, round((wide.shape[1] / features.shape[1]) ** 0.5))
    return _conv(state, f"{name}.1", features)


def _numbers(state: State, pattern: str) -> range:
    return range(sum(key.startswith(pattern) and key.endswith("conv1.weight") for key in state))


def run_mrda(state: State, lr: Tensor, seen: Tensor | None = None) -> Tensor:
    """What MRDA's student makes of an LR image, or its teacher of that and of feature maps."""
    of = "E_st" if seen is None else "E"
    vector = lr if seen is None else seen
    for i, stride in enumerate((1, 1, 2, 1, 2, 1)):
        vector = _act(_conv(state, f"{of}.E.{2 * i}", vector, stride=stride))
    vector = F.adaptive_avg_pool2d(vector, 1).squeeze(-1).squeeze(-1)
    vector = _linear(state, f"{of}.mlp.2", _act(_linear(state, f"{of}.mlp.0", vector)))
    short = _act(_linear(state, "G.compress.0", vector))
    start = _conv(state, "G.head.0", _conv(state, "G.sub_mean", lr, padding=0))
    features = start
    for i in _numbers(state, "G.body.0"):
        inner, block = features, f"G.body.0.body.{i}"
        for j in (1, 2):
            aware = f"{block}.da_conv{j}"
            region = torch.sigmoid(_conv(state, f"{aware}.conv", inner, padding=0))
            inner = _act(_act(_kernels(state, f"{aware}.kernel", inner, short)) * region + inner)
            inner = _conv(state, f"{block}.conv{j}", inner)
            inner = _act(inner) if j == 1 else inner
        features = inner + features
    return _conv(state, "G.add_mean", _enlarged(state, "G.tail", _conv(state, "G.body.1", features) + start), padding=0)


def run_kdsr(state: State, lr: Tensor, seen: Tensor | None = None) -> Tensor:
    """What KDSR's student makes of an LR image, or its teacher of that and of the pair side by side."""
    of = "E_st" if seen is None else "E"
    vector = _act(_conv(state, f"{of}.E.0", lr if seen is None else seen))
    residual = sum(f"{of}.E.{i}.body.0.weight" in state for i in range(20))
    for i in range(2, 2 + residual):
        vector = _conv(state, f"{of}.E.{i}.body.2", _act(_conv(state, f"{of}.E.{i}.body.0", vector))) + vector
    for i in range(3):
        vector = _act(_conv(state, f"{of}.E.{2 + residual + 2 * i}", vector))
    vector = F.adaptive_avg_pool2d(vector, 1).squeeze(-1).squeeze(-1)
    vector = _act(_linear(state, f"{of}.mlp.2", _act(_linear(state, f"{of}.mlp.0", vector))))
    short = _act(_linear(state, f"{of}.compress.0", vector))
    start = _conv(state, "G.head.0", _conv(state, "G.sub_mean", lr, padding=0))
    features = start
    for i in _numbers(state, "G.body.0"):
        block = f"G.body.0.body.{i}"
        inner = _act(_kernels(state, f"{block}.da_conv1.kernel", features, short))
        features = _conv(state, f"{block}.conv1", inner) + features
    return _conv(state, "G.add_mean", _enlarged(state, "G.tail", _conv(state, "G.body.1", features) + start), padding=0)


def mln_features(state: State, lr: Tensor) -> Tensor:
    """What MRDA's teacher reads, of an MLN that was not adapted."""
    features = _act(_conv(state, "head.0", lr))
    for i in range(6):
        features = _act(_conv(state, f"body.{2 * i}", features))
    return features
