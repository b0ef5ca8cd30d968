"""Architectures that cards tell: names out of a closed table, and plain values that fit the classes' signatures.

A card comes from whoever made the weights. The class that it names is looked up by its exact full name among this
package's own; no path is walked, nothing is imported by a name from a file, no interpolation is resolved, and an
architecture that could not be that of the tensors at hand is refused before any memory is taken.
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Any, Literal, get_args, get_origin

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from metasr.checks import check_seed, check_state
from metasr.errors import MetasrError, WeightsError, nearest
from metasr.runs.reading import require_plain
from metasr.runs.renames import RENAMED_CLASSES
from metasr.runs.tensors import without_prefix

CLASS = "_target_"
MOST_LAYERS = 1024
"""Largest whole number that a network's argument may be: layers are made one by one before sizes can be compared."""
MOST_PARAMETERS = 64_000_000
"""Of a recipe's networks together; the largest here have 20 million."""
LONGEST_LIST = 64


def networks() -> dict[str, type]:
    """The networks that weights may be of, and what they are made of, by full name."""
    from metasr.models.blind import BlindSR
    from metasr.models.den import DegradationEncoder
    from metasr.models.kdsr import KDSRBody, KDSREncoder
    from metasr.models.kernel_regressor import KernelRegressor
    from metasr.models.maml_sr_net import MAMLSRNet
    from metasr.models.mln import MLN
    from metasr.models.photo import PhotoNet
    from metasr.models.plain_cnn import ConditionedCNN, PlainCNN
    from metasr.models.rdan import RDAN
    from metasr.models.resunet import ResUNet
    from metasr.models.unfolded import UnfoldedNet
    from metasr.models.weight_net import WeightNet

    return _by_name(BlindSR, ConditionedCNN, DegradationEncoder, KDSRBody, KDSREncoder, KernelRegressor, MAMLSRNet, MLN,
                    PhotoNet, PlainCNN, RDAN, ResUNet, UnfoldedNet, WeightNet)  # fmt: skip


def recipes() -> dict[str, type]:
    """The recipes that cards of run folders name, and their parts, by full name. Lightning is imported here."""
    from metasr.meta.step_weights import StepWeights
    from metasr.models.teacher import AdaptedFeatures, PairView
    from metasr.recipes.base import Staircase
    from metasr.recipes.kernel_regression import KernelRegression
    from metasr.recipes.maml_sr import MAMLSRRecipe
    from metasr.recipes.meta_transfer import MetaTransfer
    from metasr.recipes.photo import PhotoTraining
    from metasr.recipes.pretrain import Pretrain
    from metasr.recipes.student import Student
    from metasr.recipes.teacher import Teacher
    from metasr.recipes.unfolded import UnfoldedTraining
    from metasr.recipes.weightnet import WeightNetRecipe

    return _by_name(KernelRegression, MAMLSRRecipe, MetaTransfer, PhotoTraining, Pretrain, Student, Teacher,
                    UnfoldedTraining, WeightNetRecipe, StepWeights, AdaptedFeatures, PairView, Staircase)  # fmt: skip


def _by_name(*classes: type) -> dict[str, type]:
    return {f"{c.__module__}.{c.__qualname__}": c for c in classes}


def network_choices(
    node: Mapping[str, Any], *, origin: str, state: Mapping[str, Tensor], kind: type[nn.Module] = nn.Module
) -> dict[str, Any]:
    """A card's network as checked plain choices, which make the very network that the tensors are of.

    Args:
        node: the card's entry: a class and its arguments.
        origin: the file that it is of, for messages.
        state: the tensors that are to be loaded into it.
        kind: what it has to be.

    Returns:
        The same entry, its classes under their present names.

    Raises:
        WeightsError: for another class, another argument, or a network with tensors that are not among these.
    """
    most = max([64, len(state), *(side for tensor in state.values() for side in tensor.shape)])
    choices = _checked(node, kind, networks(), origin=origin, most=min(most, MOST_LAYERS))
    with _outline():
        network = _made(choices, networks(), origin=origin)
    own = network.state_dict()
    tensors = without_prefix(state, own)
    check_state(own, {name: tensors[name] for name in own if name in tensors}, origin=origin)
    return choices


def is_known(node: Any) -> bool:
    """Whether a node names one of this package's networks, under its present name or an earlier one."""
    name = node.get(CLASS) if isinstance(node, Mapping) else None
    return isinstance(name, str) and RENAMED_CLASSES.get(name, name) in networks()


def make_network(
    node: Mapping[str, Any], *, origin: str, state: Mapping[str, Tensor], kind: type[nn.Module] = nn.Module
) -> nn.Module:
    """A card's network, freshly made, for tensors that are its own.

    Args:
        node: the card's entry: a class and its arguments.
        origin: the file that it is of, for messages.
        state: the tensors that are to be loaded into it.
        kind: what it has to be.

    Raises:
        WeightsError: as of ``network_choices``.
    """
    choices = network_choices(node, origin=origin, state=state, kind=kind)
    return _made(choices, networks(), origin=origin)


def parameter_names(node: Mapping[str, Any], *, origin: str) -> list[str]:
    """Names of a card's network's trained tensors in their order; made without memory.

    Raises:
        WeightsError: for a class that is none of this package's, or arguments that it does not take.
    """
    choices = _checked(node, nn.Module, networks(), origin=origin)
    with _outline():
        network = _made(choices, networks(), origin=origin)
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


def recipe_choices(node: Mapping[str, Any], *, origin: str) -> dict[str, Any]:
    """A card's recipe as checked plain choices, of networks of a bearable size.

    Args:
        node: the card's entry ``config.stages.<stage>.recipe``.
        origin: the file that it is of, for messages.

    Raises:
        WeightsError: for a class that is none of this package's, arguments that it does not take, or networks of more
            than ``MOST_PARAMETERS``.
    """
    from metasr.recipes.base import Recipe

    table = networks() | recipes()
    choices = _checked(node, Recipe, table, origin=origin)
    with _outline():
        instance = _made(choices, table, origin=origin)
    count = sum(parameter.numel() for parameter in instance.parameters())
    if count > MOST_PARAMETERS:
        raise WeightsError(
            f"{origin} tells networks of {count:,} parameters, more than the {MOST_PARAMETERS:,} that a recipe of this "
            "package may have; take the card that came with the weights"
        )
    return choices


def make_recipe(node: Mapping[str, Any], *, origin: str, seed: int) -> Any:
    """A card's recipe, its networks freshly drawn by a seed as training draws them.

    Raises:
        WeightsError: as of ``recipe_choices``.
    """
    choices = recipe_choices(node, origin=origin)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(check_seed(seed))
        return _made(choices, networks() | recipes(), origin=origin)


def make_protocol(node: Mapping[str, Any], *, origin: str) -> Any:
    """How a card's run was measured.

    Raises:
        WeightsError: for another class, or arguments that it does not take.
    """
    from metasr.metrics.protocol import LumaProtocol

    table = _by_name(LumaProtocol)
    choices = _checked(node, LumaProtocol, table, origin=origin)
    return _made(choices, table, origin=origin)


class _WithoutValues(TorchFunctionMode):
    """Leaves tensors as they are where networks give them their first values: there are none to give."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _FIRST_VALUES:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


_FIRST_VALUES = {"normal_", "uniform_", "zero_", "fill_", "mul_", "kaiming_normal_", "kaiming_uniform_"}


@contextmanager
def _outline() -> Iterator[None]:
    """Networks made here have names and shapes, and take no memory."""
    with torch.device("meta"), _WithoutValues():
        yield


def _checked(
    node: Any,
    wanted: Any,
    table: Mapping[str, type],
    *,
    origin: str,
    name: str = "its network",
    most: int = MOST_LAYERS,
) -> dict[str, Any]:
    """A class and its arguments, each of the kind that the class's signature tells."""
    if not isinstance(node, Mapping) or not isinstance(node.get(CLASS), str):
        raise WeightsError(
            f"{origin}: {name} must be an object with a class's full name as {CLASS!r}, got {_shown(node)}; take the "
            "card that came with the weights, or remove it"
        )
    require_plain(node, origin)
    told = RENAMED_CLASSES.get(str(node[CLASS]), str(node[CLASS]))
    if told not in table or not _is_kind(table[told], wanted):
        raise WeightsError(
            f"{origin}: {name} is told to be {told[:80]!r}, which is no such class of this package's, and no other is "
            "ever made by a file's word; a network of your own is taken from the command line alone: model=own "
            "model._target_=package.Class"
        )
    kind = table[told]
    hints = typing.get_type_hints(kind if is_dataclass(kind) else vars(kind)["__init__"])
    parameters = inspect.signature(kind).parameters
    arguments = {k: v for k, v in node.items() if k != CLASS}
    what = kind.__name__
    for key in arguments:
        if key not in parameters:
            raise WeightsError(f"{origin}: {what} takes no {str(key)[:60]!r}: {nearest(str(key)[:60], parameters)}")
    missing = [k for k, p in parameters.items() if p.default is p.empty and k not in arguments]
    if missing:
        raise WeightsError(f"{origin}: {what} needs {', '.join(missing)}, which the card does not tell")
    limit = most if kind.__module__.startswith("metasr.models.") else 2**53
    choices: dict[str, Any] = {CLASS: told}
    for key, value in arguments.items():
        choices[key] = _value(value, hints[key], table, origin=origin, name=f"{what}'s {key}", limit=limit, most=most)
    return choices


def _value(value: Any, wanted: Any, table: Mapping[str, type], *, origin: str, name: str, limit: int, most: int) -> Any:
    """An argument, where it is of the kind that a signature's annotation tells."""
    options = get_args(wanted) if get_origin(wanted) in (typing.Union, types.UnionType) else (wanted,)
    refused: WeightsError | None = None
    for option in options:
        if isinstance(value, Mapping) and (isinstance(option, type)):
            try:
                return _checked(value, option, table, origin=origin, name=name, most=most)
            except WeightsError as error:
                refused = error
        elif isinstance(value, list) and get_origin(option) in (Sequence, tuple, list) and len(value) <= LONGEST_LIST:
            inner = get_args(option)[0]
            named = f"a value of {name}"
            return [_value(v, inner, table, origin=origin, name=named, limit=limit, most=most) for v in value]
        elif _is_plain(value, option, limit=limit):
            return int(value) if option is int else value
    if refused is not None:
        raise refused
    raise WeightsError(
        f"{origin}: {name} must be {' or '.join(_told(option, limit) for option in options)}, got {_shown(value)}"
    )


def _is_plain(value: Any, option: Any, *, limit: int) -> bool:
    if get_origin(option) is Literal:
        return any(value == known and type(value) is type(known) for known in get_args(option))
    if option is type(None):
        return value is None
    if option is bool or option is str:
        return type(value) is option
    if option is int:
        return type(value) in (int, float) and abs(value) <= limit and value == int(value)
    if option is float and type(value) is int:
        return abs(value) <= limit
    return option is float and type(value) is float and math.isfinite(value)


def _made(choices: Mapping[str, Any], table: Mapping[str, type], *, origin: str) -> Any:
    """The object of checked choices; what its class refuses is told with the file's name."""
    arguments = {
        key: _made(value, table, origin=origin) if isinstance(value, Mapping) else value
        for key, value in choices.items()
        if key != CLASS
    }
    kind = table[choices[CLASS]]
    try:
        return kind(**arguments)
    except (MetasrError, ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise WeightsError(
            f"{origin}: {kind.__name__} cannot be made as the card tells: {_first_line(error)}"
        ) from error


def _is_kind(known: type, wanted: Any) -> bool:
    """Whether a class may stand where another, or a protocol, is expected."""
    if getattr(wanted, "_is_protocol", False):
        return all(hasattr(known, name) for name in ("adapts", "__call__"))
    return issubclass(known, wanted)


def _told(option: Any, limit: int) -> str:
    if get_origin(option) is Literal:
        return " or ".join(repr(known) for known in get_args(option))
    if get_origin(option) in (Sequence, tuple, list):
        return f"a list of at most {LONGEST_LIST} values"
    names = {
        int: f"a whole number of at most {limit}", float: "a finite number", bool: "true or false", str: "a text",
        type(None): "null",
    }  # fmt: skip
    return names.get(option, f"a {getattr(option, '__name__', option)}")


def _shown(value: Any) -> str:
    return f"an object of {len(value)}" if isinstance(value, Mapping) else f"{value!r:.60}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
