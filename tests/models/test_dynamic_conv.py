"""The depthwise convolution by each image's own kernels."""

import pytest
import torch
from scipy.ndimage import correlate

from metasr.errors import InputError
from metasr.models.dynamic_conv import dynamic_depthwise


def drawn(shape: tuple[int, int, int, int], size: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(shape, dtype=torch.float64), torch.randn(*shape[:2], size, size, dtype=torch.float64)


@pytest.mark.parametrize(("shape", "size"), [
    ((3, 2, 5, 7), 3), ((1, 4, 1, 1), 3), ((2, 1, 1, 6), 3), ((2, 3, 4, 3), 5), ((2, 3, 4, 3), 1)
])  # fmt: skip
def test_it_is_a_correlation_of_each_map_with_its_kernel(shape: tuple[int, int, int, int], size: int) -> None:
    features, kernels = drawn(shape, size)
    got = dynamic_depthwise(features, kernels)
    for b in range(shape[0]):
        for c in range(shape[1]):
            want = correlate(features[b, c].numpy(), kernels[b, c].numpy(), mode="constant")
            torch.testing.assert_close(got[b, c], torch.from_numpy(want), rtol=0, atol=1e-13)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_those_of_one_image_after_the_other(layout: torch.memory_format) -> None:
    features, kernels = drawn((3, 4, 5, 7))
    leaves = features.contiguous(memory_format=layout).requires_grad_(), kernels.requires_grad_()
    one_by_one = torch.cat([
        torch.nn.functional.conv2d(x[None], k[:, None], padding=1, groups=4) for x, k in zip(*leaves, strict=True)
    ])  # fmt: skip
    wanted = torch.autograd.grad(one_by_one.sin().sum(), leaves)
    for got, want in zip(torch.autograd.grad(dynamic_depthwise(*leaves).sin().sum(), leaves), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-13)


def test_float32_stays_and_is_close() -> None:
    features, kernels = drawn((2, 3, 5, 7))
    got = dynamic_depthwise(features.float(), kernels.float())
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), dynamic_depthwise(features, kernels), rtol=1e-5, atol=1e-5)


def test_bad_input_is_told() -> None:
    features, kernels = drawn((3, 2, 5, 7))
    with pytest.raises(InputError, match=r"shape \(3, 2, 'k', 'k'\) as the features, got \(2, 2, 3, 3\)"):
        dynamic_depthwise(features, kernels[:2])
    with pytest.raises(InputError, match=r"got \(3, 3, 3\)"):
        dynamic_depthwise(features, kernels[:, 0])
    with pytest.raises(InputError, match="square and odd, got 2x3"):
        dynamic_depthwise(features, kernels[..., :2, :])
    with pytest.raises(InputError, match="square and odd, got 2x2"):
        dynamic_depthwise(features, kernels[..., :2, :2])
