"""Degradation vectors of photographs whose degradation is known: made, probed for the blur's width, and swapped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metasr.data.catalog import ImageSet
from metasr.degradation.names import parse
from metasr.errors import DataError
from metasr.models.blind import BlindSR
from metasr.models.teacher import AdaptedFeatures, TeacherOracle
from metasr.seeds import generator_from
from mrda.luma_psnr import luma_psnr
from mrda.probe import Probe, probe, swap_scores

Reader = Callable[[Tensor, Tensor], Tensor]
"""Of (LR, HR), ``(1, 3, ., .)`` each, a vector ``(1, V)``."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A piece of a photograph.

    Attributes:
        image: whose piece; pieces of one photograph are held out together.
        hr: ``(1, 3, H, W)``.
        number: of the piece.
    """

    image: str
    hr: Tensor
    number: int = 0


def pieces(images: ImageSet, *, size: int) -> list[Photo]:
    """Cut photographs into squares that do not overlap, as many as there is room for.

    Raises:
        DataError: if no photograph has room for one.
    """
    found = []
    for i, name in enumerate(images.names):
        image = images.load(i)[None]
        rows, columns = (n // size for n in image.shape[-2:])
        for number in range(rows * columns):
            top, left = (size * n for n in divmod(number, columns))
            found.append(Photo(name, image[..., top : top + size, left : left + size], number))
    if not found:
        raise DataError(f"no image of {images.name} is {size}x{size} or larger; give larger images or a smaller piece")
    return found


def widths(scale: float, *, count: int = 12) -> list[float]:
    """Standard deviations, in HR pixels, evenly over what isotropic training covers: 0.2 to the scale."""
    return [round(float(w), 3) for w in torch.linspace(0.2, float(scale), count)]


def degraded(photo: Photo, degradation: str, *, scale: float, seed: int) -> Tensor:
    """The LR image of a piece by a degradation's short name; noise is drawn as for a test image of its name."""
    made = parse(degradation, scale=scale)
    return made(photo.hr, generator=generator_from(seed, photo.image, photo.number, str(made), "degrade"))


def readers(student: BlindSR, *, untrained: BlindSR, oracle: TeacherOracle | None = None) -> dict[str, Reader]:
    """What vectors are taken from, by name: the student, and what its figures are to be compared with.

    Args:
        student: whose vector is looked at.
        untrained: the same network with other, random weights: blur can be told from many random features.
        oracle: the teacher, which looks at the HR image as well.
    """
    found: dict[str, Reader] = {
        "student": lambda lr, hr: student.vector(lr),
        "student, untrained": lambda lr, hr: untrained.vector(lr),
    }
    if oracle is None:
        return found
    latest: list[Tensor] = []  # LR image, and what the view gave of it: adapted to once for all who ask

    def view(lr: Tensor, hr: Tensor) -> Tensor:
        if not latest or latest[0] is not lr:
            latest[:] = [lr, oracle.view(lr, hr, mln=oracle.mln)[0]]
        return latest[1]

    found["teacher (oracle)"] = lambda lr, hr: oracle.encoder(view(lr, hr))
    if isinstance(oracle.view, AdaptedFeatures):
        mln, gain = oracle.mln, oracle.view.gain
        assert mln is not None
        found["teacher, its MLN not adapted"] = lambda lr, hr: oracle.encoder(gain * mln.features(lr))
        found["MLN's features, adapted (oracle)"] = lambda lr, hr: view(lr, hr).mean((2, 3))
        found["MLN's features, not adapted"] = lambda lr, hr: gain * mln.features(lr).mean((2, 3))
    return found


@dataclass(frozen=True, eq=False)
class Vectors:
    """Vectors of every piece by every degradation.

    Attributes:
        by_reader: ``(N, V)`` of each reader.
        images: N names.
        degradations: N short names.
    """

    by_reader: dict[str, Tensor]
    images: list[str]
    degradations: list[str]


def read_vectors(
    photos: Sequence[Photo], degradations: Sequence[str], read: Mapping[str, Reader], *, scale: float, seed: int = 0
) -> Vectors:
    """Degrade every piece in every way, and take every reader's vector of it."""
    rows: dict[str, list[Tensor]] = {name: [] for name in read}
    images, names = [], []
    with torch.no_grad():
        for photo in photos:
            for degradation in degradations:
                lr = degraded(photo, degradation, scale=scale, seed=seed)
                for name, reader in read.items():
                    rows[name].append(reader(lr, photo.hr))
                images.append(photo.image)
                names.append(degradation)
    return Vectors({name: torch.cat(vectors) for name, vectors in rows.items()}, images, names)


def probe_widths(
    photos: Sequence[Photo], sigmas: Sequence[float], read: Mapping[str, Reader], *, scale: float, seed: int = 0
) -> tuple[dict[str, Probe], Vectors]:
    """How well the width of an isotropic blur can be told from each reader's vectors, of photographs held out.

    Returns:
        The probes by reader, and the vectors, in the order of pieces and then of widths.
    """
    names = [f"sig_{sigma:g}_b" for sigma in sigmas]
    vectors = read_vectors(photos, names, read, scale=scale, seed=seed)
    targets = torch.tensor(list(sigmas) * len(photos))
    return {name: probe(found, targets, vectors.images) for name, found in vectors.by_reader.items()}, vectors


@dataclass(frozen=True, eq=False)
class Swaps:
    """PSNR on Y in dB, means over pieces.

    Attributes:
        matrix: ``(K, K)``: row i the vector's degradation, column j the LR image's.
        other_image: ``(K,)``, by the vector of the next photograph's piece of the same degradation.
        mean_vector: ``(K,)``, by the mean vector of all pieces and degradations.
    """

    matrix: Tensor
    other_image: Tensor
    mean_vector: Tensor

    @property
    def cost(self) -> Tensor:
        """``(K, K)``: what is lost by another vector; 0 on the diagonal."""
        return self.matrix.diagonal() - self.matrix


def swap_vectors(
    student: BlindSR, photos: Sequence[Photo], degradations: Sequence[str], *, scale: float, seed: int = 0
) -> Swaps:
    """Enlarge every piece by vectors of its other degradations, of another photograph, and by none in particular."""
    with torch.no_grad():
        lrs = [[degraded(photo, d, scale=scale, seed=seed) for d in degradations] for photo in photos]
        vectors = [[student.vector(lr) for lr in row] for row in lrs]
        mean = torch.cat([v for row in vectors for v in row]).mean(0, keepdim=True)
        matrices, others, means = [], [], []
        for i, photo in enumerate(photos):
            other = next(((i + n) % len(photos) for n in range(len(photos)) if photos[(i + n) % len(photos)].image
                          != photo.image), i)  # fmt: skip

            def score(sr: Tensor, hr: Tensor = photo.hr) -> float:
                return float(luma_psnr(sr, hr, scale=scale))

            matrices.append(swap_scores(student.body, lrs[i], vectors[i], score=score))
            others.append([score(student.body(lr, v)) for lr, v in zip(lrs[i], vectors[other], strict=True)])
            means.append([score(student.body(lr, mean)) for lr in lrs[i]])
    return Swaps(torch.stack(matrices).mean(0), torch.tensor(others).mean(0), torch.tensor(means).mean(0))
