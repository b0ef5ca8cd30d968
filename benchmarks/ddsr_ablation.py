"""What each of DDSR's choices is worth: every one of `better`'s taken back alone, and all of `faithful`'s.

    python benchmarks/ddsr_ablation.py [--folder FOLDER --image butterfly] [--scale 4] [--steps 300] [--seed 0]
        [--side 0] [--rows faithful better average] [--noise STD] [--disc RADIUS] [--cover SIDE] [--gain G]
        [--device cpu]

FOLDER holds NAME.png (the LR image), hr_NAME.png and kernel_NAME.mat, or what task=prepare with prepare.hr=true wrote,
the LR image displaced as the published program's are (`--centre` says otherwise); without it, the middle of an embedded
sample is degraded by the published program's draws. `--side` cuts a middle of so many HR pixels from it, for a quicker
answer. `--noise` (of 255) and `--disc` degrade the HR anew, `--cover` hides a square, `--gain` darkens. The loss
changes from SSIM to squared error after the same share of the steps as in the published 1000. One row per choice:
PSNR and SSIM on Y, PSNR of the visible region with `--cover`, kernel PSNR, steps, seconds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from commands import at_least, folder
from commands import device as device_named
from ddsr_problems import ROWS, add_options, arguments, check_options, problem, rows_named, score, told
from metasr.config.command_line import status_of

ONLY_DARK = ("darkened model",)
SSIM_SHARE = 0.405  # of the steps, as published: 405 of 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--image", default="butterfly")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="all that can differ unless named")
    add_options(parser)
    options = parser.parse_args()
    check_options(options)
    at_least(options, steps=1, seed=0)
    rows = rows_named(options.rows) or [r for r in ROWS if options.gain < 1 or r not in ONLY_DARK]
    device = device_named(options.device)
    where = None if options.folder is None else folder(options.folder, what="the one that holds LR, HR and kernels")

    from metasr.solvers.ddsr.solver import DDSRSolver

    given = problem(options, where, options.image if where else "hopper")
    print(f"{given.name}, {told(options)}, {given.hr.shape[-2]}x{given.hr.shape[-1]}, {options.steps} steps, "
          f"seed {options.seed}")  # fmt: skip
    print(f"{'':40s}{'PSNR':>8s}{'SSIM':>8s}{'visible':>9s}{'kernel':>8s}{'steps':>7s}{'seconds':>9s}", flush=True)
    for row in rows:
        solver = DDSRSolver(
            max_pixels=None, **arguments(row, steps=options.steps, centre=options.centre, ssim_share=SSIM_SHARE)
        )
        solved = solver.solve(
            given.lr.to(device), scale=options.scale, degradation=given.degradation, seed=options.seed
        )
        found = score(given, solved)
        visible = "-" if found.visible is None else f"{found.visible:.2f}"
        print(
            f"{row:40s}{found.psnr:8.2f}{found.ssim:8.4f}{visible:>9s}{found.kernel:8.2f}{solved.updates:7d}"
            f"{solved.seconds:9.0f}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(status_of(main))
