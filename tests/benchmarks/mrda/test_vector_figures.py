"""Pictures of degradation vectors."""

import numpy as np
import pytest
import torch
from PIL import Image

from mrda import vector_figures

POINTS = {"student": torch.randn(12, 2, generator=torch.Generator().manual_seed(0)), "teacher": torch.rand(12, 2)}
LABELS = ["sig_1_b", "sig_2_b", "a$b_c"] * 4


def by_width(path, shift: float = 0.0):
    widths = {"sig_1_b": 1.0, "sig_2_b": 2.0 + shift, "a$b_c": 4.0}
    return vector_figures.projections(POINTS, LABELS, path, widths=widths)


def by_name(path, shift: float = 0.0):
    return vector_figures.projections(POINTS, [f"{n}{shift or ''}" for n in LABELS], path)


def cost(path, shift: float = 0.0):
    return vector_figures.swap_cost(torch.tensor([[0.0, 0.5 + shift], [0.3, 0.0]]), ["sig_1_b", "sig_2_b"], path)


def curves(path, shift: float = 0.0):
    lines = {"sigma 1": {"meta": [25.0, 25.2 + shift], "wrong": [25.0, 24.9]}, "sigma 2": {"meta": [24.0, 24.5]}}
    return vector_figures.other_patch_curves(lines, path, wrong={"sigma 1": {"wrong": "meta"}})


every_figure = pytest.mark.parametrize("figure", [by_width, by_name, cost, curves])


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@every_figure
def test_is_drawn_and_the_same_numbers_are_the_same_bytes(figure, tmp_path) -> None:
    first, second = (figure(tmp_path / "a" / f"{i}.png") for i in (1, 2))
    assert pixels(first).std() > 10
    assert first.read_bytes() == second.read_bytes()


@every_figure
def test_other_numbers_are_another_picture(figure, tmp_path) -> None:
    a, b = figure(tmp_path / "1.png"), figure(tmp_path / "2.png", 0.5)
    assert a.read_bytes() != b.read_bytes()


def test_degradations_without_a_width_have_colours_of_their_own(tmp_path) -> None:
    points = torch.stack([torch.arange(10.0), torch.zeros(10)], 1)
    path = vector_figures.projections({"x": points}, [f"k{n}" for n in range(10)], tmp_path / "x.png")
    colours = {tuple(c) for c in pixels(path).reshape(-1, 3) if c.max() - c.min() > 60}
    one = vector_figures.projections({"x": points}, ["k0"] * 10, tmp_path / "y.png")
    assert len(colours) > len({tuple(c) for c in pixels(one).reshape(-1, 3) if c.max() - c.min() > 60}) + 8
