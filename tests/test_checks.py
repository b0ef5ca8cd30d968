import math

import numpy as np
import pytest
import torch

from metasr.checks import check_image, check_kernel, check_pair, check_scale, check_whole_pair
from metasr.errors import (
    DataError,
    DivergenceError,
    InputError,
    MetasrError,
    OutputError,
    StageError,
    WeightsError,
    nearest,
)

NAN = torch.zeros(1, 3, 5, 7)
NAN[0, 1, 2, 3:5] = torch.tensor([math.nan, math.inf])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_images_that_pass(dtype):
    check_image(torch.zeros(1, 3, 5, 7, dtype=dtype))
    check_image(torch.full((2, 1, 1, 1), -9.0, dtype=dtype))  # the range is not required


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((1, 3, 5, 7)), r"^lr must be a torch.Tensor of shape \(B, C, H, W\), got ndarray$"),
        (None, "got NoneType"),
        (torch.zeros(3, 5, 7), r"got \(3, 5, 7\); add the missing axes with \[None\]"),
        (torch.zeros(1, 3, 0, 7), r"must not be empty, got shape \(1, 3, 0, 7\)"),
        (torch.zeros(1, 3, 5, 7, dtype=torch.uint8), r"got torch.uint8; convert with image.float\(\) / 255"),
        (NAN, "lr must be finite, got 2 NaN or infinite values; clean the file first"),
    ],
)
def test_images_that_do_not(image, message):
    with pytest.raises(InputError, match=message):
        check_image(image, name="lr")


@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (4, 7, 3)])
def test_kernels_that_pass(shape):
    kernel = torch.full(shape, 1 / (shape[-1] * shape[-2]), dtype=torch.float64)
    assert check_kernel(kernel) is kernel
    check_kernel(kernel * 1.0009)
    with pytest.raises(InputError):
        check_kernel(kernel * 1.0011)


def test_normalising_divides_each_kernel_by_its_own_sum():
    kernels = torch.stack([torch.full((3, 5), 2.0), torch.arange(15.0).view(3, 5)])
    got = check_kernel(kernels, normalise=True)
    np.testing.assert_allclose(got.sum((1, 2)), 1, rtol=1e-6)
    np.testing.assert_allclose(got[1], np.arange(15).reshape(3, 5) / 105, rtol=1e-6)
    np.testing.assert_array_equal(kernels[0], 2)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (torch.ones(9), r"shape \(kH, kW\) or \(B, kH, kW\), got \(9,\)"),
        (torch.ones(1, 1, 3, 3), r"got \(1, 1, 3, 3\)"),
        (torch.ones(0, 3), r"got \(0, 3\)"),
        (torch.ones(4, 3), "odd sides, got 4x3; pad it by one row or column so that it has a centre"),
        (torch.ones(2, 3, 6), "odd sides, got 3x6"),
        (torch.ones(3, 3, dtype=torch.int64), "floating point, got torch.int64"),
        (torch.full((3, 3), torch.nan), "finite, got NaN"),
        (torch.full((3, 3), 0.83 / 9), r"must sum to 1, got 0\.83; normalise it or pass normalise=True"),
        (torch.stack([torch.full((1, 1), 1.0), torch.full((1, 1), -4.0)]), "must sum to 1, got -4"),
    ],
)
def test_kernels_that_do_not(kernel, message):
    with pytest.raises(InputError, match=message):
        check_kernel(kernel)


def test_a_kernel_without_sum_cannot_be_normalised():
    kernels = torch.stack([torch.ones(1, 3), torch.tensor([[-1.0, 0.0, 1.0]])])
    with pytest.raises(InputError, match="sums to 0 and cannot be normalised"):
        check_kernel(kernels, normalise=True)


@pytest.mark.parametrize("scale", [1, 2, 0.5, math.pi])
def test_scales_that_pass(scale):
    check_scale(scale)


@pytest.mark.parametrize("scale", [0, -2, math.nan, math.inf, "2", None])
def test_scales_that_do_not(scale):
    with pytest.raises(InputError, match=f"factor must be a finite number above 0, got {scale!r}"):
        check_scale(scale, name="factor")


@pytest.mark.parametrize(
    ("hr", "scale", "lr"),
    [((10, 14), 2, (5, 7)), ((11, 13), 2, (6, 7)), ((12, 17), 1.7, (8, 10)), ((21, 7), 7, (3, 1))],
)
def test_pairs(hr, scale, lr):
    check_pair(torch.zeros(1, 3, *lr), torch.zeros(1, 3, *hr), scale)
    for wrong in ((lr[0] + 1, lr[1]), (lr[0], lr[1] - 1), lr[::-1]):
        message = f"do not match scale {scale:g}: HR is {hr[0]}x{hr[1]}, so LR must be {lr[0]}x{lr[1]}, got {wrong[0]}x"
        with pytest.raises(InputError, match=message):
            check_pair(torch.zeros(1, 3, *wrong), torch.zeros(1, 3, *hr), scale)


def test_whole_pairs():
    check_whole_pair(torch.zeros(1, 3, 5, 7), torch.zeros(2, 3, 15, 21), 3)
    check_whole_pair(torch.zeros(1, 3, 1, 1), torch.zeros(1, 3, 4, 4), 4.0)
    for hr, scale in (((15, 20), 3), ((14, 21), 3), ((10, 14), 3), ((12, 17), 2.5)):
        message = rf"HR must be {scale:g} times as large as LR.* got {hr[0]}x{hr[1]}; take a"
        with pytest.raises(InputError, match=message):
            check_whole_pair(torch.zeros(1, 3, 5, 7), torch.zeros(1, 3, *hr), scale)


def test_errors_are_of_one_family_and_of_the_built_in_kinds():
    kinds = {
        InputError: ValueError,
        DataError: Exception,
        OutputError: OSError,
        WeightsError: Exception,
        StageError: Exception,
        DivergenceError: ArithmeticError,
    }
    for kind, built_in in kinds.items():
        assert issubclass(kind, MetasrError)
        assert issubclass(kind, built_in)
    assert not issubclass(DataError, InputError)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("appel", "did you mean 'Apple'? known: Apple, banana, pear"),
        ("BANANA", "did you mean 'banana'? known: Apple, banana, pear"),
        ("pearle", "did you mean 'pear' or 'Apple'? known: Apple, banana, pear"),
        ("xyz", "known: Apple, banana, pear"),
    ],
)
def test_the_nearest_names(name, text):
    assert nearest(name, ["pear", "banana", "Apple"]) == text


def test_at_most_as_many_names_as_asked_for():
    known = [f"name{i}" for i in range(9)]
    assert nearest("name", known, count=2).split("?")[0].count("'") == 4
