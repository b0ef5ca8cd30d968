"""Numbers in words."""

from __future__ import annotations

import math


def pluralize(number: float, noun: str) -> str:
    """A number of things: ``1 update``, ``2 updates``, ``3.5 updates``."""
    return f"{plain_number(number)} {noun}{'' if number == 1 else 's'}"


def plain_number(number: float) -> str:
    """A whole number with all its digits, another with one decimal: ``1000``, ``3.5``; ``-`` for none."""
    if math.isnan(number):
        return "-"
    return f"{number:.0f}" if number == round(number) else f"{number:.1f}"
