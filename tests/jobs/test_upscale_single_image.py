"""Upscaling by the solvers that learn from one image alone: files in, files out, whatever comes between."""

import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image

from metasr.cli import main
from metasr.config import build
from metasr.degradation.kernel_files import load_kernel
from metasr.degradation.kernels import isotropic
from metasr.degradation.pipeline import Degradation
from metasr.errors import DataError, InputError
from metasr.io.images import Photo, read_photo, write_photo
from metasr.jobs.photo_files import kernel_path
from metasr.jobs.prepare import prepare_task
from metasr.jobs.upscale import Upscaled, upscale_task
from metasr.seeds import seed_from
from metasr.solvers.step_budget import TimeLimit
from running import compose, picture, save_picture, upscale_config

SOLVERS = ("zssr", "ddsr")
SMALL = {
    "zssr": {"channels": 8, "layers": 3, "max_steps": 6, "crop": 24, "back_projection": 2},
    "ddsr": {"width": 8, "skip": 4, "levels": 3, "hidden": 32, "steps": 6, "warmup_steps": 5, "ssim_steps": 3},
}


def config(solver: str, source: Path, **values: object) -> DictConfig:
    """A job of seconds; what begins with ``solver__`` goes to the solver."""
    cfg = upscale_config(solver, input=source, **{k: v for k, v in values.items() if not k.startswith("solver__")})
    cfg.solver = {**cfg.solver, **SMALL[solver]}
    for key, value in values.items():
        if key.startswith("solver__"):
            cfg.solver[key.removeprefix("solver__")] = str(value) if isinstance(value, Path) else value
    return cfg


def run(solver: str, source: Path, **values: object) -> list[Upscaled]:
    return list(upscale_task(config(solver, source, **values)))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody presses Ctrl-C in the third step."""
    tick = TimeLimit.tick

    def tick_and_press(self: TimeLimit, loss: object = None, **told: object) -> bool:
        if self.steps == 2:
            signal.raise_signal(signal.SIGINT)
        return tick(self, loss, **told)  # type: ignore[arg-type]

    assert threading.current_thread() is threading.main_thread()
    monkeypatch.setattr(TimeLimit, "tick", tick_and_press)


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_image_comes_out_the_same_each_time(tmp_path: Path, solver: str) -> None:
    source = save_picture(tmp_path / "a.png", 29, 34)
    first = run(solver, source, output=tmp_path / "1.png")
    assert [(d.source, d.output, d.weights, d.updates) for d in first] == [(source, tmp_path / "1.png", "-", 6)]
    assert "6 updates, weights -)" in str(first[0])
    run(solver, source, output=tmp_path / "2.png")
    run(solver, source, output=tmp_path / "3.png", seed=2)
    assert pixels(tmp_path / "1.png").shape == (58, 68, 3)
    assert (pixels(tmp_path / "1.png") == pixels(tmp_path / "2.png")).all()
    assert (pixels(tmp_path / "1.png") != pixels(tmp_path / "3.png")).any()


@pytest.mark.parametrize("solver", SOLVERS)
def test_greyscale_stays_greyscale(tmp_path: Path, solver: str) -> None:
    run(solver, save_picture(tmp_path / "g.png", 27, 31, 1))
    with Image.open(tmp_path / "g_x2.png") as image:
        assert (image.mode, image.size) == ("L", (62, 54))


@pytest.mark.parametrize("solver", SOLVERS)
def test_alpha_is_carried_along(tmp_path: Path, solver: str) -> None:
    values = picture(26, 32, 4)
    values[:13, :, 3], values[13:, :, 3] = 0, 255
    Image.fromarray(values).save(tmp_path / "a.png")
    run(solver, tmp_path / "a.png")
    made = pixels(tmp_path / "a_x2.png")
    assert made.shape == (52, 64, 4)
    assert (made[:20, :, 3] == 0).all()
    assert (made[34:, :, 3] == 255).all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_sixteen_bits_stay_sixteen(tmp_path: Path, solver: str) -> None:
    noise = torch.rand(3, 27, 30, generator=torch.Generator().manual_seed(0))
    write_photo(Photo(noise, bits=16), tmp_path / "s.png")
    run(solver, tmp_path / "s.png")
    assert read_photo(tmp_path / "s_x2.png").bits == 16


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["constant", "black", "saturated"])
def test_images_with_little_to_learn_from(tmp_path: Path, solver: str, kind: str) -> None:
    values = np.zeros((28, 33, 3), np.uint8) if kind == "black" else np.full((28, 33, 3), 90, np.uint8)
    if kind == "saturated":
        values = np.where(picture(28, 33) > 110, 255, 0).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    (done,) = run(solver, tmp_path / "a.png")
    assert pixels(tmp_path / "a_x2.png").shape == (56, 66, 3)
    if solver == "zssr" and kind != "saturated":
        assert (done.updates, done.cut_short) == (0, "")
        assert "0 updates, weights -; nothing to learn: degraded once more, the image stays what it is" in str(done)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_budget_of_seconds_ends_it_with_a_file(tmp_path: Path, solver: str) -> None:
    source = save_picture(tmp_path / "a.png", 29, 34)
    steps = {"zssr": "max_steps", "ddsr": "steps"}[solver]
    done = run(solver, source, solver__budget_seconds=1e-3, **{f"solver__{steps}": 400})
    assert done[0].updates < 400
    assert "budget_seconds=0.001" in done[0].cut_short
    assert "cut short: budget_seconds=0.001" in str(done[0])
    assert pixels(tmp_path / "a_x2.png").shape == (58, 68, 3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_ctrl_c_writes_the_image_so_far(tmp_path: Path, interrupted: None, solver: str) -> None:
    source = save_picture(tmp_path / "a.png", 29, 34)
    done = run(solver, source)
    assert done[0].updates == 3
    assert "interrupted after 3 of 6 steps" in str(done[0])
    assert pixels(tmp_path / "a_x2.png").shape == (58, 68, 3)
    with pytest.raises(KeyboardInterrupt):  # Python's own again
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("solver", SOLVERS)
def test_ctrl_c_ends_a_folder_after_the_image_it_met(tmp_path: Path, interrupted: None, solver: str) -> None:
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / "in" / name, 29, 34)
    with pytest.raises(KeyboardInterrupt):
        run(solver, tmp_path / "in", output=tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.png"]


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_folder_goes_on_past_an_image_that_is_too_small(tmp_path: Path, solver: str) -> None:
    save_picture(tmp_path / "in" / "a.png", 3, 3)
    save_picture(tmp_path / "in" / "b.png", 29, 34)
    np.save(tmp_path / "k.npy", isotropic(2.0, size=9).numpy())
    with pytest.raises(DataError, match=r"1 of 2 photos were left out, .*: a\.png; the others are done"):
        run(solver, tmp_path / "in", output=tmp_path / "out", kernel=str(tmp_path / "k.npy"))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["b.png"]


def test_zssr_goes_by_its_kernel_and_ddsr_does_not_look_at_it(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "a.png", 29, 34)
    np.save(tmp_path / "k.npy", isotropic(2.0, size=9).numpy())
    for solver in SOLVERS:
        for i, kernel in enumerate((f"{tmp_path / 'k.npy'}_d", "direct")):
            run(solver, source, kernel=kernel, output=tmp_path / f"{solver}{i}.png")
        same = (pixels(tmp_path / f"{solver}0.png") == pixels(tmp_path / f"{solver}1.png")).all()
        assert same == (solver == "ddsr")


@pytest.mark.parametrize("kernel", ["direct", "estimate_d"])
def test_the_kernel_that_ddsr_finds_is_saved(tmp_path: Path, kernel: str) -> None:
    source = save_picture(tmp_path / "a.png", 29, 34)
    (done,) = run("ddsr", source, kernel=kernel, save_kernel=True)
    found = load_kernel(kernel_path(done.output))
    cfg = config("ddsr", source)
    lr = read_photo(source).rgb[None]
    want = build.solver(cfg, weights=None).solve(
        lr, scale=2, degradation=Degradation(scale=2, downsample="direct"), seed=seed_from(cfg.seed, "a.png")
    )
    assert want.kernel is not None
    assert found.shape == (11, 11)
    torch.testing.assert_close(found, want.kernel.detach().double(), atol=1e-6, rtol=0)


def test_ddsr_tells_that_it_looks_at_no_kernel(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = save_picture(tmp_path / "a.png", 29, 34)
    run("ddsr", source, kernel="bicubic")
    assert "finds the kernel itself" not in caplog.text
    run("ddsr", source, kernel="g2.0d", overwrite=True)
    assert [r.getMessage() for r in caplog.records if "itself" in r.getMessage()] == [
        "ddsr finds the kernel itself: of g2.0d only the sampling grid is used"
    ]


def test_an_estimator_that_would_not_be_asked_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(save_picture(tmp_path / "a.png", 29, 34))
    for arguments, told in (
        (["-k", "g2.0d"], "estimator ddsr is for the kernel estimate, got the kernel g2.0d; leave one of them out"),
        ([], "estimator ddsr is for the kernel estimate, got the kernel bicubic"),
        (["-k", "estimate", "--solver", "ddsr"], "estimator ddsr: ddsr finds the kernel itself; leave it out"),
    ):
        assert main(["upscale", source, "--estimator", "ddsr", *arguments]) == 2
        assert told in capsys.readouterr().err
    assert main(["upscale", source, "--estimator", "parametric", "--solver", "back_project", "-k", "estimate"]) == 0


def test_a_mask_file_hides_what_it_covers_from_ddsr(tmp_path: Path) -> None:
    values, mask = picture(29, 34), np.full((29, 34), 255, np.uint8)
    mask[8:20, 5:17] = 0
    Image.fromarray(mask).save(tmp_path / "m.png")
    np.save(tmp_path / "m.npy", mask // 255)
    for name, garbage in (("a", 0), ("b", 255)):
        spoilt = np.where(mask[..., None] == 0, garbage, values).astype(np.uint8)
        Image.fromarray(spoilt).save(tmp_path / f"{name}.png")
        for kind in ("png", "npy"):
            run("ddsr", tmp_path / f"{name}.png", output=tmp_path / f"{name}_{kind}.png",
                solver__mask=tmp_path / f"m.{kind}", seed=1)  # fmt: skip
    # The draws come from the file's name as well: compare what one name gives.
    (tmp_path / "again").mkdir()
    for name in ("a", "b"):
        (tmp_path / "again" / "x.png").write_bytes((tmp_path / f"{name}.png").read_bytes())
        for kind, given in (("masked", {"solver__mask": tmp_path / "m.png"}), ("whole", {})):
            run("ddsr", tmp_path / "again" / "x.png", output=tmp_path / f"{kind}_{name}.png", **given)
    assert (pixels(tmp_path / "a_png.png") == pixels(tmp_path / "a_npy.png")).all()
    assert (pixels(tmp_path / "masked_a.png") == pixels(tmp_path / "masked_b.png")).all()
    assert (pixels(tmp_path / "whole_a.png") != pixels(tmp_path / "whole_b.png")).any()


def test_a_known_gain_brightens(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "a.png", 29, 34)
    for i, gain in enumerate((None, 0.3)):
        run("ddsr", source, output=tmp_path / f"{i}.png", solver__gain=gain)
    assert (pixels(tmp_path / "0.png") != pixels(tmp_path / "1.png")).any()


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_command_has_their_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], interrupted: None, solver: str
) -> None:
    source = save_picture(tmp_path / "a.png", 29, 34)
    mask = tmp_path / "m [1], $2.png"
    Image.new("L", (10, 10), 255).save(mask)
    assert main(["upscale", str(source), "--solver", solver, "--budget-seconds", "0.001"]) == 0
    assert "cut short: budget_seconds=0.001" in capsys.readouterr().out
    assert main(["upscale", str(source), "--overwrite", "--solver", solver, "--gain", "2"]) == 2
    assert ("gain must be in (0, 1]" if solver == "ddsr" else "gain is no option") in capsys.readouterr().err
    assert main(["upscale", str(source), "--overwrite", "--solver", solver, "--mask", str(mask)]) == 2
    assert ("size 29x34, got (10, 10)" if solver == "ddsr" else "mask is no option") in capsys.readouterr().err


def test_prepared_files_go_straight_in(tmp_path: Path) -> None:
    """LR image, mask and gain as prepared, and ZSSR with the prepared kernel."""
    save_picture(tmp_path / "hr" / "a.png", 96, 108)
    job = compose("task=prepare", "logger=none", "degradation=ddsr_x4", "shift=centre", "prepare.mask=square",
                  "prepare.mask_side=8", "prepare.gain=0.3", f"input={tmp_path / 'hr'}",
                  f"output={tmp_path / 'lr'}")  # fmt: skip
    list(prepare_task(job))
    lr, mask = tmp_path / "lr" / "lr" / "a.png", tmp_path / "lr" / "masks" / "a.png"
    run("ddsr", lr, output=tmp_path / "d.png", scale=4.0, solver__mask=mask, solver__gain=0.3, solver__centre="correct")
    kernel = f"{tmp_path / 'lr' / 'kernels' / 'a.npy'}_d"
    run("zssr", lr, output=tmp_path / "z.png", scale=4.0, kernel=kernel)
    for name in ("d", "z"):
        assert read_photo(tmp_path / f"{name}.png").rgb.shape == (3, 96, 108)
        assert read_photo(tmp_path / f"{name}.png").bits == 16


@pytest.mark.parametrize(
    ("solver", "values", "message"),
    [
        ("ddsr", {"solver__gain": 0.0}, r"gain must be in \(0, 1\], got 0"),
        ("ddsr", {"solver__gain": 1.2}, r"gain must be in \(0, 1\], got 1\.2"),
        ("ddsr", {"solver__mask": "small.png"}, "the mask must have the LR image's size 29x34"),
        ("ddsr", {"solver__mask": "black.png"}, "the mask hides the whole image"),
        ("ddsr", {"solver__mask": "none.png"}, r"no mask file none\.png; give an existing image"),
        ("ddsr", {"solver__mask": "grey.png"}, r"mask grey\.png must hold .*, got 100 among 3 such pixels; .* 127\.5"),
        ("ddsr", {"solver__kernel_size": 8}, "kernel_size must be odd and at least 3, got 8"),
        ("ddsr", {"solver__steps": 0}, "steps"),
        ("ddsr", {"solver__mode": "best"}, "best"),
        ("zssr", {"solver__schedule": "slow"}, "slow"),
        ("zssr", {"solver__max_steps": -1}, "max_steps"),
        *((solver, {"solver__budget_seconds": budget}, "budget_seconds must be above 0")
          for solver in SOLVERS for budget in (0.0, -1.0)),
        *((solver, {"scale": 1.0}, "upscaling needs a scale above 1, got 1") for solver in SOLVERS),
    ],
)  # fmt: skip
def test_wrong_choices_leave_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, solver: str, values: dict, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    source = save_picture(tmp_path / "a.png", 29, 34)
    Image.fromarray(np.full((10, 10), 255, np.uint8)).save("small.png")
    Image.fromarray(np.zeros((29, 34), np.uint8)).save("black.png")
    Image.fromarray(np.where(np.arange(29 * 34).reshape(29, 34) < 3, 100, 255).astype(np.uint8)).save("grey.png")
    with pytest.raises((InputError, DataError), match=message):
        run(solver, source, **values)
    assert not (tmp_path / "a_x2.png").exists()


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_image_smaller_than_the_kernel_is_named(tmp_path: Path, solver: str) -> None:
    source = save_picture(tmp_path / "tiny.png", 4, 5)
    with pytest.raises(InputError, match=r"tiny\.png: "):
        run(solver, source, kernel="g2.0d")
    assert not (tmp_path / "tiny_x2.png").exists()
