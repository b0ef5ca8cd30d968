"""Steps on pairs of one degradation, scored on others."""

import pytest
import torch

from metasr.data.catalog import ImageSet, image_set
from metasr.errors import DataError
from metasr.models.mln import MLN
from mrda import adaptation_study
from mrda.adaptation_study import Point, adaptation_curves, gains, study_widths, wrong_cost


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return image_set("samples", split="test")


def small(seed: int = 0) -> MLN:
    torch.manual_seed(seed)
    return MLN(scale=2, width=4, depth=1)


def curves(images: ImageSet, starts: dict[str, MLN], **choices) -> list[Point]:
    given = {"sigmas": (0.0, 1.5), "rates": (1e-2, 5e-3), "draws": 1, "adapt_patches": 2, "score_patches": 2,
             "patch_size": 49} | choices  # fmt: skip
    return adaptation_curves(starts, images, **given)


def test_every_width_is_adapted_to_and_scored_after_every_step(images) -> None:
    starts = {"a": small(), "b": small(1)}
    before = {n: {k: v.clone() for k, v in net.state_dict().items()} for n, net in starts.items()}
    found = curves(images, starts)
    keys = [(p.start, p.adapted_on, p.scored_on, p.steps) for p in found]
    assert len(set(keys)) == len(keys) == 2 * 2 * 2 * 3
    for name, net in starts.items():
        assert all(torch.equal(v, before[name][k]) for k, v in net.state_dict().items())
    by = {key: p.psnr_y for key, p in zip(keys, found, strict=True)}
    for name in starts:
        assert by[name, 0.0, 1.5, 0] == by[name, 1.5, 1.5, 0]
        assert by[name, 0.0, 1.5, 2] != by[name, 1.5, 1.5, 2]
        assert by[name, 0.0, 0.0, 1] != by[name, 0.0, 0.0, 2]
    assert found == curves(images, starts)
    assert found != curves(images, starts, seed=1)


def test_pairs_that_are_scored_are_of_other_photographs(images, monkeypatch) -> None:
    """The photographs are told apart by their brightness: the first half dark, the second bright."""
    seen = []

    def load(self: ImageSet, i: int) -> torch.Tensor:
        return torch.full((3, 60, 64), 0.2 + 0.6 * (i % 2))

    def adapt(start, lr, hr, *, rates, after_step):
        seen.append(float(hr.mean()))
        after_step(0, lambda lr: seen.append(float(lr.mean())) or torch.zeros(*lr.shape[:2], *hr.shape[-2:]))

    monkeypatch.setattr(ImageSet, "load", load)
    monkeypatch.setattr(adaptation_study, "adapt", adapt)
    curves(images, {"a": small()}, draws=2, sigmas=(0.0,))
    assert seen == pytest.approx([0.2, 0.8, 0.8, 0.2], abs=0.01)


def test_gains_and_losses_by_the_wrong_width() -> None:
    def points(name: str, values: dict[tuple[float, float], tuple[float, float]]) -> list[Point]:
        return [Point(name, a, b, k, v) for (a, b), pair in values.items() for k, v in zip((0, 5), pair, strict=True)]

    found = points("m", {(1.2, 1.2): (30.0, 30.5), (3.6, 3.6): (27.0, 27.2),
                         (1.2, 3.6): (27.0, 26.9), (3.6, 1.2): (30.0, 30.1)})  # fmt: skip
    found += points("n", {(1.2, 1.2): (20.0, 20.0), (3.6, 3.6): (20.0, 20.0)})
    assert gains(found, start="m") == pytest.approx({1.2: 0.5, 3.6: 0.2})
    assert gains(found, start="n") == pytest.approx({1.2: 0, 3.6: 0})
    assert wrong_cost(found, start="m", low=1.2, high=3.6) == pytest.approx({(1.2, 3.6): 0.3, (3.6, 1.2): 0.4})


def test_widths_are_thirds_up_to_nine_tenths_of_the_scale() -> None:
    assert study_widths(4) == [0.0, 1.2, 2.4, 3.6]
    assert study_widths(2) == [0.0, 0.6, 1.2, 1.8]


def test_one_photograph_alone_is_refused(images) -> None:
    with pytest.raises(DataError, match="scored on other photographs than it is done on, got 1; give more"):
        curves(images.subset(1), {"a": small()})
