"""DDSR on a prepared folder: mean and spread over images and seeds, beside the published figures' protocol.

    python benchmarks/ddsr_published.py --folder PREPARED [--images butterfly ...] [--seeds 1,2,3,4,5]
        [--steps 100 300 1000] [--rows faithful better] [--scale 4] [--noise STD] [--disc RADIUS] [--cover SIDE]
        [--gain G] [--device cuda]

PREPARED is a folder of the public program's layout (NAME.png, hr_NAME.png, kernel_NAME.mat) or one that
`python src/run.py task=prepare input=HR output=PREPARED degradation=ddsr_x4 seed=1 prepare.hr=true` made. A line for
each image and number of steps: mean and standard deviation over the seeds of PSNR and SSIM on Y, kernel PSNR, PSNR of
the visible region with --cover, seconds, for each of the solver's settings that --rows names (those of
ddsr_ablation.py; unlike there, the loss changes after the solver's own number of steps unless the row says). Then
the same for the images' mean. The public program's butterfly x4, one seed: 24.38 dB, kernel 59.50 dB.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from commands import at_least, folder, seeds_of
from commands import device as device_named
from ddsr_problems import Score, add_options, arguments, check_options, names_in, problem, rows_named, score, told
from metasr.config.command_line import status_of
from metasr.errors import InputError, nearest


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation; the deviation of a single value is not known."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def line(label: str, steps: int, scores: Sequence[Score], seconds: Sequence[float]) -> str:
    """One line, of one score for each seed."""
    visible = [s.visible for s in scores if s.visible is not None]
    cells = [spread([s.psnr for s in scores], 2), spread([s.ssim for s in scores], 4),
             spread([s.kernel for s in scores], 2), spread(visible, 2) if visible else "-"]  # fmt: skip
    return f"{label:24s}{steps:6d}" + "".join(f"{c:>18s}" for c in cells) + f"{statistics.fmean(seconds):9.0f}"


def mean_of(scores: Sequence[Score]) -> Score:
    """The images' mean."""
    visible = [s.visible for s in scores if s.visible is not None]
    return Score(
        statistics.fmean(s.psnr for s in scores), statistics.fmean(s.ssim for s in scores),
        statistics.fmean(visible) if visible else None, statistics.fmean(s.kernel for s in scores),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--images", nargs="+", metavar="NAME", help="all of them unless named")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--steps", type=int, nargs="+", default=[1000])
    parser.add_argument("--rows", nargs="+", metavar="ROW", default=["faithful", "better"])
    add_options(parser)
    options = parser.parse_args()
    check_options(options)
    at_least(options, steps=1)
    seeds = [int(seed) for seed in seeds_of(options.seeds)]
    where = folder(options.folder, what="the prepared one as --folder")

    import torch

    from metasr.solvers.ddsr.solver import DDSRSolver

    rows = rows_named(options.rows)
    known = names_in(where)
    for name in options.images or []:
        if name not in known:
            raise InputError(f"--images {name}: {nearest(name, known)}")
    device = device_named(options.device)
    problems = [problem(options, where, name) for name in options.images or known]

    print(f"{told(options)}, {device}, torch {torch.__version__}, seeds {options.seeds}")
    print(f"{'':24s}{'steps':>6s}" + "".join(f"{c:>18s}" for c in ("PSNR", "SSIM", "kernel", "visible")) + "  seconds")
    for row in rows:
        solver = DDSRSolver(max_pixels=None, **arguments(row, steps=max(options.steps), centre=options.centre))
        scores: dict[tuple[int, str], list[Score]] = {}
        seconds: dict[tuple[int, str], list[float]] = {}
        for given in problems:
            for seed in seeds:
                found = solver.snapshots(
                    given.lr.to(device), scale=options.scale, updates=options.steps, degradation=given.degradation,
                    seed=seed,
                )  # fmt: skip
                for n, solved in found.items():
                    scores.setdefault((n, given.name), []).append(score(given, solved))
                    seconds.setdefault((n, given.name), []).append(solved.seconds)
            for n in sorted(options.steps):
                key = n, given.name
                print(line(f"{row} {given.name}", n, scores[key], seconds[key]), flush=True)
        for n in sorted(options.steps) if len(problems) > 1 else []:
            each = [mean_of([scores[n, p.name][i] for p in problems]) for i in range(len(seeds))]
            times = [s for p in problems for s in seconds[n, p.name]]
            print(line(f"{row}, mean of {len(problems)}", n, each, times), flush=True)


if __name__ == "__main__":
    sys.exit(status_of(main))
