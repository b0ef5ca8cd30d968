"""Distillation losses against torch's own, and worked out by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from metasr.errors import InputError
from metasr.recipes.distillation import abs_loss, distillation_loss, kl_loss


def vectors(count: int = 3, length: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    student, teacher = torch.randn(2, count, length, generator=generator, dtype=torch.float64)
    return student.requires_grad_(), teacher.requires_grad_()


@pytest.mark.parametrize("temperature", [0.15, 1.0, 4.0])
@pytest.mark.parametrize("count", [1, 3])
def test_divergence_is_torchs(count: int, temperature: float) -> None:
    student, teacher = vectors(count)
    want = F.kl_div(F.log_softmax(student / temperature, 1), F.softmax(teacher / temperature, 1), reduction="batchmean")
    assert kl_loss(student, teacher, temperature=temperature).item() == pytest.approx(want.item(), rel=1e-12)


def test_divergence_by_hand() -> None:
    """Two numbers each, so that softmax is the logistic function; mean over two images, sum over the numbers."""
    student, teacher = torch.tensor([[0.0, 0.3], [0.1, 0.1]]), torch.tensor([[0.15, 0.0], [0.1, 0.1]])
    p = 1 / (1 + math.exp(-1.0))  # 0.15 / τ = 1
    q = 1 / (1 + math.exp(2.0))
    want = (p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)) + 0) / 2
    assert kl_loss(student, teacher).item() == pytest.approx(want, rel=1e-5)


def test_zero_where_student_and_teacher_agree() -> None:
    student, _ = vectors()
    assert kl_loss(student, student).item() == pytest.approx(0, abs=1e-15)
    assert kl_loss(student + 2.5, student).item() == pytest.approx(0, abs=1e-14)  # softmax does not see a constant
    assert abs_loss(student + 2.5, student).item() == pytest.approx(2.5)  # which is what the distance is there for
    assert distillation_loss(student, student).item() == pytest.approx(0, abs=1e-15)


def test_distance_is_the_mean_over_all_numbers() -> None:
    student, teacher = vectors()
    assert abs_loss(student, teacher).item() == pytest.approx((student - teacher).abs().sum().item() / 21, rel=1e-12)


@pytest.mark.parametrize(
    ("kind", "kl", "distance"), [("kl+abs", 1, 0.1), ("kl", 1, 0), ("abs", 0, 0.1), ("none", 0, 0)]
)
def test_kinds(kind: str, kl: float, distance: float) -> None:
    student, teacher = vectors()
    want = kl * kl_loss(student, teacher).item() + distance * abs_loss(student, teacher).item()
    assert distillation_loss(student, teacher, kind=kind).item() == pytest.approx(want, abs=1e-15)


def test_temperature_and_weight_count() -> None:
    student, teacher = vectors()
    want = kl_loss(student, teacher, temperature=2.0) + 0.7 * abs_loss(student, teacher)
    got = distillation_loss(student, teacher, temperature=2.0, abs_weight=0.7)
    assert got.item() == pytest.approx(want.item(), rel=1e-12)


@pytest.mark.parametrize("kind", ["kl+abs", "kl", "abs"])
def test_the_teacher_is_a_constant_and_the_student_learns(kind: str) -> None:
    student, teacher = vectors()
    by_student, by_teacher = torch.autograd.grad(
        distillation_loss(student, teacher, kind=kind), [student, teacher], materialize_grads=True
    )
    assert by_student.abs().sum() > 0
    assert by_teacher.abs().sum() == 0


def test_gradient_of_the_divergence() -> None:
    """(q - p) / (τ B), the well-known form."""
    student, teacher = vectors()
    (got,) = torch.autograd.grad(kl_loss(student, teacher), [student])
    want = ((student / 0.15).softmax(1) - (teacher / 0.15).softmax(1)) / 0.15 / 3
    torch.testing.assert_close(got, want.detach(), rtol=1e-9, atol=1e-12)


def test_errors() -> None:
    student, teacher = vectors()
    with pytest.raises(InputError, match=r"vectors of one shape \(B, V\), got \(3, 7\) and \(3, 6\); their encoders"):
        kl_loss(student, teacher[:, :6])
    with pytest.raises(InputError, match="vectors of one shape"):
        abs_loss(student[0], teacher[0])
    with pytest.raises(InputError, match="temperature must be above 0, got 0"):
        kl_loss(student, teacher, temperature=0)
    with pytest.raises(InputError, match=r"distill must be one of kl\+abs, kl, abs, none, got 'l2'"):
        distillation_loss(student, teacher, kind="l2")
