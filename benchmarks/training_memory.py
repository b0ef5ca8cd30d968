"""Memory and speed of a training set in memory and on disk: peak of the process, patches per second.

    python benchmarks/training_memory.py --images 40 --size 1200 1600

Makes that many PNG files in a temporary folder, decodes them as training does, once with room in memory and once
without, each in a process of its own, and draws batches. The patches must be the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def make_images(folder: Path, *, count: int, height: int, width: int) -> None:
    """Write smooth pictures with some noise, each another."""
    import numpy as np
    from PIL import Image

    rows, columns = np.mgrid[:height, :width]
    for i in range(count):
        waves = [np.sin(rows / (17 + i + c)) + np.cos(columns / (23 + 2 * i + c)) for c in range(3)]
        noise = np.random.default_rng(i).normal(0, 2, (height, width, 1))
        values = np.stack(waves, -1) * 50 + 128 + noise
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(folder / f"{i:04d}.png", compress_level=1)


def measure(folder: Path, *, memory_gb: float, patch_size: int, batch: int, batches: int) -> dict[str, float | str]:
    """Decode, draw, and tell what it took, in this process."""
    import torch

    from metasr.data.catalog import ImageSet
    from metasr.data.decoding import decode
    from metasr.data.patches import PatchPool

    images = ImageSet("made", "train", tuple(sorted(folder.glob("*.png"))))
    before = _peak()
    start = time.perf_counter()
    found = decode(images, patch_size=patch_size, memory=int(memory_gb * 1e9), folder=folder / "cache")
    decoded = time.perf_counter()
    pool = PatchPool(found.pixels, patch_size=patch_size)
    digest = hashlib.sha256()
    for step in range(batches):
        digest.update(pool.draw(batch, generator=torch.Generator().manual_seed(step)).numpy().tobytes())
    seconds = time.perf_counter() - decoded
    return {
        "decoded_mib": round(sum(3 * h * w for h, w in found.pixels.sizes) / 2**20, 1),
        "peak_mib": round(_peak() - before, 1),
        "decode_seconds": round(decoded - start, 2),
        "ms_per_batch": round(1000 * seconds / batches, 2),
        "patches": digest.hexdigest()[:16],
    }


def _peak() -> float:
    """The largest resident size so far, in MiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Measure both, and print them side by side."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, default=40)
    options.add_argument("--size", type=int, nargs=2, default=(1200, 1600), metavar=("H", "W"))
    options.add_argument("--patch-size", type=int, default=64)
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--batches", type=int, default=100)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--memory-gb", type=float, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.folder is not None:
        print(json.dumps(measure(
            given.folder, memory_gb=given.memory_gb, patch_size=given.patch_size, batch=given.batch,
            batches=given.batches,
        )))  # fmt: skip
        return 0
    with tempfile.TemporaryDirectory() as name:
        make_images(Path(name), count=given.images, height=given.size[0], width=given.size[1])
        results = {}
        for kept, memory_gb in (("in memory", 1e6), ("on disk", 0.0)):
            command = [sys.executable, __file__, "--folder", name, "--memory-gb", str(memory_gb)]
            command += ["--patch-size", str(given.patch_size), "--batch", str(given.batch)]
            done = subprocess.run(
                [*command, "--batches", str(given.batches)], capture_output=True, text=True, env=os.environ
            )
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                return 1
            results[kept] = json.loads(done.stdout)
    for kept, found in results.items():
        print(f"{kept}: {', '.join(f'{key} {value}' for key, value in found.items())}")
    same = len({str(found["patches"]) for found in results.values()}) == 1
    print("the same patches" if same else "DIFFERENT patches")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
