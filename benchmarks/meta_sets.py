"""What two meta-data sets teach the Weight-Net: maps that differ, and which kind of image each is better on.

    python benchmarks/meta_sets.py [--testset samples | --testset b100 --root FOLDER] [--seeds 1,2,3] [KEY=VALUE ...]

Trains ``weightnet_x2`` with ``meta_set=structure`` and ``meta_set=texture`` over the seeds (as one sweep, which a rerun
finds again), then prints

1. the distance between the two sets' weight maps of the same image, beside the distance between two seeds of the same
   set (total variation in [0, 1], and 1 - rank correlation);
2. the mean PSNR on Y of both on the images of either kind. An image's kind is told by its structure tensor alone: those
   of highest mean orientation coherence are "structure", those of lowest "texture"; nothing that is measured decides
   it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import commands
from commands import at_least, composed, folder, require_free, scores, seeds_of, swept
from metasr.config.command_line import status_of
from metasr.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

SETS = ("structure", "texture")
OURS = (
    "experiment",
    "sweep",
    "sweep_name",
    "meta_set",
    "seed",
    "testset",
    "testset_root",
    "degradations",
    "task",
    "run",
)


def coherence(grey: Tensor) -> float:
    """Mean orientation coherence of a picture's structure tensor, weighted by gradient energy; 0 to 1."""
    import torch
    from kornia.filters import gaussian_blur2d, spatial_gradient

    gradient = spatial_gradient(grey, mode="diff")[:, 0]  # (1, 2, H, W)
    dx, dy = gradient[:, :1], gradient[:, 1:]
    xx, yy, xy = (gaussian_blur2d(p, (13, 13), (2.0, 2.0)) for p in (dx * dx, dy * dy, dx * dy))
    energy = xx + yy
    strength = torch.sqrt((xx - yy) ** 2 + 4 * xy**2)
    return float(strength.sum() / energy.sum().clamp_min(1e-12))


def checked(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The seeds, and the choices that every job has.

    Raises:
        InputError: for a seed that is no number, or a choice that is none or is made here.
    """
    from metasr.runs.folder import quoted

    seeds = seeds_of(options.seeds)
    at_least(options, each=1)
    require_free(options.choices, ours=OURS)
    choices = ["+experiment=weightnet_x2", "sweep_name=meta_sets", f"testset={quoted(options.testset)}"]
    if options.root:
        root = folder(options.root, what="the one that holds the test set as --root")
        choices.append(f"testset_root={quoted(str(root))}")
    return seeds, [*choices, *options.choices]


def pictures(choices: list[str]) -> dict[str, Tensor]:
    """The images that the jobs are evaluated on, cut as evaluation cuts them.

    Raises:
        InputError: if they are too few for one of each kind.
    """
    return commands.pictures(choices, least=2, why="the two kinds need an image each")


def train(seeds: list[str], choices: list[str]) -> dict[tuple[str, str], Path]:
    """The finished jobs' folders, by meta-data set and seed; where the sweep fails, its exit status is ours.

    Raises:
        InputError: if a job is not finished.
    """
    # One seed is swept as well: then more seeds later go on with the same sweep.
    typed = [f"meta_set={','.join(SETS)}", f"seed=choice({','.join(seeds)})", *choices]
    found = {
        (values["meta_set"], values["seed"]): job
        for values, job in swept(typed, experiment="weightnet_x2", sweep="meta_sets")
    }
    for meta_set, seed in itertools.product(SETS, seeds):
        if (meta_set, seed) not in found:
            raise InputError(f"the sweep has no finished job with meta_set={meta_set} seed={seed}; run this again")
    return {key: found[key] for key in itertools.product(SETS, seeds)}


def weight_maps(job: Path, images: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weight map that a job's Weight-Net gives each image."""
    from metasr.config import build
    from metasr.degradation.names import parse
    from metasr.runs.weights import from_run

    cfg = composed(json.loads((job / "job.json").read_text(encoding="utf-8"))["overrides"])
    recipe = build.recipe(cfg, "weighted")
    recipe.restore(from_run(job).state, origin=job.name)
    degradation = parse("bicubic", scale=cfg.scale)
    return {name: recipe.maps(degradation(hr), hr, degradation)["weight"] for name, hr in images.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--testset", default="samples")
    parser.add_argument("--root", help="the folder that holds the test set")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--each", type=int, default=10, help="images of each kind, at most half of the set")
    parser.add_argument("choices", nargs="*", help="further choices, as KEY=VALUE")
    options = parser.parse_args()

    seeds, choices = checked(options)
    images = pictures(choices)
    order = sorted(images, key=lambda name: coherence(images[name].mean(1, keepdim=True)))
    each = min(options.each, len(order) // 2)
    kinds = {"structure": order[-each:], "texture": order[:each]}

    from metasr.figures.maps import map_distance

    jobs = train(seeds, choices)
    shown = {name: images[name] for names in kinds.values() for name in names[:2]}
    maps = {key: weight_maps(job, shown) for key, job in jobs.items()}

    def distances(pairs: Iterable[tuple[tuple[str, str], tuple[str, str]]]) -> tuple[float, float]:
        every = [map_distance(maps[a][name], maps[b][name]) for a, b in pairs for name in shown]
        return statistics.fmean(d.total_variation for d in every), statistics.fmean(d.rank for d in every)

    between = distances([(("structure", s), ("texture", s)) for s in seeds])
    print(f"\nweight maps of {', '.join(shown)}: mean distance (total variation, 1 - rank correlation)")
    print(f"  structure against texture, same seed   {between[0]:.4f}  {between[1]:.4f}")
    if len(seeds) > 1:
        within = distances([((m, a), (m, b)) for m in SETS for a, b in itertools.combinations(seeds, 2)])
        print(f"  same set, two seeds                    {within[0]:.4f}  {within[1]:.4f}")

    psnr: dict[tuple[str, str], dict[str, float]] = {}
    for key, job in jobs.items():
        psnr[key] = {image: float(row["psnr_y"]) for image, row in scores(job).items()}
    print(f"\nPSNR on Y in dB, mean over {each} images of each kind, ± over {len(seeds)} seeds")
    print(f"{'learned from':>14} {'on structure':>16} {'on texture':>16}")
    means = {
        (m, kind): [statistics.fmean(psnr[m, s][name] for name in names) for s in seeds]
        for m in SETS
        for kind, names in kinds.items()
    }
    for m in SETS:
        cells = (means[m, kind] for kind in kinds)
        text = (f"{statistics.fmean(c):.3f} ± {statistics.stdev(c) if len(c) > 1 else 0:.3f}" for c in cells)
        print(f"{m:>14} {' '.join(f'{t:>16}' for t in text)}")
    for kind in kinds:
        other = SETS[1 - SETS.index(kind)]
        gains = [a - b for a, b in zip(means[kind, kind], means[other, kind], strict=True)]
        spread = statistics.stdev(gains) if len(gains) > 1 else 0
        print(f"on {kind}, learned from {kind} rather than {other}: {statistics.fmean(gains):+.3f} ± {spread:.3f} dB")


if __name__ == "__main__":
    sys.exit(status_of(main))
