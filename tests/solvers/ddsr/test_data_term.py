"""DDSR's data term."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import correlate

from metasr.degradation.kernel_files import load_kernel
from metasr.degradation.kernels import anisotropic
from metasr.degradation.pipeline import Degradation
from metasr.degradation.published_ddsr import PublishedDraws
from metasr.degradation.resize import imresize
from metasr.errors import DataError, InputError
from metasr.io.images import read_photo
from metasr.metrics.protocol import LumaProtocol
from metasr.solvers.ddsr.data_term import DataTerm, blur_circular, read_mask
from metasr.solvers.ddsr.random_kernels import shift_of
from small_problems import picture


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_blur_against_scipy(scale: int) -> None:
    image, kernel = picture(15, 22, dtype=torch.float64), torch.rand(7, 7, dtype=torch.float64)
    want = np.stack([correlate(c, kernel.numpy(), mode="wrap")[::scale, ::scale] for c in image[0].numpy()])
    np.testing.assert_allclose(blur_circular(image, kernel, step=scale)[0], want, atol=1e-12)


def test_a_single_pixel_tells_correlation_from_convolution() -> None:
    image, kernel = torch.zeros(1, 1, 9, 9), torch.rand(3, 3)
    image[0, 0, 4, 4] = 1
    torch.testing.assert_close(blur_circular(image, kernel, step=1)[0, 0, 3:6, 3:6], kernel.flip(0, 1))


def test_it_is_the_suites_own_degradation() -> None:
    kernel = anisotropic(3.0, 1.0, 0.4, size=11).float()
    given = Degradation(scale=2, kernel=kernel, downsample="direct", padding="circular", quantise=None)
    hr = picture(24, 30)
    torch.testing.assert_close(blur_circular(hr, kernel, step=2), given.linear(hr))


def test_gradients_by_finite_differences() -> None:
    image = torch.rand(1, 2, 6, 8, dtype=torch.float64, requires_grad=True)
    kernel = torch.rand(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, k: blur_circular(x, k, step=2), (image, kernel))


@pytest.mark.parametrize("loss", ["mse", "dissimilarity"])
def test_the_truth_explains_its_own_image(loss: str) -> None:
    hr = picture(40, 36)
    drawn = PublishedDraws(4).draw(hr)
    kernel = drawn.degradation.kernel
    assert kernel is not None
    seen = DataTerm(drawn.lr, scale=4)
    right = float(getattr(seen, loss)(seen.degrade(hr, kernel.float())))
    wrong = float(getattr(seen, loss)(seen.degrade(hr, kernel.float().roll(3, 0))))
    assert right < 1e-2 < wrong or right < wrong / 50


def test_mask_and_gain_scale_what_is_seen() -> None:
    image, kernel = picture(16, 12), anisotropic(1.0, 1.0, 0.0, size=5).float()
    lr, mask = picture(8, 6, seed=2), torch.ones(1, 1, 8, 6)
    mask[..., 2:4, 1:5] = 0
    plain = DataTerm(lr, scale=2).degrade(image, kernel)
    torch.testing.assert_close(DataTerm(lr, scale=2, gain=0.3).degrade(image, kernel), 0.3 * plain)
    covered = DataTerm(lr, scale=2, mask=mask, gain=0.3)
    torch.testing.assert_close(covered.degrade(image, kernel), 0.3 * plain * mask)
    want = ((0.3 * plain - lr) * mask).square().mean()
    torch.testing.assert_close(covered.mse(covered.degrade(image, kernel)), want)


@pytest.mark.parametrize("garbage", [0.0, 0.7, float("nan"), float("inf")])
def test_garbage_under_the_mask_changes_no_loss(garbage: float) -> None:
    image, kernel, lr = picture(16, 12), anisotropic(1.0, 1.0, 0.0, size=5).float(), picture(8, 6, seed=2)
    mask = torch.ones(8, 6)
    mask[2:4, 1:5] = 0
    one = DataTerm(lr, scale=2, mask=mask)
    other = DataTerm(torch.where(mask > 0, lr, torch.tensor(garbage)), scale=2, mask=mask)
    for loss in ("mse", "dissimilarity"):
        assert getattr(one, loss)(one.degrade(image, kernel)) == getattr(other, loss)(other.degrade(image, kernel))
    assert torch.equal(one.errors(image, kernel[None]), other.errors(image, kernel[None]))


def test_errors_of_several_kernels() -> None:
    image, lr = picture(16, 12), picture(8, 6, seed=2)
    kernels = torch.rand(3, 5, 5)
    found = DataTerm(lr, scale=2).errors(image.requires_grad_(), kernels)
    want = [((blur_circular(image, k, step=2) - lr) ** 2).mean().item() for k in kernels]
    torch.testing.assert_close(found, torch.tensor(want))


def test_a_window_is_a_part() -> None:
    lr, mask = picture(9, 8), torch.ones(9, 8)
    mask[4, 4] = 0
    whole = DataTerm(lr, scale=3, mask=mask, gain=0.5)
    seen = torch.ones(1, 1, 4, 5)
    seen[..., 0] = 0
    part = whole.window(slice(3, 7), slice(2, 7), seen=seen)
    assert part.gain == 0.5
    want = mask[3:7, 2:7] * seen[0, 0]
    torch.testing.assert_close(part.mask, want[None, None])
    torch.testing.assert_close(part.lr, lr[..., 3:7, 2:7] * want)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gain": 0}, r"gain must be in \(0, 1\], got 0; brighter"),
        ({"gain": 1.01}, r"gain must be in \(0, 1\], got 1.01"),
        ({"mask": torch.ones(6, 8)}, "the mask must have the LR image's size 8x6"),
        ({"mask": torch.ones(1, 3, 8, 6)}, "the mask must have the LR image's size 8x6"),
        ({"mask": torch.zeros(8, 6)}, "the mask hides the whole image: it is 0 everywhere"),
        ({"mask": torch.full((8, 6), 2.0)}, "1 where the image is seen and 0 elsewhere"),
    ],
)
def test_impossible_observations(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DataTerm(picture(8, 6), scale=2, **arguments)


HALVES = np.arange(35).reshape(5, 7) % 7 < 3


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("m.png", np.where(HALVES, 255, 0).astype(np.uint8)),
        ("m.png", np.where(HALVES, 248, 7).astype(np.uint8)),
        ("m.png", np.where(HALVES, 1, 0).astype(np.uint8)),
        ("m.png", np.where(HALVES, 65535, 0).astype(np.uint16)),
        ("m.png", HALVES),
        ("m.npy", np.where(HALVES, 255, 0).astype(np.uint8)),
        ("m.npy", np.where(HALVES, 1.0, 0.0)),
        ("m.npy", HALVES),
    ],
)
def test_masks_of_two_values_are_read(tmp_path: Path, name: str, values: np.ndarray) -> None:
    path = tmp_path / name
    if name.endswith(".npy"):
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)
    torch.testing.assert_close(read_mask(path), torch.from_numpy(HALVES).float(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "m.png",
            100,
            r"m\.png must hold 0 .*, 1 or 255 .*, got 100 among 1 such pixels; .* 127\.5 would be the middle",
        ),
        ("m.png", 9, "got 9 among 1 such"),
        ("m.png", 246, "got 246 among 1 such"),
        ("m.npy", 0.5, r"m\.npy must hold 0 .*, got 0\.5 among 1 such pixels; .*, 0\.5 would be the middle"),
        ("m.npy", 2.0, "got 2 among 16 such"),
        ("m.npy", -1.0, "got -1 among 1 such"),
        ("m.npy", np.nan, "got nan among 1 such"),
    ],
)
def test_masks_with_something_between_are_refused(tmp_path: Path, name: str, value: float, message: str) -> None:
    path = tmp_path / name
    if name.endswith(".npy"):
        values = np.where(HALVES, 1.0, 0.0)
        values[2, 3] = value
        np.save(path, values)
    else:
        levels = np.where(HALVES, 255, 0).astype(np.uint8)
        levels[2, 3] = value
        Image.fromarray(levels).save(path)
    with pytest.raises(DataError, match=message):
        read_mask(path)


def test_no_mask_file(tmp_path: Path) -> None:
    for name in ("m.png", "m.npy"):
        with pytest.raises(DataError, match=rf"no mask file .*{name}; give an existing image or \.npy file"):
            read_mask(tmp_path / name)


@pytest.mark.data
def test_the_published_kernel_undoes_the_published_blur(shared_data: Path) -> None:
    """A non-blind solver of least squares, which learns nothing: conjugate gradients on data term and smoothness."""
    folder = shared_data / "ddsr_set5_x4"
    lr, kernel = read_photo(folder / "bird.png").rgb[None], load_kernel(folder / "kernel_bird.mat").float()
    hr = read_photo(folder / "hr_bird.png").rgb[None]

    def solved(kernel: torch.Tensor) -> float:
        def normal(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            x = x.detach().requires_grad_()
            energy = (blur_circular(x, kernel, step=4) - y).square().sum()
            energy = energy + 1e-3 * sum((x - x.roll(1, axis)).square().sum() for axis in (-1, -2))
            return torch.autograd.grad(energy / 2, x)[0]

        x, nothing = imresize(lr, 4, shift=(shift_of("published", scale=4),) * 2), torch.zeros_like(lr)
        rest = -normal(x, lr)
        direction, norm = rest.clone(), rest.square().sum()
        for _ in range(20):
            image = normal(direction, nothing)
            stride = norm / (direction * image).sum()
            x, rest = x + stride * direction, rest - stride * image
            before, norm = norm, rest.square().sum()
            direction = rest + norm / before * direction
        return LumaProtocol()(x.clamp(0, 1), hr, scale=4).psnr_y

    assert solved(kernel) > 30.5  # bicubic, moved back by hand: 29.72
    assert solved(kernel.roll(3, 1)) < 25
