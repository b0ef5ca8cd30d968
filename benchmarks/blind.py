"""What estimating the kernel is worth: against being told it, and against assuming that there was none.

    python benchmarks/blind.py --images FOLDER [--max 20] [--solver adapt|unfolded|zssr|back_project]
        [--degradations iso_1.3_b ...] [--estimator parametric|ddsr] [--scale 2] [--crop 256]
        [--set estimator.weights=FILE ...]

Each HR image (its middle, where --crop is given, in LR pixels) is degraded and enlarged again four times: with the
true degradation, with the estimated one, with plain subsampling on the right grid, and with bicubic downsampling
whatever the grid (for directly subsampled images that one lies (s - 1)/2 pixels off). Mean PSNR on Y; the shares are of
the gain of the true kernel over each of the two assumptions. Kernel PSNR is 20 log10(1 / RMSE) over 21×21 taps, the
median over images, of no kernel and of the estimate; an estimate before direct subsampling (DDSR's) of a bicubically
resized image is compared with blur and resizing in one. Seconds are of the estimate alone, the median.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from commands import at_least, composed, folder
from metasr.config.command_line import status_of

if TYPE_CHECKING:
    import torch

    from metasr.degradation.pipeline import Degradation
    from metasr.solvers.base import Solver

KINDS = {
    "iso": ["iso_0.7_b", "g1.3b", "iso_2.5_b", "g0.2d", "g2.0d", "iso_3.5_d"],
    "aniso": ["gani_b", "aniso_3_0.5_0.8_b", "gani_d", "aniso_3_1_1.2_d"],
    "plain": ["bicubic"],
}
"""Degradations by kind; ``plain`` is what must not be made worse."""

WAYS = ("true", "estimated", "grid", "bicubic")


def kernel_score(found: Degradation, true: Degradation, *, as_one: bool) -> float:
    """Kernel PSNR in dB; no kernel is a single tap.

    Args:
        found: as estimated.
        true: as it was.
        as_one: compare blur and resizing in one. There is no other way where the two subsample unlike: DDSR's estimate
            comes before direct subsampling, whatever the truth's.
    """
    from metasr.degradation.direct_kernel import direct_kernel
    from metasr.degradation.kernels import TEST_SIZE, delta
    from metasr.metrics.kernel import kernel_psnr, resized

    def told(degradation: Degradation) -> torch.Tensor | None:
        if as_one:
            return direct_kernel(degradation, size=TEST_SIZE)
        kernel = degradation.kernel
        return delta(size=TEST_SIZE) if kernel is None else resized(kernel.double().cpu(), TEST_SIZE)

    pair = told(found), told(true)
    if pair[0] is None or pair[1] is None:
        return float("nan")
    return min(float(kernel_psnr(pair[0], pair[1])), 99.0)


def share(gained: float, whole: float) -> str:
    """A share of a gain in per cent; nothing where there is next to no gain to have a share of."""
    return f"{gained / whole:5.0%}" if whole > 0.1 else "    -"


def measure(options: argparse.Namespace, name: str) -> dict[str, float]:
    """Means over the images under one degradation."""
    from metasr.config import build
    from metasr.config.evaluation import choose_for
    from metasr.data.catalog import ImageSet
    from metasr.degradation.names import parse
    from metasr.degradation.resize import middle
    from metasr.io.images import list_images
    from metasr.seeds import generator_from, seed_from
    from metasr.solvers.blind.base import blind

    chosen = "+experiment=unfolded" if options.solver == "unfolded" else f"solver={options.solver}"  # with its network
    cfg = composed([chosen, f"estimator={options.estimator}", "logger=none", *options.choices])
    scale = float(options.scale)
    degradation: Degradation = parse(name, scale=scale)
    plain = {
        "true": degradation,
        "grid": parse(degradation.downsample, scale=scale),
        "bicubic": parse("bicubic", scale=scale),
    }
    images = ImageSet("images", "test", tuple(list_images(options.images))).subset(options.max)
    protocol, device = build.protocol(cfg), build.device(cfg.device)

    def solver_for(assumed: Degradation) -> Solver:
        weights = None
        if cfg.solver.get("needs_network", False):
            weights = choose_for(cfg, "released", assumed)
        steps = options.steps if "steps" in cfg.solver else None
        return build.solver(cfg, weights=weights, steps=steps)

    solvers = {way: solver_for(assumed) for way, assumed in plain.items()}
    estimating = blind(solvers["true"], build.estimator(cfg))
    rows: dict[str, list[float]] = {k: [] for k in (*WAYS, "kernel", "assumed_kernel", "seconds", "fallback")}
    for i, image in enumerate(images.names):
        hr = images.load(i)[None].to(device)
        if options.crop is not None:
            side = round(options.crop * scale)
            hr = middle(hr, (side, side))
        hr = protocol.crop_reference(hr, scale)
        lr = degradation(hr, generator=generator_from(1, image, name))
        seed = seed_from(1, image, "solve")
        found = estimating.estimate(lr, scale=scale, degradation=degradation, seed=seed)
        ways = {**plain, "estimated": found.degradation}
        known: dict[str, float] = {}  # two ways may come to the same
        for way in WAYS:
            if way == "grid" and degradation.downsample == "bicubic":
                rows[way].append(float("nan"))
                continue
            if str(ways[way]) not in known:
                solver = solvers["true" if way == "estimated" else way]
                sr = solver.solve(lr, scale=scale, degradation=ways[way], seed=seed).sr
                sr = sr[..., : hr.shape[-2], : hr.shape[-1]]
                known[str(ways[way])] = protocol(sr, hr, scale=scale).psnr_y
            rows[way].append(known[str(ways[way])])
        unlike = found.degradation.downsample != degradation.downsample
        rows["kernel"].append(kernel_score(found.degradation, degradation, as_one=unlike))
        rows["assumed_kernel"].append(kernel_score(plain["grid"], degradation, as_one=unlike))
        rows["seconds"].append(found.seconds)
        rows["fallback"].append(float(found.fallback))
        if options.each:
            told = " ".join(f"{way} {rows[way][-1]:.2f}" for way in WAYS)
            print(f"  {image:>20} {found.told}  {told}", flush=True)
    medians = {k: statistics.median(rows[k]) for k in ("kernel", "assumed_kernel", "seconds")}
    return {k: statistics.fmean(v) for k, v in rows.items()} | medians | {"images": float(len(images.names))}


def report(name: str, row: dict[str, float]) -> str:
    """One degradation's line."""
    by = {way: row["true"] - row[way] for way in ("grid", "bicubic")}
    told = {way: share(row["estimated"] - row[way], by[way]) if by[way] == by[way] else "    -" for way in by}
    ways = " ".join(f"{row[way]:9.2f}" if row[way] == row[way] else f"{'-':>9}" for way in WAYS)
    return (
        f"{name:>20} {row['assumed_kernel']:8.1f} {row['kernel']:8.1f} {ways} {told['grid']:>9} {told['bicubic']:>9}"
        f" {row['estimated'] - row['bicubic']:+8.2f} {row['fallback']:9.0%} {row['seconds']:8.2f}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="folder of HR images")
    parser.add_argument("--max", type=int, help="images at most")
    parser.add_argument("--solver", default="adapt", choices=("adapt", "unfolded", "zssr", "back_project"))
    parser.add_argument("--estimator", default="parametric", choices=("parametric", "ddsr"))
    parser.add_argument("--degradations", nargs="+", default=[d for kind in KINDS.values() for d in kind])
    parser.add_argument("--scale", type=float, default=2.0)
    parser.add_argument("--steps", type=int, help="updates, of solvers that take their number; its own by default")
    parser.add_argument("--crop", type=int, help="side in LR pixels of the middle that is used")
    parser.add_argument("--each", action="store_true", help="a line for each image")
    parser.add_argument("--set", nargs="+", default=[], dest="choices", metavar="KEY=VALUE", help="further choices")
    options = parser.parse_args(arguments)
    at_least(options, max=1, steps=0, crop=24)
    options.images = Path(folder(options.images, what="the one that holds the HR images as --images"))

    import torch

    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; x{options.scale:g}, {options.solver}, "
        f"estimator {options.estimator}"
    )
    ways = " ".join(f"{way:>9}" for way in WAYS)
    print(
        f"{'degradation':>20} {'k. none':>8} {'k. est.':>8} {ways} {'of grid':>9} {'of bicub.':>9} {'gain':>8} "
        f"{'fallback':>9} {'seconds':>8}"
    )
    for name in options.degradations:
        print(report(name, measure(options, name)), flush=True)


if __name__ == "__main__":
    sys.exit(status_of(main))
