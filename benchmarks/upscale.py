"""What enlarging one photo takes: seconds and peak memory of `metasr upscale`, against the same without tiles.

    python benchmarks/upscale.py [--sizes 256x256 1000x1000 3000x2000 8000x5000] [--repeats 3] [--steps 10]

Each measurement is a process of its own on a synthetic photo (sums of oriented waves with edges), x2, 10 updates. The
baseline of each size is the adaptation of the whole image at once (tile=none, all pixels), where memory allows it.
Beside the tiled peak stands the bound that it must keep to: a constant, and some bytes for each pixel of the result.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from commands import at_least
from metasr.config.command_line import status_of
from metasr.errors import InputError

CHILD = "--child"
LIMIT = 1100 * 1100  # larger images are not tried without tiles: the activations alone take some 4 KiB a pixel


BOUND_GIB, BOUND_BYTES = 0.75, 64
"""What a tiled enlargement may take: the first for program, network and tile, the second for a pixel of the result."""


def bound(width: int, height: int, scale: float = 2.0) -> float:
    """The most memory in GiB that enlarging a photo in tiles may take."""
    return BOUND_GIB + BOUND_BYTES * width * height * scale**2 / 2**30


def photo(width: int, height: int) -> "torch.Tensor":  # noqa: F821, UP037
    """A repeatable picture with texture and edges, (3, H, W)."""
    import torch

    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(height) / 64, torch.arange(width) / 64, indexing="ij")
    image = torch.zeros(3, height, width)
    for _ in range(12):
        a, b, phase = (torch.rand(3, generator=generator) * torch.tensor([12.0, 12.0, 6.3])).tolist()
        wave = torch.sin(a * x + b * y + phase)
        image += torch.rand(3, 1, 1, generator=generator) * torch.where(wave > 0, wave, -0.5)
    return (image - image.amin()) / (image.amax() - image.amin())


def child(source: str, target: str, tiled: bool, steps: int) -> None:
    """Enlarge one file and print what it took."""
    from metasr.cli import main

    arguments = ["upscale", source, "-o", target, "--overwrite", "-k", "g2.0d", "-n", str(steps), "--device", "cpu"]
    start = time.perf_counter()
    if tiled:
        status = main(arguments)
    else:
        from metasr.degradation.names import parse
        from metasr.io.images import Photo, read_photo, write_photo
        from metasr.jobs.upscale import upscale_photo
        from metasr.meta.rates import rates_from_state
        from metasr.models.plain_cnn import PlainCNN
        from metasr.paths import weights_folder
        from metasr.runs.weights import released_for
        from metasr.solvers.mzsr.solver import MZSRSolver

        degradation = parse("g2.0d", scale=2)
        weights = released_for(weights_folder(), degradation)
        solver = MZSRSolver(
            weights.load_into(PlainCNN()),
            rates=rates_from_state(weights.state),
            steps=steps,
            tile=None,
            adapt_pixels=None,
        )
        result: Photo = upscale_photo(solver, read_photo(source), degradation)[0]
        write_photo(result, target, overwrite=True)
        status = 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_gib": peak, "status": status}))


def measure(source: Path, target: Path, *, tiled: bool, steps: int, repeats: int) -> tuple[float, float]:
    """Median seconds and largest peak of several processes."""
    found = []
    for _ in range(repeats):
        command = [sys.executable, __file__, CHILD, str(source), str(target), str(int(tiled)), str(steps)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found.append(json.loads(output.splitlines()[-1]))
    return statistics.median(f["seconds"] for f in found), max(f["peak_gib"] for f in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["256x256", "1000x1000", "3000x2000"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    at_least(options, repeats=1, steps=0)
    for size in options.sizes:
        if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", size):
            raise InputError(f"--sizes takes widths and heights in pixels, such as 256x256, got {size}")

    import torch

    from metasr.io.images import Photo, write_photo

    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; x2, {options.steps} updates, imports included"
    )
    print(f"{'photo':>12} {'way':>14} {'seconds':>9} {'peak GiB':>9} {'bound':>7} {'ratio':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            width, height = (int(n) for n in size.split("x"))
            source = Path(folder) / f"{size}.png"
            write_photo(Photo(photo(width, height)), source)
            baseline = None
            for tiled in (False, True):
                if not tiled and width * height > LIMIT:
                    continue
                seconds, peak = measure(
                    source, Path(folder) / "out.png", tiled=tiled, steps=options.steps, repeats=options.repeats
                )
                baseline = baseline or (None if tiled else seconds)
                ratio = f"{seconds / baseline:.2f}" if baseline else "-"
                most = f"{bound(width, height):.2f}" if tiled else "-"
                way = "tiled" if tiled else "whole"
                print(f"{size:>12} {way:>14} {seconds:9.2f} {peak:9.2f} {most:>7} {ratio:>7}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == CHILD:
        child(sys.argv[2], sys.argv[3], bool(int(sys.argv[4])), int(sys.argv[5]))
    else:
        sys.exit(status_of(main))
