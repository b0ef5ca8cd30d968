import numpy as np
import pytest
import torch
from PIL import Image

from metasr.degradation.kernels import anisotropic
from metasr.errors import OutputError
from metasr.figures import comparison as figures


def picture(size=(45, 67), seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed))


def plain(colour: tuple[float, float, float], size=(45, 67)) -> torch.Tensor:
    return torch.tensor(colour).view(3, 1, 1).expand(3, *size)


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def share(image: np.ndarray, colour: tuple[int, int, int], within: int = 3) -> float:
    return float((np.abs(image - colour).max(2) <= within).mean())


def comparison(path):
    return figures.comparison({"one": picture(), "two": picture(seed=1)}, path, title="t", crop=21)


def curves(path):
    return figures.adaptation_curves({"g2.0d": {0: 30.0, 10: 35.0}}, {"g2.0d": [0.3, 0.1, 0.05]}, path)


def kernel_row(path):
    return figures.kernels({"a": anisotropic(4, 1, 0.3, size=11), "b": anisotropic(1, 1, 0, size=7)}, path)


every_figure = pytest.mark.parametrize("figure", [comparison, curves, kernel_row])


@every_figure
def test_written_to_the_path_with_its_folders(figure, tmp_path):
    path = tmp_path / "a" / "b" / "figure.png"
    assert figure(path) == path
    image = pixels(path)
    assert image.shape[0] > 100
    assert image.std() > 10


@every_figure
def test_the_same_figure_is_the_same_bytes_and_says_nothing_of_when_and_by_what(figure, tmp_path):
    first, second = figure(tmp_path / "1.png").read_bytes(), figure(tmp_path / "2.png").read_bytes()
    assert first == second
    with Image.open(tmp_path / "1.png") as image:
        assert set(image.info) <= {"dpi"}


@every_figure
def test_no_figure_stays_open(figure, tmp_path):
    import matplotlib.pyplot as plt

    figure(tmp_path / "1.png")
    assert plt.get_fignums() == []


def test_other_content_is_another_figure(tmp_path):
    one = figures.comparison({"a": picture()}, tmp_path / "1.png", crop=21).read_bytes()
    assert figures.comparison({"a": picture(seed=1)}, tmp_path / "2.png", crop=21).read_bytes() != one
    assert figures.comparison({"b": picture()}, tmp_path / "3.png", crop=21).read_bytes() != one
    assert figures.comparison({"a": picture()}, tmp_path / "4.png", crop=21, corner=(0, 0)).read_bytes() != one
    assert figures.comparison({"a": picture()}, tmp_path / "5.png", crop=21, title="t").read_bytes() != one


def test_comparison_shows_each_picture_in_its_column(tmp_path):
    red, blue = plain((1, 0, 0)), plain((0, 0, 1))
    image = pixels(figures.comparison({"red": red, "blue": blue}, tmp_path / "1.png", crop=21))
    half = image.shape[1] // 2
    assert share(image[:, :half], (255, 0, 0)) > 0.5
    assert share(image[:, half:], (0, 0, 255)) > 0.5
    assert share(image[:, half:], (255, 0, 0)) == 0


def test_comparison_marks_the_region_in_the_whole_picture(tmp_path):
    image = pixels(figures.comparison({"a": plain((0, 0, 0.5))}, tmp_path / "1.png", crop=20, corner=(10, 30)))
    red, green, below = image[..., 0], image[..., 1], image[..., 2]
    rows, columns = np.nonzero((red > 100) & (abs(red - green) < 3) & (below < 80) & (below < red - 20))  # yellow
    blue = np.nonzero((np.abs(image - (0, 0, 128)).max(2) < 3)[: image.shape[0] // 3].any(0))[0]
    pixel = (blue[-1] - blue[0] + 1) / 67  # of the picture, in pixels of the figure
    assert columns.min() == pytest.approx(blue[0] + 30 * pixel, abs=2)
    assert columns.max() == pytest.approx(blue[0] + 50 * pixel, abs=2)
    assert rows.max() - rows.min() == pytest.approx(20 * pixel, abs=2)


def test_a_comparison_of_many_is_wrapped_so_that_its_captions_stay_legible(tmp_path):
    names = "abcdefg"
    four = pixels(figures.comparison({n: plain((0, 0, 1)) for n in names[:4]}, tmp_path / "4.png", crop=21))
    seven = pixels(figures.comparison({n: plain((0, 0, 1)) for n in names}, tmp_path / "7.png", crop=21))
    assert seven.shape[1] == four.shape[1] < 1200
    assert seven.shape[0] == pytest.approx(2 * four.shape[0], rel=0.02)
    below = seven[seven.shape[0] // 2 :]
    share_of = [share(part, (0, 0, 255)) for part in np.array_split(below, 4, axis=1)]
    assert min(share_of[:3]) > 0.5
    assert share_of[3] == 0  # nothing is left of an empty place, no frame either
    assert share(np.array_split(below, 4, axis=1)[3], (255, 255, 255)) > 0.99


def test_a_long_caption_is_wrapped(tmp_path):
    words = "metric_constrained, of weights with a", "long name, 10 updates"
    made = [figures.comparison({sep.join(words): picture()}, tmp_path / f"{i}.png") for i, sep in enumerate(" \n")]
    assert made[0].read_bytes() == made[1].read_bytes()
    short = figures.comparison({words[0]: picture()}, tmp_path / "short.png")
    assert made[0].read_bytes() != short.read_bytes()


def test_comparison_enlarges_the_region_asked_for(tmp_path):
    two_colours = plain((1, 0, 0)).clone()
    two_colours[:, 20:40, 30:50] = torch.tensor([0.0, 1.0, 0.0]).view(3, 1, 1)
    image = pixels(figures.comparison({"a": two_colours}, tmp_path / "1.png", crop=20, corner=(20, 30)))
    below = image[image.shape[0] // 2 :]
    assert share(below, (0, 255, 0)) > 0.6
    assert share(below, (255, 0, 0)) == 0


def test_comparison_finds_the_most_detailed_region_of_the_last_picture(tmp_path):
    flat = plain((1, 0, 0)).clone()
    detailed = flat.clone()
    checks = (torch.arange(17)[:, None] + torch.arange(17)) % 2
    detailed[:, 24:41, 40:57] = checks.float()
    row, column = figures._busiest(detailed.permute(1, 2, 0).numpy(), 17)
    assert (abs(row - 24), abs(column - 40)) <= (2, 2)
    below = pixels(figures.comparison({"flat": flat, "detailed": detailed}, tmp_path / "1.png", crop=17))
    below = below[below.shape[0] // 2 :, below.shape[1] // 2 :]
    assert share(below, (255, 0, 0)) < 0.2


def test_a_region_larger_than_the_picture_is_the_picture(tmp_path):
    small = figures.comparison({"a": picture((13, 17))}, tmp_path / "1.png", crop=96, corner=(0, 0))
    assert small.read_bytes() == figures.comparison({"a": picture((13, 17))}, tmp_path / "2.png", crop=13).read_bytes()


def test_pictures_beyond_the_range_are_clipped(tmp_path):
    image = pixels(figures.comparison({"a": plain((1.7, -0.4, 0.0))}, tmp_path / "1.png", crop=21))
    assert share(image, (255, 0, 0)) > 0.5


def test_a_caption_is_not_taken_for_mathematics(tmp_path):
    dollars = figures.kernels({"$x^2$": anisotropic(2, 2, 0, size=5)}, tmp_path / "1.png").read_bytes()
    assert dollars != figures.kernels({"x^2": anisotropic(2, 2, 0, size=5)}, tmp_path / "2.png").read_bytes()
    figures.comparison({"cost $5_{": picture()}, tmp_path / "3.png", title="$\\nothing$", crop=21)


def test_what_other_figures_take_from_here():
    assert figures.literal("$a_b$") == r"\$a_b\$"
    image = torch.tensor([-0.5, 0.25, 1.5]).view(1, 3, 1, 1).expand(1, 3, 5, 7).requires_grad_()
    for given in (image, image[0].double()):
        found = figures.pixels(given)
        assert (found.shape, found.dtype) == ((5, 7, 3), np.float32)
        assert found[2, 3].tolist() == [0, 0.25, 1]


@every_figure
@pytest.mark.parametrize("path", ["file/figure.png", "folder.png"])
def test_a_place_that_cannot_be_written_to_is_named(figure, path, tmp_path):
    import matplotlib.pyplot as plt

    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match=f"cannot write .*{path}"):
        figure(tmp_path / path)
    assert (tmp_path / "file").read_text() == "kept"
    assert plt.get_fignums() == []


def test_each_kernel_is_scaled_to_its_own_maximum(tmp_path):
    kernel = anisotropic(2, 2, 0, size=11)
    image = pixels(figures.kernels({"a": kernel, "b": kernel / 50}, tmp_path / "1.png"))
    image = image[image.shape[0] // 3 :]  # below the captions
    half = image.shape[1] // 2
    a, b = (int(part.reshape(-1, 3)[:, 0].max()) for part in (image[:, :half], image[:, half : 2 * half]))
    brightest = (252, 253, 191)  # the upper end of the colour map
    assert a == b
    assert share(image[:, :half], brightest) > 0
    assert share(image[:, half:], brightest) == pytest.approx(share(image[:, :half], brightest), rel=0.2)


def test_one_line_per_degradation(tmp_path):
    one = pixels(figures.adaptation_curves({"a": {0: 30.0, 5: 33.0}}, {"a": [0.3, 0.1]}, tmp_path / "1.png"))
    two = pixels(
        figures.adaptation_curves(
            {"a": {0: 30.0, 5: 33.0}, "b": {0: 29.0, 5: 32.0}}, {"a": [0.3, 0.1], "b": [0.2, 0.1]}, tmp_path / "2.png"
        )
    )
    blue, orange = (31, 119, 180), (255, 127, 14)
    assert share(one, blue, 8) > 0
    assert share(one, orange, 8) == 0
    assert share(two, blue, 8) > 0
    assert share(two, orange, 8) > 0


def test_points_are_joined_in_the_order_of_the_updates(tmp_path):
    forth = figures.adaptation_curves({"a": {0: 30.0, 5: 31.0, 10: 35.0}}, {"a": [0.3]}, tmp_path / "1.png")
    back = figures.adaptation_curves({"a": {10: 35.0, 0: 30.0, 5: 31.0}}, {"a": [0.3]}, tmp_path / "2.png")
    assert forth.read_bytes() == back.read_bytes()
