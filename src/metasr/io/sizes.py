"""How large an enlargement is to be: by a factor, or by whatever factor leads to a size."""

from __future__ import annotations

import math
from dataclasses import dataclass

from metasr.errors import InputError

SCALE_OR_SIZE = "a scale and a size (width, height, max_side, megapixels) exclude each other: give one of them"


@dataclass(frozen=True, kw_only=True)
class TargetSize:
    """What is asked of an enlargement's size; the photo's proportions are kept.

    Attributes:
        scale: the factor, where no size is asked for.
        width: in pixels; with ``height`` the largest size that fits into both.
        height: in pixels.
        max_side: of the longer side, in pixels.
        megapixels: of the area, in millions of pixels.

    Raises:
        InputError: for a size that is not above 0, or several that exclude each other.
    """

    scale: float
    width: int | None = None
    height: int | None = None
    max_side: int | None = None
    megapixels: float | None = None

    def __post_init__(self) -> None:
        asked = {name: value for name, value in vars(self).items() if name != "scale" and value is not None}
        for name, value in asked.items():
            if not 0 < value < math.inf:
                raise InputError(f"{name} must be above 0, got {value:g}")
        if len(asked) > 1 and set(asked) != {"width", "height"}:
            raise InputError(
                f"{' and '.join(asked)} exclude each other: give one of width, height, max_side and megapixels, or "
                "width and height together for the largest size that fits into both"
            )

    @property
    def is_fixed(self) -> bool:
        """Whether a size is asked for, so that each photo has a factor of its own."""
        return any(value is not None for name, value in vars(self).items() if name != "scale")

    def factor(self, height: int, width: int) -> float:
        """The factor for a photo of so many pixels; sides times it are rounded up, as everywhere."""
        if self.max_side is not None:
            return self.max_side / max(height, width)
        if self.megapixels is not None:
            return math.sqrt(self.megapixels * 1e6 / (height * width))
        asked = [n / m for n, m in ((self.width, width), (self.height, height)) if n is not None]
        return min(asked, default=self.scale)

    @property
    def ending(self) -> str:
        """What is added to the names of results that lie beside their photos: ``_x2``, ``_1600x1200``, ``_max2000``."""
        if self.max_side is not None:
            return f"_max{self.max_side}"
        if self.megapixels is not None:
            return f"_{self.megapixels:g}mp"
        if self.width is not None and self.height is not None:
            return f"_{self.width}x{self.height}"
        if self.width is not None:
            return f"_w{self.width}"
        return f"_x{self.scale:g}" if self.height is None else f"_h{self.height}"


def target_size(scale: float | None, own_scale: float, **size: float | None) -> TargetSize:
    """A target of a scale that may be given, or a size instead of it.

    Args:
        scale: the factor, if one is given.
        own_scale: the factor where neither is.
        **size: ``width``, ``height``, ``max_side``, ``megapixels``, as ``TargetSize`` takes them.

    Raises:
        InputError: for both, and as ``TargetSize`` does.
    """
    target = TargetSize(scale=own_scale if scale is None else scale, **size)  # type: ignore[arg-type]
    if target.is_fixed and scale is not None:
        raise InputError(SCALE_OR_SIZE)
    return target
