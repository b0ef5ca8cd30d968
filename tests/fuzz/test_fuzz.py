"""A sample of ``make fuzz``, and the grammar of degradations by hypothesis."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.harness import Case, run_case
from fuzz.run import all_cases, sample
from metasr.degradation.names import ALIASES, PLAIN, parse
from metasr.errors import InputError

SAMPLE = sample(100)


@pytest.mark.parametrize(
    "case", SAMPLE, ids=lambda case: f"{case.kind}, {case.name}".encode("ascii", "replace").decode()
)
def test_a_bad_input_ends_in_an_output_or_in_one_line(case: Case, tmp_path: Path) -> None:
    ended = run_case(case, tmp_path / "case")
    assert ended.good, f"{ended.outcome} ({ended.seconds:.1f} s, {ended.memory:.0f} MiB): {ended.told}"


def test_the_harness_is_as_large_as_it_says() -> None:
    count: dict[str, int] = {}
    for case in all_cases():
        count[case.kind] = count.get(case.kind, 0) + 1
    wanted = {"image": 600, "kernel": 150, "name": 200, "weights": 100, "override": 150, "number": 60}
    assert all(count[kind] >= least for kind, least in wanted.items()), count
    assert {case.kind for case in SAMPLE} == set(wanted)
    assert [case.name for case in all_cases(2)] != [case.name for case in all_cases(1)]


class TestHarness:
    """It tells what is wrong with a command that ends badly."""

    def outcome(self, command, monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
        monkeypatch.setattr("metasr.cli.main", command)
        return run_case(Case("own", "own", lambda folder: []), folder / "case").outcome

    def test_a_traceback(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert self.outcome(lambda a: 1 / 0, monkeypatch, tmp_path) == "traceback"

    def test_two_lines(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        import sys

        def command(arguments: list[str]) -> int:
            print("error: one thing: another; do this\nand more", file=sys.stderr)
            return 2

        assert self.outcome(command, monkeypatch, tmp_path) == "2 lines"

    def test_a_line_of_a_library(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        import os
        import sys

        def command(arguments: list[str]) -> int:
            os.write(2, b"libtiff: oh no\n")
            print("error: the file a.png must be whole, got half; fetch it again", file=sys.stderr)
            return 2

        assert self.outcome(command, monkeypatch, tmp_path) == "2 lines"

    def test_a_file_elsewhere(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def command(arguments: list[str]) -> int:
            Path("elsewhere").write_text("x")
            Path("out/b.txt").write_text("x")
            return 0

        assert self.outcome(command, monkeypatch, tmp_path) == "touched elsewhere"

    def test_memory(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def command(arguments: list[str]) -> int:
            Path("out/b.txt").write_bytes(bytes(b"\1" * 60_000_000)[:9])
            return 0

        monkeypatch.setattr("fuzz.harness.MEMORY", 30)
        assert self.outcome(command, monkeypatch, tmp_path) == "memory above 30 MiB"

    def test_a_hang(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def command(arguments: list[str]) -> int:
            while True:
                pass

        monkeypatch.setattr("fuzz.harness.SECONDS", 0.3)
        assert self.outcome(command, monkeypatch, tmp_path) == "hang"

    def test_no_output_and_no_word(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert self.outcome(lambda a: 0, monkeypatch, tmp_path / "a") == "no whole output"
        assert self.outcome(lambda a: 2, monkeypatch, tmp_path / "b") == "no line"
        assert self.outcome(lambda a: 1, monkeypatch, tmp_path / "c") == "exit 1"


numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True).map(repr),
    st.floats(0.05, 20).map(lambda v: f"{v:g}"),
    st.integers(-3, 40).map(str),
    st.text("0123456789.e+-", max_size=6),
)
bases = st.one_of(
    st.sampled_from([*PLAIN, *ALIASES]),
    st.builds(lambda form, a, end: f"{form}{a}{end}", st.sampled_from(["g", "iso_", "sig_", "disc_"]), numbers,
              st.sampled_from(["d", "b", "_d", "_b", "_x", ""])),
    st.builds(lambda form, a, b, c, end: f"{form}_{a}_{b}_{c}_{end}", st.sampled_from(["aniso", "sigani"]), numbers,
              numbers, numbers, st.sampled_from(["d", "b"])),
    st.text(max_size=20),
)  # fmt: skip
names = st.builds(lambda base, noise: base + noise, bases, st.one_of(st.just(""), numbers.map(lambda n: f"_n{n}")))


@settings(max_examples=150, deadline=None)
@given(names, st.sampled_from([1.5, 2.0, 3.0, 4.0]))
def test_a_name_is_refused_or_means_what_it_prints(name: str, scale: float) -> None:
    try:
        found = parse(name, scale=scale)
    except InputError:
        return
    again = parse(str(found), scale=scale)
    assert str(again) == str(found)
    if found.kernel is not None:
        assert again.kernel is not None
        assert bool((found.kernel == again.kernel).all())
        assert bool(found.kernel.isfinite().all())
        assert abs(float(found.kernel.sum()) - 1) < 1e-3
