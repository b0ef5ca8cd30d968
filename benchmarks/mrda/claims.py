"""What a blind SR method by a degradation vector claims, judged by scores: eight rows, and two that are only told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean, stdev
from typing import Literal

from metasr.errors import InputError

Verdict = Literal["pass", "FAIL", "not run", "told"]


@dataclass(frozen=True)
class Claim:
    """A row of the table.

    Attributes:
        name: its number.
        claim: in words.
        wanted: what it takes.
        found: what came out, or what is missing.
        verdict: ``pass``, ``FAIL``, ``not run``, or ``told`` where nothing is wanted.
    """

    name: str
    claim: str
    wanted: str
    found: str
    verdict: Verdict


@dataclass
class Scores:
    """PSNR on Y in dB of every image by every degradation and every way to enlarge it."""

    values: dict[tuple[str, str, str], float] = field(default_factory=dict)

    def add(self, way: str, degradation: str, image: str, psnr_y: float) -> None:
        """Keep one."""
        self.values[way, degradation, image] = psnr_y

    def of(self, way: str, degradations: Sequence[str]) -> list[float]:
        """One way's, degradation after degradation, images in the order they came.

        Raises:
            InputError: if there are none.
        """
        found = [v for d in degradations for (w, e, _), v in self.values.items() if (w, e) == (way, d)]
        if not found:
            raise InputError(f"no scores of {way!r} by {', '.join(degradations)}; score it first")
        return found

    def mean(self, way: str, degradations: Sequence[str]) -> float:
        """Mean over images and degradations."""
        return fmean(self.of(way, degradations))

    def ways(self) -> list[str]:
        """All there are, in order."""
        return list(dict.fromkeys(way for way, _, _ in self.values))


def blind_beats_bicubic(scores: Scores, kernels: Sequence[str], *, students: Sequence[str] = ("student",)) -> Claim:
    """A1: students of one seed or several against bicubic interpolation."""
    bicubic = scores.of("bicubic", kernels)
    pairs = [pair for way in students for pair in zip(scores.of(way, kernels), bicubic, strict=True)]
    gains = [scores.mean(way, kernels) - scores.mean("bicubic", kernels) for way in students]
    gain = fmean(gains)
    won = fmean(a > b for a, b in pairs)
    return _judged(
        "A1", "blind SR beats bicubic interpolation", ">= +1.5 dB, >= 95 % of image x kernel pairs won",
        f"{_signed(gains)} dB, {100 * won:.0f} % won", gain >= 1.5 and won >= 0.95,
    )  # fmt: skip


def blind_beats_non_blind(
    scores: Scores, kernels: Sequence[str], *, controls: Sequence[str], students: Sequence[str] = ("student",)
) -> Claim:
    """A2: student against the same-size network that has seen bicubic downsampling alone, also where that is true."""
    ours, theirs = ([scores.mean(way, kernels) for way in ways] for ways in (students, controls))
    gain = fmean(ours) - fmean(theirs)
    without = fmean(scores.mean(w, ["bicubic"]) for w in students) - fmean(
        scores.mean(w, ["bicubic"]) for w in controls
    )
    told = f" ({_spread(ours)} less {_spread(theirs)})" if len(ours) + len(theirs) > 2 else ""
    return _judged(
        "A2", "blind beats non-blind of the same size", ">= +1.0 dB; without blur the non-blind is not behind",
        f"{gain:+.2f} dB{told}; without blur {without:+.2f} dB", gain >= 1.0 and without <= 0,
    )  # fmt: skip


def non_blind_barely_beats_bicubic(scores: Scores, kernels: Sequence[str], *, controls: Sequence[str]) -> Claim:
    """A3: out of the band the test's degradation is not what it is meant to be."""
    gains = [scores.mean(way, kernels) - scores.mean("bicubic", kernels) for way in controls]
    return _judged(
        "A3", "non-blind barely beats bicubic interpolation", "+0.2 to +0.9 dB", f"{_signed(gains)} dB",
        0.2 <= fmean(gains) <= 0.9,
    )  # fmt: skip


def student_close_to_teacher(
    scores: Scores, kernels: Sequence[str], *, pairs: Mapping[str, str] | None = None
) -> Claim:
    """A4: the teacher is an oracle; it must not be behind either. ``pairs`` are students with their own teachers."""
    pairs = pairs or {"student": "teacher (oracle)"}
    gaps = [scores.mean(teacher, kernels) - scores.mean(student, kernels) for student, teacher in pairs.items()]
    return _judged(
        "A4", "student close to the oracle teacher", "teacher less student in -0.1 to +0.3 dB", f"{_signed(gaps)} dB",
        -0.1 <= fmean(gaps) <= 0.3,
    )  # fmt: skip


def vector_carries_degradation(
    *, r2: Sequence[float], rank: Sequence[float], swap_cost: Sequence[float], ends: tuple[str, str]
) -> Claim:
    """A5: the probe of the students' vectors, and the cost of the vector of least blur on the image of most."""
    return _judged(
        "A5", "the vector carries the degradation", f"R² >= 0.8; vector of {ends[0]} on {ends[1]} costs >= 0.3 dB",
        f"R² {_spread(r2)}, rank correlation {_spread(rank)}; costs {_spread(swap_cost)} dB",
        fmean(r2) >= 0.8 and fmean(swap_cost) >= 0.3,
    )  # fmt: skip


def distillation_helps(
    students: Sequence[float], controls: Sequence[float], *, name: str = "A6", claim: str = "distillation helps"
) -> Claim:
    """A6: means over runs of students with and without a teacher; the sign counts, of two runs each at least."""
    gain = fmean(students) - fmean(controls)
    found = f"{gain:+.3f} dB ({_spread(students)} with, {_spread(controls)} without)"
    wanted = "> 0 dB, two seeds or more of each"
    if min(len(students), len(controls)) < 2:
        return Claim(name, claim, wanted, f"{found}: one seed alone proves nothing", "not run")
    return _judged(name, claim, wanted, found, gain > 0)


def meta_training_helps(
    meta: Mapping[float, float], pretrained: Mapping[float, float], joint: Mapping[float, float] | None = None
) -> Claim:
    """A7: gains, by width, of the steps of adaptation on patches that they were not taken on."""
    enough = all(meta[s] >= 0.1 and meta[s] >= 5 * pretrained[s] for s in meta)
    told = {"meta": meta, "bicubic-pretrained": pretrained} | ({"joint": joint} if joint else {})
    found = "; ".join(f"{n} {', '.join(f'{v:+.2f}' for v in gains.values())}" for n, gains in told.items())
    return _judged(
        "A7", "meta-training makes adaptation work", "gain on other patches >= 0.1 dB and >= 5 x the pretrained one's",
        f"{found} dB at sigma {', '.join(f'{s:g}' for s in meta)}", enough,
    )  # fmt: skip


def monotone_in_degradation(
    scores: Scores,
    kernels: Sequence[str],
    noisy: Sequence[Sequence[str]] = (),
    *,
    students: Sequence[str] = ("student",),
) -> Claim:
    """A8: PSNR falls with blur and, where degradations are given level after level, with noise."""
    by_blur = [fmean(scores.mean(way, [kernel]) for way in students) for kernel in kernels]
    by_noise = [fmean(scores.mean(way, level) for way in students) for level in noisy]
    found = f"{by_blur[0]:.2f} -> {by_blur[-1]:.2f} dB over {len(kernels)} kernels"
    if by_noise:
        found += f", {' -> '.join(f'{v:.2f}' for v in by_noise)} dB by noise"
    falls = all(a > b for seq in (by_blur, by_noise) for a, b in pairwise(seq))
    return _judged("A8", "PSNR falls with blur and noise", "strictly, on averages", found, falls)


def reset_matters(reset: Mapping[int, float], never: Mapping[int, float]) -> Claim:
    """A9: means by seed, and only runs of one seed are compared; nothing is wanted."""
    claim = "the MLN starts anew from batch to batch"
    pairs = [reset[seed] - never[seed] for seed in sorted(never) if seed in reset]
    if not pairs:
        seeds = " and ".join(", ".join(map(str, sorted(found))) for found in (reset, never))
        return not_run("A9", claim, f"no seed in common: {seeds}")
    return Claim("A9", claim, "told only", f"{_signed(pairs, digits=3)} dB over never resetting it, by seed", "told")


def not_run(name: str, claim: str, missing: str) -> Claim:
    """A row of which there is nothing to judge."""
    return Claim(name, claim, "", missing, "not run")


def format_claims(rows: Sequence[Claim]) -> str:
    """A Markdown table, and how many rows passed."""
    lines = ["| id | claim | wanted | found | verdict |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {r.name} | {r.claim} | {r.wanted} | {r.found} | {r.verdict} |" for r in rows]
    counts = {kind: sum(r.verdict == kind for r in rows) for kind in ("pass", "FAIL", "not run")}
    failed = ", ".join(r.name for r in rows if r.verdict == "FAIL")
    told = f"{counts['pass']} passed, {counts['FAIL']} failed{f' ({failed})' if failed else ''}"
    return "\n".join([*lines, "", f"{told}, {counts['not run']} not run"])


def _judged(name: str, claim: str, wanted: str, found: str, passed: bool) -> Claim:
    return Claim(name, claim, wanted, found, "pass" if passed else "FAIL")


def _mean_of(scores: Scores, ways: Sequence[str]) -> float:
    """Where bicubic downsampling is all there is."""
    return fmean(scores.mean(way, ["bicubic"]) for way in ways)


def _signed(values: Sequence[float], *, digits: int = 2) -> str:
    spread = f" ± {stdev(values):.{digits}f} of {len(values)}" if len(values) > 1 else ""
    return f"{fmean(values):+.{digits}f}{spread}"


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f} of {len(values)}" if len(values) > 1 else "")
