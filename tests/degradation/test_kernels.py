import inspect
import math
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from scipy.stats import kstest, multivariate_normal

from metasr.degradation import kernels
from metasr.degradation.kernels import GaussianSampler, anisotropic, delta, gaussian, isotropic, load_kernel
from metasr.errors import DataError, InputError


def covariance(kernel: np.ndarray) -> np.ndarray:
    """Second central moments; x is the column, y the row."""
    y, x = np.mgrid[: kernel.shape[0], : kernel.shape[1]].astype(float)
    x, y = x - (kernel * x).sum(), y - (kernel * y).sum()
    return np.array(
        [[(kernel * x * x).sum(), (kernel * x * y).sum()], [(kernel * x * y).sum(), (kernel * y * y).sum()]]
    )


@pytest.mark.parametrize("theta", [0.0, 0.3, -0.5, math.pi / 2, 2.0])
@pytest.mark.parametrize(("variance1", "variance2"), [(4.0, 1.0), (1.5, 6.0), (2.0, 2.0)])
def test_moments_of_a_wide_kernel_are_the_covariance(variance1, variance2, theta):
    kernel = anisotropic(variance1, variance2, theta, size=61).numpy()
    rotation = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    want = rotation @ np.diag([variance1, variance2]) @ rotation.T
    np.testing.assert_allclose(covariance(kernel), want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("theta", [0.0, 0.4, -1.1])
def test_values_are_the_normal_density(theta):
    rotation = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    density = multivariate_normal([0, 0], rotation @ np.diag([3.0, 0.8]) @ rotation.T)
    y, x = np.mgrid[-5:6, -5:6]
    want = density.pdf(np.stack([x, y], -1))
    np.testing.assert_allclose(anisotropic(3.0, 0.8, theta, size=11), want / want.sum(), rtol=1e-12)


def test_a_wide_kernel_lies_along_the_columns_at_angle_zero():
    kernel = anisotropic(9.0, 0.5, 0.0)
    assert kernel[10, 14] > 1e3 * kernel[14, 10]


def test_the_angle_turns_from_columns_towards_rows_and_has_period_pi():
    kernel = anisotropic(6.0, 1.0, 0.7)
    assert kernel[13, 13] > 3 * kernel[13, 7]  # right and below, as rows count downwards
    np.testing.assert_allclose(anisotropic(6.0, 1.0, 0.7 + math.pi), kernel, rtol=0, atol=1e-15)
    np.testing.assert_allclose(anisotropic(1.0, 6.0, 0.7 + math.pi / 2), kernel, rtol=0, atol=1e-15)
    np.testing.assert_allclose(anisotropic(6.0, 1.0, -0.7), kernel.flip(0), rtol=0, atol=1e-15)
    assert (anisotropic(6.0, 1.0, 0.7 + math.pi / 2) - kernel).abs().max() > 0.01


def test_width_is_a_variance():
    profile = isotropic(2.0)[10] / isotropic(2.0)[10, 10]
    np.testing.assert_allclose(profile, np.exp(-0.25 * np.arange(-10, 11) ** 2), rtol=1e-12)


def test_named_test_kernels_are_21_by_21_and_sum_to_1():
    assert kernels.TEST_SIZE == 21
    for kernel in (isotropic(0.2), anisotropic(4.0, 1.0, -0.5)):
        assert kernel.shape == (21, 21)
        assert kernel.dtype == torch.float64
        assert kernel.sum().item() == pytest.approx(1, abs=1e-14)


def test_parameters_may_have_any_shape():
    first = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=torch.float64)
    angle = torch.linspace(0, 1, 6, dtype=torch.float64).view(2, 3)
    got = gaussian(first, torch.ones_like(first), angle, 9)
    assert got.shape == (2, 3, 9, 9)
    np.testing.assert_allclose(got[1, 2], anisotropic(6.0, 1.0, angle[1, 2].item(), size=9), rtol=1e-12)


def test_delta_is_one_pixel():
    kernel = delta(size=5)
    assert kernel[2, 2] == 1
    assert kernel.count_nonzero() == 1
    assert delta().shape == (1, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: isotropic(2.0, size=4), "size must be odd and at least 1, got 4"),
        (lambda: isotropic(0.0), "variances must be above 0; for no blur at all use"),
        (lambda: anisotropic(1.0, -1.0, 0.0), "variances must be above 0"),
        (lambda: delta(size=0), "size must be odd and at least 1, got 0"),
        (lambda: GaussianSampler(size=8), "size must be odd"),
        (lambda: GaussianSampler(variance=(0.0, 2.0)), r"0 < low <= high, got \(0\.0, 2\.0\)"),
        (lambda: GaussianSampler(variance=(3.0, 2.0)), r"0 < low <= high, got \(3\.0, 2\.0\)"),
        (lambda: GaussianSampler(delta_share=1.5), r"must be a probability, got 1\.5"),
    ],
)
def test_impossible_kernels_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


# -- sampler ----------------------------------------------------------------------------------------------------------


def draw(sampler: GaussianSampler, count: int = 200, seed: int = 0) -> np.ndarray:
    return sampler.sample(count, generator=torch.Generator().manual_seed(seed)).double().numpy()


def test_sampled_kernels_have_covariances_in_the_ranges():
    sampler = GaussianSampler(size=35, variance=(1.0, 5.0), theta=(0.2, 1.0))
    found = [np.linalg.eigh(covariance(k)) for k in draw(sampler, 300)]
    small, large = np.array([values for values, _ in found]).T
    assert large.max() <= 5.001
    assert small.min() >= 0.999
    assert kstest(large, "uniform", (1, 4)).pvalue > 1e-3
    assert kstest((small - 1) / (large - 1), "uniform").pvalue > 1e-3  # the smaller one is uniform below the larger
    clear = large > small + 0.2  # a round kernel has no direction
    axes = np.array([vectors[:, 1] for _, vectors in found])
    angle = np.arctan2(axes[:, 1], axes[:, 0]) % math.pi
    assert angle[clear].min() > 0.19
    assert angle[clear].max() < 1.01
    assert np.ptp(angle[clear]) > 0.7


def test_isotropic_kernels_are_round():
    for kernel in draw(GaussianSampler(size=25, variance=(0.5, 3.0), isotropic=True), 20):
        np.testing.assert_allclose(kernel, kernel.T, rtol=0, atol=1e-7)
        (a, b), (_, d) = covariance(kernel)
        assert abs(b) < 1e-6
        assert a == pytest.approx(d, abs=1e-6)


def test_kernels_have_the_sampler_s_shape_and_sum():
    sampled = GaussianSampler(size=11).sample(7, generator=torch.Generator().manual_seed(0))
    assert sampled.shape == (7, 11, 11)
    assert sampled.dtype == torch.float32
    np.testing.assert_allclose(sampled.sum((1, 2)), 1, rtol=0, atol=1e-6)


def test_the_seed_decides():
    sampler = GaussianSampler()
    np.testing.assert_array_equal(draw(sampler, 5, seed=3), draw(sampler, 5, seed=3))
    assert np.abs(draw(sampler, 5, seed=3) - draw(sampler, 5, seed=4)).max() > 0.01


@pytest.mark.parametrize(
    "options", [{}, {"isotropic": True}, {"delta_share": 0.5}, {"variance": (2.0, 2.0)}, {"theta": (0.0, 0.0)}]
)
def test_the_number_of_draws_does_not_depend_on_the_options(options):
    generator = torch.Generator().manual_seed(0)
    GaussianSampler(**options).sample(3, generator=generator)
    reference = torch.Generator().manual_seed(0)
    torch.rand(12, generator=reference, dtype=torch.float64)
    assert torch.equal(generator.get_state(), reference.get_state())


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (1.0, 400, 400), (0.25, 65, 135)])
def test_the_share_of_plain_subsampling(share, low, high):
    plain = draw(GaussianSampler(size=5, delta_share=share), 400)[:, 2, 2] == 1
    assert low <= plain.sum() <= high


def test_the_other_kernels_stay_the_same_with_some_plain_ones():
    with_plain, without = draw(GaussianSampler(delta_share=0.5), 40), draw(GaussianSampler(), 40)
    plain = with_plain[:, 7, 7] == 1
    assert 0 < plain.sum() < 40
    np.testing.assert_array_equal(with_plain[~plain], without[~plain])


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def kernel() -> np.ndarray:
    values = np.random.default_rng(0).random((5, 7))
    return values / values.sum()


def test_npy(tmp_path, kernel):
    np.save(tmp_path / "k.npy", kernel)
    got = load_kernel(tmp_path / "k.npy")
    assert got.dtype == torch.float64
    np.testing.assert_allclose(got, kernel, rtol=1e-14)


@pytest.mark.parametrize("name", ["kernel", "Kernel", "k", "kernels", "only_one"])
def test_mat(tmp_path, kernel, name):
    savemat(tmp_path / "k.mat", {name: kernel})
    np.testing.assert_allclose(load_kernel(tmp_path / "k.mat"), kernel, rtol=1e-14)


def test_mat_prefers_the_variable_named_kernel(tmp_path, kernel):
    savemat(tmp_path / "k.mat", {"other": np.eye(3), "Kernel": kernel})
    np.testing.assert_allclose(load_kernel(tmp_path / "k.mat"), kernel, rtol=1e-14)


def test_png_holds_weights_as_grey_values(tmp_path):
    grey = np.random.default_rng(1).integers(0, 256, (5, 3), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "k.png")
    np.testing.assert_allclose(load_kernel(tmp_path / "k.png"), grey / grey.sum(), rtol=1e-12)
    deep = grey.astype(np.uint16) * 200
    Image.fromarray(deep).save(tmp_path / "deep.PNG")
    np.testing.assert_allclose(load_kernel(tmp_path / "deep.PNG"), deep / deep.sum(), rtol=1e-12)


def test_a_cell_array_holds_several(tmp_path, kernel):
    cells = np.empty((1, 3), dtype=object)
    cells[0] = [kernel, kernel[::-1], np.eye(3)]
    savemat(tmp_path / "k.mat", {"kernels": cells})
    np.testing.assert_allclose(load_kernel(tmp_path / "k.mat", index=1), kernel[::-1], rtol=1e-14)
    np.testing.assert_allclose(load_kernel(tmp_path / "k.mat", index=2), np.eye(3) / 3, rtol=1e-14)
    with pytest.raises(DataError, match="holds 3 kernels, index must be 0 to 2, got 3"):
        load_kernel(tmp_path / "k.mat", index=3)


def test_cells_of_one_size(tmp_path):
    values = np.random.default_rng(2).random((4, 5, 5))
    cells = np.empty((2, 2), dtype=object)
    for i in range(4):
        cells[i // 2, i % 2] = values[i]
    savemat(tmp_path / "k.mat", {"kernels": cells})
    np.testing.assert_allclose(load_kernel(tmp_path / "k.mat", index=2), values[2] / values[2].sum(), rtol=1e-14)


def test_stacks_along_the_first_axis_or_as_matlab_along_the_last(tmp_path):
    stack = np.random.default_rng(3).random((4, 5, 5))
    np.save(tmp_path / "first.npy", stack)
    savemat(tmp_path / "last.mat", {"kernels": np.moveaxis(stack, 0, -1)})
    want = stack[3] / stack[3].sum()
    np.testing.assert_allclose(load_kernel(tmp_path / "first.npy", index=3), want, rtol=1e-14)
    np.testing.assert_allclose(load_kernel(tmp_path / "last.mat", index=3), want, rtol=1e-14)
    for path in ("first.npy", "last.mat"):
        with pytest.raises(DataError, match="holds 4 kernels, index must be 0 to 3, got -1"):
            load_kernel(tmp_path / path, index=-1)


def test_the_sum_is_mended_unless_asked_otherwise(tmp_path, kernel):
    np.save(tmp_path / "k.npy", 3 * kernel)
    assert load_kernel(tmp_path / "k.npy").sum().item() == pytest.approx(1, abs=1e-14)
    with pytest.raises(InputError, match="kernel must sum to 1, got 3; normalise it or pass normalise=True"):
        load_kernel(tmp_path / "k.npy", normalise=False)


class Payload:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was run",))


def test_a_pickled_array_is_refused_and_not_run(tmp_path):
    np.save(tmp_path / "k.npy", np.array([Payload()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"cannot read a kernel from .*k\.npy"):
        load_kernel(tmp_path / "k.npy")
    (tmp_path / "bare.npy").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(DataError, match="cannot read a kernel from"):
        load_kernel(tmp_path / "bare.npy")


@pytest.mark.parametrize("suffix", [".mat", ".npy", ".png"])
@pytest.mark.parametrize("content", [b"", b"\x00", b"not a kernel at all, " * 20], ids=["empty", "byte", "text"])
def test_a_damaged_file_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"k{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"cannot read a kernel from .*k\\{suffix}"):
        load_kernel(path)


@pytest.mark.parametrize("suffix", [".mat", ".npy", ".png"])
def test_a_file_cut_short_is_refused(tmp_path, suffix, kernel):
    path = tmp_path / f"k{suffix}"
    if suffix == ".mat":
        savemat(path, {"kernel": np.random.default_rng(0).random((51, 51))}, do_compression=True)
    elif suffix == ".npy":
        np.save(path, kernel)
    else:
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (51, 51), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="cannot read a kernel from"):
        load_kernel(path)


@pytest.mark.parametrize(
    ("array", "kind", "message"),
    [
        (np.ones((4, 5)), InputError, r"k\.npy: .* odd sides, got 4x5; pad it by one row or column"),
        (np.array([[0.1, np.nan, 0.1]]), InputError, r"k\.npy: kernel must be finite"),
        (np.array([[0.1, np.inf, 0.1]]), InputError, "kernel must be finite"),
        (np.array([[-1.0, 0.0, 1.0]]), InputError, "sums to 0 and cannot be normalised"),
        (np.zeros((3, 3)), InputError, r"k\.npy: kernel sums to 0"),
        (-np.ones((3, 3)), InputError, r"k\.npy must have a sum above 0, got -9"),
        (np.array([[-0.3, 1.0, -0.3]]), InputError, r"k\.npy has a weight of -0\.3 .* down to -0\.25 of the peak"),
        (np.zeros((0, 3)), InputError, r"must have shape .*, got \(0, 3\)"),
        (np.ones(9), DataError, r"must hold a 2-D array of numbers, got shape \(9,\)"),
        (np.ones((1, 1, 3, 3)), DataError, r"2-D array of numbers, got shape \(1, 1, 3, 3\)"),
        (np.array([["a", "b", "c"]]), DataError, "2-D array of numbers"),
    ],
)
def test_arrays_that_are_no_kernels(tmp_path, array, kind, message):
    np.save(tmp_path / "k.npy", array)
    with pytest.raises(kind, match=message):
        load_kernel(tmp_path / "k.npy")


def test_mat_files_without_a_kernel(tmp_path):
    savemat(tmp_path / "k.mat", {"a": np.eye(3), "b": np.eye(3)})
    with pytest.raises(DataError, match="expected a variable named 'kernel', found a, b"):
        load_kernel(tmp_path / "k.mat")
    savemat(tmp_path / "none.mat", {})
    with pytest.raises(DataError, match="found none"):
        load_kernel(tmp_path / "none.mat")
    words = np.empty((1, 2), dtype=object)
    words[0] = ["one", "two"]
    savemat(tmp_path / "words.mat", {"kernel": words})
    with pytest.raises(DataError, match="must hold a 2-D array of numbers"):
        load_kernel(tmp_path / "words.mat")


def test_missing_and_misnamed_files(tmp_path):
    with pytest.raises(DataError, match=r"no kernel file .*none.mat; give an existing \.mat, \.npy, \.png file"):
        load_kernel(tmp_path / "none.mat")
    with pytest.raises(DataError, match="no kernel file"):
        load_kernel(tmp_path)
    (tmp_path / "k.txt").write_text("1")
    with pytest.raises(DataError, match=r"must end in \.mat, \.npy, \.png, got k.txt"):
        load_kernel(tmp_path / "k.txt")


def test_index_and_normalise_are_named():
    kinds = {n: p.kind for n, p in inspect.signature(load_kernel).parameters.items()}
    assert kinds["index"] == kinds["normalise"] == inspect.Parameter.KEYWORD_ONLY


@pytest.mark.data
def test_the_published_kernel_of_variance_2(shared_data):
    got = load_kernel(shared_data / "kernels" / "mzsr_g2.0_21x21.mat")
    np.testing.assert_allclose(got, isotropic(2.0), rtol=0, atol=1e-7)


@pytest.mark.data
@pytest.mark.parametrize(("scale", "size"), [(2, 11), (3, 15), (4, 19)])
def test_files_of_six_kernels(shared_data, scale, size):
    path = shared_data / "kernels" / f"bsrdm_x{scale}.mat"
    found = [load_kernel(path, index=i) for i in range(6)]
    y, x = np.mgrid[:size, :size] - size // 2
    for kernel in found:
        assert kernel.shape == (size, size)
        # These kernels are off their centre by half of what direct subsampling shifts the image.
        assert (kernel.numpy() * x).sum() == pytest.approx(-(scale - 1) / 2, abs=0.01)
        assert (kernel.numpy() * y).sum() == pytest.approx(-(scale - 1) / 2, abs=0.01)
    wide, tall = covariance(found[2].numpy()), covariance(found[5].numpy())
    assert wide[0, 0] > 1.9 * wide[1, 1]  # x is the column
    np.testing.assert_allclose(tall, wide[::-1, ::-1], rtol=0, atol=1e-12)
    assert min((a - b).abs().max().item() for i, a in enumerate(found) for b in found[i + 1 :]) > 1e-3
    with pytest.raises(DataError, match="holds 6 kernels, index must be 0 to 5, got 6"):
        load_kernel(path, index=6)


def test_a_sum_far_from_1_is_told(tmp_path, kernel, caplog):
    np.save(tmp_path / "k.npy", 2 * kernel)
    savemat(tmp_path / "k.mat", {"kernel": 2 * kernel})
    for name in ("k.npy", "k.mat"):
        caplog.clear()
        np.testing.assert_allclose(load_kernel(tmp_path / name), kernel, rtol=1e-14)
        assert f"kernel of {tmp_path / name} sums to 2, it is divided by that" in caplog.text
    caplog.clear()
    np.save(tmp_path / "k.npy", 1.0005 * kernel)
    load_kernel(tmp_path / "k.npy")
    Image.fromarray(np.full((3, 3), 9, np.uint8)).save(tmp_path / "k.png")
    load_kernel(tmp_path / "k.png")
    assert not caplog.records


def test_small_negative_ringing_is_kept(tmp_path):
    np.save(tmp_path / "k.npy", np.array([[-0.07, 1.0, 0.07]]))  # as the lobes of a cubic kernel
    np.testing.assert_allclose(load_kernel(tmp_path / "k.npy"), [[-0.07, 1.0, 0.07]], rtol=1e-14)
