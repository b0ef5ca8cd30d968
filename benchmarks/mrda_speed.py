"""What MRDA's networks take: latency of the student, and the cost of adapting its teacher's MLN, as ratios.

    python benchmarks/mrda_speed.py [--lr 48x48] [--batch 1] [--repeats 5] [--scale 4] [--device auto] [--run FOLDER]

The baseline, in the same run, is one forward pass of the student (encoder and RDAN), which is all that an image takes;
published for an LR image of 320x180 on a GPU that is not named: 42.61 ms. Networks have the published sizes and random
weights, or are those of a run. Columns: multiply-adds, median milliseconds of the repeats (all rows take turns), and
times the student's. The last line tells how many forward passes of the MLN its adaptation is worth, and which share of
a teacher's training step it takes, in a batch of this size.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from commands import at_least, folder
from commands import device as device_named
from metasr.config.command_line import status_of
from metasr.errors import InputError

if TYPE_CHECKING:
    from metasr.models.blind import BlindSR
    from metasr.models.mln import MLN

RATES = (1e-2, 5e-3, 5e-3, 5e-3, 5e-3)


class Networks(NamedTuple):
    """A student, and a teacher with the network that it adapts."""

    student: BlindSR
    teacher: BlindSR
    mln: MLN


def published(scale: int) -> Networks:
    """Networks of the published sizes with random weights."""
    from metasr.models.blind import BlindSR
    from metasr.models.den import DegradationEncoder
    from metasr.models.mln import MLN
    from metasr.models.rdan import RDAN

    body = RDAN(scale=scale)
    return Networks(
        BlindSR(DegradationEncoder(), body), BlindSR(DegradationEncoder(channels=128), body), MLN(scale=scale)
    )


def of_run(run: Path) -> Networks:
    """A run's own.

    Raises:
        InputError: if its teacher adapts no network.
    """
    from metasr.models.blind import BlindSR
    from metasr.recipes.teacher import Teacher
    from mrda.stage_networks import trained_recipe

    student, teacher = trained_recipe(run, "student").model, trained_recipe(run, "teacher")
    assert isinstance(student, BlindSR)
    if not isinstance(teacher, Teacher) or teacher.observer.mln is None:
        raise InputError(f"{run}: its teacher adapts no network; give a run of mrda_x4_iso or mrda_x4_aniso_noise")
    return Networks(student, teacher.blind.requires_grad_(True), teacher.observer.mln)


def medians(work: dict[str, Callable[[], object]], *, repeats: int, device: str) -> dict[str, float]:
    """Median seconds of each; they take turns, after a round that does not count."""
    import torch

    seconds: dict[str, list[float]] = {name: [] for name in work}
    for round_ in range(repeats + 1):
        for name, do in work.items():
            if device == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            do()
            if device == "cuda":
                torch.cuda.synchronize()
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lr", default="48x48", help="width and height of the LR image")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scale", type=int, default=4, choices=(2, 3, 4))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--run", type=Path, help="measure this run's networks, at its scale")
    options = parser.parse_args()
    at_least(options, batch=1, repeats=1)
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", options.lr):
        raise InputError(f"--lr takes width and height in pixels, such as 48x48, got {options.lr}")
    run = None if options.run is None else folder(options.run, what="a run's as --run")
    device = device_named(options.device)

    import torch

    from metasr.models.teacher import adapt
    from mrda.multadds import multiply_adds

    networks = published(options.scale) if run is None else of_run(run)
    student, teacher, mln = (network.to(device) for network in networks)
    scale, (width, height) = student.scale, (int(n) for n in options.lr.split("x"))
    generator = torch.Generator().manual_seed(0)
    lr = torch.rand(options.batch, 3, height, width, generator=generator).to(device)
    hr = torch.rand(options.batch, 3, scale * height, scale * width, generator=generator).to(device)
    with torch.no_grad():
        vector, features = student.vector(lr), mln.features(lr)

    def quietly(network: torch.nn.Module, *given: torch.Tensor) -> Callable[[], object]:
        def do() -> object:
            with torch.no_grad():
                return network(*given)

        return do

    def teacher_step() -> None:
        sr = teacher.body(lr, teacher.encoder(features))
        torch.autograd.grad((sr - hr).abs().mean(), [p for p in teacher.parameters() if p.requires_grad])

    what = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {what}; {options.batch} LR image(s) of {width}x{height}, x{scale}", flush=True)
    seconds = medians(
        {
            "student, one forward pass": quietly(student, lr),
            "its encoder": quietly(student.encoder, lr),
            "its RDAN": quietly(student.body, lr, vector),
            "MLN, one forward pass": quietly(mln, lr),
            "MLN, five steps of adaptation": lambda: adapt(mln, lr, hr, rates=RATES),
            "teacher, gradient without them": teacher_step,
        },
        repeats=options.repeats,
        device=device,
    )
    one = (1, 3, height, width)
    counts = {
        "student, one forward pass": multiply_adds(student, one),
        "its encoder": multiply_adds(student.encoder, one),
        "its RDAN": multiply_adds(student.body, one, vector[:1].shape),
        "MLN, one forward pass": multiply_adds(mln, one),
    }
    baseline, steps = seconds["student, one forward pass"], seconds["MLN, five steps of adaptation"]
    print(f"{'':<32} {'G':>8} {'ms':>10} {'ratio':>7}")
    for name, taken in seconds.items():
        count = f"{counts[name] * options.batch / 1e9:.2f}" if name in counts else ""
        print(f"{name:<32} {count:>8} {1e3 * taken:10.1f} {taken / baseline:7.2f}")
    worth = steps / seconds["MLN, one forward pass"]
    share = steps / (steps + seconds["teacher, gradient without them"])
    print(f"adaptation is worth {worth:.1f} forward passes of the MLN, {100 * share:.0f} % of a teacher's step")


if __name__ == "__main__":
    sys.exit(status_of(main))
