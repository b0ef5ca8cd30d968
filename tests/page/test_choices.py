"""What the page's fields mean, as arguments and as a command line."""

import shlex
from pathlib import Path

import pytest

from metasr.cli import parser
from metasr.degradation import names
from metasr.errors import InputError
from metasr.page.choices import (
    AUTOMATIC,
    DIRECTLY,
    DISC,
    ESTIMATES,
    FILE,
    FORMS,
    GAUSSIAN,
    NAMED,
    SHRUNK,
    Choices,
    KernelChoice,
)  # fmt: skip


def test_every_form_is_a_kernel_that_can_be_used() -> None:
    for form in FORMS:
        if form in (AUTOMATIC, *ESTIMATES, FILE):
            continue
        name = KernelChoice(form).name()
        assert name is not None
        assert str(names.parse(name, scale=2)) == name


@pytest.mark.parametrize(
    ("choice", "want"),
    [
        (KernelChoice(), None),
        (KernelChoice("estimate_d"), "estimate_d"),
        (KernelChoice(NAMED[0]), "bicubic"),
        (KernelChoice(GAUSSIAN, along=1.5, across=1.5, degrees=40), "sig_1.5_b"),
        (KernelChoice(GAUSSIAN, DIRECTLY, along=4, across=0.7, degrees=20), "sigani_4_0.7_20_d"),
        (KernelChoice(DISC, DIRECTLY, radius=2.5), "disc_2.5_d"),
        (KernelChoice(FILE, file=Path("/x/k.mat")), "/x/k.mat_b"),
        (KernelChoice(SHRUNK), "g2.0d"),
    ],
)
def test_kernels(choice: KernelChoice, want: str | None) -> None:
    assert choice.name(shrunk="g2.0d") == want


def test_a_kernel_file_that_is_not_there() -> None:
    with pytest.raises(InputError, match="no kernel file yet"):
        KernelChoice(FILE).name()


def test_only_what_was_chosen_is_passed_on() -> None:
    assert Choices(2).arguments() == {"scale": 2}
    everything = Choices(3, "g2.0d", "adapt", "released/mzsr_x2_meta", 0)
    assert everything.arguments() == {
        "scale": 3, "kernel": "g2.0d", "solver": "adapt", "weights": "released/mzsr_x2_meta", "steps": 0,
    }  # fmt: skip


def test_the_command_means_the_same() -> None:
    everything = Choices(1.5, "/secret/my k.npy_b_n3", "adapt", "mzsr_x2_meta", 0)
    words = shlex.split(everything.command(["a b.png", "it's.jpg"], output="enlarged/"))
    read = parser().parse_args(words[1:])
    assert (read.paths, read.output, read.scale, read.kernel) == (
        ["a b.png", "it's.jpg"],
        "enlarged/",
        1.5,
        "my k.npy_b_n3",
    )
    assert (read.solver, read.weights, read.steps) == ("adapt", "mzsr_x2_meta", 0)
    assert Choices(2).command(["a.png"]) == "metasr upscale a.png"
    assert Choices(2).command(["-a.png"]) == "metasr upscale ./-a.png"
    assert parser().parse_args(shlex.split(Choices(2).command(["-a.png"]))[1:]).paths == ["./-a.png"]


def test_the_command_that_shrinks() -> None:
    words = shlex.split(Choices(3).prepare_command("a b.png", "a b_small", "g2.0d"))
    read = parser().parse_args(words[1:])
    assert (read.command, read.path, read.output, read.degradation) == ("prepare", "a b.png", "a b_small", "g2.0d")
    assert (read.hr, read.scale) == (True, 3)


@pytest.mark.parametrize(
    ("name", "noise", "want"),
    [
        ("bicubic", 5, "bicubic_n5"), ("g2.0d_n10", 2.5, "g2.0d_n2.5"), ("g2.0d_n10", 0, "g2.0d"),
        ("k_n3.npy_b", 4, "k_n3.npy_b_n4"), ("sigani_4_1_20_b", 1, "sigani_4_1_20_b_n1"),
        ("bicubic_n5_q75c", 3, "bicubic_n3_q75c"), ("bicubic_q75", 3, "bicubic_n3_q75"),
    ],
)  # fmt: skip
def test_noise_in_a_name(name: str, noise: float, want: str) -> None:
    assert names.with_noise(name, noise) == want


def test_impossible_noise() -> None:
    with pytest.raises(InputError, match="noise_std must be finite and at least 0"):
        names.with_noise("bicubic", -1)
