"""Handing a vector from teacher to student: Kullback-Leibler divergence of softened vectors, and their distance."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from metasr.errors import InputError, require_one_of

Distill = Literal["kl+abs", "kl", "abs", "none"]


def kl_loss(student: Tensor, teacher: Tensor, *, temperature: float = 0.15) -> Tensor:
    """(1/B) Σ_b Σ_c p_c log(p_c / q_c), p = softmax(teacher / τ), q = softmax(student / τ) (MRDA, KDSR).

    Hinton et al.'s factor τ² is not there, as in the published code. The teacher is a constant.

    Args:
        student: ``(B, V)``.
        teacher: ``(B, V)``.
        temperature: τ, above 0.

    Returns:
        A scalar, 0 where the vectors differ by a constant at most.
    """
    _check(student, teacher)
    if not temperature > 0:
        raise InputError(f"temperature must be above 0, got {temperature}")
    log_p = torch.log_softmax(teacher.detach() / temperature, 1)
    log_q = torch.log_softmax(student / temperature, 1)
    return (log_p.exp() * (log_p - log_q)).sum(1).mean()


def abs_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean absolute difference of two ``(B, V)``; the teacher is a constant."""
    _check(student, teacher)
    return (student - teacher.detach()).abs().mean()


def distillation_loss(
    student: Tensor, teacher: Tensor, *, kind: Distill = "kl+abs", temperature: float = 0.15, abs_weight: float = 0.1
) -> Tensor:
    """What the student's vector is drawn to the teacher's by.

    Args:
        student: ``(B, V)``.
        teacher: ``(B, V)``, a constant.
        kind: ``kl+abs`` (MRDA): divergence plus ``abs_weight`` times the distance; ``kl`` (KDSR) or ``abs`` one of the
            two; ``none`` is 0.
        temperature: of the divergence (published: 0.15).
        abs_weight: of the distance (published: 0.1).
    """
    check_distill(kind)
    loss = student.new_zeros(())
    if kind in ("kl+abs", "kl"):
        loss = loss + kl_loss(student, teacher, temperature=temperature)
    if kind in ("kl+abs", "abs"):
        loss = loss + abs_weight * abs_loss(student, teacher)
    return loss


def check_distill(kind: str) -> None:
    """Require a kind of distillation that there is."""
    require_one_of(kind, Distill, name="distill")


def _check(student: Tensor, teacher: Tensor) -> None:
    if student.ndim != 2 or student.shape != teacher.shape:
        raise InputError(
            f"student and teacher must be vectors of one shape (B, V), got {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}; their encoders must end in as many numbers"
        )
