import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metasr.degradation import kernels, names
from metasr.degradation.names import expand, parse
from metasr.degradation.pipeline import Degradation
from metasr.errors import DataError, InputError

widths = st.floats(0.01, 50) | st.integers(1, 30).map(float) | st.decimals(0.1, 20, places=1).map(float)
angles = st.floats(-7, 7)
noises = st.just(0.0) | st.floats(0.1, 60) | st.integers(1, 50).map(float)
ends = st.sampled_from("db")


def same(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    return (a is None and b is None) or bool(torch.equal(a, b))


def round_trip(text: str):
    first = parse(text, scale=2)
    again = parse(str(first), scale=2)
    assert str(again) == str(first)
    assert again.downsample == first.downsample
    assert again.noise_std == first.noise_std
    assert same(again.kernel, first.kernel)
    return first


def noise_suffix(noise: float) -> str:
    return f"_n{noise}" if noise else ""


@settings(max_examples=60, deadline=None)
@given(variance=widths, end=ends, noise=noises)
def test_isotropic_names(variance, end, noise):
    for form in (f"iso_{variance}_{end}", f"g{variance}{end}"):
        found = round_trip(form + noise_suffix(noise))
        assert torch.equal(found.kernel, kernels.isotropic(variance))
        assert found.downsample == {"d": "direct", "b": "bicubic"}[end]
        assert found.noise_std == noise / 255


@settings(max_examples=60, deadline=None)
@given(first=widths, second=widths, theta=angles, end=ends, noise=noises)
def test_anisotropic_names(first, second, theta, end, noise):
    found = round_trip(f"aniso_{first}_{second}_{theta}_{end}{noise_suffix(noise)}")
    assert torch.equal(found.kernel, kernels.anisotropic(first, second, theta))


@settings(max_examples=40, deadline=None)
@given(std=st.floats(0.1, 7), end=ends)
def test_names_by_standard_deviation(std, end):
    found = round_trip(f"sig_{std}_{end}")
    assert torch.equal(found.kernel, kernels.isotropic(std**2))
    assert str(found).startswith("sig_")


@pytest.mark.parametrize(
    ("alias", "general", "kernel", "downsample"),
    [
        ("g0.2d", "iso_0.2_d", kernels.isotropic(0.2), "direct"),
        ("g2.0d", "iso_2_d", kernels.isotropic(2.0), "direct"),
        ("g1.3b", "iso_1.3_b", kernels.isotropic(1.3), "bicubic"),
        ("gani_d", "aniso_4_1_-0.5_d", kernels.anisotropic(4.0, 1.0, -0.5), "direct"),
        ("gani_b", "aniso_4_1_-0.5_b", kernels.anisotropic(4.0, 1.0, -0.5), "bicubic"),
    ],
)
def test_aliases_mean_the_published_degradations(alias, general, kernel, downsample):
    found = parse(alias, scale=2)
    assert torch.equal(found.kernel, kernel)
    assert found.kernel.shape == (21, 21)
    assert found.downsample == downsample
    assert found.quantise == "round"
    assert found.padding == "symmetric"
    assert str(found) == alias
    assert str(parse(general, scale=2)) == alias
    assert torch.equal(parse(general, scale=2).kernel, kernel)


def test_every_alias_is_tested_above():
    assert set(names.ALIASES) == {"g0.2d", "g2.0d", "g1.3b", "gani_d", "gani_b"}


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("g2d", "g2.0d"),
        ("g2.00d", "g2.0d"),
        ("iso_2.0_d", "g2.0d"),
        ("g2.0b", "iso_2_b"),
        ("iso_02.50_d", "iso_2.5_d"),
        ("aniso_4.0_1_-.5_d", "gani_d"),
        ("aniso_4_1_+0.5_d", "aniso_4_1_0.5_d"),
        ("sig_1.60_b", "sig_1.6_b"),
        ("iso_1e-1_d", "iso_0.1_d"),
        ("g2.0000001d", "iso_2.0000001_d"),
        ("g2.0d_n10", "g2.0d_n10"),
        ("iso_2_d_n10.0", "g2.0d_n10"),
        ("bicubic_n2.50", "bicubic_n2.5"),
        ("direct_n0", "direct"),
        ("  area ", "area"),
    ],
)
def test_canonical_text(text, canonical):
    assert str(round_trip(text)) == canonical


@pytest.mark.parametrize("plain", ["bicubic", "direct", "area"])
def test_plain_subsampling_has_no_blur(plain):
    found = round_trip(plain)
    assert found.kernel is None
    assert found.downsample == plain


def test_noise_is_on_the_scale_of_255():
    assert parse("g2.0d_n10", scale=2).noise_std == 10 / 255


def test_size_and_scale_are_handed_on():
    found = parse("g2.0d", scale=3, size=15)
    assert found.kernel.shape == (15, 15)
    assert found.scale == 3


def test_the_widths_of_two_names_differ():
    assert not same(parse("sig_2_d", scale=2).kernel, parse("iso_2_d", scale=2).kernel)
    assert same(parse("sig_2_d", scale=2).kernel, parse("iso_4_d", scale=2).kernel)


# -- kernel files -----------------------------------------------------------------------------------------------------


@pytest.fixture
def stack() -> np.ndarray:
    values = np.random.default_rng(0).random((4, 5, 5))
    return values / values.sum((1, 2), keepdims=True)


@pytest.mark.parametrize("file", ["k.npy", "a folder/my kernel.npy", "x.mat_d/k_n5.npy", "K.NPY", "twice.npy.npy"])
@pytest.mark.parametrize(
    ("suffix", "index", "downsample", "noise"),
    [
        ("", 0, "direct", 0),
        ("_d", 0, "direct", 0),
        ("_b", 0, "bicubic", 0),
        ("#2", 2, "direct", 0),
        ("#3_b", 3, "bicubic", 0),
        ("#1_n10", 1, "direct", 10),
        ("_b_n2.5", 0, "bicubic", 2.5),
    ],
)
def test_kernel_files(tmp_path, stack, file, suffix, index, downsample, noise):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as handle:  # given a name, numpy would add another suffix to K.NPY
        np.save(handle, stack)
    found = round_trip(f"{path}{suffix}")
    np.testing.assert_allclose(found.kernel, stack[index], rtol=1e-14)
    assert found.downsample == downsample
    assert found.noise_std == noise / 255
    assert str(found) == f"{path}{suffix}"


def test_a_kernel_file_in_the_home_folder(tmp_path, stack, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "k.npy", stack[0])
    np.testing.assert_allclose(parse("~/k.npy", scale=2).kernel, stack[0], rtol=1e-14)


def test_a_missing_kernel_file():
    with pytest.raises(DataError, match=r"no kernel file nowhere/k\.mat"):
        parse("nowhere/k.mat_b", scale=2)


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [("bicubc", "bicubic"), ("gani", "gani_d"), ("G2.0D", "g2.0d"), ("aniso_4_1_0.5", "aniso_4_1_0.5_b")],
)
def test_an_unknown_name_gets_the_nearest_ones(text, suggestion):
    with pytest.raises(InputError) as caught:
        parse(text, scale=2)
    question, known = str(caught.value).split("? known: ")
    assert question.startswith(f"unknown degradation {text!r}: did you mean ")
    assert repr(suggestion) in question
    assert set(names.ALIASES) <= set(known.split(", "))
    assert "kernel file (.mat .npy .npz .png .txt .csv)" in known


@pytest.mark.parametrize("text", ["", "_n10", "g2.0", "g_d", "iso_2d", "iso_two_d", "g2.0d_n", "g2.0dd", "k.pdf"])
def test_other_text_is_unknown(text):
    with pytest.raises(InputError, match="unknown degradation"):
        parse(text, scale=2)


@pytest.mark.parametrize("text", ["g0d", "iso_-2_d", "aniso_4_0_0.5_d", "g1e999d", "aniso_1_1e999_0_d"])
def test_impossible_widths(text):
    with pytest.raises(InputError, match="widths must be finite and above 0; for no blur use 'bicubic' or 'direct'"):
        parse(text, scale=2)


def test_negative_noise():
    with pytest.raises(InputError, match="noise_std must be finite and at least 0"):
        parse("bicubic_n-5", scale=2)


@pytest.mark.parametrize("text", ["gaussian8_n-5", "sig_2_b_n-5"])
def test_negative_noise_is_told_with_its_name(text):
    with pytest.raises(InputError, match=rf"degradation '{text}': noise_std must be finite and at least 0, .*got -5"):
        expand([parse(text, scale=2).name if text[0] == "s" else text], 2)


@pytest.mark.parametrize(("text", "width"), [("sig_1e-200_b", "1e-200"), ("sigani_2_1e200_0_b", r"1e\+200")])
def test_widths_that_cannot_be_squared(text, width):
    with pytest.raises(
        InputError, match=rf"degradation '{text}': a standard deviation of {width} is beyond what can be"
    ):
        parse(text, scale=2)


def test_direct_subsampling_at_a_broken_scale():
    with pytest.raises(InputError, match=r"scale must be at least 1, got 0\.5"):
        parse("g2.0d", scale=0.5)
    assert parse("g2.0d", scale=2.5).downsample == "direct"


@pytest.mark.parametrize("name", ["bicubic", "g2.0d_n10", "sig_1.6_b", "bicubic_n5_q75c", "area_q80"])
def test_a_name_without_compression(name: str):
    assert names.without_compression(parse(name, scale=2)) == name.partition("_q")[0]


def test_a_kernel_without_a_name_leaves_sampling_and_noise():
    unnamed = Degradation(scale=2, kernel=kernels.isotropic(1.0, size=9), downsample="direct", noise_std=5 / 255)
    assert names.without_compression(unnamed) == "direct_n5"
