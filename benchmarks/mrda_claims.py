"""What MRDA claims, judged by a run and its controls: one row each, with those that fail and those not run.

    python benchmarks/mrda_claims.py RUN_FOLDER [CONTROL_RUN ...] [--images FOLDER] [--max N]

RUN_FOLDER is what ``python src/run.py +experiment=mrda_x4_iso`` (or mrda_x4_aniso_noise, kdsr_...) writes; controls are
runs of the same with ``+ablation=mrda_bicubic_only`` (rows A2, A3), ``mrda_no_distillation`` (A6),
``mrda_random_vector`` (A6b), ``mrda_joint`` (told in A7) and ``mrda_mln_never_reset`` (A9), and runs of the very same
with other seeds, for the spread over runs; each is known by its cards, in any order, and must differ in nothing else.
Images are the embedded test images, or those of a folder. Thresholds are proposals for training on a small budget, well
inside the published gaps, and were set before anything was measured. A10, the cost, is ``benchmarks/mrda_speed.py``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from commands import at_least, folder
from metasr.config.command_line import status_of
from metasr.errors import InputError

if TYPE_CHECKING:
    from metasr.data.catalog import ImageSet
    from mrda.blind_runs import Kind
    from mrda.claims import Claim, Scores

LEVELS = (0, 10, 20)


def runs_by_kind(run: Path, controls: list[Path]) -> dict[Kind, list[Path]]:
    """The controls by what they are.

    Raises:
        InputError: if the run itself is no chain with a student, a control none that is known, or one of another run.
    """
    from mrda.blind_runs import kind_of, require_comparable

    if kind_of(run) != "student":
        raise InputError(f"{run} is no run of a whole chain ending in a student; give one, and controls after it")
    found: dict[Kind, list[Path]] = {}
    for control in controls:
        kind = kind_of(control)
        if kind == "other":
            raise InputError(f"{control} is none of the controls; give runs of +ablation=mrda_...: see --help")
        found.setdefault(kind, []).append(control)
    require_comparable(run, found)
    return found


def say(what: str) -> None:
    """Tell what is being done, beside the table."""
    print(f"{what} ...", file=sys.stderr, flush=True)


def judge(run: Path, controls: dict[Kind, list[Path]], images: ImageSet, *, piece: int, draws: int) -> list[Claim]:
    """All rows."""
    from omegaconf import OmegaConf

    from metasr.degradation.names import expand
    from metasr.runs.architecture import make_protocol
    from mrda import claims
    from mrda.blind_runs import blind_network, feed_forward, score, seed_of, ways_of
    from mrda.claims import Scores
    from mrda.stage_networks import finished_stages, stage_config

    scale = blind_network(run).scale
    cfg = stage_config(finished_stages(run)["student"])
    kernels = expand(["gaussian8"], scale)
    has_noise = cfg.stages.student.sampler.degradations.noise_std[1] > 0
    nine = "mrda9-estimated" if scale == 4 else "gaussian8"
    noisy = [expand([f"{nine}_n{n}" if n else nine], scale) for n in LEVELS] if has_noise else []
    told = OmegaConf.to_container(cfg.evaluation.protocol)
    scores, protocol = Scores(), make_protocol(told, origin=f"the card of {run}")
    runs = {"student": run} | {f"student {i}": path for i, path in enumerate(controls.get("student", []), start=2)}
    ways, pairs = {}, {}
    for name, path in runs.items():
        own = ways_of(path)
        pairs[name] = f"teacher (oracle){name.removeprefix('student')}"
        ways |= {"bicubic": own["bicubic"], name: own["student"], pairs[name]: own["teacher (oracle)"]}
    of = {kind: {f"{kind} {i}": path for i, path in enumerate(paths)} for kind, paths in controls.items()}
    for kind in ("bicubic_only", "no_distillation", "random_vector", "never_reset"):
        ways |= {name: feed_forward(blind_network(path)) for name, path in of.get(kind, {}).items()}
    say(f"scoring {len(ways)} ways of {len(images)} images by {len(kernels) + 1} degradations")
    score(images, [*kernels, "bicubic"], ways, scale=scale, seed=cfg.seed, into=scores, protocol=protocol)
    for level in noisy:
        names = [name for name in level if ("student", name, images.names[0]) not in scores.values]
        say(f"scoring {len(runs)} students by {len(names)} more degradations")
        students = {name: ways[name] for name in runs}
        score(images, names, students, scale=scale, seed=cfg.seed, into=scores, protocol=protocol)
    print_scores(scores, [*kernels, "bicubic"])

    rows = [claims.blind_beats_bicubic(scores, kernels, students=list(runs))]
    non_blind = list(of.get("bicubic_only", {}))
    if non_blind:
        rows.append(claims.blind_beats_non_blind(scores, kernels, controls=non_blind, students=list(runs)))
        rows.append(claims.non_blind_barely_beats_bicubic(scores, kernels, controls=non_blind))
    else:
        missing = "needs a run of +ablation=mrda_bicubic_only"
        rows.append(claims.not_run("A2", "blind beats non-blind of the same size", missing))
        rows.append(claims.not_run("A3", "non-blind barely beats bicubic interpolation", missing))
    rows.append(claims.student_close_to_teacher(scores, kernels, pairs=pairs))
    rows.append(judge_vector(list(runs.values()), images, kernels, piece=piece, seed=cfg.seed))
    means = {way: scores.mean(way, kernels) for way in scores.ways()}
    for name, kind, claim in (
        ("A6", "no_distillation", "distillation helps"),
        ("A6b", "random_vector", "and a random encoder's vector does not do"),
    ):
        without = [means[way] for way in of.get(kind, {})]
        if without:
            rows.append(claims.distillation_helps([means[w] for w in runs], without, name=name, claim=claim))
        else:
            rows.append(claims.not_run(name, claim, f"needs runs of +ablation=mrda_{kind}"))
    rows.append(judge_adaptation(list(runs.values()), controls.get("joint", []), images, draws=draws, seed=cfg.seed))
    rows.append(claims.monotone_in_degradation(scores, kernels, noisy, students=list(runs)))
    never = {seed_of(path): means[name] for name, path in of.get("never_reset", {}).items()}
    if never:
        rows.append(claims.reset_matters({seed_of(path): means[name] for name, path in runs.items()}, never))
    elif "meta_transfer" in finished_stages(run):
        missing = "needs a run of +ablation=mrda_mln_never_reset"
        rows.append(claims.not_run("A9", "the MLN starts anew from batch to batch", missing))
    rows.append(claims.not_run("A10", "a student takes one forward pass", "see benchmarks/mrda_speed.py"))
    return rows


def print_scores(scores: Scores, degradations: list[str]) -> None:
    """PSNR by way and degradation."""
    width = max(10, *(len(name) + 1 for name in degradations))
    print("\nPSNR on Y in dB, means over images\n" + " " * 22 + "".join(f"{name:>{width}}" for name in degradations))
    for way in scores.ways():
        print(f"{way:<22}" + "".join(f"{scores.mean(way, [name]):{width}.2f}" for name in degradations))
    print(flush=True)


def judge_vector(runs: list[Path], images: ImageSet, kernels: list[str], *, piece: int, seed: int) -> Claim:
    """A5."""
    from mrda.blind_runs import blind_network
    from mrda.claims import vector_carries_degradation
    from mrda.vector_study import pieces, probe_widths, swap_vectors, widths

    students = [blind_network(run) for run in runs]
    scale = students[0].scale
    photos = pieces(images, size=piece - piece % scale)
    ends = (kernels[0], kernels[-1])
    say(f"probing and swapping vectors of {len(students)} students")
    read = {str(i): lambda lr, hr, student=student: student.vector(lr) for i, student in enumerate(students)}
    probes, _ = probe_widths(photos, widths(scale), read, scale=scale, seed=seed)
    costs = [swap_vectors(s, photos, ends, scale=scale, seed=seed).cost[0, 1].item() for s in students]
    return vector_carries_degradation(
        r2=[p.r2 for p in probes.values()], rank=[p.rank_correlation for p in probes.values()], swap_cost=costs,
        ends=ends,
    )  # fmt: skip


def judge_adaptation(runs: list[Path], joint: list[Path], images: ImageSet, *, draws: int, seed: int) -> Claim:
    """A7: gains are means over the runs given."""
    from statistics import fmean

    from metasr.models.mln import MLN
    from metasr.models.teacher import AdaptedFeatures
    from metasr.recipes.teacher import Teacher
    from mrda.adaptation_study import adaptation_curves, gains, study_widths
    from mrda.claims import meta_training_helps, not_run
    from mrda.stage_networks import finished_stages, trained_recipe

    if not {"pretrain", "meta_transfer"} <= set(finished_stages(runs[0])):
        return not_run("A7", "meta-training makes adaptation work", "this run has no MLN")
    paths = {("pretrained", i): (run, "pretrain") for i, run in enumerate(runs)}
    paths |= {("meta", i): (run, "meta_transfer") for i, run in enumerate(runs)}
    paths |= {("joint", i): (run, "meta_transfer") for i, run in enumerate(joint)}
    networks = {name: trained_recipe(*place).model for name, place in paths.items()}
    starts = {f"{kind} {i}": network for (kind, i), network in networks.items() if isinstance(network, MLN)}
    teacher = trained_recipe(runs[0], "teacher")
    assert isinstance(teacher, Teacher)
    view = teacher.observer.view
    assert isinstance(view, AdaptedFeatures)
    scale = next(iter(starts.values())).scale
    smallest = min(n for i in range(len(images)) for n in images.load(i).shape[-2:])
    say(f"adapting {len(starts)} networks")
    points = adaptation_curves(
        starts, images, sigmas=study_widths(scale), rates=view.rates, draws=draws, patch_size=min(128, smallest),
        seed=seed,
    )  # fmt: skip
    found = {}
    for kind in ("pretrained", "meta", "joint"):
        each = [gains(points, start=name) for name in starts if name.startswith(f"{kind} ")]
        if each:
            found[kind] = {sigma: fmean(one[sigma] for one in each) for sigma in each[0]}
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
    from metasr.io.images import list_images
    from mrda.blind_runs import told
    from mrda.claims import format_claims

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
