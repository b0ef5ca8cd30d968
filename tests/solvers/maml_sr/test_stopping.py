"""The rules that end an adaptation, each case of them."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from metasr.errors import DivergenceError, InputError
from metasr.metrics.color import luma_bt601
from metasr.metrics.psnr_ssim import psnr, ssim
from metasr.solvers.maml_sr.stopping import ConsistencyRule, FixedRule, LossRule, MetricRule, Verdict, decide, make_rule
from small_problems import picture

UP, SAME, DOWN = 1.0, 0.0, -1.0
INF = float("inf")


@pytest.mark.parametrize(
    ("psnr_moves", "ssim_moves", "keep", "stop", "why"),
    [
        (UP, UP, True, False, "kept: PSNR and SSIM both rose"),
        (UP, DOWN, False, None, "PSNR rose, SSIM fell"),
        (DOWN, UP, False, None, "SSIM rose, PSNR fell"),
        (DOWN, DOWN, False, True, "PSNR and SSIM both fell"),
        (DOWN, SAME, False, True, "PSNR or SSIM fell and neither rose"),
        (SAME, DOWN, False, True, "PSNR or SSIM fell and neither rose"),
        (UP, SAME, False, None, "PSNR rose, SSIM did not"),
        (SAME, UP, False, None, "SSIM rose, PSNR did not"),
        (SAME, SAME, False, True, "the output no longer changes"),
    ],
)
@pytest.mark.parametrize("mixed", ["continue", "stop"])
def test_every_case_of_the_table(
    psnr_moves: float, ssim_moves: float, keep: bool, stop: bool | None, why: str, mixed: str
) -> None:
    thresholds = (40.0, 0.9)
    found = (40.0 + psnr_moves, 0.9 + 0.01 * ssim_moves)
    stops = mixed == "stop" if stop is None else stop
    told = why if keep or stops else f"not kept: {why}"
    assert decide(found, thresholds, mixed=mixed) == (keep, stops, told)


def test_unchanged_outputs_have_infinite_psnr() -> None:
    assert decide((INF, 1.0), (40.0, 0.9), mixed="continue")[:2] == (True, False)
    assert decide((INF, 1.0), (INF, 1.0), mixed="continue") == (False, True, "the output no longer changes")
    assert decide((50.0, 0.99), (INF, 1.0), mixed="continue")[:2] == (False, True)


def outputs(*distances: float, size: tuple[int, int] = (21, 17)) -> list[Tensor]:
    """Images whose distance to the first is given."""
    base = 0.2 + 0.6 * picture(*size)
    noise = torch.randn(base.shape, generator=torch.Generator().manual_seed(0))
    return [base + d * 0.05 * noise for d in distances]


def judge(images: Sequence[Tensor], *, mixed: str = "continue") -> list[Verdict]:
    rule, verdicts = MetricRule(mixed=mixed), []
    for image in images:
        verdicts.append(rule(image, 0.0))
        if verdicts[-1].stop:
            break
    return verdicts


def test_the_first_output_is_the_reference_and_the_second_is_kept() -> None:
    verdicts = judge(outputs(0, 5))
    assert verdicts[0] == Verdict(True, False, "the reference", {})
    assert verdicts[1].keep
    assert not verdicts[1].stop


def test_what_is_measured_is_psnr_and_ssim_on_luma_against_the_output_kept_last() -> None:
    images = outputs(0, 1, 1.5, 1.6)
    verdicts = judge(images)
    for i in (1, 2, 3):  # each closer to the one before than that was: all are kept
        a, b = (luma_bt601(images[j].double()) for j in (i, i - 1))
        assert verdicts[i].keep
        assert verdicts[i].measured == {"psnr": psnr(a, b).item(), "ssim": ssim(a, b).item()}


def test_growing_changes_stop_it() -> None:
    verdicts = judge(outputs(0, 1, 1.5, 3))
    assert [v.keep for v in verdicts] == [True, True, True, False]
    assert [v.stop for v in verdicts] == [False, False, False, True]
    assert verdicts[-1].why == "PSNR and SSIM both fell"


def test_what_is_not_kept_raises_nothing_and_is_no_reference() -> None:
    base = outputs(0)[0]
    generator = torch.Generator().manual_seed(1)
    grain = 0.004 * torch.randn(base.shape, generator=generator)
    images = [base, base + grain, base + grain + 0.02, base + 1.1 * grain]  # brightness: PSNR minds it, SSIM hardly
    rule = MetricRule()
    rule(images[0], 0.0), rule(images[1], 0.0)
    thresholds, reference = rule.thresholds, rule.reference
    verdict = rule(images[2], 0.0)
    assert verdict.why == "not kept: SSIM rose, PSNR fell"
    assert (verdict.keep, verdict.stop) == (False, False)
    assert rule.thresholds == thresholds
    assert rule.reference is reference
    assert rule(images[3], 0.0).keep
    assert rule.thresholds > thresholds
    assert judge(images, mixed="stop")[-1][:3] == (False, True, "SSIM rose, PSNR fell")


def test_an_output_that_never_changes_is_settled_after_two_steps() -> None:
    for image in (torch.full((1, 3, 21, 17), 0.5), outputs(0)[0]):
        verdicts = judge([image] * 5)
        assert [v.why for v in verdicts[1:]] == ["kept: PSNR and SSIM both rose", "the output no longer changes"]
        assert verdicts[1].measured["psnr"] == INF


@pytest.mark.parametrize("size", [(1, 1), (2, 30), (10, 11)])
def test_images_smaller_than_the_window_are_judged_too(size: tuple[int, int]) -> None:
    verdicts = judge(outputs(0, 1, 1.5, 3, size=size))
    assert [v.keep for v in verdicts] == [True, True, True, False]


def test_of_a_large_image_the_middle_is_judged() -> None:
    images = outputs(0, 1, size=(200, 230))
    for image in images:
        image[..., :4, :], image[..., 196:, :], image[..., :19], image[..., 211:] = 0, 1, 0, 1
    want = judge([image[..., 4:196, 19:211] for image in images])[1].measured
    assert judge(images)[1].measured == want


def test_small_changes_are_not_rounded_away() -> None:
    base = outputs(0)[0]
    verdicts = judge([base, base + 1e-4, base + 1.5e-4])
    assert 70 < verdicts[1].measured["psnr"] < INF
    assert verdicts[2].keep


def test_an_output_that_is_no_number_is_an_error() -> None:
    rule = MetricRule()
    rule(outputs(0)[0], 0.0)
    with pytest.raises(DivergenceError, match="PSNR nan and SSIM nan of an output: lower the rate"):
        rule(outputs(0)[0] * float("nan"), 0.0)


def test_consistency_stops_as_soon_as_the_error_no_longer_falls() -> None:
    errors = iter([0.5, 0.4, 0.4])
    rule = ConsistencyRule(lambda sr: next(errors))
    verdicts = [rule(outputs(0)[0], 0.0) for _ in range(3)]
    assert [v.keep for v in verdicts] == [True, True, False]
    assert [v.stop for v in verdicts] == [False, False, True]
    assert verdicts[2].why == "the LR error stopped falling"
    assert verdicts[1].measured == {"lr_error": 0.4}


def test_a_threshold_of_the_loss() -> None:
    rule = LossRule(0.1)
    assert rule(outputs(0)[0], 0.2)[:2] == (True, False)
    assert rule(outputs(0)[0], 0.1) == Verdict(True, True, "the loss reached its threshold", {"loss": 0.1})


def test_a_fixed_number_never_stops() -> None:
    assert all(FixedRule()(outputs(0)[0], loss)[:2] == (True, False) for loss in (0.0, 1.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stop": "never"}, "stop must be one of metric, consistency, loss, fixed, got 'never'"),
        ({"mixed": "keep"}, "mixed must be one of continue, stop, got 'keep'"),
        ({"threshold": float("nan")}, "threshold must be a number, got nan"),
    ],
)
def test_unknown_rules_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_rule(**{"stop": "metric", "threshold": 0.0, "mixed": "stop", "lr_error": lambda sr: 0.0, **options})


def test_rules_by_name() -> None:
    for name, kind in (("metric", MetricRule), ("consistency", ConsistencyRule), ("loss", LossRule)):
        made = make_rule(name, threshold=0.25, mixed="stop", lr_error=lambda sr: 7.0)
        assert isinstance(made, kind)
    assert isinstance(make_rule("fixed", threshold=0.0, mixed="stop", lr_error=lambda sr: 0.0), FixedRule)
    assert make_rule("loss", threshold=0.25, mixed="stop", lr_error=lambda sr: 0.0).threshold == 0.25
    assert make_rule("metric", threshold=0.0, mixed="stop", lr_error=lambda sr: 0.0).mixed == "stop"
