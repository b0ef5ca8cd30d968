"""What learning from one image takes: seconds, steps, PSNR and memory of `ZSSRSolver` against the published schedule.

    python benchmarks/zssr.py [--images FOLDER] [--count 1] [--side 192] [--degradations bicubic] [--cpu-time]
    python benchmarks/zssr.py --memory 1024

The first enlarges the middle of images (the embedded validation photos by default; never a test set), degraded by 2,
with every setting of the list from the published one to the default, a lever at a time, in one process. Its baseline
is written down here in plain eager PyTorch (`nn.Conv2d`, autograd, float32, `torch.optim.Adam`): crops of 128, 8
layers of 64 channels, the published rule of the rate, at most 3000 steps, sons made anew at each step, median of the
eight copies and ten rounds of back-projection. PSNR is of Y, in dB, as the mean over the images. `--settings` takes
some of them.

On a machine that others share, `OMP_NUM_THREADS=1 python benchmarks/zssr.py --cpu-time` counts the process's own
seconds.

`--memory` prints the peak of a process that enlarges an image of so many pixels a side, with a few steps.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands import at_least
from commands import folder as folder_named
from metasr.config.command_line import status_of
from metasr.errors import InputError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from metasr.degradation.pipeline import Degradation

Way = Callable[["Tensor", "Degradation"], tuple["Tensor", int]]

PUBLISHED: dict[str, Any] = {
    "layers": 8, "crop": 128, "max_steps": 3000, "rate": 1e-3, "schedule": "published", "last_gain": 1.0,
    "centred": False, "precision": "float32",
}  # fmt: skip
LEVERS: dict[str, dict[str, Any]] = {
    "the same, pairs made beforehand": {},
    "and bfloat16 where the CPU has it": {"precision": "auto"},
    "and crops of 64": {"crop": 64},
    "and cosine, 600 steps at 2e-3": {"schedule": "cosine", "max_steps": 600, "rate": 2e-3, "last_gain": 0.1},
    "and begun at the mean colour": {"centred": True},
}
"""Each on top of those before it; the last row is the default."""


def plain_eager(lr: Tensor, degradation: Degradation) -> tuple[Tensor, int]:
    """The published schedule as one would first write it."""
    import torch
    from torch import nn

    from metasr.degradation.resize import imresize
    from metasr.solvers.ensemble import SYMMETRIES, back_project, self_ensemble, symmetries_of, transform
    from metasr.solvers.zssr.internal_pairs import enlarged_son
    from metasr.solvers.zssr.rate_rules import SlopeRule

    torch.manual_seed(0)
    widths = [3, *[64] * 7, 3]
    convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
    for conv in convs:
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias)

    def network(image: Tensor) -> Tensor:
        features = image
        for conv in convs[:-1]:
            features = torch.relu(conv(features))
        return image + convs[-1](features)

    def enlarged(image: Tensor) -> Tensor:
        return imresize(image, degradation.scale, shift=degradation.shift)

    optimiser, rule = torch.optim.Adam(convs.parameters(), lr=1e-3), SlopeRule(1e-3)
    steps = 0
    for steps in range(1, 3001):
        kind, share, which, down, right = torch.rand(5).tolist()
        father = lr if kind < 0.5 else imresize(lr, 0.5 + 0.5 * share).clamp(0, 1)
        father = transform(father, SYMMETRIES[min(int(8 * which), 7)])
        source = enlarged_son(father, degradation)
        tall, wide = (min(128, n) for n in father.shape[-2:])
        top, left = int(down * (father.shape[-2] - tall + 1)), int(right * (father.shape[-1] - wide + 1))
        part = (..., slice(top, top + tall), slice(left, left + wide))
        loss = (network(source[part]) - father[part]).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        for group in optimiser.param_groups:
            group["lr"] = rule.rate(0.0)
        optimiser.step()
        if steps % rule.watches == 0:
            with torch.no_grad():
                error = float((network(enlarged_son(lr, degradation)) - lr).square().mean().sqrt())
            if rule.watch(steps, error):
                break
    with torch.no_grad():
        symmetries = symmetries_of(degradation, size=(lr.shape[-2], lr.shape[-1]))
        sr = self_ensemble(lambda image: network(enlarged(image)), lr, symmetries, median=True)
        return back_project(sr, lr, degradation, rounds=10).clamp(0, 1), steps


def ways() -> dict[str, Way]:
    """The baseline, then the levers, each on top of those before."""
    from metasr.solvers.zssr.solver import ZSSRSolver

    def solver(options: dict[str, Any]) -> Way:
        def solve(lr: Tensor, degradation: Degradation) -> tuple[Tensor, int]:
            solution = ZSSRSolver(**options).solve(lr, scale=degradation.scale, degradation=degradation)
            return solution.sr, solution.updates

        return solve

    found: dict[str, Way] = {"plain eager, published": plain_eager}
    options = dict(PUBLISHED)
    for name, change in LEVERS.items():
        options = {**options, **change}
        found[name] = solver(dict(options))
    found["default"] = solver({})
    return found


def compare(options: argparse.Namespace) -> None:
    """The table."""
    import torch

    import metasr.data
    from metasr.degradation.names import parse
    from metasr.degradation.resize import middle
    from metasr.io.images import list_images, read_image
    from metasr.metrics.protocol import LumaProtocol

    clock = time.process_time if options.cpu_time else time.perf_counter
    found = ways()
    chosen = options.settings or list(found)
    for name in chosen:
        if name not in found:
            raise InputError(f"no setting {name!r}: {nearest(name, found)}")
    problems = [parse(name, scale=2) for name in options.degradations]
    own = Path(metasr.data.__path__[0]) / "samples" / "val"
    folder = folder_named(options.images or own, what="one that holds HR images as --images")
    files = list_images(folder)[: options.count]
    protocol = LumaProtocol()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; {len(files)} images, middle of {options.side}²"
    )
    print(f"{'degradation':>12} {'setting':>36} {'steps':>6} {'seconds':>8} {'ratio':>6} {'PSNR':>6}")
    for degradation in problems:
        baseline = None
        for setting in chosen:
            seconds, scores, steps = [], [], []
            for file in files:
                hr = protocol.crop_reference(middle(read_image(file)[None], (options.side, options.side)), 2)
                lr = degradation(hr)
                start = clock()
                sr, taken = found[setting](lr, degradation)
                seconds.append(clock() - start)
                steps.append(taken)
                scores.append(float(protocol(sr[..., : hr.shape[-2], : hr.shape[-1]], hr, scale=2).psnr_y))
            mean = statistics.mean(seconds)
            baseline = baseline or mean
            print(
                f"{degradation!s:>12} {setting:>36} {statistics.mean(steps):6.0f} {mean:8.1f} {baseline / mean:6.1f} "
                f"{statistics.mean(scores):6.2f}", flush=True,
            )  # fmt: skip


def memory(side: int) -> None:
    """The peak of this process, for an image of so many pixels a side and 20 steps."""
    import torch

    from metasr.solvers.zssr.solver import ZSSRSolver

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    lr = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    before = peak()
    solution = ZSSRSolver(max_steps=20).solve(lr, scale=2)
    print(f"{side}x{side} LR pixels, x2: peak {peak():.2f} GiB, {before:.2f} before; {solution.updates} steps")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", help="a folder of HR images; the embedded validation photos by default")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--side", type=int, default=192, help="of the HR image's middle, in pixels")
    parser.add_argument("--degradations", nargs="+", default=["bicubic"])
    parser.add_argument("--settings", nargs="+")
    parser.add_argument("--cpu-time", action="store_true", help="seconds of this process instead of the clock's")
    parser.add_argument("--memory", type=int, metavar="SIDE")
    options = parser.parse_args()
    at_least(options, count=1, side=32)
    if options.memory is not None:
        at_least(options, memory=16)
        memory(options.memory)
    else:
        compare(options)


if __name__ == "__main__":
    raise SystemExit(status_of(main))
