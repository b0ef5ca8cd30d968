"""``kernel=estimate`` in upscaling jobs and in tables; the released regressor on photographs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, open_dict

from metasr.config import build
from metasr.config.photo_weights import ESTIMATE
from metasr.config.photos import is_estimated, problem_of
from metasr.data.catalog import image_set
from metasr.degradation import names
from metasr.degradation.kernel_files import load_kernel
from metasr.degradation.kernels import TEST_SIZE, delta
from metasr.degradation.resize import middle
from metasr.errors import InputError, OutputError
from metasr.io.images import read_photo
from metasr.jobs.photo_files import kernel_path, save_kernel
from metasr.jobs.upscale import upscale_task
from metasr.metrics.kernel import kernel_psnr
from metasr.seeds import generator_from
from metasr.solvers.blind.base import BlindSolver, Estimate, blind
from metasr.solvers.blind.parametric import ParametricEstimator
from running import compose, save_picture, upscale_config

SAMPLES = image_set("samples", split="test")


def blurred(name: str, *, scale: float = 2.0, index: int = 0, side: int = 100) -> torch.Tensor:
    """The middle of an embedded photograph, degraded: ``(1, 3, side, side)``."""
    hr = middle(SAMPLES.load(index)[None], (round(side * scale), round(side * scale)))
    return names.parse(name, scale=scale)(hr, generator=generator_from(0, name))


def estimate(name: str, *, scale: float = 2.0, index: int = 0, side: int = 100) -> Estimate:
    degradation = names.parse(name, scale=scale)
    lr = blurred(name, scale=scale, index=index, side=side)
    return build.estimator(compose()).estimate(lr, scale=scale, downsample=degradation.downsample)


def job(tmp_path: Path, solver: str = "back_project", **values: Any) -> DictConfig:
    source = save_picture(tmp_path / "in" / "photo.png", 53, 61)
    return upscale_config(solver, input=source, output=tmp_path / "out.png", **values)


# --- the released weights


@pytest.mark.parametrize("name", ["g1.3b", "g2.0d", "gani_d", "gani_b", "iso_3_b"])
def test_the_released_regressor_tells_blurs_of_photographs(name: str) -> None:
    """Closer to the true kernel than assuming none, on each of the embedded photographs."""
    true = names.parse(name, scale=2).kernel
    none = float(kernel_psnr(delta(size=TEST_SIZE), true))
    scores = [float(kernel_psnr(estimate(name, index=i).kernel, true)) for i in range(len(SAMPLES))]
    assert min(scores) > none + 3
    assert sum(scores) / len(scores) > none + 10


def test_it_tells_wide_from_narrow_noisy_from_clean_and_x4() -> None:
    widths = [float(estimate(name).kernel.max()) for name in ("iso_0.6_d", "iso_1.5_d", "iso_4_d")]
    assert widths == sorted(widths, reverse=True)
    assert estimate("g2.0d").noise_std == 0
    assert estimate("g2.0d_n15").noise_std * 255 == pytest.approx(15, rel=0.25)
    x4 = [float(estimate(name, scale=4, side=60).kernel.max()) for name in ("iso_2_b", "iso_9_b")]
    assert x4[0] > 1.5 * x4[1]


def test_a_bicubically_resized_photograph_is_mostly_taken_for_one() -> None:
    found = [estimate("bicubic", index=i, side=144) for i in range(len(SAMPLES))]
    assert sum(f.fallback for f in found) >= len(found) / 2
    widths = [1.0 if f.kernel is None else float(f.kernel.max()) for f in found]
    assert min(widths) > 0.25  # what is told of the others is narrow


def test_the_estimator_can_be_configured() -> None:
    made = build.estimator(compose("estimator.weakest=0.5", "estimator.quietest=3", "estimator.look=99"))
    assert isinstance(made, ParametricEstimator)
    assert (made.weakest, made.quietest, made.look) == (0.5, 3.0, 99)
    assert made.scales == (2.0, 4.0)
    assert not any(p.requires_grad and p.grad is not None for p in made.network.parameters())


def test_a_blind_solver_of_a_table_is_the_solver_with_the_estimator() -> None:
    cfg = compose("+experiment=mzsr_x2", "solver=adapt_blind")
    made = build.solver(cfg, weights=None, steps=1)
    assert isinstance(made, BlindSolver)
    assert cfg.solver.name == "adapt_blind"
    assert made.inner.steps == 1  # type: ignore[attr-defined]


# --- upscaling


@pytest.mark.parametrize("kernel", list(ESTIMATE))
def test_each_photo_is_told_its_estimate_and_its_kernel_saved(tmp_path: Path, kernel: str) -> None:
    cfg = job(tmp_path, kernel=kernel, save_kernel=True, seed=1)
    (done,) = upscale_task(cfg)
    assert read_photo(done.output).rgb.shape == (3, 106, 122)
    lr = read_photo(Path(cfg.input)).rgb[None]
    found = build.estimator(cfg).estimate(lr, scale=2, downsample=ESTIMATE[kernel])
    assert done.assumed == found.told
    assert f"kernel {found.told}" in str(done)
    if found.kernel is not None:
        torch.testing.assert_close(load_kernel(kernel_path(done.output)), found.kernel.double())


def test_the_estimate_is_what_the_solver_goes_by(tmp_path: Path) -> None:
    cfg = job(tmp_path, kernel="estimate_d")
    (done,) = upscale_task(cfg)
    lr = read_photo(Path(cfg.input)).rgb[None]
    solver = blind(build.solver(cfg, weights=None), build.estimator(cfg))
    want = solver.solve(lr, scale=2, degradation=names.parse("direct", scale=2)).sr[0]
    torch.testing.assert_close(read_photo(done.output).rgb, want, atol=0.51 / 255, rtol=0)


def test_the_grid_comes_from_the_name() -> None:
    for kernel, downsample in ESTIMATE.items():
        found = problem_of(upscale_config("adapt", kernel=kernel, scale=3.0), kernel)
        assert (found.downsample, found.scale, found.kernel) == (downsample, 3.0, None)
    assert str(problem_of(upscale_config("adapt"), "g2.0d")) == "g2.0d"
    assert not is_estimated(upscale_config("adapt"))
    assert is_estimated(upscale_config("adapt_blind"))


def test_no_estimate_without_the_word(tmp_path: Path) -> None:
    (done,) = upscale_task(job(tmp_path, kernel="iso_1.5_b"))
    assert done.assumed == ""
    assert "kernel" not in str(done)


@pytest.mark.parametrize(
    ("solver", "values", "message"),
    [
        ("interpolate", {"kernel": "estimate"}, "kernel=estimate: solver interpolate takes no kernel, or"),
        ("network", {"kernel": "estimate"}, "kernel=estimate: solver network takes no kernel.*use solver=adapt"),
        ("adapt_blind", {"kernel": "g2.0d"}, "solver adapt_blind estimates the kernel and does not look at one"),
        ("adapt_blind", {"kernel": "bicubic_n5"}, "solver adapt_blind estimates the kernel"),
        ("back_project", {"save_kernel": True}, r"there is none to save but bicubic itself; .* solver=ddsr$"),
        ("back_project", {"kernel": "estimate", "scale": 5.0}, "trained for scales 2 to 4, got 5; name the kernel"),
        ("back_project", {"kernel": "estimat"}, "unknown degradation 'estimat'"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(tmp_path: Path, solver: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(upscale_task(job(tmp_path, solver, **values)))
    assert not (tmp_path / "out.png").exists()


def test_a_saved_kernel_is_not_written_over_unasked(tmp_path: Path) -> None:
    cfg = job(tmp_path, kernel="estimate_d", save_kernel=True)
    there = kernel_path(tmp_path / "out.png")
    there.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"out_kernel\.npy exists already; choose another name, or allow it"):
        list(upscale_task(cfg))
    assert there.read_bytes() == b"mine"
    with open_dict(cfg):
        cfg.overwrite = True
    assert len(list(upscale_task(cfg))) == 1
    assert np.load(there, allow_pickle=False).shape == (TEST_SIZE, TEST_SIZE)
    there.unlink()
    there.mkdir()
    with pytest.raises(OutputError, match=r"expected a file to write at .*out_kernel\.npy, but that is a folder"):
        list(upscale_task(cfg))


def test_a_kernel_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*; nothing was left there: .*choose another place"):
        save_kernel(delta(size=3), tmp_path / "file" / "kernel.npy")
