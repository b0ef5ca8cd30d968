"""Activation maps of MAML-SR's coarse levels for the variants of its ablation, as in the paper's third figure.

    python benchmarks/activation_maps.py SWEEP_FOLDER [--output activation_maps.png] [--seed 1] [--image astronaut]

SWEEP_FOLDER is what ``python src/run.py -m +experiment=maml_sr_x2 +sweep=maml_sr_ablation`` writes. One row per variant
(neither, deep supervision alone, both): the output, and the mean magnitude of the features at 1/8, 1/4 and 1/2 of
its size.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from commands import composed, finished_jobs, folder
from metasr.config.command_line import status_of
from metasr.errors import InputError, nearest

if TYPE_CHECKING:
    from metasr.report.sweep_table import Job

VARIANTS = {"neither": "neither", "supervision": "deep supervision", "both": "with attention"}
LEVELS = ("activation 1/8", "activation 1/4", "activation 1/2")


def job_of(jobs: list[Job], variant: str, seed: str) -> Job:
    """A finished job of a variant.

    Raises:
        InputError: if there is none.
    """
    wanted = {f"+ablation=maml_sr_{variant}", f"seed={seed}"}
    for job in jobs:
        if wanted <= set(job.overrides):
            return job
    raise InputError(
        f"the sweep has no finished run of {' '.join(sorted(wanted))}; run it first: python src/run.py -m "
        "+experiment=maml_sr_x2 +sweep=maml_sr_ablation"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--output", type=Path, default=Path("activation_maps.png"))
    parser.add_argument("--seed", default="1")
    parser.add_argument("--image", default="astronaut", help="an embedded test image")
    options = parser.parse_args()
    sweep = folder(options.sweep, what="the folder of a sweep with +sweep=maml_sr_ablation")
    found = finished_jobs(sweep)
    jobs = {variant: job_of(found, variant, options.seed) for variant in VARIANTS}

    from metasr.config import build
    from metasr.data.catalog import image_set
    from metasr.degradation.names import parse
    from metasr.figures.maps import draw_maps
    from metasr.io.images import check_output
    from metasr.runs.weights import from_run

    check_output(options.output, overwrite=True)
    images = image_set("samples", split="test")
    if options.image not in images.names:
        raise InputError(f"no embedded test image {options.image!r}: {nearest(options.image, images.names)}")
    hr = images.load(images.names.index(options.image))[None]
    shown = {}
    for variant, job in jobs.items():
        cfg = composed(job.overrides)
        recipe = build.recipe(cfg, "maml_sr")
        recipe.restore(from_run(sweep / job.folder).state, origin=job.folder)
        degradation = parse("area", scale=cfg.scale)
        maps = recipe.eval().maps(degradation(hr), hr, degradation)
        shown[f"{VARIANTS[variant]}: output"] = maps["output"]
        shown |= {f"{VARIANTS[variant]}: {level.removeprefix('activation ')}": maps[level] for level in LEVELS}
    print(draw_maps(shown, options.output, title=f"{options.image}, area, seed {options.seed}"))


if __name__ == "__main__":
    sys.exit(status_of(main))
