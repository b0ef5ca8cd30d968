"""HEIC and HEIF photos, as phones take them: read by pillow-heif, which the extra ``heic`` brings."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec

SUFFIXES = (".heic", ".heif", ".hif")
"""By which files are known as such."""

ADVICE = "HEIC is read by pillow-heif: pip install 'metasr[heic]', or convert it to PNG"

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def is_heif(head: bytes) -> bool:
    """Whether a file that begins so may be one; the last two brands are AVIF's too."""
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS


def can_read() -> bool:
    """Whether pillow-heif is installed."""
    return find_spec("pillow_heif") is not None


@lru_cache(maxsize=1)
def register() -> bool:
    """Let Pillow read them, as its format ``HEIF``; false without pillow-heif."""
    if not can_read():
        return False
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False)
    return True
