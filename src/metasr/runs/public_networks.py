"""The networks of the public programs of MZSR, MRDA and KDSR: what their files call things, and what that is here.

Names, shapes and what belongs together are facts of those files; no code of theirs is needed to read them. Every
tensor of a file has to have a place here, and every tensor of the network here one of the file's: they are counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metasr.checks import check_state
from metasr.errors import WeightsError, require_one_of
from metasr.models.conditioned import RGB_MEAN
from metasr.runs.architecture import CLASS, make_network
from metasr.text import pluralize

BLIND = tuple(f"{name}_x{scale}" for name in ("mrda", "kdsr_m", "kdsr_l") for scale in (2, 3, 4))
"""Names to import as that are of a PyTorch file."""
ADAPTING: dict[str, dict[str, Any]] = {
    "mzsr_x2": {"experiment": "mzsr_x2", "stage": "meta_transfer", "scale": 2.0, "downsample": "direct"},
    "mzsr_x2_bicubic": {
        "experiment": "mzsr_x2_bicubic", "stage": "meta_transfer", "scale": 2.0, "downsample": "bicubic",
    },
    "mzsr_x2_pretrain": {"experiment": "mzsr_x2", "stage": "pretrain", "scale": 2.0, "downsample": "none"},
    "mzsr_x4": {"experiment": "mzsr_x4", "stage": "meta_transfer", "scale": 4.0, "downsample": "direct"},
    "mzsr_multiscale": {
        "experiment": "mzsr_multiscale", "stage": "meta_transfer", "scale": 2.0, "scales": [2.0, 4.0],
        "downsample": "direct",
    },
}  # fmt: skip
"""Names to import as that are of a TensorFlow checkpoint, with what their cards tell."""
NAMES = (*BLIND, *ADAPTING)

_PUBLISHED = {
    "mrda": {"width": 64, "blocks": 27, "encoder width": 64},
    "kdsr_m": {"width": 64, "blocks": 53, "encoder width": 64, "encoder blocks": 9},
    "kdsr_l": {"width": 128, "blocks": 28, "encoder width": 128, "encoder blocks": 5},
}
_OPTIMISER = re.compile(r"(.+/Adam(_\d+)?|(.+/)?beta[12]_power(_\d+)?|(.+/)?global_step|stop_grad)")
"""What ``tf.train.Saver`` keeps beside the network where it is given no list."""
_STEPS = {"mrda": 647_000, "kdsr": 485_500}
"""Of a teacher's training as published: nothing is trained here, but a recipe's card tells it."""


@dataclass(frozen=True)
class Imported:
    """A public network under this project's names.

    Attributes:
        state: its tensors.
        stage: ``student``, ``teacher``, ``meta_transfer`` or ``pretrain``: whose weights they are.
        facts: what its card tells of it.
        network: the numbers that its size is told by; the published ones, unless the file has others.
        published: whether they are.
        left_out: tensors of the file that are no network's: an optimiser's state.
    """

    state: dict[str, Tensor]
    stage: str
    facts: dict[str, Any]
    network: dict[str, int]
    published: bool
    left_out: int = 0


def from_tensorflow(name: str, tensors: Mapping[str, Tensor], others: Sequence[str], *, origin: str) -> Imported:
    """MZSR's network of a TensorFlow checkpoint: kernels (3, 3, in, out) and biases under ``MODEL/conv1`` to ``conv8``.

    Args:
        name: one of ``ADAPTING``.
        tensors: the checkpoint's float32 variables.
        others: the names of its other variables.
        origin: the file, for messages.

    Raises:
        WeightsError: for a checkpoint of another network.
    """
    require_one_of(name, ADAPTING, name="name")
    state: dict[str, Tensor] = {}
    unknown = [other for other in others if not _OPTIMISER.fullmatch(other)]
    for key, tensor in tensors.items():
        found = re.fullmatch(r"MODEL/(conv\d+)/(kernel|bias)", key)
        if found is not None and tensor.ndim == (4 if found[2] == "kernel" else 1):
            weight = found[2] == "kernel"
            state[f"{found[1]}.{'weight' if weight else 'bias'}"] = tensor.permute(3, 2, 0, 1) if weight else tensor
        elif not _OPTIMISER.fullmatch(key):
            unknown.append(key)
    _require_places(unknown, origin, "MZSR's, with MODEL/conv1/kernel, MODEL/conv1/bias and so on")
    state = {key: tensor.contiguous().clone() for key, tensor in state.items()}
    layers = len([key for key in state if key.endswith(".weight")])
    first = state.get("conv1.weight")
    if first is None or layers < 2:
        raise WeightsError(f"{origin} holds no variables MODEL/conv1/kernel and on, so it is no network of MZSR's")
    sizes = {"channels": int(first.shape[0]), "layers": layers}
    node = {CLASS: "metasr.models.plain_cnn.PlainCNN", **sizes, "last_gain": 1.0}
    _check_whole(node, state, origin)
    facts = {"method": "mzsr", **ADAPTING[name], "config": {"model": node}}
    left_out = len(tensors) + len(others) - len(state)
    return Imported(state, facts["stage"], facts, sizes, sizes == {"channels": 64, "layers": 8}, left_out)


def from_torch(
    name: str, tensors: Mapping[str, Tensor], *, origin: str, mln: Mapping[str, Tensor] | None = None
) -> Imported:
    """A student, a teacher or the meta-learned network of MRDA, a student or a teacher of KDSR.

    Args:
        name: one of ``BLIND``.
        tensors: of the file, under its names; which of these it is shows in them.
        origin: the file, for messages.
        mln: the tensors of MRDA's second stage, which its teacher looks through; for a teacher of MRDA alone.

    Raises:
        WeightsError: for a file of another network, of another scale or of the other published size, or without the
            second stage where that is needed.
    """
    require_one_of(name, BLIND, name="name")
    program, scale = name.rsplit("_x", 1)[0], int(name[-1])
    method = program.split("_")[0]
    second_stage = method == "mrda" and any(key.startswith("head.") for key in tensors)
    looks_through = method == "mrda" and any(key.startswith("E.") for key in tensors)
    if mln is not None and not looks_through:
        raise WeightsError(f"--mln is for a teacher of MRDA, which {origin} is not; leave it out")
    if second_stage:
        return _meta_learned(tensors, scale, origin)
    stage = "student" if any(key.startswith("E_st.") for key in tensors) else "teacher"
    encoder_name = "E_st" if stage == "student" else "E"
    if f"{encoder_name}.E.0.weight" not in tensors or "G.head.0.weight" not in tensors:
        kinds = "G.* and E_st.* (student), G.* and E.* (teacher)"
        kinds += ", head.* (second stage)" if method == "mrda" else ""
        raise WeightsError(f"{origin} has none of the names of {program}'s files: {kinds}; give one of them")
    _require_scale(tensors, "G.tail.", scale, name, origin)
    _require_unit_range(tensors, origin)
    first = tensors[f"{encoder_name}.E.0.weight"]
    residual = _count(tensors, rf"{encoder_name}\.E\.(\d+)\.body\.0\.weight")
    sizes = {
        "width": int(tensors["G.head.0.weight"].shape[0]),
        "blocks": _count(tensors, r"G\.body\.0\.body\.(\d+)\.conv1\.weight"),
        "encoder width": int(first.shape[0]),
    }
    if method == "kdsr":
        sizes["encoder blocks"] = residual
    published = sizes == _PUBLISHED[program]
    other = next((p for p, size in _PUBLISHED.items() if size == sizes and p != program), None)
    if other is not None:
        raise WeightsError(f"{origin} is of the size of {other}, not of {program}; import it --as {other}_x{scale}")

    names = _mrda_names(scale) if method == "mrda" else _kdsr_names(scale, residual)
    state = _translated(tensors, [(p.replace("ENCODER", encoder_name), to) for p, to in names], origin, program)
    node = _blind(method, sizes, scale, channels=int(first.shape[1]))
    _check_whole(node, state, origin)
    student = _blind(method, sizes, scale, channels=3)
    config: dict[str, Any] = {"name": f"{method}_x4_iso", "method": method, "scale": float(scale), "model": student}
    if stage == "teacher":
        view: dict[str, Any] = {CLASS: "metasr.models.teacher.PairView"}
        recipe: dict[str, Any] = {CLASS: "metasr.recipes.teacher.Teacher", "model": node, "view": view}
        if method == "mrda":
            if mln is None:
                raise WeightsError(
                    f"{origin} is a teacher of MRDA, which looks through the network of the second stage; give that "
                    "file too: --mln model_meta_last.pt"
                )
            learned = _meta_learned(mln, scale, "the file of --mln")
            state |= {f"mln.{key}": tensor for key, tensor in learned.state.items()}
            view = {CLASS: "metasr.models.teacher.AdaptedFeatures"}
            recipe |= {"view": view, "mln": learned.facts["config"]["model"]}
        config["stages"] = {"teacher": {"recipe": {**recipe, "steps": _STEPS[method]}}}
    facts = _facts(method, stage, scale) | {"config": config}
    return Imported(state, stage, facts, sizes, published)


def _meta_learned(tensors: Mapping[str, Tensor], scale: int, origin: str) -> Imported:
    """MRDA's meta-learned network, of its first or second stage."""
    _require_scale(tensors, "tail.", scale, f"mrda_x{scale}", origin)
    if "head.0.weight" not in tensors:
        raise WeightsError(f"{origin} has no head.0.weight: it is no network of MRDA's first or second stage")
    end = r"(weight|bias)"
    names = [
        (rf"head\.0\.{end}", r"head.0.\1"),
        (rf"body\.(\d+)\.{end}", r"body.\1.\2"),
        *_tail_names("tail", "tail", scale),
    ]
    state = _translated(tensors, names, origin, "mrda")
    sizes = {
        "width": int(tensors["head.0.weight"].shape[0]),
        "depth": _count(tensors, r"body\.(\d+)\.weight"),
    }
    node = {CLASS: "metasr.models.mln.MLN", "scale": scale, **sizes}
    _check_whole(node, state, origin)
    facts = _facts("mrda", "meta_transfer", scale) | {
        "config": {"name": "mrda_x4_iso", "method": "mrda", "scale": float(scale), "model": node}
    }
    return Imported(state, "meta_transfer", facts, sizes, sizes == {"width": 128, "depth": 6})


def _facts(method: str, stage: str, scale: int) -> dict[str, Any]:
    return {
        "method": method, "experiment": f"{method}_x4_iso", "stage": stage, "scale": float(scale),
        "downsample": "bicubic",
    }  # fmt: skip


def _blind(method: str, sizes: Mapping[str, int], scale: int, *, channels: int) -> dict[str, Any]:
    """The card's entry of a student's or a teacher's network."""
    encoder: dict[str, Any] = {"channels": channels, "width": sizes["encoder width"]}
    body: dict[str, Any] = {"scale": scale, "width": sizes["width"], "blocks": sizes["blocks"]}
    if method == "mrda":
        encoder[CLASS] = "metasr.models.den.DegradationEncoder"
        body |= {CLASS: "metasr.models.rdan.RDAN", "vector": 4 * sizes["encoder width"]}
    else:
        encoder |= {CLASS: "metasr.models.kdsr.KDSREncoder", "blocks": sizes["encoder blocks"]}
        body[CLASS] = "metasr.models.kdsr.KDSRBody"
    return {CLASS: "metasr.models.blind.BlindSR", "encoder": encoder, "body": body, "init": "torch"}


def _mrda_names(scale: int) -> list[tuple[str, str]]:
    end, block = r"(weight|bias)", r"G\.body\.0\.body\.(\d+)\."
    return [
        *_body_names(scale),
        (r"G\.compress\.0\.weight", "body.compress.weight"),
        (block + r"da_conv([12])\.kernel\.([02])\.weight", r"body.blocks.\1.aware\2.kernel.\3.weight"),
        (block + rf"da_conv([12])\.conv\.{end}", r"body.blocks.\1.aware\2.mask.\3"),
        (block + rf"conv([12])\.{end}", r"body.blocks.\1.conv\2.\3"),
        (rf"ENCODER\.E\.(\d+)\.{end}", r"encoder.convs.\1.\2"),
        (rf"ENCODER\.mlp\.([02])\.{end}", r"encoder.mlp.\1.\2"),
    ]


def _kdsr_names(scale: int, residual: int) -> list[tuple[str, str]]:
    end, block = r"(weight|bias)", r"G\.body\.0\.body\.(\d+)\."
    blocks = [
        (rf"ENCODER\.E\.{i + 2}\.body\.{2 * j}\.{end}", rf"encoder.blocks.{i}.conv{j + 1}.\1")
        for i in range(residual)
        for j in range(2)
    ]
    widening = [(rf"ENCODER\.E\.{residual + 2 + k}\.{end}", rf"encoder.widen.{k}.\1") for k in (0, 2, 4)]
    return [
        *_body_names(scale),
        (block + r"da_conv1\.kernel\.([02])\.weight", r"body.blocks.\1.aware.kernel.\2.weight"),
        (block + rf"conv1\.{end}", r"body.blocks.\1.conv.\2"),
        (rf"ENCODER\.E\.0\.{end}", r"encoder.head.0.\1"),
        *blocks,
        *widening,
        (rf"ENCODER\.mlp\.([02])\.{end}", r"encoder.mlp.\1.\2"),
        (rf"ENCODER\.compress\.0\.{end}", r"body.compress.\1"),
    ]


def _body_names(scale: int) -> list[tuple[str, str]]:
    end = r"(weight|bias)"
    return [
        (rf"G\.sub_mean\.{end}", r"body.take_mean.\1"),
        (rf"G\.add_mean\.{end}", r"body.add_mean.\1"),
        (rf"G\.head\.0\.{end}", r"body.head.\1"),
        (rf"G\.body\.1\.{end}", r"body.close.\1"),
        *_tail_names(r"G\.tail", "body.tail", scale),
    ]


def _tail_names(theirs: str, ours: str, scale: int) -> list[tuple[str, str]]:
    """Convolutions before pixel shuffles, and the last one to RGB."""
    last = 4 if scale == 4 else 2
    return [
        (rf"{theirs}\.0\.([02])\.(weight|bias)", rf"{ours}.\1.\2"),
        (rf"{theirs}\.1\.(weight|bias)", rf"{ours}.{last}.\1"),
    ]


def _translated(
    tensors: Mapping[str, Tensor], names: Sequence[tuple[str, str]], origin: str, program: str
) -> dict[str, Tensor]:
    """All tensors under this project's names, each with one."""
    state: dict[str, Tensor] = {}
    unknown = []
    for key, tensor in tensors.items():
        for pattern, to in names:
            found = re.fullmatch(pattern, key)
            if found is not None:
                state[found.expand(to)] = tensor
                break
        else:
            unknown.append(key)
    _require_places(unknown, origin, f"{program}'s")
    return state


def _require_places(unknown: Sequence[str], origin: str, whose: str) -> None:
    if unknown:
        some = "; ".join(sorted(unknown)[:3]) + ("; ..." if len(unknown) > 3 else "")
        raise WeightsError(
            f"{origin} holds {pluralize(len(unknown), 'tensor')} that no network of {whose} has ({some}), and nothing "
            "is left out in silence; give the file as that program wrote it"
        )


def _check_whole(node: dict[str, Any], state: dict[str, Tensor], origin: str) -> None:
    """Require that the tensors are all of a network's, and no more."""
    with torch.random.fork_rng(devices=[]):
        network = make_network(node, origin=origin, state=state)
    check_state(network.state_dict(), state, origin=origin)


def _require_scale(tensors: Mapping[str, Tensor], tail: str, scale: int, name: str, origin: str) -> None:
    """Require the tail of a scale: one shuffle of 4 or of 9 times the channels, or two of 4 times."""
    first = tensors.get(f"{tail}0.0.weight")
    if first is None or first.ndim != 4 or not first.shape[1]:
        raise WeightsError(f"{origin} has no tensor {tail}0.0.weight to tell its scale by; give the whole file")
    ratio = first.shape[0] // first.shape[1]
    found = 4 if f"{tail}0.2.weight" in tensors else {4: 2, 9: 3}.get(ratio)
    if found != scale:
        right = f"; import it --as {name[:-1]}{found}" if found else ""
        raise WeightsError(f"{origin} enlarges by {found or 'another factor'}, not by {scale} as {name} does{right}")


def _require_unit_range(tensors: Mapping[str, Tensor], origin: str) -> None:
    """Require that the constants are those of images in [0, 1]: the mean colour of DIV2K, taken away and added."""
    for key, sign in (("sub_mean", -1), ("add_mean", 1)):
        bias, weight = tensors.get(f"G.{key}.bias"), tensors.get(f"G.{key}.weight")
        if bias is None or weight is None:
            continue  # told as missing with all others
        fits = bias.shape == (3,) and torch.allclose(bias.float(), sign * torch.tensor(RGB_MEAN), atol=1e-3)
        if not fits or not torch.equal(weight.float().flatten(), torch.eye(3).flatten()):
            raise WeightsError(
                f"{origin} was made for images of another range or mean than [0, 1] and {RGB_MEAN} (G.{key}), which "
                "the network here is for; take a file of the published options"
            )


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    return sum(re.fullmatch(pattern, key) is not None for key in tensors)
