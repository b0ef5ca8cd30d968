import numpy as np
import pytest
import torch
from kornia.filters import filter2d
from scipy.ndimage import convolve, correlate

from metasr.degradation.blur import blur
from metasr.errors import InputError

# our name of the border -> scipy's
BORDERS = {
    "symmetric": "reflect",
    "reflect": "mirror",
    "replicate": "nearest",
    "circular": "wrap",
    "constant": "constant",
}


def picture(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def asymmetric(*shape: int, seed: int = 5) -> torch.Tensor:
    kernel = picture(*shape, seed=seed)
    return kernel / kernel.sum((-2, -1), keepdim=True)


def test_one_bright_pixel_shows_the_kernel_flipped_as_correlation_does():
    image = torch.zeros(1, 1, 9, 11, dtype=torch.float64)
    image[0, 0, 4, 6] = 1
    kernel = asymmetric(3, 5)
    got = blur(image, kernel)[0, 0]
    np.testing.assert_array_equal(got[3:6, 4:9], kernel.flip(0, 1))  # a convolution would show it upright
    assert got.count_nonzero() == 15
    assert (kernel - kernel.flip(0, 1)).abs().max() > 0.01


@pytest.mark.parametrize("shape", [(3, 5), (7, 1), (1, 1), (5, 5)])
@pytest.mark.parametrize("padding", BORDERS)
def test_equals_scipys_correlation(padding, shape):
    image, kernel = picture(2, 3, 13, 8), asymmetric(*shape)
    got = blur(image, kernel, padding=padding)
    want = correlate(image.numpy(), kernel.numpy()[None, None], mode=BORDERS[padding])
    assert got.shape == image.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-14)
    if shape == (3, 5):
        assert np.abs(convolve(image.numpy(), kernel.numpy()[None, None], mode=BORDERS[padding]) - want).max() > 0.05


def test_the_default_border_repeats_the_edge_pixel():
    image, kernel = picture(1, 3, 9, 7), asymmetric(5, 3)
    want = correlate(image.numpy(), kernel.numpy()[None, None], mode="reflect")
    np.testing.assert_allclose(blur(image, kernel), want, rtol=0, atol=1e-14)


def test_borders_differ_from_each_other():
    image, kernel = picture(1, 1, 9, 7), asymmetric(5, 5)
    results = [blur(image, kernel, padding=p) for p in BORDERS]
    for i, a in enumerate(results):
        for b in results[i + 1 :]:
            assert (a - b).abs().max() > 0.01


@pytest.mark.parametrize("padding", BORDERS)
def test_one_kernel_each(padding):
    images, kernels = picture(3, 2, 11, 13), asymmetric(3, 5, 3)
    got = blur(images, kernels, padding=padding)
    for i in range(3):
        want = correlate(images[i].numpy(), kernels[i].numpy()[None], mode=BORDERS[padding])
        np.testing.assert_allclose(got[i], want, rtol=0, atol=1e-14)


def test_a_kernel_as_large_as_the_image():
    image, kernel = picture(1, 1, 5, 7), asymmetric(5, 7)
    want = correlate(image[0, 0].numpy(), kernel.numpy(), mode="reflect")
    np.testing.assert_allclose(blur(image, kernel)[0, 0], want, rtol=0, atol=1e-14)


def test_a_float64_kernel_on_a_float32_image_gives_float32():
    got = blur(picture(1, 3, 9, 7).float(), asymmetric(3, 3))
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got, blur(picture(1, 3, 9, 7), asymmetric(3, 3)), rtol=0, atol=1e-6)


def test_gradients_equal_finite_differences():
    image, kernel = picture(2, 1, 5, 4).requires_grad_(), asymmetric(2, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, k: blur(x, k), (image, kernel))


def test_kornia_has_no_symmetric_border():
    # Why the mirroring is done here: kornia's "reflect" does not repeat the edge pixel, and there is no other mirror.
    image, kernel = picture(1, 1, 9, 7), asymmetric(5, 5)
    with pytest.raises(Exception, match="symmetric"):
        filter2d(image, kernel[None], border_type="symmetric")
    theirs = filter2d(image, kernel[None], border_type="reflect")
    assert (theirs - blur(image, kernel)).abs().max() > 0.01
    np.testing.assert_allclose(theirs[..., 2:-2, 2:-2], blur(image, kernel)[..., 2:-2, 2:-2], rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("image", "kernel", "arguments", "message"),
    [
        ((1, 3, 9, 7), torch.full((3, 3), 0.1), {}, r"kernel must sum to 1, got 0\.9; normalise it or pass"),
        ((1, 3, 9, 7), torch.full((2, 3), 1 / 6), {}, "odd sides, got 2x3; pad it"),
        ((1, 3, 9, 7), torch.full((3, 3), 1 / 9), {"padding": "mirror"}, "symmetric, reflect, .*, got 'mirror'"),
        (
            (1, 3, 2, 7),
            torch.full((3, 3), 1 / 9),
            {},
            "image of 2x7 is smaller than the 3x3 kernel; the image must be at least 3x3",
        ),
        ((2, 3, 9, 7), torch.full((3, 3, 3), 1 / 9), {}, "3 kernels came for 2 images; give one"),
        ((3, 9, 7), torch.full((3, 3), 1 / 9), {}, r"must have shape \(B, C, H, W\), got \(3, 9, 7\)"),
    ],
)
def test_errors_say_what_came(image, kernel, arguments, message):
    with pytest.raises(InputError, match=message):
        blur(torch.rand(image), kernel, **arguments)
