"""The public functions: what they give, that they agree with the parts they stand for, and their examples."""

import doctest
from pathlib import Path

import pytest
import torch

import metasr
from metasr.data.catalog import image_set
from metasr.degradation import names
from metasr.errors import InputError, WeightsError
from metasr.io.images import read_photo
from metasr.metrics.protocol import LumaProtocol
from metasr.models.plain_cnn import PlainCNN
from metasr.paths import weights_folder
from metasr.runs.weights import from_release
from metasr.solvers.back_project import BackProjectSolver
from metasr.solvers.interpolate import InterpolateSolver
from metasr.solvers.mzsr.solver import MZSRSolver
from running import save_picture

HR = image_set("samples", split="test").load(0)[:, 40:103, 60:129]


@pytest.mark.parametrize("name", ["load", "upscale", "degrade", "evaluate"])
def test_the_examples_in_the_docstrings_run(name: str) -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(metasr, name), name, globs={})
    assert len(example.examples) >= 3
    told: list[str] = []
    result = doctest.DocTestRunner().run(example, out=told.append)
    assert (result.failed, "".join(told)) == (0, "")


def test_what_is_public() -> None:
    assert set(metasr.__all__) <= set(dir(metasr))
    assert all(getattr(metasr, name).__doc__ for name in metasr.__all__ if name != "__version__")
    assert metasr.Degradation(scale=2).downsample == "bicubic"
    with pytest.raises(AttributeError, match="no attribute 'enlarge'; it has Cancelled, Degradation, LoadedSolver"):
        metasr.enlarge  # noqa: B018


def test_a_loaded_solver_is_the_solver_with_the_released_weights() -> None:
    lr = metasr.degrade(HR, "g2.0d", scale=2)
    weights = from_release(weights_folder(), "mzsr_x2_pretrain")
    want = MZSRSolver(weights.load_into(PlainCNN()), steps=2).solve(
        lr[None], scale=2, degradation=names.parse("g2.0d", scale=2)
    )
    solver = metasr.load("mzsr_x2_pretrain", steps=2, device="cpu")
    assert torch.equal(solver(lr, degradation="g2.0d"), want.sr[0])
    assert torch.equal(solver.solve(lr[None], degradation=names.parse("g2.0d", scale=2)).sr, want.sr)


def test_names_of_weights() -> None:
    for name in ("mzsr_x2", "mzsr_x2_meta", "released/mzsr_x2_meta", weights_folder() / "mzsr_x2_meta.safetensors"):
        solver = metasr.load(str(name), steps=1)
        assert solver.weights.removesuffix(".safetensors").endswith("mzsr_x2_meta")
        assert (solver.scale, str(solver.degradation)) == (2.0, "direct")
    assert str(metasr.load("mzsr_x2_bicubic").degradation) == "bicubic"
    with pytest.raises(WeightsError, match="no weights 'mzsr_x3', released or of that path: did you mean 'mzsr_x2_"):
        metasr.load("mzsr_x3")
    with pytest.raises(InputError, match="load needs released weights, a file or a run folder"):
        metasr.load()


def test_a_folder_of_that_name_hides_no_released_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mzsr_x2" / "2026").mkdir(parents=True)  # outputs of the experiment, as seen from their folder
    assert metasr.load("mzsr_x2").weights == "released/mzsr_x2_meta"


def test_snapshots_of_a_loaded_solver() -> None:
    lr = metasr.degrade(HR, "g2.0d")[None]
    solver = metasr.load("mzsr_x2_pretrain", steps=1)
    made = solver.snapshots(lr, updates=[0, 1], degradation="g2.0d")
    assert torch.equal(made[1].sr, solver.solve(lr, degradation="g2.0d").sr)
    with pytest.raises(InputError, match="solver interpolate shows no results on its way"):
        metasr.load(solver="interpolate").snapshots(lr, updates=[0])


def test_a_batch_is_done_one_by_one_and_one_image_alone() -> None:
    solver = metasr.load(solver="back_project", rounds=2)
    batch = torch.stack([metasr.degrade(HR, "bicubic"), metasr.degrade(HR.flip(-1), "bicubic")])
    made = solver(batch)
    assert made.shape == (2, 3, 64, 70)
    assert torch.equal(made[1], solver(batch[1]))
    assert solver(batch[0], scale=3).shape == (3, 96, 105)


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        (torch.zeros(9, 9), r"lr must have shape \(B, C, H, W\), got \(9, 9\)"),
        (torch.zeros(1, 9, 9), r"one RGB image of shape \(1, 3, H, W\), got \(1, 1, 9, 9\)"),
        (torch.zeros(3, 9, 9, dtype=torch.uint8), "must be floating point"),
        (torch.full((3, 9, 9), torch.nan), "must be finite"),
    ],
)
def test_images_that_are_none(lr: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        metasr.load(solver="interpolate")(lr)


def test_degrading_goes_by_name_and_by_object() -> None:
    known = names.parse("g2.0d_n10", scale=3)
    made = metasr.degrade(HR, "g2.0d_n10", scale=3, seed=4)
    assert made.shape == (3, 21, 23)
    assert torch.equal(made, metasr.degrade(HR[None], known, seed=4)[0])
    assert torch.equal(made, known(HR[None], generator=torch.Generator().manual_seed(4))[0])
    assert not torch.equal(made, metasr.degrade(HR, known, seed=5))
    with pytest.raises(InputError, match="the degradation is for scale 3, but scale 2 was asked for"):
        metasr.degrade(HR, known, scale=2)
    with pytest.raises(InputError, match="unknown degradation 'g2'"):
        metasr.degrade(HR, "g2")


def test_photos_are_enlarged_by_names_and_by_solvers(tmp_path: Path) -> None:
    photo = save_picture(tmp_path / "a.png", 25, 31)
    (by_name,) = metasr.upscale(photo, tmp_path / "name.png", solver="back_project", kernel="g2.0d")
    (by_object,) = metasr.upscale(photo, tmp_path / "own.png", solver=BackProjectSolver(), kernel="g2.0d")
    (loaded,) = metasr.upscale(
        photo, tmp_path / "loaded.png", solver=metasr.load(solver="back_project"), kernel="g2.0d"
    )
    assert by_name.output.read_bytes() == by_object.output.read_bytes() == loaded.output.read_bytes()
    want = InterpolateSolver().solve(read_photo(photo).rgb[None], scale=3).sr[0]
    (plain,) = metasr.upscale(str(photo), scale=3, solver="interpolate")
    assert plain.output == tmp_path / "a_x3.png"
    torch.testing.assert_close(read_photo(plain.output).rgb, want, atol=0.51 / 255, rtol=0)
    with pytest.raises(InputError, match="are those of the solver that was given; give them to load"):
        metasr.upscale(photo, solver=BackProjectSolver(), steps=3)
    with pytest.raises(InputError, match=r"^tile is no option of solver interpolate, which has: aligned; leave it out"):
        metasr.upscale(photo, solver="interpolate", tile=3)


def test_several_photos_go_on_where_they_were_stopped(tmp_path: Path) -> None:
    photos = [save_picture(tmp_path / f"{name}.png", 9, 11, seed=i) for i, name in enumerate("abc")]
    first = metasr.upscale(photos[:2], tmp_path / "out", solver="interpolate")
    rest = metasr.upscale(photos, tmp_path / "out", solver="interpolate", skip_existing=True)
    assert [done.source.name for done in (*first, *rest)] == ["a.png", "b.png", "c.png"]
    assert metasr.upscale(photos, tmp_path / "out", solver="interpolate", skip_existing=True) == []


def test_evaluating_gives_the_table_of_the_protocol(tmp_path: Path) -> None:
    photo = save_picture(tmp_path / "a.png", 63, 71)
    hr = read_photo(photo).rgb[None, :, :62, :70]
    degradation = names.parse("g2.0d", scale=2)
    want = LumaProtocol()(BackProjectSolver().solve(degradation(hr), scale=2, degradation=degradation).sr, hr, scale=2)
    for images in (tmp_path, photo, [photo]):
        table = metasr.evaluate(BackProjectSolver(), images, "g2.0d")
        assert [row.solver for row in table.rows] == ["interpolate", "interpolate_aligned", "BackProjectSolver"]
        assert table.rows[-1].psnr_y == pytest.approx(want.psnr_y, abs=1e-6)
    several = metasr.evaluate("mzsr_x2_pretrain", photo, ["bicubic"], updates=[0, 1])
    assert [row.updates for row in several.rows] == [0, 0, 0, 1]
    with pytest.raises(InputError, match="BackProjectSolver takes none"):
        metasr.evaluate(BackProjectSolver(), photo, "bicubic", updates=[1])


def test_wrong_calls_are_refused_in_words(tmp_path: Path) -> None:
    photo = save_picture(tmp_path / "a.png", 24, 24)
    solver = metasr.load(solver="back_project")
    lr = read_photo(photo).rgb
    for call in (lambda: solver(lr * 255), lambda: metasr.degrade(lr * 255, "bicubic")):
        with pytest.raises(InputError, match=r"must lie in \[0, 1\].*divide 8-bit values by 255"):
            call()
    with pytest.raises(InputError, match="the degradation is for scale 2, but scale 3"):
        solver(lr, degradation=names.parse("g2.0d", scale=2), scale=3)
    with pytest.raises(InputError, match="no degradations to evaluate on"):
        metasr.evaluate(solver, photo, [])
    with pytest.raises(InputError, match="neither a file, a folder nor a known set: did you mean 'samples'"):
        metasr.evaluate(solver, "sampls", "g2.0d")
    with pytest.raises(InputError, match="one that estimates the kernel itself"):
        metasr.upscale(photo, solver=solver, kernel="estimate")


def test_progress_of_photos_is_told_with_their_names_and_cancelling_leaves_nothing_half_done(tmp_path: Path) -> None:
    photos = [save_picture(tmp_path / "a.png", 16, 20), save_picture(tmp_path / "b.png", 32, 30)]
    reports = []
    metasr.upscale(photos, tmp_path / "out", solver="network", progress=reports.append)
    assert [(r.what, r.done, r.total, r.photo.name, r.place) for r in reports] == [
        ("tiles", 1, 1, "a.png", (1, 2)), ("photos", 1, 2, "a.png", (1, 2)),
        ("tiles", 1, 1, "b.png", (2, 2)), ("photos", 2, 2, "b.png", (2, 2)),
    ]  # fmt: skip
    assert [r.share for r in reports] == [0.25, 0.25, 1, 1]  # by pixels

    def stop(report):
        if report.place[0] == 2:
            raise metasr.Cancelled("the user has seen enough")

    with pytest.raises(metasr.Cancelled, match="seen enough"):
        metasr.upscale(photos, tmp_path / "second", solver="network", progress=stop)
    assert [path.name for path in (tmp_path / "second").iterdir()] == ["a.png"]


def test_a_loaded_solver_tells_of_tensors() -> None:
    solver = metasr.load("mzsr_x2", steps=2)
    reports = []
    solver(torch.rand(2, 3, 12, 14, generator=torch.Generator().manual_seed(0)), progress=reports.append)
    assert [r.what for r in reports] == ["updates", "updates", "tiles"] * 2
    assert all(r.loss > 0 for r in reports if r.what == "updates")
    assert reports[2].share == pytest.approx(0.5)
    assert reports[-1].share == pytest.approx(1)
    assert reports[0].photo is None
