"""What a JPEG file's header tells of its compression, and the codec that does it again."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np

from metasr.errors import InputError, require_one_of

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
MCU = 16
"""Side in pixels of the largest unit of a JPEG's grid: two blocks, where chroma is subsampled."""

# Tables K.1 and K.2 of ITU-T T.81, row by row: those of quality 50.
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66,
    *[99] * 38,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Jpeg:
    """How a JPEG file was compressed.

    Attributes:
        luma: quantisation steps of the 8×8 cosine coefficients of Y, row by row from the mean on, 1 to 255 (to 65535 in
            files of 12 bits).
        chroma: those of Cb and Cr.
        subsampling: by how much the two are coarser than Y.
        corner: rows and columns, 0 to 15, that lie above and left of the first whole unit of the grid: of a photo that
            was cut or turned after it was compressed.
    """

    luma: tuple[int, ...]
    chroma: tuple[int, ...]
    subsampling: Subsampling = "4:4:4"
    corner: tuple[int, int] = field(default=(0, 0))

    def __post_init__(self) -> None:
        require_one_of(self.subsampling, get_args(Subsampling), name="subsampling")
        for name, table in (("luma", self.luma), ("chroma", self.chroma)):
            if len(table) != 64 or not all(1 <= step <= 65535 for step in table):
                raise InputError(f"a JPEG's {name} table has 64 whole numbers from 1 to 65535, got {table!r:.80}")
        if not all(0 <= offset < MCU for offset in self.corner):
            raise InputError(f"a JPEG's corner must be 0 to {MCU - 1} in rows and columns, got {self.corner}")

    @property
    def subsampled(self) -> bool:
        """Whether colour is coarser than brightness."""
        return self.subsampling != "4:4:4"

    @property
    def quality(self) -> int:
        """The quality, 1 to 100, whose tables as most programs write them are nearest to these, by ratios of steps."""
        own = np.log([*self.luma, *self.chroma])
        return min(range(100, 0, -1), key=lambda quality: float(np.abs(own - _logs_of(quality)).sum()))

    @property
    def standard(self) -> bool:
        """Whether the tables are just those of ``quality``."""
        luma, chroma = standard_tables(self.quality)
        return self.luma == luma and self.chroma == chroma

    def __str__(self) -> str:
        """``q75``, with 4:2:0 ``q75c``, with 4:2:2 ``q75h``; ``~`` before the number where tables are others."""
        end = {"4:4:4": "", "4:2:2": "h", "4:2:0": "c"}[self.subsampling]
        return f"q{'' if self.standard else '~'}{self.quality}{end}"

    def seen(self, orientation: int, *, size: tuple[int, int]) -> Jpeg:
        """The same compression in a photo that its EXIF orientation has turned upright.

        Args:
            orientation: 1 to 8.
            size: height and width of the photo as it lies in the file.
        """
        luma, chroma = self.luma, self.chroma
        height, width = size
        if orientation >= 5:
            luma, chroma = (tuple(table[8 * column + row] for row in range(8) for column in range(8))
                            for table in (luma, chroma))  # fmt: skip
            height, width = width, height
        rows = height % MCU if orientation in (3, 4, 7, 8) else 0
        columns = width % MCU if orientation in (2, 3, 6, 7) else 0
        return replace(self, luma=luma, chroma=chroma, corner=(rows, columns))


def of_quality(quality: int, *, subsampling: Subsampling = "4:4:4", corner: tuple[int, int] = (0, 0)) -> Jpeg:
    """The compression that most programs mean by a quality from 1 to 100 (libjpeg's).

    Raises:
        InputError: for another quality.
    """
    luma, chroma = standard_tables(quality)
    return Jpeg(luma=luma, chroma=chroma, subsampling=subsampling, corner=corner)


def standard_tables(quality: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Luma and chroma tables of a quality from 1 to 100, row by row."""
    if not 1 <= quality <= 100 or quality != int(quality):
        raise InputError(f"a JPEG's quality is a whole number from 1 to 100, got {quality}")
    percent = 5000 // int(quality) if quality < 50 else 200 - 2 * int(quality)
    luma, chroma = (
        tuple(min(255, max(1, (step * percent + 50) // 100)) for step in table) for table in (_LUMA, _CHROMA)
    )
    return luma, chroma


def read_header(image: Any) -> Jpeg | None:
    """The compression that an image opened by Pillow tells of, as it lies in the file.

    Returns:
        None for anything but a JPEG, and where its tables cannot be told. Subsampling that is none of the three is
        taken for 4:2:0; a photo without colour has the luma table for both.
    """
    tables, layers = getattr(image, "quantization", None), getattr(image, "layer", None)
    if image.format not in ("JPEG", "MPO") or not tables or not layers:
        return None
    first, second = layers[0], layers[1] if len(layers) >= 3 else layers[0]
    try:
        luma, chroma = (tuple(int(step) for step in tables[layer[3]]) for layer in (first, second))
        finer = (first[1] / second[1], first[2] / second[2])
        known: dict[tuple[float, float], Subsampling] = {(1.0, 1.0): "4:4:4", (2.0, 1.0): "4:2:2"}
        return Jpeg(luma=luma, chroma=chroma, subsampling=known.get(finer, "4:2:0"))
    except (InputError, LookupError, TypeError, ZeroDivisionError):  # a damaged header; the pixels may be whole
        return None


def recompress(levels: np.ndarray, jpeg: Jpeg) -> np.ndarray:
    """Compress and decompress by the codec itself (Pillow's libjpeg).

    Args:
        levels: ``(H, W, 3)`` uint8.
        jpeg: how. Steps above 255 count as 255: the codec has 8 bits.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    from PIL import Image

    above, left = ((MCU - offset) % MCU for offset in jpeg.corner)
    padded = np.pad(levels, ((above, 0), (left, 0), (0, 0)), mode="edge")
    tables = [[min(step, 255) for step in table] for table in (jpeg.luma, jpeg.chroma)]
    buffer = io.BytesIO()
    Image.fromarray(padded).save(buffer, format="JPEG", qtables=tables, subsampling=jpeg.subsampling)
    buffer.seek(0)
    return np.asarray(Image.open(buffer, formats=["JPEG"]))[above:, left:]


def _logs_of(quality: int) -> np.ndarray:
    if quality not in _logs:
        luma, chroma = standard_tables(quality)
        _logs[quality] = np.log([*luma, *chroma])
    return _logs[quality]


_logs: dict[int, np.ndarray] = {}
