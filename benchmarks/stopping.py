"""MAML-SR's adaptation step by step: what every fixed number of steps gives, and where each stopping rule ends.

    python benchmarks/stopping.py FOLDER [--experiment maml_sr_x2|maml_image_x2] [--weights RUN_FOLDER|FILE|released]
        [--max 20] [--crop SIDE] [--steps 10] [--degradations area g1.3b] [CHOICE ...]

The HR images of a folder (their middle, with --crop, in HR pixels) are degraded and adapted to by a fixed number of
steps, once; the rules are then shown those outputs one after another, as they would have seen them. Prints the mean
PSNR on Y, and its difference to the network without adaptation with the least of any image; for a rule also the mean
number of steps taken. CHOICE are further ones of the experiment, such as ``solver.rate=1e-3``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands import at_least, composed, folder, require_free
from metasr.config.command_line import status_of

if TYPE_CHECKING:
    from torch import Tensor

    from metasr.degradation.pipeline import Degradation
    from metasr.solvers.maml_sr.stopping import Rule

OURS = ("experiment", "task", "weights", "testset", "testset_root", "degradations", "solver.stop", "solver.max_steps")


def outputs_of(solver: Any, lr: Tensor, *, scale: float, degradation: Degradation) -> list[tuple[Tensor, float]]:
    """Image and loss after 0, 1, 2, ... steps of a solver that takes a fixed number of them."""
    from metasr.solvers.progress import Progress, listening

    outputs: list[tuple[Tensor, float]] = []

    def hear(progress: Progress) -> None:
        if progress.what == "updates" and progress.image is not None and progress.loss is not None:
            outputs.append((progress.image, progress.loss))

    with listening(hear):
        solver.solve(lr, scale=scale, degradation=degradation)
    return outputs


def ended(rule: Rule, outputs: Sequence[tuple[Tensor, float]]) -> tuple[int, int]:
    """Which output a rule keeps, and after how many steps it stops, at most all."""
    kept = 0
    for step, (image, loss) in enumerate(outputs):
        verdict = rule(image, loss)
        kept = step if verdict.keep else kept
        if verdict.stop:
            return kept, step
    return kept, len(outputs) - 1


def measure(options: argparse.Namespace, name: str) -> tuple[list[list[float]], dict[str, list[tuple[int, int]]]]:
    """PSNR of each image after every number of steps, and for each rule what it kept and where it stopped."""
    from metasr.config import build
    from metasr.config.evaluation import choose_for
    from metasr.data.catalog import ImageSet
    from metasr.degradation.names import parse
    from metasr.degradation.resize import middle
    from metasr.io.images import list_images
    from metasr.seeds import generator_from
    from metasr.solvers.maml_sr.stopping import lr_error_of, make_rule

    choices = [f"+experiment={options.experiment}", *options.choices, "logger=none", "solver.adapt_pixels=null"]
    cfg = composed([*choices, "solver.stop=fixed", f"solver.max_steps={options.steps}"])
    degradation = parse(name, scale=float(cfg.scale))
    weights = choose_for(cfg, options.weights, degradation)
    solver = build.solver(cfg, weights=weights)
    protocol = build.protocol(cfg)
    images = ImageSet("images", "test", tuple(list_images(options.folder))).subset(options.max)
    scores: list[list[float]] = []
    ends: dict[str, list[tuple[int, int]]] = {"metric": [], "consistency": []}
    for i, image in enumerate(images.names):
        hr = images.load(i)[None]
        if options.crop is not None:
            hr = middle(hr, (options.crop, options.crop))
        hr = protocol.crop_reference(hr, cfg.scale)
        lr = degradation(hr, generator=generator_from(1, image, name))
        outputs = outputs_of(solver, lr, scale=cfg.scale, degradation=degradation)
        scores.append([protocol(sr, hr, scale=cfg.scale).psnr_y for sr, _ in outputs])
        lr_error = lr_error_of(lr, degradation)
        for stop, found in ends.items():
            rule = make_rule(stop, threshold=0.0, mixed=cfg.solver.mixed, lr_error=lr_error)  # type: ignore[arg-type]
            found.append(ended(rule, outputs))
    return scores, ends


def report(name: str, scores: Sequence[Sequence[float]], ends: dict[str, list[tuple[int, int]]]) -> str:
    """One degradation's lines."""

    def line(label: str, psnr: Sequence[float], steps: float) -> str:
        gains = [after - one[0] for after, one in zip(psnr, scores, strict=True)]
        mean = statistics.fmean(psnr)
        return f"{name:>20} {label:>14} {steps:6.1f} {mean:7.2f} {statistics.fmean(gains):+7.3f} {min(gains):+7.3f}"

    fixed = [line("fixed", [one[step] for one in scores], step) for step in range(len(scores[0]))]
    rules = [
        line(rule, [one[kept] for one, (kept, _) in zip(scores, found, strict=True)],
             statistics.fmean(steps for _, steps in found))
        for rule, found in ends.items()
    ]  # fmt: skip
    return "\n".join([*fixed, *rules])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", help="of HR images")
    parser.add_argument("--experiment", default="maml_sr_x2", choices=("maml_sr_x2", "maml_image_x2"))
    parser.add_argument("--weights", default="released", help="a run folder, a file or released weights")
    parser.add_argument("--max", type=int, help="images at most")
    parser.add_argument("--crop", type=int, help="side in HR pixels of the middle that is used")
    parser.add_argument("--steps", type=int, default=10, help="largest number of steps")
    parser.add_argument("--degradations", nargs="+", default=["area", "g1.3b"])
    parser.add_argument("choices", nargs="*", metavar="CHOICE", help="further choices of the experiment")
    options = parser.parse_intermixed_args(arguments)
    at_least(options, max=1, crop=24, steps=1)
    require_free(options.choices, ours=OURS)
    options.folder = Path(folder(options.folder, what="the one that holds the HR images"))
    print(f"{'degradation':>20} {'rule':>14} {'steps':>6} {'PSNR':>7} {'gain':>7} {'least':>7}")
    for name in options.degradations:
        print(report(name, *measure(options, name)), flush=True)


if __name__ == "__main__":
    sys.exit(status_of(main))
