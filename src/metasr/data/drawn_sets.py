"""Sets of pictures that no training set of photographs holds, made by code: line art, text, texture from far above.

Each has a few training pictures (a meta-data set) and test pictures, of other seeds and made from other photographs.
They are drawn whenever they are asked for and lie in the outputs' folder ``drawn``.
"""

from __future__ import annotations

import io
import itertools
import math
import string
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw, ImageFont

from metasr.io.files import write_bytes
from metasr.paths import outputs_folder

COUNTS = {"train": 4, "test": 8}
"""How many pictures each set has of each split."""
SIDE = 264
"""Height and width of every picture in pixels: divisible by 2, 3, 4, 8 and 11."""

_FINE = 4  # lines are drawn so many times as large
_PHOTOS = Path(__file__).parent / "samples"


def drawn(name: str, split: str) -> list[Path]:
    """The files of one set's split; what is missing, or not as it is drawn now, is written.

    Args:
        name: one of ``KINDS``.
        split: ``train``, ``test``, or ``all`` for both.

    Raises:
        OutputError: if the folder cannot be written.
    """
    paths = []
    for part in COUNTS if split == "all" else (split,):
        for number in range(COUNTS[part]):
            path = outputs_folder() / "drawn" / name / part / f"{name}_{part}_{number + 1}.png"
            png = io.BytesIO()
            picture(name, part, number).save(png, "png")
            if not path.is_file() or path.read_bytes() != png.getvalue():
                write_bytes(path, png.getvalue())
            paths.append(path)
    return paths


def picture(name: str, split: str, number: int) -> Image.Image:
    """One picture, RGB of ``SIDE`` by ``SIDE``; the same whenever it is asked for.

    Args:
        name: one of ``KINDS``.
        split: ``train`` or ``test``.
        number: counted from 0.
    """
    return KINDS[name](Random(f"{name} {split} {number}"), split)


def _line_art(random: Random, split: str) -> Image.Image:
    """Strokes, ellipses and hatching in black on white, smooth at their edges."""
    side = SIDE * _FINE
    image = Image.new("L", (side, side), 255)
    draw = ImageDraw.Draw(image)

    def place() -> tuple[float, float]:
        return random.uniform(0, side), random.uniform(0, side)

    for _ in range(24):
        width = round(random.uniform(0.8, 3) * _FINE)
        x, y = place()
        kind = random.randrange(3)
        if kind == 0:  # a stroke that bends
            angle, bend, points = random.uniform(0, 2 * math.pi), random.uniform(-0.12, 0.12), [(x, y)]
            for _ in range(random.randint(10, 50)):
                angle += bend
                x, y = x + 5 * _FINE * math.cos(angle), y + 5 * _FINE * math.sin(angle)
                points.append((x, y))
            draw.line(points, fill=0, width=width, joint="curve")
        elif kind == 1:
            across, down = (random.uniform(4, 50) * _FINE for _ in range(2))
            draw.ellipse((x - across, y - down, x + across, y + down), outline=0, width=width)
        else:  # a field of parallel lines
            angle, length = random.uniform(0, math.pi), random.uniform(20, 70) * _FINE
            along, step = (math.cos(angle), math.sin(angle)), random.uniform(3, 8) * _FINE
            for i in range(random.randint(6, 16)):
                a, b = x - i * step * along[1], y + i * step * along[0]
                ends = (a, b, a + length * along[0], b + length * along[1])
                draw.line(ends, fill=0, width=max(_FINE, width // 2))
    return image.reduce(_FINE).convert("RGB")


def _text(random: Random, split: str) -> Image.Image:
    """Lines of words in several sizes of Pillow's typeface, each dark on light or the reverse."""
    dark, light = random.randint(0, 60), random.randint(195, 255)
    image = Image.new("L", (SIDE, SIDE), light)
    draw = ImageDraw.Draw(image)
    signs, y = string.ascii_letters + string.digits, 0.0
    while y < SIDE:
        size = random.choice((9, 11, 12, 14, 16, 20, 26, 36))
        line = " ".join("".join(random.choices(signs, k=random.randint(2, 9))) for _ in range(20))
        ground, ink = random.choice(((light, dark), (dark, light)))
        draw.rectangle((0, y, SIDE, y + 1.25 * size), fill=ground)
        draw.text((random.uniform(-10, 10), y), line, fill=ink, font=ImageFont.load_default(size=size))
        y += 1.25 * size
    return image.convert("RGB")


def _aerial(random: Random, split: str) -> Image.Image:
    """Blocks of photographs shrunk three to six times, mirrored and turned, with streets between."""
    photos = sorted(path for path in (_PHOTOS / split).iterdir() if path.is_file())
    image = Image.new("RGB", (SIDE, SIDE), (150, 150, 145))
    rows = [0, *sorted(random.sample(range(40, SIDE - 30, 20), 4)), SIDE]
    columns = [0, *sorted(random.sample(range(40, SIDE - 30, 20), 4)), SIDE]
    shrunk = []
    for path in random.sample(photos, 3):
        with Image.open(path) as photo:
            shrunk.append(photo.convert("RGB").reduce(random.randint(3, 6)))
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            tile = random.choice(shrunk).transpose(random.choice(list(Image.Transpose)))
            for y in range(top, bottom, tile.height):  # repeated where the block is larger
                for x in range(left, right, tile.width):
                    image.paste(tile.crop((0, 0, min(tile.width, right - x), min(tile.height, bottom - y))), (x, y))
    draw = ImageDraw.Draw(image)
    streets = [(0, y, SIDE, y) for y in rows[1:-1]] + [(x, 0, x, SIDE) for x in columns[1:-1]]
    for street in streets:
        draw.line(street, fill=(150, 150, 145), width=random.choice((2, 3, 5)))
    return image


KINDS = {"line_art": _line_art, "text": _text, "aerial": _aerial}
"""What draws each set."""
