"""What weighting or choosing by reward is worth beside equal weights, at equal steps from the same start.

    python benchmarks/weighting.py [--meta structure,line_art,text,aerial] [--ways error,similarity,none+choose]
        [--seeds 1,2,3] [--testset b100 --root FOLDER] [--init WEIGHTS] [--write docs/results.md] [KEY=VALUE ...]

Pretrains ``weightnet_x2`` once for each seed (``--init`` begins all with given weights instead), then trains every way
of the loss from there. A way is a reward (none, error, similarity, meta_gradient); with ``+choose`` the patches are
chosen by the similarity of gradients too. Tested is on the meta-data set's own kind (``line_art``, ``text`` and
``aerial`` have test pictures of their own), else on the embedded test photographs, or on ``--testset``; for
``structure`` also on the quarter of the images that has the strongest structure, told by the pictures alone.

Prints a Markdown table for each meta-data set: mean ± standard deviation over seeds, and the difference to ``none`` of
the same seed. A rerun finds what is finished. With ``--write`` the tables replace what stands between the two marks
``<!-- weighting -->`` and ``<!-- /weighting -->`` of a file.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from commands import composed, folder, marked, pictures, replaced, require_free, scores, seeds_of, swept
from meta_sets import coherence
from metasr.config.command_line import status_of
from metasr.errors import InputError

EXPERIMENT = "weightnet_x2"
FOREIGN = ("line_art", "text", "aerial")
METAS = ("structure", "texture", *FOREIGN)
REWARDS = ("none", "error", "similarity", "meta_gradient")
WAYS = (*REWARDS, *(f"{reward}+choose" for reward in REWARDS))
DEFAULT = (*REWARDS, "none+choose")
METRICS = {"psnr_y": ".3f", "ssim_y": ".4f", "hf_error_y": ".3f"}
REWARD, SAMPLING = "stages.weighted.recipe.reward", "stages.weighted.recipe.sampling"
OURS = (
    "experiment", "sweep", "sweep_name", "meta_set", "seed", "testset", "testset_root", "degradations", "task", "run",
    "init", "stages_to_run", REWARD, SAMPLING,
)  # fmt: skip


def some_of(text: str, known: Sequence[str], *, option: str) -> list[str]:
    """The words of an option, each once.

    Raises:
        InputError: naming one that is not known.
    """
    words = list(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in words:
        if word not in known:
            raise InputError(f"{option} takes some of {', '.join(known)} with commas between, got {word!r}")
    return words


def tested_on(meta: str, options: argparse.Namespace) -> list[str]:
    """The choices that say which images one meta-data set's jobs are tested on."""
    from metasr.runs.folder import quoted

    name = options.testset or (meta if meta in FOREIGN else "samples")
    root = folder(options.root, what="the one that holds the test set as --root") if options.root else None
    return [f"testset={quoted(name)}", *([f"testset_root={quoted(str(root))}"] if root else [])]


def groups(meta: str, choices: Sequence[str]) -> dict[str, list[str]]:
    """Names of the images whose means are told, by the group's title.

    Raises:
        InputError: if there are too few images for a quarter, or a choice is none.
    """
    quarter = meta == "structure"
    why = "the quarter of strongest structure needs four images" if quarter else "a test set needs an image"
    images = pictures([f"+experiment={EXPERIMENT}", f"meta_set={meta}", *choices], least=4 if quarter else 1, why=why)
    found = {f"all {len(images)} images" if len(images) > 1 else "the image": list(images)}
    if quarter:
        order = sorted(images, key=lambda name: -coherence(images[name].mean(1, keepdim=True)))
        found["the quarter of strongest structure"] = order[: len(images) // 4]
    return found


def pretrained(seeds: Sequence[str], choices: Sequence[str]) -> str:
    """Pretrain once for each seed; what ``init`` is for the jobs of all seeds.

    Raises:
        InputError: if a seed's pretraining is not finished.
    """
    own = ("stages.weighted", "max_images")  # what pretraining does not depend on
    typed = [
        f"+experiment={EXPERIMENT}", "sweep_name=weighting_pretrain", "stages_to_run=[pretrain]", "testset=samples",
        f"seed=choice({','.join(seeds)})", *(c for c in choices if not c.startswith(own)), "max_images=1",
        "hydra.sweep.subdir=seed_${seed}",
    ]  # fmt: skip
    found = {values["seed"]: job for values, job in swept(typed, experiment=EXPERIMENT, sweep="weighting_pretrain")}
    for seed in seeds:
        if seed not in found:
            raise InputError(f"the pretraining of seed={seed} is not finished; run this again")
    return str(found[seeds[0]].parent / "seed_${seed}")


def trained(
    meta: str, ways: Sequence[str], seeds: Sequence[str], choices: Sequence[str], *, init: str
) -> dict[tuple[str, str], Path]:
    """The finished jobs' folders by way and seed.

    Raises:
        InputError: if a job is not finished.
    """
    from metasr.runs.folder import quoted

    found = {}
    for sampling in ("none", "choose"):
        rewards = [way.removesuffix("+choose") for way in ways if way.endswith("+choose") == (sampling == "choose")]
        if not rewards:
            continue
        typed = [
            f"+experiment={EXPERIMENT}", "sweep_name=weighting", "stages_to_run=[weighted]", f"init={quoted(init)}",
            f"meta_set={meta}", f"{SAMPLING}={sampling}", f"{REWARD}=choice({','.join(rewards)})",
            f"seed=choice({','.join(seeds)})", *choices,
        ]  # fmt: skip
        for values, job in swept(typed, experiment=EXPERIMENT, sweep="weighting"):
            way = values[REWARD] + ("+choose" if sampling == "choose" else "")
            found[way, values["seed"]] = job
    wanted = [(way, seed) for way in ways for seed in seeds]
    for way, seed in wanted:
        if (way, seed) not in found:
            raise InputError(f"the sweep has no finished job of {way} with seed={seed}; run this again")
    return {key: found[key] for key in wanted}


def means(jobs: dict[tuple[str, str], Path], images: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """By way and metric the means over images, one for each seed."""
    values: dict[str, dict[str, list[float]]] = {}
    for (way, _), job in jobs.items():
        rows = scores(job)
        for metric in METRICS:
            mean = statistics.fmean(float(rows[image][metric]) for image in images)
            values.setdefault(way, {}).setdefault(metric, []).append(mean)
    return values


def verdict(gains: Sequence[float]) -> str:
    """Whether the differences to ``none``, one for each seed, have a mean beyond their standard deviation."""
    if len(gains) < 2:
        return "one seed tells no spread"
    mean = statistics.fmean(gains)
    if abs(mean) <= statistics.stdev(gains):
        return "not beyond the spread"
    return f"{'ahead' if mean > 0 else 'behind'} by more than the spread"


def table(title: str, values: dict[str, dict[str, list[float]]]) -> str:
    """One group of images in Markdown.

    Args:
        title: of the group.
        values: as ``means`` gives them, those of ``none`` among them.
    """
    lines = [
        f"| {title} | PSNR | SSIM | high-frequency error | PSNR less that of `none` | verdict |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for way, of_metric in values.items():
        cells = [f"`{way}`", *(spread(of_metric[metric], form) for metric, form in METRICS.items())]
        if way == "none":
            cells += ["", ""]
        else:
            gains = [a - b for a, b in zip(of_metric["psnr_y"], values["none"]["psnr_y"], strict=True)]
            cells += [spread(gains, "+.3f"), verdict(gains)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: Sequence[float], form: str) -> str:
    """Mean and standard deviation; of one value the value alone."""
    mean = f"{statistics.fmean(values):{form}}"
    return f"{mean} ± {statistics.stdev(values):{form.lstrip('+')}}" if len(values) > 1 else mean


def heading(meta: str, seeds: Sequence[str], choices: Sequence[str], *, init: str | None) -> str:
    """What a table was made with, in one line."""
    cfg = composed([c for c in choices if not c.startswith(("hydra.", "hydra/"))])
    start = f"from `{init}`" if init else f"after {cfg.stages.pretrain.steps} of pretraining"
    return (
        f"Meta-data set `{meta}`, tested on `{cfg.testset}`, profile {cfg.profile_name}: {cfg.stages.weighted.steps} "
        f"steps {start}, seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}:"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meta", default="structure", help=f"some of {', '.join(METAS)}")
    parser.add_argument("--ways", default=",".join(DEFAULT), help="rewards, or REWARD+choose; none is always there")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--testset", help="a known set or a folder, instead of the meta-data set's own kind")
    parser.add_argument("--root", help="the folder that holds the test set")
    parser.add_argument("--init", help="weights that all begin with, such as released/NAME, instead of pretraining")
    parser.add_argument("--write", type=Path, help="a file with the two marks")
    parser.add_argument("choices", nargs="*", help="further choices, as KEY=VALUE")
    options = parser.parse_args()

    metas = some_of(options.meta, METAS, option="--meta")
    ways = list(dict.fromkeys(["none", *some_of(options.ways, WAYS, option="--ways")]))
    seeds = seeds_of(options.seeds)
    if options.root and not options.testset:
        raise InputError("--root says where a test set lies; name it by --testset")
    require_free(options.choices, ours=OURS)
    document = marked(options.write, mark="weighting")
    tested = {meta: [*tested_on(meta, options), *options.choices] for meta in metas}
    named = {meta: groups(meta, choices) for meta, choices in tested.items()}

    init = options.init or pretrained(seeds, options.choices)
    tables = []
    for meta, choices in tested.items():
        jobs = trained(meta, ways, seeds, choices, init=init)
        head = heading(meta, seeds, [f"+experiment={EXPERIMENT}", *choices], init=options.init)
        tables.append("\n\n".join([head, *(table(title, means(jobs, names)) for title, names in named[meta].items())]))
        print(f"\n{tables[-1]}", flush=True)
    if document is not None:
        options.write.write_text(replaced(document, "\n\n".join(tables), mark="weighting"), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(status_of(main))
