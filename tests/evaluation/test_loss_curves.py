"""Losses while solvers adapted."""

import csv
import io
from typing import Any

import torch

from metasr.degradation import names
from metasr.evaluation.loss_curves import LossCurves, LossPoint
from metasr.evaluation.results import ImageRow
from metasr.evaluation.solved import Entry, Solved, together
from metasr.meta.inner_loop import Trace
from metasr.solvers.base import Solution
from metasr.solvers.interpolate import InterpolateSolver

IMAGE = torch.zeros(1, 3, 5, 7)


def watch(curves: Any, losses: list[float], *, image: str = "a", weights: str = "run") -> None:
    entry = Entry("adapt", weights, InterpolateSolver())
    row = ImageRow("t", "g2.0d", 2.0, "adapt", weights, len(losses), image, 30.0, 0.9, 1.0)
    curves(Solved(row, names.parse("g2.0d", scale=2), entry, Solution(IMAGE, trace=Trace(losses=losses)), IMAGE))


def test_mean_over_images_of_their_longest_adaptation():
    curves = LossCurves()
    watch(curves, [])
    watch(curves, [0.5])
    watch(curves, [0.5, 0.25, 0.125])
    watch(curves, [0.5, 0.2])
    watch(curves, [0.7, 0.35], image="b")
    watch(curves, [0.9], weights="released/x")
    rows = list(csv.DictReader(io.StringIO(curves.to_csv())))
    assert [(r["degradation"], r["solver"], r["weights"], r["updates"], r["loss"], r["images"]) for r in rows] == [
        ("g2.0d", "adapt", "run", "0", "0.6", "2"),
        ("g2.0d", "adapt", "run", "1", "0.3", "2"),
        ("g2.0d", "adapt", "run", "2", "0.125", "1"),
        ("g2.0d", "adapt", "released/x", "0", "0.9", "1"),
    ]


def test_nothing_adapted_is_a_heading():
    assert LossCurves().to_csv() == ",".join(LossPoint._fields) + "\n"


def test_several_watchers_see_the_same():
    one, two = LossCurves(), LossCurves()
    watch(together(one, two), [0.5, 0.25])
    assert one.to_csv() == two.to_csv() != LossCurves().to_csv()
