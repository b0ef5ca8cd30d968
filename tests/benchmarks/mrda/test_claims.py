"""The table of claims: every row passes and fails where it should."""

import pytest

from metasr.errors import InputError
from mrda import claims
from mrda.claims import Scores

KERNELS = ("k1", "k2")


def scores(**ways: float | tuple[float, float]) -> Scores:
    """Two images by two kernels: a way's PSNR for all, or one for each kernel."""
    found = Scores()
    for way, value in ways.items():
        for i, kernel in enumerate(KERNELS):
            for image in "ab":
                psnr = value[i] if isinstance(value, tuple) else value
                found.add(way.replace("teacher", "teacher (oracle)"), kernel, image, psnr)
    return found


def test_means_are_over_images_and_degradations() -> None:
    found = scores(student=(20.0, 30.0))
    found.add("student", "k1", "c", 50.0)
    assert found.mean("student", KERNELS) == pytest.approx((20 + 20 + 50 + 30 + 30) / 5)
    assert found.mean("student", ["k2"]) == 30
    assert found.ways() == ["student"]
    with pytest.raises(InputError, match="no scores of 'teacher' by k1, k2; score it first"):
        found.mean("teacher", KERNELS)


@pytest.mark.parametrize(("student", "verdict", "found"), [
    (26.5, "pass", "+1.50 dB, 100 % won"),
    (26.4, "FAIL", "+1.40 dB, 100 % won"),
    ((24.9, 40.0), "FAIL", "+7.45 dB, 50 % won"),
])  # fmt: skip
def test_blind_against_bicubic(student, verdict: str, found: str) -> None:
    row = claims.blind_beats_bicubic(scores(student=student, bicubic=25.0), KERNELS)
    assert (row.name, row.verdict, row.found) == ("A1", verdict, found)


@pytest.mark.parametrize(("control", "without", "verdict"), [
    (25.0, 30.0, "pass"), (25.1, 30.0, "FAIL"), (25.0, 29.9, "FAIL")
])  # fmt: skip
def test_blind_against_non_blind(control: float, without: float, verdict: str) -> None:
    found = scores(student=26.0, control=control)
    found.add("student", "bicubic", "a", 30.0)
    found.add("control", "bicubic", "a", without)
    assert claims.blind_beats_non_blind(found, KERNELS, controls=["control"]).verdict == verdict


@pytest.mark.parametrize(("control", "verdict"), [(25.5, "pass"), (25.1, "FAIL"), (26.0, "FAIL"), (24.0, "FAIL")])
def test_non_blind_against_bicubic(control: float, verdict: str) -> None:
    row = claims.non_blind_barely_beats_bicubic(scores(control=control, bicubic=25.0), KERNELS, controls=["control"])
    assert (row.name, row.verdict) == ("A3", verdict)


@pytest.mark.parametrize(("teacher", "verdict"), [(25.0, "pass"), (25.25, "pass"), (25.4, "FAIL"), (24.8, "FAIL")])
def test_student_against_teacher(teacher: float, verdict: str) -> None:
    row = claims.student_close_to_teacher(scores(student=25.0, teacher=teacher), KERNELS)
    assert (row.name, row.verdict) == ("A4", verdict)


@pytest.mark.parametrize(("r2", "cost", "verdict"), [(0.8, 0.3, "pass"), (0.79, 0.3, "FAIL"), (0.8, 0.29, "FAIL")])
def test_the_vector(r2: float, cost: float, verdict: str) -> None:
    row = claims.vector_carries_degradation(r2=[r2], rank=[0.9], swap_cost=[cost], ends=("k1", "k2"))
    assert (row.name, row.verdict) == ("A5", verdict)
    assert f"costs {cost:.2f} dB" in row.found


def test_distillation_needs_two_seeds_of_each() -> None:
    assert claims.distillation_helps([27.0, 27.1], [26.9, 27.0]).verdict == "pass"
    assert claims.distillation_helps([26.9, 27.0], [27.0, 27.0]).verdict == "FAIL"
    row = claims.distillation_helps([27.0], [26.0, 26.1])
    assert row.verdict == "not run"
    assert "+0.950 dB" in row.found
    assert claims.distillation_helps([27.0, 27.2], [26.0]).verdict == "not run"


@pytest.mark.parametrize(("meta", "pretrained", "verdict"), [
    ({0.0: 0.3, 2.4: 0.1}, {0.0: 0.06, 2.4: -0.01}, "pass"),
    ({0.0: 0.3, 2.4: 0.09}, {0.0: 0.0, 2.4: 0.0}, "FAIL"),
    ({0.0: 0.3, 2.4: 0.2}, {0.0: 0.07, 2.4: 0.0}, "FAIL"),
])  # fmt: skip
def test_meta_training(meta, pretrained, verdict: str) -> None:
    row = claims.meta_training_helps(meta, pretrained, {0.0: 0.01, 2.4: 0.02})
    assert (row.name, row.verdict) == ("A7", verdict)
    assert "joint +0.01, +0.02" in row.found
    assert "joint" not in claims.meta_training_helps(meta, pretrained).found


@pytest.mark.parametrize(("by_blur", "by_noise", "verdict"), [
    ((26.0, 25.0), (26.0, 25.0), "pass"), ((25.0, 25.0), (26.0, 25.0), "FAIL"), ((26.0, 25.0), (24.0, 25.0), "FAIL")
])  # fmt: skip
def test_monotone(by_blur, by_noise, verdict: str) -> None:
    found = scores(student=by_blur)
    for level, value in zip(("n0", "n10"), by_noise, strict=True):
        found.add("student", level, "a", value)
    row = claims.monotone_in_degradation(found, KERNELS, [["n0"], ["n10"]])
    assert (row.name, row.verdict) == ("A8", verdict)
    assert "by noise" in row.found
    if by_blur[0] > by_blur[1]:
        assert claims.monotone_in_degradation(found, KERNELS).verdict == "pass"


def test_the_table_shows_all_rows_and_counts_them() -> None:
    rows = [
        claims.student_close_to_teacher(scores(student=25.0, teacher=25.0), KERNELS),
        claims.student_close_to_teacher(scores(student=25.0, teacher=27.0), KERNELS),
        claims.not_run("A2", "blind beats non-blind", "needs a control"),
        claims.reset_matters({1: 25.0, 2: 25.4, 3: 9.0}, {2: 25.1, 1: 24.9, 7: 0.0}),
    ]
    lines = claims.format_claims(rows).splitlines()
    assert lines[2].endswith("| +0.00 dB | pass |")
    assert lines[3].endswith("| +2.00 dB | FAIL |")
    assert lines[4] == "| A2 | blind beats non-blind |  | needs a control | not run |"
    assert "+0.200 ± 0.141 of 2 dB over never resetting it, by seed" in lines[5]
    assert lines[-1] == "1 passed, 1 failed (A4), 1 not run"


def test_several_runs_are_told_with_their_spread() -> None:
    found = scores(student=26.5, teacher=26.6, bicubic=25.0)
    for way, value in {"student 2": 26.9, "teacher 2": 26.8, "c 0": 25.5, "c 1": 25.7}.items():
        for kernel in KERNELS:
            for image in "ab":
                found.add(way, kernel, image, value)
    for way, value in {"student": 20.0, "student 2": 21.0, "c 0": 20.5, "c 1": 20.6}.items():
        found.add(way, "bicubic", "a", value)
    both = ("student", "student 2")
    assert claims.blind_beats_bicubic(found, KERNELS, students=both).found == "+1.70 ± 0.28 of 2 dB, 100 % won"
    row = claims.blind_beats_non_blind(found, KERNELS, controls=("c 0", "c 1"), students=both)
    assert row.found == "+1.10 dB (26.70 ± 0.28 of 2 less 25.60 ± 0.14 of 2); without blur -0.05 dB"
    assert claims.non_blind_barely_beats_bicubic(found, KERNELS, controls=("c 0", "c 1")).found.startswith(
        "+0.60 ± 0.14"
    )
    row = claims.student_close_to_teacher(
        found, KERNELS, pairs={"student": "teacher (oracle)", "student 2": "teacher 2"}
    )
    assert row.found == "+0.00 ± 0.14 of 2 dB"
    row = claims.vector_carries_degradation(r2=[0.9, 0.7], rank=[1.0, 0.9], swap_cost=[0.4, 0.2], ends=KERNELS)
    assert row.verdict == "pass"
    assert row.found.startswith("R² 0.80 ± 0.14 of 2")
    assert "26.70 -> 26.70 dB" in claims.monotone_in_degradation(found, KERNELS, students=both).found


def test_resetting_is_told_of_runs_of_one_seed() -> None:
    row = claims.reset_matters({1: 25.0}, {2: 24.0, 3: 24.0})
    assert (row.verdict, row.found) == ("not run", "no seed in common: 1 and 2, 3")
    assert claims.reset_matters({1: 25.0, 2: 30.0}, {2: 29.9}).found.startswith("+0.100 dB")


def test_a_random_encoder_is_a_row_of_its_own() -> None:
    row = claims.distillation_helps([27.0, 27.1], [26.9, 27.0], name="A6b", claim="x")
    assert (row.name, row.claim, row.verdict) == ("A6b", "x", "pass")
