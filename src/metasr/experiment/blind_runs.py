"""Runs of a blind method and its controls: told apart by their configs, and scored on the same images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from metasr.data.catalog import ImageSet
from metasr.degradation.names import parse
from metasr.degradation.resize import imresize
from metasr.errors import told_of
from metasr.evaluation.luma_psnr import luma_psnr
from metasr.evaluation.protocol import LumaProtocol
from metasr.experiment.stage_networks import finished_stages, stage_config, trained_recipe
from metasr.models.blind import BlindSR
from metasr.recipes.base import Recipe
from metasr.recipes.pretrain import Pretrain
from metasr.recipes.student import Student
from metasr.recipes.teacher import Teacher
from metasr.report.claims import Scores
from metasr.seeds import generator_from

Kind = Literal["student", "bicubic_only", "no_distillation", "joint", "never_reset", "other"]
Way = Callable[[Tensor, Tensor], Tensor]
"""Of (LR, HR) an enlarged image; whoever looks at the HR image is called an oracle."""


def kind_of(run: Path) -> Kind:
    """What a run is in a comparison, by what its finished stages were trained as.

    Returns:
        ``student`` for a whole chain as published; ``bicubic_only`` for a blind network trained on one degradation;
        ``joint``, ``never_reset`` and ``no_distillation`` for a chain with that change; ``other`` for none of these.
    """
    recipes = {name: trained_recipe(run, name) for name in finished_stages(run)}
    student, teacher = recipes.get("student"), recipes.get("teacher")
    last = list(recipes.values())[-1]
    if isinstance(last, Pretrain) and isinstance(last.model, BlindSR):
        return "bicubic_only"
    if isinstance(student, Student) and student.distill == "none":
        return "no_distillation"
    if isinstance(recipes.get("meta_transfer"), Pretrain):
        return "joint"
    if isinstance(teacher, Teacher) and teacher.observer.drift is not None:
        return "never_reset"
    return "student" if isinstance(student, Student) else "other"


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
    images: ImageSet, degradations: Sequence[str], ways: Mapping[str, Way], *, scale: int, seed: int, into: Scores
) -> None:
    """Enlarge every image's every LR version in every way, as an evaluation does, and keep the scores.

    Args:
        images: HR images.
        degradations: short names; noise is drawn by (seed, image, degradation).
        ways: by name.
        scale: between LR and HR.
        seed: the run's.
        into: where the scores are added.
    """
    protocol = LumaProtocol()
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
    cfg = stage_config(list(finished_stages(run).values())[-1])
    return f"{cfg.name}, profile {cfg.profile_name}, seed {cfg.seed}, {cfg.data.name}"
