"""What LR images a test set was made of: ``manifest.csv`` beside a table, by which another can make the same."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass, fields

from torch import Tensor

from metasr.degradation.pipeline import Degradation
from metasr.io.csv import format_csv
from metasr.io.images import to_uint8
from metasr.seeds import seed_from

MANIFEST_NAME = "manifest.csv"


@dataclass(frozen=True)
class LrImage:
    """One LR image made on the fly.

    Attributes:
        image: name of the HR image, without suffix.
        degradation: canonical short name, which :func:`metasr.degradation.names.parse` reads.
        scale: factor between HR and LR.
        kernel: size of the blur kernel, rows x columns; empty for no blur.
        kernel_sha256: of its weights, float64, row by row.
        noise_std: standard deviation of the noise on the 0-255 scale.
        padding: border of the blur.
        downsample: how it was subsampled.
        quantise: how it was rounded to 8 bits.
        seed: of the generator that its noise was drawn from.
        height: of the LR image.
        width: of the LR image.
        lr_sha256: of its pixels: 8-bit RGB, row by row.
    """

    image: str
    degradation: str
    scale: str
    kernel: str
    kernel_sha256: str
    noise_std: str
    padding: str
    downsample: str
    quantise: str
    seed: int
    height: int
    width: int
    lr_sha256: str


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
    blurred = kernel is not None
    return LrImage(
        image=image,
        degradation=str(degradation),
        scale=f"{degradation.scale:g}",
        kernel="" if kernel is None else "x".join(str(n) for n in kernel.shape[-2:]),
        kernel_sha256="" if kernel is None else _sha256(kernel.detach().double()),
        noise_std=f"{degradation.noise_level * 255:.6g}",
        padding=degradation.padding if blurred else "",
        downsample=degradation.downsample,
        quantise=degradation.quantise or "none",
        seed=seed,
        height=lr.shape[-2],
        width=lr.shape[-1],
        lr_sha256=_sha256(to_uint8(lr[0]).permute(1, 2, 0)),
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
        """Add one LR image's line, which :func:`describe` makes."""
        self.lines.append(line)

    def to_csv(self) -> str:
        """One line per LR image."""
        return format_csv([f.name for f in fields(LrImage)], map(astuple, self.lines))


def _sha256(values: Tensor) -> str:
    return hashlib.sha256(values.cpu().contiguous().numpy().tobytes()).hexdigest()
