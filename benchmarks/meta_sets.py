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
import csv
import itertools
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
SETS = ("structure", "texture")


def coherence(grey) -> float:
    """Mean orientation coherence of a picture's structure tensor, weighted by gradient energy; 0 to 1."""
    import torch
    from kornia.filters import gaussian_blur2d, spatial_gradient

    gradient = spatial_gradient(grey, mode="diff")[:, 0]  # (1, 2, H, W)
    dx, dy = gradient[:, :1], gradient[:, 1:]
    xx, yy, xy = (gaussian_blur2d(p, (13, 13), (2.0, 2.0)) for p in (dx * dx, dy * dy, dx * dy))
    energy = xx + yy
    strength = torch.sqrt((xx - yy) ** 2 + 4 * xy**2)
    return float(strength.sum() / energy.sum().clamp_min(1e-12))


def train(options: argparse.Namespace) -> list[Path]:
    """The finished jobs' folders of the sweep."""
    outputs = Path(os.environ.get("METASR_OUTPUTS", PROJECT / "outputs"))
    command = [
        sys.executable, "src/run.py", "-m", "+experiment=weightnet_x2", f"meta_set={','.join(SETS)}",
        f"seed={options.seeds}", "sweep_name=meta_sets", f"testset={options.testset}", *options.choices,
    ]  # fmt: skip
    if options.root:
        command.append(f"testset_root={Path(options.root).resolve()}")
    subprocess.run(command, cwd=PROJECT, check=True, env={**os.environ, "METASR_OUTPUTS": str(outputs)})
    sweeps = (outputs / "weightnet_x2" / "sweeps").glob("meta_sets-*")
    newest = max(sweeps, key=lambda folder: (folder / "sweep.csv").stat().st_mtime)
    return sorted(p.parent for p in newest.glob("*/table_images.csv"))


def choice(folder: Path, key: str) -> str:
    """The value of a choice of a job."""
    overrides = json.loads((folder / "job.json").read_text(encoding="utf-8"))["overrides"]
    return next(o.partition("=")[2] for o in overrides if o.partition("=")[0] == key)


def weight_maps(folder: Path, images: dict) -> dict:
    """The weight map that a job's Weight-Net gives each image."""
    from hydra import compose, initialize_config_dir

    from metasr.degradation.names import parse
    from metasr.experiment import build
    from metasr.experiment.run_folder import register_resolvers
    from metasr.experiment.schema import register
    from metasr.experiment.weights import from_run

    register()
    register_resolvers()
    overrides = json.loads((folder / "job.json").read_text(encoding="utf-8"))["overrides"]
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        cfg = compose("config", overrides=overrides)
    recipe = build.recipe(cfg, "weighted")
    recipe.restore(from_run(folder).state, origin=folder.name)
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

    from metasr.data.catalog import image_set
    from metasr.report.weight_maps import map_distance

    found = image_set(options.testset, split="test", root=options.root)
    pictures = {name: found.load(i)[None] for i, name in enumerate(found.names)}
    pictures = {n: p[..., : p.shape[-2] // 2 * 2, : p.shape[-1] // 2 * 2] for n, p in pictures.items()}
    order = sorted(pictures, key=lambda name: coherence(pictures[name].mean(1, keepdim=True)))
    each = min(options.each, len(order) // 2)
    kinds = {"structure": order[-each:], "texture": order[:each]}

    jobs = {(choice(f, "meta_set"), choice(f, "seed")): f for f in train(options)}
    seeds = sorted({seed for _, seed in jobs})
    shown = {name: pictures[name] for names in kinds.values() for name in names[:2]}
    maps = {key: weight_maps(folder, shown) for key, folder in jobs.items()}

    def distances(pairs) -> tuple[float, float]:
        every = [map_distance(maps[a][name], maps[b][name]) for a, b in pairs for name in shown]
        return statistics.fmean(d.total_variation for d in every), statistics.fmean(d.rank for d in every)

    between = distances([(("structure", s), ("texture", s)) for s in seeds])
    print(f"\nweight maps of {', '.join(shown)}: mean distance (total variation, 1 - rank correlation)")
    print(f"  structure against texture, same seed   {between[0]:.4f}  {between[1]:.4f}")
    if len(seeds) > 1:
        within = distances([((m, a), (m, b)) for m in SETS for a, b in itertools.combinations(seeds, 2)])
        print(f"  same set, two seeds                    {within[0]:.4f}  {within[1]:.4f}")

    psnr: dict[tuple[str, str], dict[str, float]] = {}
    for key, folder in jobs.items():
        with (folder / "table_images.csv").open(encoding="utf-8", newline="") as file:
            rows = [r for r in csv.DictReader(file) if r["weights"] == "run"]
        psnr[key] = {r["image"]: float(r["psnr_y"]) for r in rows}
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
    main()
