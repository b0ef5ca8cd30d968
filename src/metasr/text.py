"""Text for people: numbers in words, and characters that any terminal can show."""

from __future__ import annotations

import codecs
import io
import math
import sys

_PLAIN = {
    **dict.fromkeys("─━═╌╍┄┅┈┉╴╶╸╺╼╾", "-"), **dict.fromkeys("│┃║╎╏┆┇┊┋╵╷╹╻╽╿", "|"), **dict.fromkeys("█▉▊▋▌▓▒░", "#"),
    **dict.fromkeys("–—−‐‑", "-"), **dict.fromkeys("‘’", "'"), **dict.fromkeys("“”„", '"'),
    "×": "x", "…": "...", "→": "->", "←": "<-", "±": "+/-", "≤": "<=", "≥": ">=", "≈": "~", "·": ".", "•": "*",
    "²": "^2", "µ": "u", "μ": "u", "°": " deg", "✓": "ok", "\u00a0": " ", "\u202f": " ",
}  # fmt: skip
_BOX = range(0x2500, 0x2580)  # corners and crossings of table lines, as far as they are not above
_HANDLER = "metasr.plain"


def pluralize(number: float, noun: str) -> str:
    """A number of things: ``1 update``, ``2 updates``, ``3.5 updates``."""
    return f"{plain_number(number)} {noun}{'' if number == 1 else 's'}"


def plain_number(number: float) -> str:
    """A whole number with all its digits, another with one decimal: ``1000``, ``3.5``; ``-`` for none."""
    if math.isnan(number):
        return "-"
    return f"{number:.0f}" if number == round(number) else f"{number:.1f}"


def make_output_encodable() -> None:
    r"""Let standard output and standard error take any text, whatever their encoding.

    What the encoding lacks is written plainly: table lines and signs by the ASCII characters nearest to them, letters
    by their escapes (``\u5199``). Programs call this once, before they print. UTF-8 output does not change.
    """
    codecs.register_error(_HANDLER, _write_plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _write_plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    """The codec error handler: replaces what cannot be encoded, character by character."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    if character in _PLAIN:
        return _PLAIN[character]
    return "+" if ord(character) in _BOX else character.encode("ascii", "backslashreplace").decode("ascii")
