"""What MRDA claims, judged by a run and its controls: one row each, with those that fail and those not run.

    python benchmarks/mrda_claims.py RUN_FOLDER [CONTROL_RUN ...] [--images FOLDER] [--max N]

RUN_FOLDER is what ``python src/run.py +experiment=mrda_x4_iso`` (or mrda_x4_aniso_noise, kdsr_...) writes; controls are
runs of the same with ``+ablation=mrda_bicubic_only`` (rows A2, A3), ``mrda_no_distillation`` (A6, with runs of other
seeds for its spread), ``mrda_joint`` (told in A7) and ``mrda_mln_never_reset`` (A9); each is known by its cards, in
any order. Images are the embedded test images, or those of a folder. Thresholds are proposals for
training on a small budget, well inside the published gaps, and were set before anything was measured. A10, the cost, is
``benchmarks/mrda_speed.py``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from commands import at_least, folder
from metasr.errors import InputError
from metasr.experiment.cli_checks import status_of

if TYPE_CHECKING:
    from metasr.data.catalog import ImageSet
    from metasr.report.claims import Claim, Scores

LEVELS = (0, 10, 20)


def runs_by_kind(run: Path, controls: list[Path]) -> dict[str, list[Path]]:
    """The controls by what they are.

    Raises:
        InputError: if the run itself is no chain with a student, or a control none that is known.
    """
    from metasr.experiment.blind_runs import kind_of

    if kind_of(run) != "student":
        raise InputError(f"{run} is no run of a whole chain ending in a student; give one, and controls after it")
    found: dict[str, list[Path]] = {}
    for control in controls:
        kind = kind_of(control)
        if kind == "other":
            raise InputError(f"{control} is none of the controls; give runs of +ablation=mrda_...: see --help")
        found.setdefault(kind, []).append(control)
    return found


def judge(run: Path, controls: dict[str, list[Path]], images: ImageSet, *, piece: int, draws: int) -> list[Claim]:
    """All rows."""
    from metasr.degradation.names import expand
    from metasr.experiment.blind_runs import blind_network, feed_forward, score, ways_of
    from metasr.experiment.stage_networks import finished_stages, stage_config
    from metasr.report import claims
    from metasr.report.claims import Scores

    scale = blind_network(run).scale
    cfg = stage_config(finished_stages(run)["student"])
    kernels = expand(["gaussian8"], scale)
    has_noise = cfg.stages.student.sampler.degradations.noise_std[1] > 0
    noisy = [expand([f"mrda9-estimated_n{n}" if n else "mrda9-estimated"], scale) for n in LEVELS] if has_noise else []
    scores = Scores()
    score(images, [*kernels, "bicubic"], ways_of(run), scale=scale, seed=cfg.seed, into=scores)
    ways = {
        f"{kind} {i}": feed_forward(blind_network(path))
        for kind, paths in controls.items() if kind != "joint"
        for i, path in enumerate(paths)
    }  # fmt: skip
    score(images, [*kernels, "bicubic"], ways, scale=scale, seed=cfg.seed, into=scores)
    for level in noisy:
        names = [name for name in level if ("student", name, images.names[0]) not in scores.values]
        score(images, names, {"student": ways_of(run)["student"]}, scale=scale, seed=cfg.seed, into=scores)
    print_scores(scores, [*kernels, "bicubic"])

    rows = [claims.blind_beats_bicubic(scores, kernels)]
    if "bicubic_only" in controls:
        rows.append(claims.blind_beats_non_blind(scores, kernels, control="bicubic_only 0"))
        rows.append(claims.non_blind_barely_beats_bicubic(scores, kernels, control="bicubic_only 0"))
    else:
        missing = "needs a run of +ablation=mrda_bicubic_only"
        rows.append(claims.not_run("A2", "blind beats non-blind of the same size", missing))
        rows.append(claims.not_run("A3", "non-blind barely beats bicubic interpolation", missing))
    rows.append(claims.student_close_to_teacher(scores, kernels))
    rows.append(judge_vector(run, images, kernels, piece=piece, seed=cfg.seed))
    means = {way: scores.mean(way, kernels) for way in scores.ways()}
    others = [means[w] for w in means if w.startswith("student ")]
    without = [means[w] for w in means if w.startswith("no_distillation ")]
    if without:
        rows.append(claims.distillation_helps([means["student"], *others], without))
    else:
        rows.append(claims.not_run("A6", "distillation helps", "needs runs of +ablation=mrda_no_distillation"))
    rows.append(judge_adaptation(run, controls.get("joint", []), images, draws=draws, seed=cfg.seed))
    rows.append(claims.monotone_in_degradation(scores, kernels, noisy))
    never = [means[w] for w in means if w.startswith("never_reset ")]
    if never:
        rows.append(claims.reset_matters(means["student"], never))
    elif "meta_transfer" in finished_stages(run):
        missing = "needs a run of +ablation=mrda_mln_never_reset"
        rows.append(claims.not_run("A9", "the MLN starts anew from batch to batch", missing))
    return rows


def print_scores(scores: Scores, degradations: list[str]) -> None:
    """PSNR by way and degradation."""
    width = max(10, *(len(name) + 1 for name in degradations))
    print("\nPSNR on Y in dB, means over images\n" + " " * 22 + "".join(f"{name:>{width}}" for name in degradations))
    for way in scores.ways():
        print(f"{way:<22}" + "".join(f"{scores.mean(way, [name]):{width}.2f}" for name in degradations))
    print(flush=True)


def judge_vector(run: Path, images: ImageSet, kernels: list[str], *, piece: int, seed: int) -> Claim:
    """A5."""
    from metasr.experiment.blind_runs import blind_network
    from metasr.experiment.vector_study import pieces, probe_widths, swap_vectors, widths
    from metasr.report.claims import vector_carries_degradation

    student = blind_network(run)
    photos = pieces(images, size=piece - piece % student.scale)
    read = {"student": lambda lr, hr: student.vector(lr)}
    probes, _ = probe_widths(photos, widths(student.scale), read, scale=student.scale, seed=seed)
    ends = (kernels[0], kernels[-1])
    cost = swap_vectors(student, photos, ends, scale=student.scale, seed=seed).cost[0, 1].item()
    found = probes["student"]
    return vector_carries_degradation(r2=found.r2, rank=found.rank_correlation, swap_cost=cost, ends=ends)


def judge_adaptation(run: Path, joint: list[Path], images: ImageSet, *, draws: int, seed: int) -> Claim:
    """A7."""
    from metasr.experiment.adaptation_study import adaptation_curves, gains, study_widths
    from metasr.experiment.stage_networks import finished_stages, trained_recipe
    from metasr.meta.oracle import AdaptedFeatures
    from metasr.models.mln import MLN
    from metasr.recipes.teacher import Teacher
    from metasr.report.claims import meta_training_helps, not_run

    if not {"pretrain", "meta_transfer"} <= set(finished_stages(run)):
        return not_run("A7", "meta-training makes adaptation work", "this run has no MLN")
    paths = {"pretrained": (run, "pretrain"), "meta": (run, "meta_transfer")}
    paths |= {"joint": (joint[0], "meta_transfer")} if joint else {}
    networks = {name: trained_recipe(*place).model for name, place in paths.items()}
    starts = {name: network for name, network in networks.items() if isinstance(network, MLN)}
    teacher = trained_recipe(run, "teacher")
    assert isinstance(teacher, Teacher)
    view = teacher.observer.view
    assert isinstance(view, AdaptedFeatures)
    scale = starts["meta"].scale
    smallest = min(n for i in range(len(images)) for n in images.load(i).shape[-2:])
    points = adaptation_curves(
        starts, images, sigmas=study_widths(scale), rates=view.rates, draws=draws, patch_size=min(128, smallest),
        seed=seed,
    )  # fmt: skip
    found = {name: gains(points, start=name) for name in starts}
    return meta_training_helps(found["meta"], found["pretrained"], found.get("joint"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("controls", type=Path, nargs="*")
    parser.add_argument("--images", type=Path, help="a folder of HR photographs; the embedded test images by default")
    parser.add_argument("--max", type=int, help="so many of them at most")
    parser.add_argument("--piece", type=int, default=96, help="side in HR pixels of what vectors are probed on")
    parser.add_argument("--draws", type=int, default=4, help="batches of patches that the MLN is adapted to")
    options = parser.parse_args()
    at_least(options, max=3, piece=16, draws=1)
    run = folder(options.run, what="a run's")
    controls = runs_by_kind(run, [folder(path, what="a control run's") for path in options.controls])

    from metasr.data.catalog import ImageSet, image_set
    from metasr.data.images import list_images
    from metasr.experiment.blind_runs import told
    from metasr.report.claims import format_claims

    images = (
        ImageSet(options.images.name, "test", tuple(list_images(options.images)))
        if options.images
        else image_set("samples", split="test")
    ).subset(options.max)
    print(f"{told(run)}; {len(images)} images of {images.name}")
    for kind, paths in controls.items():
        for path in paths:
            print(f"  control {kind}: {told(path)}")
    print(format_claims(judge(run, controls, images, piece=options.piece, draws=options.draws)))


if __name__ == "__main__":
    sys.exit(status_of(main))
