"""Drawn text, lines and areas among training photos: what screenshots and line art are made of."""

from __future__ import annotations

import string
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from metasr.checks import check_image
from metasr.errors import InputError

_SIGNS = string.ascii_letters + string.digits + ".,:;-+()[]{}/&%=?!" + " " * 8


@dataclass(frozen=True, kw_only=True)
class Drawings:
    """Turns and flips of HR patches, a share of which is drawn upon or drawn anew.

    Text (in the typeface that comes with Pillow), lines, rectangles, ellipses and dots in a few colours, on one even
    colour or on the photo; smoothed by Pillow's own text rendering, and the rest by drawing it four times as large.

    Attributes:
        share: probability that a patch is drawn upon.
        photo_share: of these, how many keep the photo beneath.
        shapes: how many are drawn at most.
    """

    share: float = 0.1
    photo_share: float = 0.3
    shapes: int = 12

    def __post_init__(self) -> None:
        for name in ("share", "photo_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be a probability, got {getattr(self, name)}")
        if self.shapes < 1:
            raise InputError(f"shapes must be at least 1, got {self.shapes}")

    def __call__(self, hr: Tensor, *, generator: torch.Generator) -> Tensor:
        """Vary a batch of square patches ``(B, 3, N, N)`` in [0, 1]; the same number of draws for each."""
        check_image(hr, name="hr")
        if hr.shape[1] != 3 or hr.shape[-1] != hr.shape[-2]:
            raise InputError(f"drawings take square RGB patches (B, 3, N, N), got {tuple(hr.shape)}; cut them so")
        drawn = torch.rand(len(hr), 6, generator=generator, dtype=torch.float64).tolist()
        varied = []
        for patch, (transpose, rows, columns, chosen, photo, seed) in zip(hr, drawn, strict=True):
            patch = patch.mT if transpose < 0.5 else patch
            flipped = [axis for axis, u in ((-2, rows), (-1, columns)) if u < 0.5]
            patch = patch.flip(flipped) if flipped else patch
            if chosen < self.share:
                patch = self._draw(patch if photo < self.photo_share else None, hr.shape[-1], int(seed * 2**53)).to(hr)
            varied.append(patch)
        return torch.stack(varied)

    def _draw(self, ground: Tensor | None, side: int, seed: int) -> Tensor:
        """A drawing, ``(3, side, side)``, on a photo or on an even ground."""
        random = Random(seed)
        palette = [_colour(random) for _ in range(random.randint(2, 5))]
        if ground is None:
            image = Image.new("RGB", (side, side), palette[0])
        else:
            image = Image.fromarray((ground.movedim(0, -1).clamp(0, 1) * 255).round().to("cpu", torch.uint8).numpy())
        for _ in range(random.randint(1, self.shapes)):
            colour = random.choice(palette)
            if random.random() < 0.5:
                _write(image, colour, random)
            else:
                _shape(image, colour, random)
        return torch.from_numpy(np.asarray(image).copy()).movedim(-1, 0).float() / 255


def _colour(random: Random) -> tuple[int, int, int]:
    """Any colour, but black, white and greys above all."""
    kind, grey = random.random(), random.randint(0, 255)
    if kind < 0.5:
        return (0, 0, 0) if kind < 0.25 else (255, 255, 255)
    return (
        (grey, grey, grey) if kind < 0.65 else (random.randint(0, 255), random.randint(0, 255), random.randint(0, 255))
    )


def _write(image: Image.Image, colour: tuple[int, int, int], random: Random) -> None:
    side = image.width
    font = ImageFont.load_default(size=random.choice((9, 11, 12, 14, 16, 20, 26, 36)))
    place = (random.randint(-side // 4, side // 2), random.randint(-8, side))
    text = "".join(random.choices(_SIGNS, k=random.randint(3, 24)))
    ImageDraw.Draw(image).text(place, text, fill=colour, font=font)


def _shape(image: Image.Image, colour: tuple[int, int, int], random: Random) -> None:
    """One shape, smooth at its edges three times of four."""
    side, fine = image.width, 4 if random.random() < 0.75 else 1
    mask = Image.new("L", (side * fine, side * fine))
    draw = ImageDraw.Draw(mask)
    x0, x1 = sorted(random.uniform(-0.2, 1.2) * side * fine for _ in range(2))
    y0, y1 = sorted(random.uniform(-0.2, 1.2) * side * fine for _ in range(2))
    width = max(1, round(random.choice((1, 1, 1.5, 2, 3, 5)) * fine))
    kind = random.randrange(5)
    if kind == 0:
        draw.rectangle((x0, y0, x1, y1), fill=255)
    elif kind == 1:
        draw.rectangle((x0, y0, x1, y1), outline=255, width=width)
    elif kind == 2:
        draw.ellipse((x0, y0, x1, y1), outline=255, width=width, fill=random.choice((None, 255)))
    elif kind == 3:
        ends = (x0, y0, x1, y1) if random.random() < 0.5 else (x0, y1, x1, y0)
        draw.line(random.choice((ends, (x0, y0, x1, y0), (x0, y0, x0, y1))), fill=255, width=width)
    else:
        step = max(2 * width, round(random.uniform(3, 9) * fine))
        for offset in range(int(x0), int(x1), step):
            draw.line((offset, y0, offset, y1), fill=255, width=width)
    image.paste(colour, mask=mask.reduce(fine) if fine > 1 else mask)
