"""How a kernel from a file is meant: even sides, convolution or correlation, and its description in words."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from metasr.degradation.blur import blur
from metasr.degradation.kernel_files import describe_kernel, load_kernel
from metasr.degradation.kernels import anisotropic, isotropic
from metasr.degradation.names import is_file, is_flipped, parse, with_choice
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError


@pytest.mark.parametrize("size", [(14, 14), (14, 13), (3, 4), (2, 2)])
def test_an_even_side_blurs_as_in_scipy(tmp_path, size, caplog):
    values = np.random.default_rng(0).random(size)
    values /= values.sum()
    np.save(tmp_path / "k.npy", values)
    kernel = load_kernel(tmp_path / "k.npy")
    assert kernel.shape == tuple(n + 1 - n % 2 for n in size)
    told = f"has an even side ({size[0]}x{size[1]}): zeros are added at its end, its middle is row {size[0] // 2} and "
    assert told + f"column {size[1] // 2}, counted from 0" in caplog.text
    image = np.random.default_rng(1).random((37, 41))
    got = blur(torch.from_numpy(image)[None, None], kernel, padding="symmetric")[0, 0]
    np.testing.assert_allclose(got, scipy.ndimage.correlate(image, values, mode="reflect"), atol=1e-12)
    turned = load_kernel(tmp_path / "k.npy", flip=True)
    got = blur(torch.from_numpy(image)[None, None], turned, padding="symmetric")[0, 0]
    np.testing.assert_allclose(got, scipy.ndimage.convolve(image, values, mode="reflect"), atol=1e-12)


def test_the_shift_of_an_even_kernel_is_known(tmp_path):
    profile = np.exp(-((np.arange(14) - 6.5) ** 2) / 8)
    np.save(tmp_path / "k.npy", np.outer(profile, profile))
    degradation = Degradation(scale=2, kernel=load_kernel(tmp_path / "k.npy"))
    assert degradation.shift == pytest.approx((0.5, 0.5), abs=1e-6)


def test_a_flipped_name(tmp_path):
    np.save(tmp_path / "k.npy", np.array([[0, 0, 0], [0, 1, 2], [0, 0, 0.0]]))
    for name, where in (("k.npy", 2), ("k.npy_flip", 0), ("k.npy#0_flip_b_n5", 0)):
        degradation = parse(str(tmp_path / name), scale=2)
        assert degradation.kernel is not None
        assert degradation.kernel[1].argmax() == where
        assert str(degradation) == str(tmp_path / name)


def test_description():
    assert describe_kernel(isotropic(2.0)) == (
        "kernel 21x21, centre of mass at its middle tap, 1.41 pixels wide (standard deviation); "
        "the same when turned by half a turn, so convolution and correlation agree"
    )
    told = describe_kernel(anisotropic(4.0, 1.0, 0.5, size=25))
    assert "2.00 pixels wide along 29 degrees (clockwise from the right), 1.00 across; the same when turned" in told
    motion = torch.zeros(5, 7, dtype=torch.float64)
    motion[2, 3:], motion[3, 3] = torch.tensor([4.0, 3.0, 2.0, 1.0]) / 11, 1 / 11
    told = describe_kernel(motion)
    assert told.startswith("kernel 5x7, centre of mass at 0.09 px below and 0.91 px right of its middle tap, ")
    assert "64% of it differs when turned by half a turn: it is read as correlation; flip it (--flip-kernel)" in told
    assert "\n" not in told
    assert describe_kernel(motion, flipped=True).endswith("it is read as convolution, flipped as asked for")
    with pytest.raises(InputError, match=r"expected one kernel"):
        describe_kernel(isotropic(1.0)[None])


def test_a_flipped_motion_kernel_matters_as_measured(tmp_path):
    """A picture blurred by convolution: the kernel as stored explains it only when flipped."""
    values = np.zeros((5, 7))
    values[2, 3:] = [4, 3, 2, 1]
    np.savetxt(tmp_path / "k.txt", values)
    image = np.random.default_rng(1).random((37, 41))
    seen = torch.from_numpy(scipy.ndimage.convolve(image, values / 10, mode="reflect"))
    hr = torch.from_numpy(image)[None, None]
    kernels = [load_kernel(tmp_path / "k.txt", flip=flip) for flip in (False, True)]
    off = [float((blur(hr, kernel)[0, 0] - seen).abs().max()) for kernel in kernels]
    assert off[1] < 1e-12 < 0.1 < off[0]


def test_choices_become_part_of_the_name():
    assert with_choice("k.npy_b_n5", index=2, flip=True) == "k.npy#2_flip_b_n5"
    assert with_choice("a b/k.mat#1_flip", index=1) == "a b/k.mat#1_flip"
    assert with_choice("k.mat#1", flip=True) == "k.mat#1_flip"
    assert with_choice("bicubic") == "bicubic"
    for name in ("bicubic", "estimate", "g2.0d_n5"):
        with pytest.raises(InputError, match=rf"are for a kernel file, got '{name}'; leave them out"):
            with_choice(name, flip=True)
    with pytest.raises(InputError, match=r"k\.mat#1 asks for kernel 1, kernel_index \(--kernel-index\) for 0"):
        with_choice("k.mat#1", index=0)
    assert [is_file(name) for name in ("k.npy", "k.mat#1_flip_d_n2", "g2.0d", "k.npyx")] == [True, True, False, False]
    assert [is_flipped(name) for name in ("k.npy", "k.npy_flip_b_n2", "_flip")] == [False, True, False]
