"""How a photo is enlarged, by what was seen of it: the rule, learned on validation images."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from metasr.solvers.auto.evidence import Evidence

Kind = Literal[
    "drawn", "drawn, compressed", "clean", "soft", "lightly compressed", "compressed", "compressed, noisy", "noisy"
]  # fmt: skip
"""What a photo is taken for."""

PLAIN = "lanczos"
"""The method that needs no weights; what is left of the shares is its own."""

GENERAL = "photo"
"""The method that was trained on photos of all kinds."""

SHARES: dict[Kind, dict[str, float]] = {
    "drawn": {"network": 1.0},
    "drawn, compressed": {"network": 0.375, "photo": 0.625},
    "clean": {"network": 1.0},
    "soft": {"photo": 1.0},
    "lightly compressed": {"network": 0.75, "photo": 0.25},
    "compressed": {"network": 0.125, "photo": 0.875},
    "compressed, noisy": {"network": 0.25, "photo": 0.5},
    "noisy": {"network": 0.25, "photo": 0.625},
}
"""Each method's share in the result, by kind: see ``benchmarks/photo_rule.py``, which makes this table."""

_WEAK = 4.0  # grey levels; at 3 the shares of clean photos are 0.15 dB ahead of those of noisy ones


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is done with a photo.

    Attributes:
        kind: what it is taken for.
        shares: each method's share in the result; what is left is Lanczos interpolation's.
        noise: that the methods are told, a standard deviation on the 0-255 scale.
        updates: gradient steps on the photo.
        why: the reasons, in lines.
    """

    kind: Kind
    shares: dict[str, float]
    noise: float
    updates: int
    why: tuple[str, ...]

    @property
    def method(self) -> str:
        """The method with the largest share."""
        return next(iter(self.parts))

    @property
    def parts(self) -> dict[str, float]:
        """All shares above half a hundredth, Lanczos' too, the largest first."""
        every = {**self.shares, PLAIN: 1 - sum(self.shares.values())}
        return {name: share for name, share in sorted(every.items(), key=lambda item: -item[1]) if share > 0.005}

    def __str__(self) -> str:
        return " + ".join(name if share > 0.995 else f"{share:.0%} {name}" for name, share in self.parts.items())


def told_noise(evidence: Evidence) -> float:
    """The noise that the methods are told, on the 0-255 scale.

    That of a compressed photo is hard to tell from fine texture, and telling too much of it costs more (up to 0.9 dB)
    than telling none: they are told a quarter, of 2 levels at most. Weak noise of others is doubted by half.
    """
    if evidence.quality is not None:
        return min(evidence.noise / 4, 2.0)
    return evidence.noise if evidence.noise >= 8 else evidence.noise / 2


def kind_of(evidence: Evidence) -> Kind:
    """What a photo is taken for."""
    compressed = evidence.quality is not None and evidence.quality < 97
    if evidence.drawn:
        return "drawn, compressed" if compressed else "drawn"
    if compressed:
        if evidence.quality >= 88:  # type: ignore[operator]
            return "lightly compressed"
        return "compressed, noisy" if evidence.noise >= 6 else "compressed"
    if evidence.noise >= _WEAK:
        return "noisy"
    return "soft" if evidence.soft else "clean"


_REASONS: dict[Kind, str] = {
    "drawn": "few colours and steep edges: the photo is a drawing, or a picture of text",
    "drawn, compressed": "few colours and steep edges: the photo is a drawing, or a picture of text, saved as JPEG",
    "clean": "no compression and at most weak noise was seen",
    "soft": "the photo is blurred beyond what making it small does; no compression and at most weak noise was seen",
    "lightly compressed": "the file says that it is compressed, but little",
    "compressed": "the file says that it is compressed",
    "compressed, noisy": "the file says that it is compressed; and there is noise, or texture as fine as noise",
    "noisy": "noise was seen, which sharpening would raise",
}


def decide(evidence: Evidence, methods: Collection[str]) -> Choice:
    """The rule.

    Args:
        evidence: what was seen.
        methods: names of the methods that there are for the scale asked for. The share of others is the photo
            network's, which is made for all photos; where that is missing, it is Lanczos'.
    """
    kind = kind_of(evidence)
    missing = [name for name in SHARES[kind] if name not in methods]
    shares = {name: share for name, share in SHARES[kind].items() if name in methods}
    lost = sum(SHARES[kind].values()) - sum(shares.values())
    stand_in = GENERAL if GENERAL in methods else PLAIN
    if lost and stand_in == GENERAL:
        shares[GENERAL] = shares.get(GENERAL, 0.0) + lost
    choice = Choice(kind=kind, shares=shares, noise=told_noise(evidence), updates=0, why=())
    best = (
        f"on such photos, {choice} was best of the mixtures tried on validation images, and worse than Lanczos on none"
    )
    if missing:
        best = f"{stand_in} stands in for {' and '.join(missing)}, of which there are no weights for this scale"
    none = "no updates: on validation images, ten of them gave less than this in several times the time"
    return replace(choice, why=(_REASONS[kind], best, none))
