"""Weights at scales that they know and at others, where they are run at those, or at their own with a resize after it.

    python benchmarks/scales.py FOLDER [--images 6] [--height 144] [--width 168] [--scales 1.5 2 3 4]

FOLDER holds HR images, of which some are taken evenly, and of each the upper left part. It is made small bicubically,
enlarged, and scored: PSNR on Y in dB, the mean over the images.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from commands import at_least, folder
from metasr.config.command_line import status_of

if TYPE_CHECKING:
    from metasr.solvers.base import Solver

SHAVE = 6


def measure(options: argparse.Namespace) -> dict[float, dict[str, float]]:
    """By scale and way, the mean PSNR on Y in dB."""
    import metasr
    from metasr.degradation import names
    from metasr.io.images import list_images, read_image
    from metasr.metrics.protocol import LumaProtocol
    from metasr.solvers.own_scale import OwnScaleSolver

    files = list_images(folder(options.folder, what="a folder of HR images"))
    files = files[:: max(1, len(files) // options.images)][: options.images]
    bare = {
        "mzsr_x2_bicubic": metasr.load("mzsr_x2_bicubic", device="cpu").solver,
        "unfolded": metasr.load("unfolded", device="cpu").solver,
    }
    ways: dict[str, Solver] = {"bicubic": metasr.load(solver="interpolate").solver, **bare}
    ways["mzsr_x2_bicubic at x2"] = OwnScaleSolver(bare["mzsr_x2_bicubic"], scales=(2.0,))
    totals: dict[float, dict[str, float]] = {}
    for scale in options.scales:
        problem = names.parse("bicubic", scale=scale)
        for path in files:
            hr = read_image(path)[None, :, : options.height, : options.width]
            lr = problem(hr)
            for way, solver in ways.items():
                sr = solver.solve(lr, scale=scale, degradation=problem, seed=1).sr
                score = LumaProtocol()(sr[..., : hr.shape[-2], : hr.shape[-1]], hr, scale=SHAVE).psnr_y
                of_scale = totals.setdefault(scale, {})
                of_scale[way] = of_scale.get(way, 0.0) + score / len(files)
    return totals


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="of HR images")
    parser.add_argument("--images", type=int, default=6, help="evenly chosen")
    parser.add_argument("--height", type=int, default=144, help="of the part of each that is used")
    parser.add_argument("--width", type=int, default=168)
    parser.add_argument("--scales", type=float, nargs="+", default=[1.5, 2.0, 3.0, 4.0])
    options = parser.parse_args(arguments)
    at_least(options, images=1, height=4 * SHAVE, width=4 * SHAVE)
    for scale, row in measure(options).items():
        print(f"x{scale:g}: {', '.join(f'{way} {psnr:.2f}' for way, psnr in row.items())}", flush=True)


if __name__ == "__main__":
    sys.exit(status_of(main))
