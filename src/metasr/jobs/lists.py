"""What there is to choose from, told to people: kernels and released weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from metasr.degradation.kernel_files import KERNEL_SUFFIXES
from metasr.degradation.published_sets import SETS
from metasr.paths import weights_folder
from metasr.runs.weights import released

KERNELS = (
    ("bicubic", "no blur, shrunk bicubically, as programs shrink photos (default)"),
    ("direct", "no blur, every s-th pixel kept"),
    ("area", "the mean of each block of pixels"),
    ("estimate", "of each photo: blur and noise before bicubic shrinking; estimate_d before keeping every s-th pixel"),
    ("g0.2d, g2.0d, g1.3b", "Gaussians of that variance"),
    ("gani_d, gani_b", "a Gaussian of variances 4 and 1, turned by -0.5 rad"),
    ("iso_2.5_d", "a Gaussian of any variance"),
    ("aniso_4_1_0.5_b", "a Gaussian of two variances and an angle in rad"),
    ("sig_1.6_b", "a Gaussian of any standard deviation"),
    ("sigani_4_1_20_b", "a Gaussian of two standard deviations and an angle in degrees"),
    ("disc_3_d", "out of focus: a disc of that radius in pixels"),
    ("kernel.npy, kernel.mat_b", f"a file: {', '.join(KERNEL_SUFFIXES)}, with _b or _d behind it (default: _d)"),
    ("kernels/", "a folder of such files, one for each photo, with the photos' names"),
    ("g2.0d_n10", "any of them with noise of that standard deviation, 0-255 scale"),
    ("bicubic_n5_q75c", "any of them, last compressed as JPEG of that quality: colour 4:2:0 with c, 4:2:2 with h"),
)
"""Forms of ``kernel=`` and ``-k``, each with what it means."""


def kernel_names() -> Iterator[str]:
    """The kernels that have names, a line each."""
    width = max(len(name) for name, _ in KERNELS)
    yield "_d at the end: every s-th pixel is kept after the blur; _b: the blurred image is shrunk bicubically"
    for name, what in KERNELS:
        yield f"  {name:<{width}}  {what}"
    yield f"sets, for evaluate and prepare: {', '.join(sorted(SETS))}"


def released_weights() -> Iterator[str]:
    """The released weights with what they are for, a line each."""
    cards = released(weights_folder())
    width = max((len(name) for name in cards), default=0)
    for name, card in cards.items():
        scales = ", ".join(f"x{scale:g}" for scale in card.get("scales") or [card.get("scale", 2)])
        yield f"{name:<{width}}  {scales}: {_purpose(card)}"


def _purpose(card: dict[str, Any]) -> str:
    if card.get("method") == "kernel_regressor":
        return "estimates blur and noise: -k estimate"
    if card.get("stage") == "photo":
        return "photos as they are, soft, noisy, compressed, without updates: --solver photo"
    if card.get("stage") == "unfolded":
        return "any kernel that is named; adapts to the photo with --steps 16, where that helps"
    if card.get("stage") == "pretrain":
        return "bicubic, without updates: --solver network, or --steps 0"
    known = {"direct": "kernels that end in d", "bicubic": "bicubic, and kernels that end in b"}
    return f"{card.get('method')}, adapts to the photo: {known.get(card.get('downsample', ''), 'any kernel')}"
