"""Numbers in words."""

from __future__ import annotations


def pluralize(number: float, noun: str) -> str:
    """A number of things: ``1 update``, ``2 updates``, ``3.5 updates``."""
    return f"{number:g} {noun}{'' if number == 1 else 's'}"
