"""Learns how `metasr upscale` decides: each network's share in the result, by what is seen of a photo.

    python benchmarks/photo_rule.py FOLDER [--images 10] [--crop 192] [--held-out choosing] [--photo FILE]
                                    [--conditions clean q75] [--results photo_rule.jsonl] [--margin 0]

The images of FOLDER are made small as `benchmarks/photos.py` does, looked at as the default does, and enlarged by every
method. A mixture's squared error is a quadratic form of its shares, whose matrix is kept for each image and condition;
so all mixtures are measured by enlarging once. For each kind of photo the mixture is printed whose mean PSNR on Y is
highest among those that, on no image, lose more than `--margin` dB against the better of bicubic and Lanczos: the table
SHARES of `metasr.solvers.auto.rule`. What the guard makes of a mixture counts: the matrix of the photo made small once
more is kept beside the other.

A line is added to the results file for each image and condition; a command that is repeated goes on where it ended.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from commands import at_least
from metasr.config.command_line import status_of
from photos import CONDITIONS, SCALE, images_of, known_rows, require_known, truth_of, write_small

METHODS = ("bicubic", "lanczos", "network", "photo")
STEPS = 8  # a share is a multiple of one eighth


def rows_of(
    options: argparse.Namespace, paths: Sequence[Path], known: dict[tuple[str, ...], Any]
) -> Iterator[dict[str, Any]]:
    """Measure what is not known yet, a row for each image and condition."""
    import torch

    from metasr.config.photos import photo_config, photo_solver
    from metasr.degradation.pipeline import Degradation
    from metasr.degradation.resize import imresize
    from metasr.io.images import read_photo
    from metasr.metrics.color import luma_bt601
    from metasr.solvers.auto.evidence import look_at
    from metasr.solvers.auto.rule import told_noise
    from metasr.solvers.interpolate import lanczos

    cfg = photo_config(solver="auto", scale=SCALE, device="cpu")
    if options.photo:
        cfg.solver.methods.photo_x2.weights = options.photo
    solver: Any = photo_solver(cfg, ["bicubic"]).solver
    methods = {method.name: method for method in solver.methods if method.scale == SCALE}

    def results(lr: Any, problem: Any) -> dict[str, Any]:
        plain = {"bicubic": imresize(lr, SCALE), "lanczos": lanczos(lr, SCALE)}
        learned = {name: method.enlarge(lr, problem, seed=0) for name, method in methods.items()}
        return {name: image.clamp(0, 1) for name, image in (plain | learned).items()}

    def errors(found: dict[str, Any], truth: Any) -> list[list[float]]:
        """Mean products of the errors on Y, by pairs of ``METHODS``, in grey levels squared."""
        border = (..., slice(SCALE, -SCALE), slice(SCALE, -SCALE))
        height, width = truth.shape[-2:]
        levels = [luma_bt601(found[name][..., :height, :width].double()) for name in METHODS if name in found]
        flat = torch.stack([(y - luma_bt601(truth.double()))[border].flatten() for y in levels])
        return (flat @ flat.T / flat.shape[1]).tolist()

    with TemporaryDirectory() as work:
        for index, path in enumerate(paths):
            for name in options.conditions:
                if (path.name, name, str(options.crop)) in known:
                    continue
                condition = CONDITIONS[name]
                hr = truth_of(path, condition, index=index, crop=options.crop)
                photo = read_photo(write_small(hr, condition, Path(work) / path.stem, seed=index))
                lr, seen = photo.rgb[None], Degradation(scale=SCALE, jpeg=photo.compression)
                evidence = look_at(lr, seen, solver.estimator)
                problem = replace(seen, noise_std=told_noise(evidence) / 255)
                again = replace(problem, kernel=evidence.kernel if evidence.soft else None).for_son(
                    noise_std=problem.noise_level
                )
                son = again(lr, generator=torch.Generator().manual_seed(0))
                found = results(lr, problem)
                yield {
                    "image": path.name, "condition": name, "crop": options.crop,
                    "evidence": {key: value for key, value in vars(evidence).items() if key != "kernel"},
                    "methods": [m for m in METHODS if m in found],
                    "errors": errors(found, hr), "of_son": errors(results(son, problem), lr),
                }  # fmt: skip


def error(matrix: Sequence[Sequence[float]], weights: Sequence[float]) -> float:
    """The mean square of a weighted sum of errors, in grey levels squared."""
    return sum(a * b * matrix[i][j] for i, a in enumerate(weights) for j, b in enumerate(weights) if a and b)


def psnr(matrix: Sequence[Sequence[float]], shares: Sequence[float]) -> float:
    """PSNR in dB of a mixture."""
    return 10 * math.log10(255**2 / max(error(matrix, shares), 1e-9))


def mixtures(count: int) -> list[tuple[float, ...]]:
    """All shares of so many methods in steps, with a sum of at most 1."""
    steps = itertools.product(range(STEPS + 1), repeat=count)
    return [tuple(n / STEPS for n in some) for some in steps if sum(some) <= STEPS]


def gain(row: dict[str, Any], shares: Sequence[float]) -> float:
    """By how many dB a mixture is above the better of bicubic and Lanczos, once the guard has had its say."""
    from metasr.solvers.auto.solver import ENOUGH

    count = len(row["methods"])
    plain = [[float(i == j) for j in range(count)] for i in (0, 1)]  # bicubic, Lanczos
    whole = [0.0, 1 - sum(shares), *shares]
    change = [a - b for a, b in zip(whole, plain[1], strict=True)]
    power = error(row["of_son"], change)
    toward = -sum(b * row["of_son"][1][j] for j, b in enumerate(change))
    kept = min(1.0, max(0.0, toward / power / ENOUGH)) if power > 0 else 1.0
    final = [b + kept * c for b, c in zip(plain[1], change, strict=True)]
    return psnr(row["errors"], final) - max(psnr(row["errors"], one) for one in plain)


def learn(rows: Sequence[dict[str, Any]], *, margin: float) -> list[str]:
    """For each kind of photo the best mixture, with its mean gain and its largest loss, in lines."""
    from metasr.solvers.auto.evidence import Evidence
    from metasr.solvers.auto.rule import kind_of

    kinds = [kind_of(Evidence(**row["evidence"])) for row in rows]
    lines = []
    for kind in sorted(set(kinds)):
        some = [row for row, its in zip(rows, kinds, strict=True) if its == kind]
        names = [name for name in some[0]["methods"] if name not in ("bicubic", "lanczos")]
        tried = {shares: [gain(row, shares) for row in some] for shares in mixtures(len(names))}
        safe = {s: g for s, g in tried.items() if min(g) >= -margin} or {(0.0,) * len(names): [0.0] * len(some)}
        best = max(safe, key=lambda shares: sum(safe[shares]))
        chosen = {name: share for name, share in zip(names, best, strict=True) if share}
        alone = {names[s.index(1.0)]: g for s, g in tried.items() if 1.0 in s}
        single = ", ".join(f"{name} alone {_told(gains)}" for name, gains in alone.items())
        lines.append(f"{kind!r}: {chosen},  # {_told(safe[best])}, {len(some)} photos; {single}")
    return lines


def _told(gains: Sequence[float]) -> str:
    return f"{sum(gains) / len(gains):+.2f} dB, least {min(gains):+.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--crop", type=int, default=192)
    parser.add_argument("--held-out", choices=("choosing", "testing"))
    parser.add_argument("--conditions", nargs="+", default=list(CONDITIONS))
    parser.add_argument("--photo", metavar="FILE", help="weights of the photo network (default: the released ones)")
    parser.add_argument("--results", default="photo_rule.jsonl")
    parser.add_argument("--margin", type=float, default=0.0)
    options = parser.parse_args()
    at_least(options, images=1, crop=96)
    require_known(options.conditions, list(CONDITIONS), option="--conditions")
    results, paths = Path(options.results), images_of(options)
    known = known_rows(results, ("image", "condition", "crop"))
    with results.open("a") as file:
        for row in rows_of(options, paths, known):
            known[row["image"], row["condition"], str(row["crop"])] = row
            file.write(json.dumps(row) + "\n")
            file.flush()
    named = {path.name for path in paths}
    rows = [row for row in known.values() if row["image"] in named and row["crop"] == options.crop]
    print("\n".join(learn(rows, margin=options.margin)))


if __name__ == "__main__":
    sys.exit(status_of(main))
