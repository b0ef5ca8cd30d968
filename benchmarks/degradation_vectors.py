"""Whether a run's degradation vectors tell the degradation, and what the steps of its MLN do for other images.

    python benchmarks/degradation_vectors.py RUN_FOLDER [--images FOLDER] [--max N] [--joint RUN_FOLDER] [--out FOLDER]

RUN_FOLDER is what ``python src/run.py +experiment=mrda_x4_iso`` (or mrda_x4_aniso_noise, kdsr_...) writes. Photographs
are the embedded test images, or those of a folder; nothing is learned from them but the linear probe, which is always
asked of photographs that it was not fitted on. Printed, and written as CSV with pictures:

1. the probe: ridge regression of the blur's standard deviation from the vectors of square pieces (R², rank
   correlation), of the student's vector and of what it is to be compared with: the same network with random weights,
   and the teacher's (which looks at the HR image; with and without the adaptation of its MLN);
2. swapped vectors: what is lost in dB by enlarging a piece with the vector that the student gave the same piece blurred
   otherwise, with that of another photograph, and with the mean vector;
3. where the vectors lie in two dimensions, by width, and by the run's own test degradations;
4. for MRDA: PSNR on patches of other photographs after 0 to 5 SGD steps of the MLN, for the bicubic-pretrained, the
   meta-trained and, with --joint, a run of ``+ablation=mrda_joint``, with the loss by adapting to the wrong blur.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from commands import at_least, folder
from metasr.config.command_line import status_of

if TYPE_CHECKING:
    from metasr.data.catalog import ImageSet
    from metasr.models.blind import BlindSR
    from metasr.models.mln import MLN
    from mrda.vector_study import Photo, Reader, Swaps


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, whole or not at all; numbers to six digits."""
    from metasr.io.csv import format_csv
    from metasr.io.files import write_text

    write_text(path, format_csv(header, ([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in rows)))


def say(what: str) -> None:
    """Tell what is being done, beside the tables."""
    print(f"{what} ...", file=sys.stderr, flush=True)


def study_probe(photos: list[Photo], read: dict[str, Reader], *, scale: int, count: int, seed: int, out: Path) -> None:
    """The first part, and the picture by width."""
    from mrda.probe import project
    from mrda.vector_figures import projections
    from mrda.vector_study import probe_widths, widths

    sigmas = widths(scale, count=count)
    probes, vectors = probe_widths(photos, sigmas, read, scale=scale, seed=seed)
    print(f"\nprobe: standard deviation {sigmas[0]:g} to {sigmas[-1]:g} of {len(photos)} pieces, photographs held out")
    print(f"{'vector':<36} {'numbers':>7} {'R²':>7} {'rank':>7}")
    for name, found in probes.items():
        length = vectors.by_reader[name].shape[1]
        print(f"{name:<36} {length:7d} {found.r2:7.3f} {found.rank_correlation:7.3f}")
    write_csv(
        out / "probe.csv",
        ("vector", "image", "degradation", "told"),
        (
            (name, image, degradation, told)
            for name, found in probes.items()
            for image, degradation, told in zip(vectors.images, vectors.degradations, found.told.tolist(), strict=True)
        ),
    )
    shown = {n: project(vectors.by_reader[n]) for n in read if n in ("student", "teacher (oracle)")}
    by_name = {f"sig_{sigma:g}_b": sigma for sigma in sigmas}
    projections(shown, vectors.degradations, out / "vectors_by_width.png", widths=by_name)


def print_swaps(found: Swaps, names: list[str]) -> None:
    """The second part's table."""
    print("\nswapped vectors: loss in dB; rows the vector's degradation, columns the image's")
    width = max(8, *(len(name) + 1 for name in names))
    labels = [*names, "other photograph", "mean vector"]
    cost = [*found.cost.tolist(), *((found.matrix.diagonal() - v).tolist() for v in (found.other_image,
            found.mean_vector))]  # fmt: skip
    print(" " * 18 + "".join(f"{name:>{width}}" for name in names))
    for label, row in zip(labels, cost, strict=True):
        print(f"{label:<18}" + "".join(f"{value:{width}.2f}" for value in row))


def study_swaps(student: BlindSR, photos: list[Photo], names: list[str], *, scale: int, seed: int, out: Path) -> None:
    """The second part."""
    from mrda.vector_figures import swap_cost
    from mrda.vector_study import swap_vectors

    found = swap_vectors(student, photos, names, scale=scale, seed=seed)
    print_swaps(found, names)
    write_csv(
        out / "swapped.csv",
        ("vector", *names),
        [(n, *row) for n, row in zip(names, found.matrix.tolist(), strict=True)]
        + [("other photograph", *found.other_image.tolist()), ("mean vector", *found.mean_vector.tolist())],
    )
    swap_cost(found.cost, names, out / "swapped.png")


def study_adaptation(
    starts: dict[str, MLN], images: ImageSet, *, rates: Sequence[float], draws: int, patch: int, seed: int, out: Path
) -> None:
    """The fourth part."""
    from mrda.adaptation_study import adaptation_curves, gains, study_widths, wrong_cost
    from mrda.vector_figures import other_patch_curves

    scale = next(iter(starts.values())).scale
    sigmas = study_widths(scale)
    points = adaptation_curves(starts, images, sigmas=sigmas, rates=rates, draws=draws, patch_size=patch, seed=seed)
    low, high = sigmas[1], sigmas[3]
    print(f"\nadaptation: PSNR on patches of other photographs, before -> after steps of {', '.join(map(str, rates))}")
    print(f"{'start':<20}" + "".join(f"{f'sigma {s:g}':>24}" for s in sigmas))
    by = {(p.start, p.adapted_on, p.scored_on, p.steps): p.psnr_y for p in points}
    for name in starts:
        gain = gains(points, start=name)
        cells = (f"{by[name, s, s, 0]:.2f} -> {by[name, s, s, len(rates)]:.2f} ({gain[s]:+.2f})" for s in sigmas)
        print(f"{name:<20}" + "".join(f"{cell:>24}" for cell in cells))
    for name in starts:
        lost = wrong_cost(points, start=name, low=low, high=high)
        told = (f"adapted to {a:g}, scored on {b:g}: {v:+.3f} dB" for (a, b), v in lost.items())
        print(f"loss by the wrong blur, {name}: " + "; ".join(told))
    write_csv(
        out / "adaptation.csv",
        ("start", "adapted_on", "scored_on", "steps", "psnr_y"),
        ((p.start, p.adapted_on, p.scored_on, p.steps, p.psnr_y) for p in points),
    )
    curves, wrong = {}, {}
    for s in sigmas:
        panel = f"sigma {s:g}"
        curves[panel] = {n: [by[n, s, s, k] for k in range(len(rates) + 1)] for n in starts}
        other = {low: high, high: low}.get(s)
        if other is not None:
            lines = {f"{n}, adapted to the other of {low:g} and {high:g}": n for n in starts}
            curves[panel] |= {line: [by[n, other, s, k] for k in range(len(rates) + 1)] for line, n in lines.items()}
            wrong[panel] = lines
    other_patch_curves(curves, out / "adaptation.png", wrong=wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=Path, help="a folder of HR photographs; the embedded test images by default")
    parser.add_argument("--max", type=int, help="so many of them at most")
    parser.add_argument("--piece", type=int, default=96, help="side in HR pixels of what vectors are made of")
    parser.add_argument("--widths", type=int, default=12, help="how many widths the probe is asked of")
    parser.add_argument("--draws", type=int, default=4, help="batches of patches that the MLN is adapted to")
    parser.add_argument("--joint", type=Path, help="a run of +ablation=mrda_joint, for the curves")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="RUN_FOLDER/degradation_vectors by default")
    options = parser.parse_args()
    at_least(options, max=3, piece=16, widths=3, draws=1)
    run = folder(options.run, what="a run's")

    from metasr.data.catalog import ImageSet, image_set
    from metasr.degradation import names
    from metasr.io.images import list_images
    from metasr.models.blind import BlindSR
    from metasr.models.mln import MLN
    from metasr.models.teacher import AdaptedFeatures
    from metasr.recipes.teacher import Teacher
    from mrda.probe import project
    from mrda.stage_networks import finished_stages, stage_config, trained_recipe, untrained_recipe
    from mrda.vector_figures import projections
    from mrda.vector_study import pieces, read_vectors, readers

    images = (
        ImageSet(options.images.name, "test", tuple(list_images(options.images)))
        if options.images
        else image_set("samples", split="test")
    ).subset(options.max)
    out = options.out or run / "degradation_vectors"
    stages = finished_stages(run)
    student = trained_recipe(run, "student").model
    teacher = trained_recipe(run, "teacher")
    assert isinstance(student, BlindSR)
    assert isinstance(teacher, Teacher)
    oracle = teacher.oracle().eval()
    cfg, scale = stage_config(stages["student"]), student.scale
    photos = pieces(images, size=options.piece - options.piece % scale)
    print(
        f"{cfg.name}, {cfg.profile_name}, seed {cfg.seed}: {len(images)} photographs of {images.name}, "
        f"{len(photos)} pieces of {photos[0].hr.shape[-2]}x{photos[0].hr.shape[-1]}, x{scale}",
        flush=True,
    )
    untrained = untrained_recipe(run, "student", seed=cfg.seed + 1 + options.seed).model
    assert isinstance(untrained, BlindSR)
    read = readers(student, untrained=untrained, oracle=oracle)
    say("probing vectors for the width of the blur")
    study_probe(photos, read, scale=scale, count=options.widths, seed=options.seed, out=out)
    say("swapping vectors")
    study_swaps(student, photos, names.expand(["gaussian8"], scale), scale=scale, seed=options.seed, out=out)
    say("drawing vectors of the run's own test degradations")
    own = names.expand(cfg.degradations, scale)
    both = {name: read[name] for name in ("student", "teacher (oracle)")}
    vectors = read_vectors(photos, own, both, scale=scale, seed=options.seed)
    shown = {name: project(found) for name, found in vectors.by_reader.items()}
    projections(shown, vectors.degradations, out / "vectors_by_degradation.png")
    if isinstance(oracle.view, AdaptedFeatures):
        starts = {"bicubic-pretrained": trained_recipe(run, "pretrain"), "meta-trained": trained_recipe(
            run, "meta_transfer")}  # fmt: skip
        if options.joint:
            starts["jointly trained"] = trained_recipe(folder(options.joint, what="a run's as --joint"),
                                                       "meta_transfer")  # fmt: skip
        networks = {name: recipe.model for name, recipe in starts.items()}
        say(f"adapting {len(networks)} networks")
        learned = {name: network for name, network in networks.items() if isinstance(network, MLN)}
        study_adaptation(
            learned, images, rates=oracle.view.rates, draws=options.draws, patch=min(128, *(
                n for i in range(len(images)) for n in images.load(i).shape[-2:])), seed=options.seed, out=out,
        )  # fmt: skip
    print(f"\npictures and CSV files are in {out}")


if __name__ == "__main__":
    sys.exit(status_of(main))
