"""Kernels from files: which one is taken, and how it is meant."""

import inspect
import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from metasr.degradation import kernel_files
from metasr.degradation.kernel_files import load_kernel
from metasr.degradation.kernels import isotropic
from metasr.degradation.names import parse
from metasr.errors import DataError, InputError


def covariance(kernel: np.ndarray) -> np.ndarray:
    """Covariance in (x, y) order."""
    y, x = np.mgrid[: kernel.shape[0], : kernel.shape[1]]
    points = np.stack([x.ravel(), y.ravel()])
    return np.cov(points, aweights=kernel.ravel(), ddof=0)


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
        (np.array([[0.1, np.nan, 0.1]]), InputError, r"k\.npy: kernel must be finite"),
        (np.array([[0.1, np.inf, 0.1]]), InputError, "kernel must be finite"),
        (np.array([[-1.0, 0.0, 1.0]]), InputError, "sums to 0 and cannot be normalised"),
        (np.zeros((3, 3)), InputError, r"k\.npy: kernel sums to 0"),
        (-np.ones((3, 3)), InputError, r"k\.npy: kernel must have a sum above 0, got -9"),
        (
            np.array([[-0.3, 1.0, -0.3]]),
            InputError,
            r"k\.npy: kernel has a weight of -0\.3 .* down to -0\.25 of the peak",
        ),
        (np.zeros((0, 3)), InputError, r"must have shape .*, got \(0, 3\)"),
        (np.ones(9), DataError, r"must hold a 2-D array of numbers, got shape \(9,\)"),
        (np.ones((2, 2, 3, 3)), DataError, r"2-D array of numbers, got shape \(2, 2, 3, 3\)"),
        (
            np.ones((3, 3)) * (1 + 2j),
            InputError,
            r"k\.npy: kernel must be of real numbers, got complex128; save its real",
        ),
        (
            np.full((7, 7), 1e308),
            InputError,
            r"k\.npy: kernel must have a finite sum, its weights of up to 1e\+308 have",
        ),
        (
            np.ones((1025, 3)),
            DataError,
            r"k\.npy: the kernel is 1025x3, at most 1023 a side are read; cut off its empty",
        ),
        (np.array([["a", "b", "c"]]), DataError, "2-D array of numbers"),
    ],
)
def test_arrays_that_are_no_kernels(tmp_path, array, kind, message):
    np.save(tmp_path / "k.npy", array)
    with pytest.raises(kind, match=message):
        load_kernel(tmp_path / "k.npy")


def test_mat_files_without_a_kernel(tmp_path):
    savemat(tmp_path / "none.mat", {})
    with pytest.raises(DataError, match="expected a variable named 'kernel', found none"):
        load_kernel(tmp_path / "none.mat")
    words = np.empty((1, 2), dtype=object)
    words[0] = ["one", "two"]
    savemat(tmp_path / "words.mat", {"kernel": words})
    with pytest.raises(DataError, match="must hold a 2-D array of numbers"):
        load_kernel(tmp_path / "words.mat")


def test_missing_and_misnamed_files(tmp_path):
    with pytest.raises(DataError, match=r"no kernel file .*none.mat; give an existing \.mat, .* \.csv file"):
        load_kernel(tmp_path / "none.mat")
    with pytest.raises(DataError, match="no kernel file"):
        load_kernel(tmp_path)
    (tmp_path / "k.pdf").write_text("1")
    with pytest.raises(DataError, match=r"must end in \.mat, .*, got k.pdf"):
        load_kernel(tmp_path / "k.pdf")


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


# -- which one --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "axis"), [((4, 15, 13), 0), ((15, 13, 4), 2), ((3, 3, 3), 0), ((2, 14, 14), 0)])
def test_stacks_of_any_sides(tmp_path, shape, axis):
    stack = np.random.default_rng(0).random(shape)
    np.save(tmp_path / "k.npy", stack)
    got = load_kernel(tmp_path / "k.npy", index=1)
    want = np.take(stack, 1, axis)
    np.testing.assert_allclose(got[: want.shape[0], : want.shape[1]], want / want.sum(), rtol=1e-14)


@pytest.mark.parametrize("shape", [(1, 1, 5, 7), (5, 7, 1), (1, 5, 7), (5, 7, 1, 1)])
def test_axes_of_length_1_are_dropped(tmp_path, kernel, shape, caplog):
    np.save(tmp_path / "k.npy", kernel.reshape(shape))
    np.testing.assert_allclose(load_kernel(tmp_path / "k.npy"), kernel, rtol=1e-14)
    assert not caplog.records


def test_a_network_s_weights_are_a_stack(tmp_path, kernel):
    np.save(tmp_path / "k.npy", np.stack([kernel, kernel[::-1]])[:, None])
    np.testing.assert_allclose(load_kernel(tmp_path / "k.npy", index=1), kernel[::-1], rtol=1e-14)


def several(kind: str, folder: Path, first: np.ndarray, second: np.ndarray) -> Path:
    path = folder / f"k{'.mat' if kind != 'npy' and kind != 'npz' else '.' + kind}"
    if kind == "cells":
        cells = np.empty((1, 2), dtype=object)
        cells[0] = [first, second]
        savemat(path, {"kernels": cells})
    elif kind == "variables":
        savemat(path, {"other": second, "kernel": first, "scale": 2.0, "note": "by hand"})
    elif kind == "unnamed":
        savemat(path, {"a": first, "b": second})
    elif kind == "npz":
        np.savez(path, a=second, kernel=first)
    else:
        np.save(path, np.stack([first, second]))
    return path


@pytest.mark.parametrize("kind", ["cells", "variables", "unnamed", "npz", "npy"])
def test_of_several_the_first_is_taken_and_that_is_said(tmp_path, kernel, kind, caplog):
    path = several(kind, tmp_path, kernel, kernel[::-1])
    np.testing.assert_allclose(load_kernel(path), kernel, rtol=1e-14)
    (record,) = caplog.records
    told = f"{path} holds 2 kernels, the first is taken; choose by FILE#0 to FILE#1 (--kernel-index)"
    assert record.getMessage() == told
    caplog.clear()
    np.testing.assert_allclose(load_kernel(path, index=0), kernel, rtol=1e-14)
    np.testing.assert_allclose(load_kernel(path, index=1), kernel[::-1], rtol=1e-14)
    np.testing.assert_allclose(parse(f"{path}#1_b", scale=2).kernel, kernel[::-1], rtol=1e-14)
    assert not caplog.records


# -- other files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("k.txt", "0 1 0\n1 4 1\n0 2 0\n"), ("k.csv", "0,1,0\r\n1,4,1\r\n0,2,0\r\n"),
        ("k.CSV", "\ufeff0; 1;0;\n1;4;1;\n0;2;0"),
        ("k.txt", "# made by hand\n0\t1\t0\n\n1.0 4e0 1  % the middle\n0 2 0"), ("k.csv", "0;1,0;0\n1;4;1\n0;2;0\n"),
    ],
)  # fmt: skip
def test_tables(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    want = np.array([[0, 1, 0], [1, 4, 1], [0, 2, 0]]) / 9
    np.testing.assert_allclose(load_kernel(tmp_path / name), want, rtol=1e-14)
    np.testing.assert_allclose(parse(f"{tmp_path / name}_d", scale=2).kernel, want, rtol=1e-14)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it holds no numbers"), ("# nothing\n", "it holds no numbers"),
        ("1 2 3\n1 2\n", "its rows have from 2 to 3 numbers"),
        ("a b\nc d\n", "expected rows of numbers: could not convert string to float: 'a'"),
        ("1 nan 1", "kernel must be finite"),
    ],
)  # fmt: skip
def test_tables_that_are_none(tmp_path, text, message):
    (tmp_path / "k.txt").write_text(text)
    with pytest.raises((DataError, InputError), match=rf"k\.txt: {message}"):
        load_kernel(tmp_path / "k.txt")


def test_a_kernel_s_picture_is_not_read_before_its_size_is_known(tmp_path):
    header = b"IHDR" + struct.pack(">IIBBBBB", 12001, 12001, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (tmp_path / "k.png").write_bytes(data)
    with pytest.raises(DataError, match=r"k\.png: the kernel is 12001x12001, at most 1023 a side are read"):
        load_kernel(tmp_path / "k.png")


def test_an_array_is_not_read_before_its_size_is_known(tmp_path, monkeypatch):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (12001, 12001)})
    (tmp_path / "k.npy").write_bytes(head.getvalue())
    with zipfile.ZipFile(tmp_path / "k.npz", "w") as archive:
        archive.writestr("kernel.npy", head.getvalue())
    savemat(tmp_path / "k.mat", {"kernel": np.zeros((200, 200))})
    monkeypatch.setattr(kernel_files, "_MAX_VALUES", 30_000)
    for name in ("k.npy", "k.npz", "k.mat"):
        with pytest.raises(DataError, match=rf"{name}: .* has \d+x\d+ values, at most 30,000 are read"):
            load_kernel(tmp_path / name)


def test_pickles_in_an_archive_are_not_run(tmp_path):
    np.savez(tmp_path / "k.npz", kernel=np.array([Payload()], dtype=object))
    with pytest.raises(DataError, match=r"k\.npz: it holds pickled objects, which are not read"):
        load_kernel(tmp_path / "k.npz")
