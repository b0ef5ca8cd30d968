"""Files that others wrote are data: read within bounds, of the expected kinds, and nothing in them is ever executed.

Cards, configs of run folders and records of jobs go through here. What they say of classes goes through
``runs.architecture``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metasr.errors import MetasrError, WeightsError

MOST_BYTES = 8 * 2**20
"""A card of this project's has some ten thousand."""
MOST_YAML_BYTES = 2**18
DEEPEST = 32
"""Objects and lists inside each other; a card has about ten."""
_TOO_DEEP = f"its objects and lists are nested deeper than {DEEPEST}"
_YAML_OPENING = (
    "BlockSequenceStartToken", "BlockMappingStartToken", "FlowSequenceStartToken", "FlowMappingStartToken",
)  # fmt: skip
_YAML_CLOSING = ("BlockEndToken", "FlowSequenceEndToken", "FlowMappingEndToken")


def read_object(
    path: Path, *, what: str = "card", error: type[MetasrError] = WeightsError, remedy: str = "mend it, or remove it"
) -> dict[str, Any]:
    """A JSON object of a file, as plain dictionaries, lists, texts and numbers.

    Args:
        path: an existing file.
        what: what the file is, for messages.
        error: the kind of error to raise.
        remedy: what to do, for messages.

    Raises:
        MetasrError: of that kind, for a file that cannot be read, is no JSON object, or is absurdly large or nested.
    """
    text = _text(path, what=what, error=error, most=MOST_BYTES, remedy=remedy)
    try:
        content = json.loads(text)
    except RecursionError as raised:
        raise error(f"{what} {path} cannot be read: {_TOO_DEEP}; {remedy}") from raised
    except ValueError as raised:
        raise error(f"{what} {path} cannot be read ({_first_line(raised)}); {remedy}") from raised
    if not isinstance(content, dict):
        raise error(f"{what} {path} must hold a JSON object, got {_kind(content)}; {remedy}")
    _require_shallow(content, f"{what} {path}", error, remedy=remedy)
    return content


def read_yaml(path: Path, *, what: str = "config", error: type[MetasrError] = WeightsError) -> Any:
    """What a YAML file holds, as plain data: no tags, no anchors, and ``${...}`` stays text.

    Args:
        path: an existing file.
        what: what the file is, for messages.
        error: the kind of error to raise.

    Raises:
        MetasrError: of that kind, for a file that cannot be read, or is absurdly large or nested.
    """
    import yaml

    remedy = "mend it, or remove it"
    text = _text(path, what=what, error=error, most=MOST_YAML_BYTES, remedy=remedy)
    try:
        depth = 0
        for token in yaml.scan(text):  # lazily: deep nesting takes PyYAML minutes
            if isinstance(token, yaml.AnchorToken | yaml.AliasToken | yaml.TagToken):
                raise error(
                    f"{what} {path} uses anchors or tags of YAML, which no config of a run has; remove the file"
                )
            depth += type(token).__name__ in _YAML_OPENING
            depth -= type(token).__name__ in _YAML_CLOSING
            if depth > DEEPEST:
                raise error(f"{what} {path} cannot be read: {_TOO_DEEP}; {remedy}")
        content = yaml.safe_load(text)
    except RecursionError as raised:
        raise error(f"{what} {path} cannot be read: {_TOO_DEEP}; {remedy}") from raised
    except (yaml.YAMLError, ValueError) as raised:
        raise error(f"{what} {path} cannot be read ({_first_line(raised)}); {remedy}") from raised
    _require_shallow(content, f"{what} {path}", error, remedy=remedy)
    return content


def check_card(card: dict[str, Any], origin: str, *, error: type[MetasrError] = WeightsError) -> dict[str, Any]:
    """A card whose entries, as far as anything reads them, are of the kinds that they must be.

    Args:
        card: as read.
        origin: the file, for messages.
        error: the kind of error to raise.

    Returns:
        The same card.

    Raises:
        MetasrError: of that kind, naming the entry, what was expected and what came.
    """
    for path, (wanted, fits) in _ENTRIES.items():
        for name, value in _at(card, path.split(".")):
            if not fits(value):
                raise error(f"{origin}: {name} must be {wanted}, got {_shown(value)}; take the card that came with the "
                            "weights, or remove it")  # fmt: skip
    return card


def require_plain(data: Any, origin: str, *, error: type[MetasrError] = WeightsError) -> None:
    """Require that no text in some data would be resolved, were it made a config: no ``${...}`` and no ``???``.

    Raises:
        MetasrError: of the given kind, naming the text.
    """
    for text in _texts(data):
        if "${" in text or text == "???":
            raise error(
                f"{origin} holds {text[:60]!r} where a plain value was expected: nothing in a file is resolved; write "
                "the value itself"
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_scale(value: object) -> bool:
    return _is_number(value) and 0 < float(value) <= 100  # type: ignore[arg-type]


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_scales(value: object) -> bool:
    return value is None or (isinstance(value, list) and bool(value) and all(_is_scale(v) for v in value))


_OBJECT, _TEXT = ("an object", _is_object), ("a text", _is_text)
_OBJECT_OR_NULL = ("an object", lambda value: value is None or _is_object(value))
_SCALE = ("a number in (0, 100]", lambda value: value is None or _is_scale(value))
_SCALES = ("a list of numbers in (0, 100]", _is_scales)
_NUMBER = ("a finite number", lambda value: value is None or _is_number(value))
_WHOLE = ("a whole number", lambda value: value is None or (isinstance(value, int) and not isinstance(value, bool)))
_ENTRIES = {
    **dict.fromkeys(
        ("status", "stage", "experiment", "method", "name", "model", "downsample", "sha256", "weights", "hash",
         "weights_from", "profile", "library", "config.name", "config.method", "config.profile_name"), _TEXT,
    ),
    **dict.fromkeys(
        ("config", "identity", "identity.data", "identity.trainer", "meta_set", "metrics", "versions", "config.data",
         "config.evaluation", "config.evaluation.protocol", "config.stages", "config.stages.*",
         "config.stages.*.recipe", "config.stages.*.sampler", "config.stages.*.sampler.degradations",
         "extended", "retried", "validation"), _OBJECT,
    ),
    **dict.fromkeys(("config.model", "config.mln", "config.stages.*.recipe.model"), _OBJECT_OR_NULL),
    "scale": _SCALE,
    "scales": _SCALES,
    "config.scale": _SCALE,
    "config.stages.*.sampler.degradations.scales": _SCALES,
    "config.seed": _WHOLE,
    "seed": _WHOLE,
    "steps": _WHOLE,
    "extended.*": _WHOLE,
    "retried.from": _WHOLE,
    "retried.rates": _NUMBER,
    "seconds": _NUMBER,
    "step_seconds": _NUMBER,
}  # fmt: skip
"""What the entries of cards must be, where they are there; a star stands for any name. All but objects may be null."""


def _at(data: Any, keys: list[str]) -> Iterator[tuple[str, Any]]:
    """The values that a path leads to, each with its own path."""
    if not isinstance(data, dict):
        return
    for key in data if keys[0] == "*" else [keys[0]] if keys[0] in data else []:
        if len(keys) == 1:
            yield str(key), data[key]
        else:
            yield from ((f"{key}.{rest}", value) for rest, value in _at(data[key], keys[1:]))


def _text(path: Path, *, what: str, error: type[MetasrError], most: int, remedy: str) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(most + 1)
    except OSError as raised:
        raise error(f"{what} {path} cannot be read ({raised.strerror or raised}); {remedy}") from raised
    if len(head) > most:
        raise error(
            f"{what} {path} is larger than the {most // 2**10} KiB that any {what} of this project's has; {remedy}"
        )
    try:
        return head.decode("utf-8")
    except UnicodeDecodeError as raised:
        raise error(f"{what} {path} cannot be read ({_first_line(raised)}); {remedy}") from raised


def _texts(data: Any) -> Iterator[str]:
    """All texts in some data, names included."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield str(key)
            yield from _texts(value)
    elif isinstance(data, list):
        for value in data:
            yield from _texts(value)


def _require_shallow(data: Any, origin: str, error: type[MetasrError], *, remedy: str) -> None:
    level, depth = [data], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise error(f"{origin} cannot be read: {_TOO_DEEP}; {remedy}")
        inside = (part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list))
        level = [part for parts in inside for part in parts if isinstance(part, dict | list)]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def _kind(value: Any) -> str:
    kinds = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return kinds.get(type(value), "nothing" if value is None else type(value).__name__)


def _shown(value: Any) -> str:
    return _kind(value) if isinstance(value, dict | list) else f"{value!r:.60}"
