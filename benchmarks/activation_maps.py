"""Activation maps of MAML-SR's coarse levels for the variants of its ablation, as in the paper's third figure.

    python benchmarks/activation_maps.py SWEEP_FOLDER [--output activation_maps.png] [--seed 1] [--image astronaut]

SWEEP_FOLDER is what ``python src/run.py -m +experiment=maml_sr_x2 +sweep=maml_sr_ablation`` writes. One row per variant
(neither, deep supervision alone, both): the output, and the mean magnitude of the features at 1/8, 1/4 and 1/2 of
its size.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
VARIANTS = {"neither": "neither", "supervision": "deep supervision", "both": "with attention"}
LEVELS = ("activation 1/8", "activation 1/4", "activation 1/2")


def job_of(sweep: Path, variant: str, seed: str) -> tuple[Path, list[str]]:
    """A finished job's folder and choices."""
    for card in sorted(sweep.glob("*/job.json")):
        found = json.loads(card.read_text(encoding="utf-8"))
        choices = found.get("overrides", [])
        if {f"+ablation=maml_sr_{variant}", f"seed={seed}"} <= set(choices) and found.get("status") == "finished":
            return card.parent, choices
    raise SystemExit(
        f"{sweep} has no finished run of +ablation=maml_sr_{variant} with seed={seed}; run the sweep first"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--output", type=Path, default=Path("activation_maps.png"))
    parser.add_argument("--seed", default="1")
    parser.add_argument("--image", default="astronaut", help="an embedded test image")
    options = parser.parse_args()
    jobs = {variant: job_of(options.sweep, variant, options.seed) for variant in VARIANTS}

    from hydra import compose, initialize_config_dir

    from metasr.data.catalog import image_set
    from metasr.degradation.names import parse
    from metasr.experiment import build
    from metasr.experiment.run_folder import register_resolvers
    from metasr.experiment.schema import register
    from metasr.experiment.weights import from_run
    from metasr.report.weight_maps import draw_maps

    register()
    register_resolvers()
    images = image_set("samples", split="test")
    if options.image not in images.names:
        raise SystemExit(f"no embedded test image {options.image!r}; there are {', '.join(images.names)}")
    hr = images.load(images.names.index(options.image))[None]
    shown = {}
    for variant, (folder, choices) in jobs.items():
        with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
            cfg = compose("config", overrides=choices)
        recipe = build.recipe(cfg, "maml_sr")
        recipe.restore(from_run(folder).state, origin=folder.name)
        degradation = parse("area", scale=cfg.scale)
        maps = recipe.eval().maps(degradation(hr), hr, degradation)
        shown[f"{VARIANTS[variant]}: output"] = maps["output"]
        shown |= {f"{VARIANTS[variant]}: {level.removeprefix('activation ')}": maps[level] for level in LEVELS}
    print(draw_maps(shown, options.output, title=f"{options.image}, area, seed {options.seed}"))


if __name__ == "__main__":
    main()
