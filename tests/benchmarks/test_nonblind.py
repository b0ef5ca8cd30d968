"""Known blur side by side, with a network from outside as a row."""

import csv
import importlib
from pathlib import Path

import pytest

from metasr.errors import InputError
from metasr.io.images import Photo, write_photo
from metasr.paths import weights_folder
from metasr.runs.weights import case_of, released
from running import PROJECT
from small_problems import picture

OUTSIDE = """
import torch

class Doubling(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = torch.nn.Parameter(torch.zeros(1))

    def forward(self, lr, kernel, scale, noise_std):
        assert kernel.ndim == 2 and noise_std == 0.0
        return torch.nn.functional.interpolate(lr, scale_factor=scale, mode="bicubic") + self.seen

class Halving(Doubling):
    def forward(self, lr, kernel, scale, noise_std):
        return lr
"""


@pytest.fixture(autouse=True)
def _beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))


def measure(*arguments: str) -> None:
    importlib.import_module("nonblind").main(list(arguments))


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(2):
        write_photo(Photo(rgb=picture(60, 66, seed=i)[0]), folder / f"{i}.png")
    (tmp_path / "outside_networks.py").write_text(OUTSIDE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_solvers_and_a_network_from_outside_side_by_side(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = images.parent / "t.csv"
    solvers = ("interpolate_aligned", "data_step")
    measure(str(images), "--solvers", *solvers, "--network", "outside_networks.Doubling", "--table", str(table))
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["kernel"] for row in rows}) == 8
    assert [row["solver"] for row in rows[:3]] == ["interpolate_aligned", "data_step", "Doubling"]
    for row in rows:
        assert row["images"] == "2"
        assert 0 < float(row["ssim_y"]) < 1
        assert float(row["cpu_seconds"]) > 0
        assert float(row["more_mib"]) >= 0
    means = {name: sum(float(r["psnr_y"]) for r in rows if r["solver"] == name) / 8 for name in (*solvers, "Doubling")}
    assert means["data_step"] > means["interpolate_aligned"] > means["Doubling"]
    assert "mean of all kernels" in capsys.readouterr().out


def test_a_network_that_does_not_enlarge_is_named(images: Path) -> None:
    with pytest.raises(InputError, match="the network from outside gave"):
        measure(str(images), "--solvers", "data_step", "--kernels", "iso_2_d", "--network", "outside_networks.Halving")


def test_cases_are_met_by_the_weights_that_were_made_for_them() -> None:
    best_weights = importlib.import_module("best_weights")
    cards = released(weights_folder())
    found: dict[str, set[str]] = {}
    for problem in best_weights.problems():
        for name in ("mzsr_x2_meta", "mzsr_x2_bicubic_meta", "mzsr_x2_pretrain", "unfolded"):
            if best_weights.is_made_for(cards[name], problem):
                found.setdefault(name, set()).add(case_of(problem))
    assert found["mzsr_x2_meta"] == {"direct x2", "direct x2 noisy"}
    assert found["mzsr_x2_bicubic_meta"] == {"bicubic x2", "bicubic x2 noisy"}
    assert len(found["unfolded"]) == 12
    assert "mzsr_x2_pretrain" not in found
