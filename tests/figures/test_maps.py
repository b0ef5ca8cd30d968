"""Maps beside their picture, and the distance of two maps."""

import ast
import inspect

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr

from metasr.errors import InputError, OutputError
from metasr.figures import maps as drawing
from metasr.figures.maps import draw_maps, map_distance


def weights(seed: int, size=(9, 13)) -> torch.Tensor:
    return 0.1 + torch.rand(size, generator=torch.Generator().manual_seed(seed))


def some(size=(45, 67)) -> dict[str, torch.Tensor]:
    return {"image": torch.rand(3, *size), "weight": weights(0, size), "reward": weights(1, size) - 0.6}


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def test_takes_public_names_alone_from_other_files() -> None:
    tree = ast.walk(ast.parse(inspect.getsource(drawing)))
    taken = [alias.name for node in tree if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert "save" in taken
    assert [name for name in taken if name.startswith("_")] == []


# --- distance ---


def test_against_scipy_with_ties() -> None:
    a, b = weights(0).mul(5).round() + 1, weights(1).mul(4).round() + 1
    got = map_distance(a, b)
    assert got.rank == pytest.approx(1 - spearmanr(a.flatten(), b.flatten()).statistic, abs=1e-12)
    p, q = a.double() / a.sum(), b.double() / b.sum()
    assert got.total_variation == pytest.approx(0.5 * (p - q).abs().sum().item(), rel=1e-6)


def test_equal_and_opposite_maps() -> None:
    a = weights(0).double()
    assert map_distance(a, 7 * a) == pytest.approx((0, 0), abs=1e-12)
    assert map_distance(a, a**3).rank == pytest.approx(0, abs=1e-12)
    assert map_distance(a, 2 - a).rank == pytest.approx(2)
    left, right = torch.zeros(2, 4), torch.zeros(2, 4)
    left[:, :2] = 1
    right[:, 2:] = 1
    assert map_distance(left, right) == pytest.approx((1, 2))


def test_a_flat_map_has_no_order() -> None:
    flat = torch.ones(9, 13)
    assert map_distance(flat, 2 * flat) == (0.0, 0.0)
    assert map_distance(flat, weights(0)).rank == 1.0
    assert map_distance(weights(0), flat).rank == 1.0


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.ones(3, 4), torch.ones(4, 3), r"one shape, got \(3, 4\) and \(4, 3\)"),
        (torch.ones(1, 3, 4), torch.ones(1, 3, 4), r"must both be \(H, W\)"),
        (torch.ones(3, 4), -torch.ones(3, 4), "at least 0 and not all 0, got values from -1 to -1"),
        (torch.zeros(3, 4), torch.ones(3, 4), "got values from 0 to 0"),
        (torch.ones(3, 4), torch.full((3, 4), float("nan")), "must be finite"),
    ],
)
def test_bad_maps_have_no_distance(a: torch.Tensor, b: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        map_distance(a, b)


# --- pictures ---


def test_written_with_its_folders_the_same_bytes_each_time(tmp_path) -> None:
    maps = some()
    path = tmp_path / "a" / "b.png"
    assert draw_maps(maps, path, title="t") == path
    assert pixels(path).std() > 10
    assert draw_maps(maps, tmp_path / "2.png", title="t").read_bytes() == path.read_bytes()
    assert draw_maps(maps, tmp_path / "3.png").read_bytes() != path.read_bytes()
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_each_picture_and_map_changes_the_figure(tmp_path) -> None:
    maps = some()
    base = draw_maps(maps, tmp_path / "1.png").read_bytes()
    for i, caption in enumerate(maps):
        other = maps | {caption: maps[caption].flip(-1)}
        assert draw_maps(other, tmp_path / f"other{i}.png").read_bytes() != base
    renamed = {f"my {k}": v for k, v in maps.items()}
    assert draw_maps(renamed, tmp_path / "4.png").read_bytes() != base


def test_zero_is_white_in_a_map_of_both_signs_alone(tmp_path) -> None:
    size = (40, 40)
    signed = torch.zeros(size)
    signed[:5], signed[-5:] = -2.0, 1.0
    image = pixels(draw_maps({"reward": signed}, tmp_path / "1.png"))
    x = image.shape[1] // 2 - 30
    column = image[:, x]
    blue = (column[:, 2] - column[:, 0] > 60).sum()
    red = (column[:, 0] - column[:, 2] > 60).sum()
    assert blue > 10
    assert red > 10
    unsigned = pixels(draw_maps({"loss": signed + 2}, tmp_path / "2.png"))[:, x]
    assert np.abs(unsigned.astype(int) - [103, 0, 31]).sum(1).min() > 20  # nothing of the red-blue colours' red end


def test_a_few_outliers_do_not_stretch_the_colours(tmp_path) -> None:
    calm = weights(0, (60, 60))
    wild = calm.clone()
    wild[30, 30] = 1e6
    a, b = (pixels(draw_maps({"w": m}, tmp_path / f"{i}.png")) for i, m in enumerate((calm, wild)))
    assert np.abs(a - b).mean() < 8


def test_pictures_may_have_a_leading_axis_and_there_may_be_many(tmp_path) -> None:
    maps = {f"map {i}": weights(i)[None] for i in range(6)} | {"image": torch.rand(1, 3, 9, 13)}
    image = pixels(draw_maps(maps, tmp_path / "1.png"))
    one = pixels(draw_maps({"a": weights(0)}, tmp_path / "2.png"))
    assert image.shape[0] > 1.5 * one.shape[0]
    assert image.shape[1] > 3 * one.shape[1]


def test_flat_maps_and_signs_in_captions_are_drawn(tmp_path) -> None:
    draw_maps({"all $equal$": torch.ones(5, 7), "zero": torch.zeros(5, 7)}, tmp_path / "1.png", title="$x")


def test_bad_maps_are_refused(tmp_path) -> None:
    cases = [
        ({}, "no maps to draw"),
        ({"x": torch.ones(2, 5, 5)}, r"'x' must be a picture \(3, H, W\) or a map \(H, W\), got \(2, 5, 5\)"),
        ({"x": torch.ones(0, 5)}, r"got \(0, 5\)"),
        ({"a": torch.ones(4, 4), "x": torch.full((4, 4), float("inf"))}, "'x' must be finite to be drawn"),
    ]
    for maps, message in cases:
        with pytest.raises(InputError, match=message):
            draw_maps(maps, tmp_path / "1.png")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        draw_maps(some(), tmp_path / "file" / "1.png")
