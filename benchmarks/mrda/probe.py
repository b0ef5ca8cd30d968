"""Whether a vector tells the degradation: a linear probe over held-out images, swapped vectors, and a projection.

A network can be accurate and yet take no notice of its degradation vector. So three things are asked of vectors,
``(N, V)``, made of N images of known degradation: can a line through them tell the blur's width of images that it was
not fitted on; what does it cost to enlarge an image with the vector of another blur; and what do they look like in two
dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.stats import spearmanr
from torch import Tensor

from metasr.errors import InputError

_STRENGTHS = tuple(10.0**e for e in range(-4, 5))


@dataclass(frozen=True, eq=False)
class Probe:
    """What a linear probe came to.

    Attributes:
        r2: 1 less the share of the targets' variance that it leaves; 1 is perfect, 0 as good as their mean.
        rank_correlation: Spearman's, between told and true.
        told: ``(N,)`` float64, each from a fit that its image took no part in.
    """

    r2: float
    rank_correlation: float
    told: Tensor


def probe(vectors: Tensor, targets: Tensor, images: Sequence[str], *, folds: int = 5) -> Probe:
    """Tell a number by ridge regression from vectors, cross-validated over images.

    All vectors of an image are held out together, so that its content cannot give the answer away. In each fold vectors
    are standardised, and the strength of the penalty is chosen, by the images fitted on alone (cross-validated among
    them in the same way).

    Args:
        vectors: ``(N, V)``.
        targets: ``(N,)``, what is to be told, such as a blur's standard deviation.
        images: N names; equal ones are held out together.
        folds: parts of the images, of which one is held out in turn; as many as there are images where those are fewer.

    Raises:
        InputError: for numbers that do not match or are not finite, fewer than 3 images, or targets that are all equal.
    """
    if vectors.ndim != 2 or targets.shape != vectors.shape[:1] or len(images) != len(vectors):
        raise InputError(
            f"a probe needs vectors (N, V), N targets and N image names, got {tuple(vectors.shape)}, "
            f"{tuple(targets.shape)} and {len(images)}"
        )
    x, y = vectors.detach().double().cpu(), targets.detach().double().cpu()
    if not bool(torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise InputError("a probe needs finite vectors and targets, got NaN or infinite values")
    names = sorted(set(images))
    if len(names) < 3:
        raise InputError(f"a probe over held-out images needs at least 3 of them, got {len(names)}; give more images")
    if bool((y == y[0]).all()):
        raise InputError(f"a probe needs targets that differ, got {len(y)} times {float(y[0]):g}")
    number = torch.tensor([names.index(name) for name in images])
    told = torch.empty_like(y)
    for held in _parts(len(names), folds):
        out = torch.isin(number, held)
        strength = _best_strength(x[~out], y[~out], number[~out], folds)
        told[out] = _ridge(x[~out], y[~out], x[out], strength)
    return Probe(r_squared(told, y), rank_correlation(told, y), told)


def r_squared(told: Tensor, true: Tensor) -> float:
    """1 - Σ (told - true)² / Σ (true - mean)²; can be below 0."""
    return float(1 - (told - true).square().sum() / (true - true.mean()).square().sum())


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation of two ``(N,)``, equal values sharing their mean rank; 0 where either is constant."""
    if any(bool((v == v[0]).all()) for v in (a, b)):
        return 0.0
    return float(spearmanr(a.double().numpy(), b.double().numpy()).statistic)


def project(vectors: Tensor, *, axes: int = 2) -> Tensor:
    """Principal components: ``(N, V)`` to ``(N, axes)`` float64, in order of variance.

    Each axis points to where its largest loading is positive, so that the same vectors give the same picture.

    Raises:
        InputError: if there are fewer vectors, or fewer numbers in each, than axes.
    """
    if vectors.ndim != 2 or min(vectors.shape) < axes:
        raise InputError(f"a projection on {axes} axes needs vectors (N, V) of at least as many, got {vectors.shape}")
    centred = vectors.detach().double().cpu()
    centred = centred - centred.mean(0)
    _, _, loadings = torch.linalg.svd(centred, full_matrices=False)
    chosen = loadings[:axes]  # (axes, V)
    peak = chosen.gather(1, chosen.abs().argmax(1, keepdim=True))
    return centred @ (chosen * torch.where(peak < 0, -1.0, 1.0)).T


def swap_scores(
    enlarge: Callable[[Tensor, Tensor], Tensor], lrs: Sequence[Tensor], vectors: Sequence[Tensor], *,
    score: Callable[[Tensor], float],
) -> Tensor:  # fmt: skip
    """Enlarge each image by the vector of each other, all of the same HR image.

    Args:
        enlarge: of (LR, vector).
        lrs: K LR images, one for each degradation.
        vectors: K vectors, in the same order.
        score: of the enlarged image.

    Returns:
        ``(K, K)`` float64: row i is the vector's degradation, column j the LR image's. The diagonal is the matching
        vector's.

    Raises:
        InputError: if there are not as many of the one as of the other.
    """
    if len(lrs) != len(vectors) or not lrs:
        raise InputError(f"as many vectors as LR images are needed, got {len(vectors)} and {len(lrs)}")
    return torch.tensor([[score(enlarge(lr, vector)) for lr in lrs] for vector in vectors], dtype=torch.float64)


def _parts(count: int, folds: int) -> list[Tensor]:
    """Images 0, 1, 2, ... dealt out in turn."""
    folds = min(folds, count)
    return [torch.arange(first, count, folds) for first in range(folds)]


def _best_strength(x: Tensor, y: Tensor, number: Tensor, folds: int) -> float:
    """The penalty with the least squared error on images held out among these."""
    there = number.unique()
    error = dict.fromkeys(_STRENGTHS, 0.0)
    for held in _parts(len(there), folds):
        out = torch.isin(number, there[held])
        for strength in _STRENGTHS:
            error[strength] += float((_ridge(x[~out], y[~out], x[out], strength) - y[out]).square().sum())
    return min(error, key=lambda strength: (error[strength], -strength))


def _ridge(x: Tensor, y: Tensor, at: Tensor, strength: float) -> Tensor:
    """Fit y ≈ w·x + b with penalty ``strength`` · N · ‖w‖² on standardised x, and tell y at other places."""
    mean, spread = x.mean(0), x.std(0, correction=0)
    spread = torch.where(spread > 1e-12, spread, torch.ones_like(spread))
    z, centre = (x - mean) / spread, y.mean()
    count, length = z.shape
    penalty = strength * count
    if length <= count:
        weights = torch.linalg.solve(z.T @ z + penalty * torch.eye(length).double(), z.T @ (y - centre))
    else:  # the same by the dual form, of the smaller matrix
        weights = z.T @ torch.linalg.solve(z @ z.T + penalty * torch.eye(count).double(), y - centre)
    return ((at - mean) / spread) @ weights + centre
