"""Which released weights are best for what is known of a photo: PSNR on Y of validation images, told in their cards.

    python benchmarks/best_weights.py FOLDER [--images 4] [--crop 128] [--weights NAME ...] [--write]

FOLDER holds the training images; the twentieth of them that training holds out is measured, never a test set. Each case
(sampling grid, scale; without noise, with noise of 10 grey levels, and with the kernel estimated instead of told) is
met with two Gaussian kernels whose variances go with the scale, by all weights that were made for it, each with the
solver of its method: MZSR's with ten updates. LR images are rounded to 8 bits. `--write` enters the table into the
cards of `weights/`, where `metasr upscale -k KERNEL` looks for the weights to take.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands import at_least, composed, folder
from metasr.config.command_line import status_of
from metasr.errors import InputError

if TYPE_CHECKING:
    from metasr.degradation.pipeline import Degradation
    from metasr.runs.weights import Weights
    from metasr.solvers.base import Solver

SHAVE = 16  # HR pixels
NOISE = 10.0


def problems() -> Iterator[Degradation]:
    """The cases, each with two kernels."""
    from metasr.degradation.kernels import anisotropic, isotropic
    from metasr.degradation.pipeline import Degradation

    for downsample in ("direct", "bicubic"):
        for scale in (2, 3, 4):
            for kernel in (isotropic(scale, size=25), anisotropic(2.0 * scale, 0.5 * scale, -0.5, size=25)):
                for noise in (0.0, NOISE / 255):
                    yield Degradation(scale=scale, kernel=kernel, downsample=downsample, noise_std=noise)  # type: ignore[arg-type]


def solver_of(weights: Weights) -> Solver:
    """The solver of the weights' method."""
    from metasr.meta.rates import rates_from_state
    from metasr.models.plain_cnn import PlainCNN
    from metasr.runs.architecture import make_network
    from metasr.solvers.mzsr.solver import MZSRSolver
    from metasr.solvers.unfolded import UnfoldedSolver

    if weights.card["method"] == "mzsr":
        return MZSRSolver(weights.load_into(PlainCNN()), rates=rates_from_state(weights.state), steps=10)
    network = make_network(weights.architecture, origin=weights.label, state=weights.network)
    return UnfoldedSolver(weights.load_into(network))


def is_made_for(card: dict[str, Any], degradation: Degradation) -> bool:
    """Whether weights were made for a degradation's sampling and scale."""
    scales = card.get("scales") or [card.get("scale")]
    grid = card.get("downsample")
    known = grid is None or degradation.downsample == grid or degradation.downsample in grid
    return card.get("stage") != "pretrain" and degradation.scale in scales and known


def measure(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Mean PSNR by weights and case."""
    from metasr.config import build
    from metasr.data.catalog import image_set
    from metasr.degradation.pipeline import Degradation
    from metasr.degradation.resize import middle
    from metasr.metrics.protocol import LumaProtocol
    from metasr.paths import weights_folder
    from metasr.runs.weights import case_of, from_release, released
    from metasr.seeds import generator_from
    from metasr.solvers.blind.base import blind

    images = image_set("image_folder", split="val", root=str(folder(options.folder, what="training images")))
    chosen = range(0, len(images), max(1, len(images) // options.images))[: options.images]
    cards = {n: c for n, c in released(weights_folder()).items() if c.get("method") in ("mzsr", "unfolded")}
    if options.weights is not None:
        missing = [name for name in options.weights if name not in cards]
        if missing:
            raise InputError(f"no released weights of a solver that is told the kernel: {', '.join(missing)}")
        cards = {name: cards[name] for name in options.weights}
    solvers = {name: solver_of(from_release(weights_folder(), name)) for name in cards}
    estimator = build.estimator(composed(["task=upscale"]))
    blinded = {name: blind(solver, estimator) for name, solver in solvers.items()}
    protocol = LumaProtocol(shave=SHAVE)
    scores: dict[str, dict[str, list[float]]] = {}
    for number, degradation in enumerate(problems()):
        fitting = [name for name, card in cards.items() if is_made_for(card, degradation)]
        for index in chosen:
            hr = middle(images.load(index)[None], (options.crop, options.crop))
            hr = protocol.crop_reference(hr, degradation.scale)
            lr = degradation(hr, generator=generator_from(1, images.names[index], str(number)))
            plain = Degradation(scale=degradation.scale, downsample=degradation.downsample)
            for name in fitting:
                ways = [(solvers[name], degradation, case_of(degradation))]
                if not degradation.noisy:
                    ways.append((blinded[name], plain, case_of(plain, estimated=True)))
                for solver, told, case in ways:
                    sr = solver.solve(lr, scale=degradation.scale, degradation=told).sr
                    score = protocol(sr, hr, scale=degradation.scale).psnr_y
                    scores.setdefault(name, {}).setdefault(case, []).append(score)
        if fitting:
            print(f"{degradation}: {', '.join(fitting)}", flush=True)
    return {
        name: {case: round(sum(values) / len(values), 2) for case, values in cases.items()}
        for name, cases in scores.items()
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write where that is asked for."""
    from metasr.io.files import write_text
    from metasr.paths import weights_folder
    from metasr.runs.weights import released

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="of training images, whose held-out part is measured")
    parser.add_argument("--images", type=int, default=4, help="of the held-out ones, evenly chosen")
    parser.add_argument("--crop", type=int, default=128, help="largest side of an image's middle that is used")
    parser.add_argument("--weights", nargs="+", metavar="NAME", help="only these of the released ones")
    parser.add_argument("--write", action="store_true", help="enter the table into the cards")
    options = parser.parse_args(arguments)
    at_least(options, images=1, crop=2 * SHAVE + 11)
    table = measure(options)
    what = (
        f"PSNR on Y in dB, benchmarks/best_weights.py: middle {options.crop}x{options.crop} of {options.images} images "
        "held out from training, two Gaussian kernels a case"
    )
    for name, cases in table.items():
        print(f"{name}: {', '.join(f'{case} {value:.2f}' for case, value in cases.items())}")
        if options.write:
            path = Path(weights_folder()) / f"{name}.json"
            card = {**released(weights_folder())[name], "validation": {"what": what, **cases}}
            write_text(path, json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(status_of(main))
