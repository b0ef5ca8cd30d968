"""The default beside plain enlargement, on photographs that neither its networks nor its rule have seen."""

import runpy
from pathlib import Path
from typing import Any

import pytest

from metasr.config.photos import photo_config, photo_solver
from metasr.data.catalog import image_set
from metasr.io.images import read_photo
from metasr.jobs.upscale import upscale_photo
from metasr.metrics.protocol import LumaProtocol
from metasr.solvers.base import Solver
from metasr.solvers.interpolate import InterpolateSolver, LanczosSolver
from running import PROJECT

LARGEST_LOSS = 0.05  # dB
CROP = 160
NAMES = [
    "clean", "q95", "q90", "q75", "q60", "q50", "n3", "n5_q85", "n10", "soft", "soft_n5_q85", "soft_n8_q85",
    "screenshot", "screenshot_q80", "line_art",
]  # fmt: skip


@pytest.fixture(scope="module")
def default() -> Solver:
    return photo_solver(photo_config(device="cpu"), ["bicubic"]).solver


@pytest.fixture
def photos(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))
    return runpy.run_path(str(PROJECT / "benchmarks" / "photos.py"))


def gain(photos: dict[str, Any], default: Solver, source: Path, name: str, folder: Path, *, index: int) -> float:
    """By how many dB the default is above the better of bicubic and Lanczos."""
    condition = photos["CONDITIONS"][name]
    hr = photos["truth_of"](source, condition, index=index, crop=CROP)
    photo = read_photo(photos["write_small"](hr, condition, folder / source.stem, seed=index))
    problem = photo_solver(photo_config(solver="lanczos"), ["bicubic"]).degradations[0]
    auto, bicubic, lanczos = (
        LumaProtocol()(upscale_photo(solver, photo, problem)[0].rgb[None], hr, scale=2).psnr_y
        for solver in (default, InterpolateSolver(aligned=True), LanczosSolver())
    )
    return auto - max(bicubic, lanczos)


@pytest.mark.parametrize("name", ["q75", "n10", "screenshot"])
def test_one_photo(name: str, photos: dict[str, Any], default: Solver, tmp_path: Path) -> None:
    source = image_set("samples", split="test").paths[0]
    assert gain(photos, default, source, name, tmp_path, index=0) >= -LARGEST_LOSS


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_photo(name: str, photos: dict[str, Any], default: Solver, tmp_path: Path) -> None:
    assert set(photos["CONDITIONS"]) == set(NAMES)
    sources = image_set("samples", split="test").paths
    gains = {s.name: gain(photos, default, s, name, tmp_path, index=i) for i, s in enumerate(sources)}
    assert min(gains.values()) >= -LARGEST_LOSS, gains
    assert len(gains) == 4
