"""Runs of a blind method and its controls: told apart by their configs, and scored on the same images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from metasr.data.catalog import ImageSet
from metasr.degradation.names import parse
from metasr.degradation.resize import imresize
from metasr.errors import InputError, told_of
from metasr.metrics.protocol import LumaProtocol
from metasr.models.blind import BlindSR
from metasr.recipes.base import Recipe
from metasr.recipes.pretrain import Pretrain
from metasr.recipes.student import Student
from metasr.recipes.teacher import Teacher
from metasr.runs.card import read_card
from metasr.seeds import generator_from
from metasr.training.ancestry import differences
from mrda.claims import Scores
from mrda.luma_psnr import luma_psnr
from mrda.stage_networks import finished_stages, stage_config, trained_recipe

Kind = Literal["student", "bicubic_only", "no_distillation", "random_vector", "joint", "never_reset", "other"]
_ABLATED: dict[Kind, tuple[str, ...]] = {
    "student": (),
    "bicubic_only": ("stages.pretrain.",),
    "no_distillation": ("stages.student.recipe.distill:", "stages.student.recipe.encoder_steps:"),
    "random_vector": tuple(f"stages.student.recipe.{key}:" for key in ("distill", "encoder_steps", "train_encoder")),
    "joint": ("stages.meta_transfer.",),
    "never_reset": ("stages.teacher.recipe.mln_reset:", "stages.student.recipe.mln_reset:"),
}
"""What each kind of control may differ in from the run that it is a control of, beside the seed."""
Way = Callable[[Tensor, Tensor], Tensor]
"""Of (LR, HR) an enlarged image; whoever looks at the HR image is called an oracle."""


def kind_of(run: Path) -> Kind:
    """What a run is in a comparison, by what its finished stages were trained as.

    Returns:
        ``student`` for a whole chain as published; ``bicubic_only`` for a blind network trained on one degradation;
        ``joint``, ``never_reset``, ``no_distillation`` and ``random_vector`` (that, and an encoder never trained) for a
        chain with that change; ``other`` for none of these.
    """
    recipes = {name: trained_recipe(run, name) for name in finished_stages(run)}
    student, teacher = recipes.get("student"), recipes.get("teacher")
    last = list(recipes.values())[-1]
    if isinstance(last, Pretrain) and isinstance(last.model, BlindSR):
        return "bicubic_only"
    if isinstance(student, Student) and student.distill == "none":
        return "no_distillation" if student.train_encoder else "random_vector"
    if isinstance(recipes.get("meta_transfer"), Pretrain):
        return "joint"
    if isinstance(teacher, Teacher) and teacher.observer.drift is not None:
        return "never_reset"
    return "student" if isinstance(student, Student) else "other"


def require_comparable(run: Path, controls: Mapping[Kind, Sequence[Path]]) -> None:
    """Require controls to differ from a run in what they are controls of, and in the seed, alone.

    Args:
        run: what they are compared with.
        controls: by kind.

    Raises:
        InputError: naming the control and the difference, or two runs of a kind that have one seed or are one.
    """
    own = _compared(run)
    taken: dict[tuple[Kind, int], Path] = {("student", _last_config(run).seed): run}
    places = {run.resolve(): run}
    for kind, paths in controls.items():
        for path in paths:
            if path.resolve() in places:
                raise InputError(f"{path} is given twice; give each run once")
            places[path.resolve()] = path
            found = differences(own, _compared(path))
            other = [d for d in found if not d.startswith(_ABLATED[kind])]
            if other:
                raise InputError(
                    f"{path} is no control ({kind}) of {run}: it differs in {'; '.join(other[:3])}"
                    f"{f' and {len(other) - 3} more' if len(other) > 3 else ''}; train it with the same choices"
                )
            seed = _last_config(path).seed
            if (kind, seed) in taken:
                raise InputError(
                    f"{path} and {taken[kind, seed]} are both {kind} of seed {seed}; give runs of different seeds"
                )
            taken[kind, seed] = path


def seed_of(run: Path) -> int:
    """The seed that a run was trained by."""
    return int(_last_config(run).seed)


def _last_config(run: Path) -> DictConfig:
    return stage_config(list(finished_stages(run).values())[-1])


def _compared(run: Path) -> dict[str, Any]:
    """What two runs must have in common to be compared."""
    folder = list(finished_stages(run).values())[-1]
    cfg, identity = stage_config(folder), read_card(folder).get("identity", {})
    stages = OmegaConf.to_container(cfg.stages, resolve=True)
    assert isinstance(stages, dict)
    for part in stages.values():
        for indifferent in ("checkpoint_every", "validation", "solver"):
            part.pop(indifferent, None)
    return {
        "experiment": cfg.name,
        "profile": cfg.profile_name,
        "data": {"name": cfg.data.name, **identity.get("data", {})},
        "scale": cfg.scale,
        "stages": stages,
        "trainer": identity.get("trainer", {}),
    }


def blind_network(run: Path) -> BlindSR:
    """The network of a run's last finished stage that enlarges an LR image alone."""
    recipe = trained_recipe(run, list(finished_stages(run))[-1])
    assert isinstance(recipe.model, BlindSR)
    return recipe.model


def feed_forward(network: nn.Module) -> Way:
    """A network that takes the LR image alone, as a way to enlarge."""
    return lambda lr, hr: network(lr)


def ways_of(run: Path) -> dict[str, Way]:
    """Bicubic interpolation, a run's student, and its teacher, which looks at the HR image."""
    student = trained_recipe(run, "student").model
    assert isinstance(student, BlindSR)
    teacher: Recipe = trained_recipe(run, "teacher")
    assert isinstance(teacher, Teacher)
    return {
        "bicubic": lambda lr, hr: imresize(lr, float(student.scale), size=(hr.shape[-2], hr.shape[-1])),
        "student": feed_forward(student),
        "teacher (oracle)": teacher.oracle().eval(),
    }


def score(
    images: ImageSet,
    degradations: Sequence[str],
    ways: Mapping[str, Way],
    *,
    scale: int,
    seed: int,
    into: Scores,
    protocol: LumaProtocol,
) -> None:
    """Enlarge every image's every LR version in every way, as an evaluation does, and keep the scores.

    Args:
        images: HR images.
        degradations: short names; noise is drawn by (seed, image, degradation).
        ways: by name.
        scale: between LR and HR.
        seed: the run's.
        into: where the scores are added.
        protocol: how PSNR is taken, as the run's config has it.
    """
    for i, image in enumerate(images.names):
        hr = protocol.crop_reference(images.load(i)[None], scale)
        for name in degradations:
            degradation = parse(name, scale=scale)
            with told_of(f"image {image!r}"):
                lr = degradation(hr, generator=generator_from(seed, image, str(degradation), "degrade"))
                for way, enlarge in ways.items():
                    with torch.no_grad():
                        sr = enlarge(lr, hr)
                    into.add(way, name, image, float(luma_psnr(sr, hr, scale=scale, protocol=protocol)))


def told(run: Path) -> str:
    """A run in a few words: experiment, profile, seed and data."""
    cfg = _last_config(run)
    return f"{cfg.name}, profile {cfg.profile_name}, seed {cfg.seed}, {cfg.data.name}"
