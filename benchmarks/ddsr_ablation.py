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
from typing import Any

from commands import at_least, folder
from commands import device as device_named
from ddsr_problems import add_options, check_options, problem, score, told
from metasr.config.command_line import status_of
from metasr.errors import InputError, nearest

ROWS: dict[str, dict[str, Any]] = {
    "faithful": {"mode": "faithful"},
    "better": {},
    "warm-up at 1e-4": {"warmup_rate": 1e-4},
    "no warm-up": {"warmup_steps": 0},
    "no random kernels": {"random_kernels": 0},
    "random kernels of the published widths": {"widths": "wide"},
    "one optimiser": {"optimisers": "shared"},
    "one for random kernels, one for losses": {"optimisers": "random"},
    "optimisers for both nets": {"optimisers": "all"},
    "losses dropped": {"drop_losses": True},
    "last image": {"average": 0.0},
    "SSIM for a fifth as long": {"ssim_share": 0.08},
    "SSIM to the end": {"ssim_share": 1.0},
    "prior at 3e-3": {"prior_weight": 3e-3},
    "no prior": {"prior_weight": 0.0},
    "penalty on the kernel": {"sparse_kernel": 0.2},
    "no early stopping": {"stop": "none"},
    "early stopping after 50 steps": {"patience": 50},
    "kernels from the middle": {"centre": "middle"},
    "kernels from where bicubic looks": {"centre": "correct"},
    "darkened model": {"brighten": False},
    "an image made for random kernels": {"share_forward": False},
    "float32": {"precision": "float32"},
}
"""What differs from ``better``, by the row's name."""

ONLY_DARK = ("darkened model",)
SSIM_SHARE = 0.405  # of the steps, as published: 405 of 1000


def arguments(row: str, *, steps: int, centre: str) -> dict[str, Any]:
    """A row's arguments of the solver."""
    changed = {"steps": steps, "centre": centre, "ssim_share": SSIM_SHARE} | ROWS[row]
    return {"ssim_steps": round(changed.pop("ssim_share") * steps)} | changed


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
    rows = options.rows or [r for r in ROWS if options.gain < 1 or r not in ONLY_DARK]
    for row in rows:
        if row not in ROWS:
            raise InputError(f"--rows {row!r}: {nearest(row, ROWS)}")
    device = device_named(options.device)
    where = None if options.folder is None else folder(options.folder, what="the one that holds LR, HR and kernels")

    from metasr.solvers.ddsr.solver import DDSRSolver

    given = problem(options, where, options.image if where else "hopper")
    print(f"{given.name}, {told(options)}, {given.hr.shape[-2]}x{given.hr.shape[-1]}, {options.steps} steps, "
          f"seed {options.seed}")  # fmt: skip
    print(f"{'':40s}{'PSNR':>8s}{'SSIM':>8s}{'visible':>9s}{'kernel':>8s}{'steps':>7s}{'seconds':>9s}", flush=True)
    for row in rows:
        solver = DDSRSolver(max_pixels=None, **arguments(row, steps=options.steps, centre=options.centre))
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
