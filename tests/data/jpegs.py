"""JPEG files of all kinds: some that are read, and some that cannot be, each with what is to be said of it."""

import base64
import io

import numpy as np
from PIL import Image

ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQERMUFRUVDA8XGBYUGBIU"
    "FRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBT/yQARCAAQABgDAREAAhEB"
    "AxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/AOhCbJfoJq4PeokeajfDouyX2V+hXWV3hT+0rMjsOXjCYnf8M61OuNVHgRcjELWHiRwA54FnTzcG"
    "PV2Su9VGBMQnqxC290PGafRRxONriP/Z"
)
"""``pixels()``, arithmetically coded at quality 90 by libjpeg's ``cjpeg``, as Pillow cannot."""


def pixels() -> np.ndarray:
    """``(16, 24, 3)`` uint8, smooth."""
    y, x = np.mgrid[:16, :24]
    return np.stack([x * 10, y * 14, (x + y) * 6], -1).clip(0, 255).astype(np.uint8)


def saved(mode: str = "RGB", **options: object) -> bytes:
    """``pixels()`` as a JPEG of quality 95."""
    buffer = io.BytesIO()
    Image.fromarray(pixels()).convert(mode).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def changed(place: int, new: bytes, *, marker: bytes) -> bytes:
    """A plain JPEG with some bytes changed, counted from a marker on."""
    data = bytearray(saved(subsampling=0))
    start = data.index(marker) + place
    data[start : start + len(new)] = new
    return bytes(data)


def without(marker: bytes) -> bytes:
    """A plain JPEG without any segment of a kind before its pixels."""
    data = saved(subsampling=0)
    while (start := data.find(marker, 0, data.index(b"\xff\xda"))) >= 0:
        data = data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]
    return data


FRAME, TABLE, CODES, SCAN = b"\xff\xc0", b"\xff\xdb", b"\xff\xc4", b"\xff\xda"

READ = {
    "baseline": saved(subsampling=0),
    "progressive": saved(progressive=True, subsampling=0),
    "extended": changed(1, b"\xc1", marker=FRAME),
    "arithmetic": ARITHMETIC,
    "cmyk": saved("CMYK", subsampling=0),
    "restarts": saved(subsampling=0, restart_marker_blocks=1),
    "standard Huffman codes left out": without(CODES),  # as in cameras' films
}
"""Files that hold ``pixels()``, to 10 levels."""

REFUSED = {
    "12 bits": (changed(4, b"\x0c", marker=FRAME), "a JPEG of 12 bits per colour, of which 8 alone are read; convert"),
    "lossless": (changed(1, b"\xc3", marker=FRAME), "a lossless JPEG, which hardly any program reads; convert"),
    "lossless, arithmetic": (changed(1, b"\xcb", marker=FRAME), "a lossless JPEG"),
    "hierarchical": (changed(1, b"\xc5", marker=FRAME), "a hierarchical JPEG, which hardly any program reads; convert"),
    "no tables": (without(TABLE), "truncated or damaged"),
    "a table of another number": (changed(4, b"\x0f", marker=TABLE), "truncated or damaged"),
    "a table of zeros": (changed(5, bytes(64), marker=TABLE), "a step of its quantisation tables is 0; copy"),
    "a zero in a table": (changed(40, b"\0", marker=TABLE), "a step of its quantisation tables is 0; copy"),
    "a table cut short": (changed(2, b"\0\x10", marker=TABLE), "header is damaged; convert"),
    "too many codes": (changed(5, b"\xff" * 16, marker=CODES), "truncated or damaged"),
    "2 colours": (changed(9, b"\2", marker=FRAME), "header is damaged"),
    "no rows": (changed(5, b"\0\0", marker=FRAME), "header is damaged"),
    "a colour sampled 5 times": (changed(11, b"\x55", marker=FRAME), "truncated or damaged"),
    "huge": (changed(5, b"\xff" * 4, marker=FRAME), "claims 65535x65535 = 4,294,836,225 pixels, at most"),
    "cut in its pixels": (saved()[:-60], "truncated"),
    "cut in its header": (saved()[:100], "truncated or damaged"),
}
"""Files that do not, each with what is said of it."""
