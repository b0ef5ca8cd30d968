import numpy as np
import pytest

from metasr.degradation.names import expand, parse, sets_in
from metasr.degradation.published_sets import SETS
from metasr.errors import InputError


def widths(names: list[str]) -> list[float]:
    return [float(name.split("_")[1]) for name in names]


@pytest.mark.parametrize(("scale", "low", "high"), [(2, 0.8, 1.6), (3, 1.35, 2.4), (4.0, 1.8, 3.2)])
def test_gaussian8_is_eight_equally_spaced_widths(scale, low, high):
    found = expand(["gaussian8"], scale)
    assert all(name.startswith("sig_") and name.endswith("_b") for name in found)
    np.testing.assert_allclose(widths(found), np.linspace(low, high, 8), atol=1e-4)


def test_gaussian8_at_scale_4_in_words():
    assert expand(["gaussian8"], 4) == [
        "sig_1.8_b", "sig_2_b", "sig_2.2_b", "sig_2.4_b", "sig_2.6_b", "sig_2.8_b", "sig_3_b", "sig_3.2_b",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["mrda9-estimated", "dasr9-estimated"])
def test_the_estimated_sets_have_nine_kernels(name):
    found = expand([name], 4)
    assert len(found) == 9
    kernels = [parse(member, scale=4).kernel for member in found]
    assert all((a - b).abs().max() > 1e-4 for i, a in enumerate(kernels) for b in kernels[:i])


def test_what_public_programs_tell_of_them():
    assert expand(["mrda9-estimated"], 4)[1] == "sigani_3.5_1.5_20_b"
    assert {"sigani_3.5_1.5_30_b", "sigani_4_1.5_120_b"} < set(expand(["dasr9-estimated"], 4))


@pytest.mark.parametrize("name", SETS)
def test_members_are_told_as_they_are_printed(name):
    for scale in SETS[name]:
        for member in expand([name], scale):
            found = parse(member, scale=scale)
            assert str(found) == member
            assert (found.padding, found.downsample, found.quantise) == ("reflect", "bicubic", "round")
            assert found.kernel.shape == (21, 21)


def test_order_and_names_given_twice():
    found = expand(["bicubic", "gaussian8", "sig_2_b", "g2.0d", "bicubic"], 4)
    assert found == ["bicubic", *expand(["gaussian8"], 4), "g2.0d"]
    assert expand([], 4) == []
    assert expand(["iso_2_d", "k.npy#2"], 4) == ["iso_2_d", "k.npy#2"]  # as they were given


def test_noise_goes_to_every_member():
    assert expand(["mrda9-estimated_n10"], 4) == [f"{name}_n10" for name in expand(["mrda9-estimated"], 4)]
    assert expand(["gaussian8_n10.0"], 4)[0] == "sig_1.8_b_n10"
    assert all(parse(name, scale=4).noise_std == 10 / 255 for name in expand(["gaussian8_n10"], 4))


def test_the_sets_among_names():
    found = sets_in(["bicubic", "gaussian8", "gaussian8_n5", "sig_2_b"], 3)
    assert list(found) == ["gaussian8", "gaussian8_n5"]
    assert list(found["gaussian8"]) == expand(["gaussian8"], 3)


@pytest.mark.parametrize(
    ("name", "scale", "message"),
    [
        ("gaussian8", 2.5, r"gaussian8 are given for scale 2, 3, 4, got 2\.5; name kernels .*sig_<standard deviation>"),
        ("mrda9-estimated_n10", 2, "mrda9-estimated are given for scale 4, got 2"),
    ],
)
def test_a_scale_without_a_set(name, scale, message):
    with pytest.raises(InputError, match=message):
        expand(["bicubic", name], scale)


def test_a_set_where_one_degradation_is_wanted():
    with pytest.raises(InputError, match=r"gaussian8_n5 is a set of degradations, and one is wanted: sig_1\.8_b_n5, "):
        parse("gaussian8_n5", scale=4)
    with pytest.raises(InputError, match="did you mean 'gaussian8'"):
        parse("gausian8", scale=4)
