"""What LR images a test set was made of: ``manifest.json`` beside a table, by which another can make the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from torch import Tensor

from metasr import __version__
from metasr.degradation.pipeline import Degradation
from metasr.io.images import to_uint8
from metasr.seeds import seed_from

MANIFEST_NAME = "manifest.json"
"""Of every manifest; the one of a prepared folder has the same entries for its images, and more."""


@dataclass(frozen=True)
class LrImage:
    """One LR image made on the fly.

    Attributes:
        name: of the HR image, without suffix.
        degradation: canonical short name, which ``degradation.names.parse`` reads.
        scale: factor between HR and LR.
        seed: of the generator that its noise was drawn from.
        lr_size: rows and columns.
        pixels_sha256: of its pixels: 8-bit RGB, row by row.
        kernel_size: of the blur kernel, rows and columns; none for no blur.
        kernel_sha256: of its weights, float64, row by row.
        noise_std: standard deviation of the noise on the 0-255 scale.
        downsample: how it was subsampled.
        padding: border of the blur.
        quantise: how it was rounded to 8 bits; none where it was not.
    """

    name: str
    degradation: str
    scale: float
    seed: int
    lr_size: Sequence[int]
    pixels_sha256: str
    kernel_size: Sequence[int] | None
    kernel_sha256: str | None
    noise_std: float
    downsample: str
    padding: str | None
    quantise: str | None


def draw_seed(seed: int, image: str, degradation: Degradation) -> int:
    """The seed of an LR image's noise: of the run's seed, the image's name and the degradation's, nothing else."""
    return seed_from(seed, image, str(degradation), "degrade")


def describe(image: str, degradation: Degradation, lr: Tensor, *, seed: int) -> LrImage:
    """The manifest's line of one LR image.

    Args:
        image: name of the HR image.
        degradation: what it was degraded by.
        lr: ``(1, 3, h, w)`` in [0, 1].
        seed: of the generator that its noise was drawn from.
    """
    kernel = degradation.kernel
    return LrImage(
        name=image,
        degradation=str(degradation),
        scale=degradation.scale,
        seed=seed,
        lr_size=list(lr.shape[-2:]),
        pixels_sha256=_sha256(to_uint8(lr[0]).permute(1, 2, 0)),
        kernel_size=None if kernel is None else list(kernel.shape[-2:]),
        kernel_sha256=None if kernel is None else _sha256(kernel.detach().double()),
        noise_std=round(degradation.noise_level * 255, 6),
        downsample=degradation.downsample,
        padding=None if kernel is None else degradation.padding,
        quantise=degradation.quantise,
    )


class Manifest:
    """The LR images of an evaluation, in the order they were made.

    Args:
        seed: the run's.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.lines: list[LrImage] = []

    def add(self, line: LrImage) -> None:
        """Add one LR image's line, which ``describe`` makes."""
        self.lines.append(line)

    def to_json(self) -> str:
        """One entry per LR image."""
        record = {"metasr": __version__, "seed": self.seed, "images": [asdict(line) for line in self.lines]}
        return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def _sha256(values: Tensor) -> str:
    return hashlib.sha256(values.cpu().contiguous().numpy().tobytes()).hexdigest()
