"""MRDA's four stages and KDSR's two as one command: folders, cards, tables, and what can be wrong."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import open_dict
from safetensors.torch import load_file, save_file

from metasr.config import build
from metasr.config.chain import validator
from metasr.config.entries import check_solvers, learned_entries
from metasr.degradation.names import expand
from metasr.errors import DataError, InputError, StageError, WeightsError
from metasr.io.files import file_hash
from metasr.io.images import read_image
from metasr.jobs.run import execute
from metasr.jobs.upscale import upscale_task
from metasr.models.mln import MLN
from metasr.runs.card import read_card
from metasr.runs.weights import Weights, from_run, from_stage
from metasr.solvers.network import NetworkSolver
from metasr.solvers.oracle import Oracle
from running import compose, save_picture, train

COMMON = ("profile=smoke", "logger=none", "degradations=[sig_1.8_b]")
MRDA = ("+experiment=mrda_x4_iso", *COMMON)
KDSR = ("+experiment=kdsr_x4_iso", *COMMON)
QUIET = tuple(f"stages.{s}.validation.degradations=[]" for s in ("pretrain", "meta_transfer", "teacher", "student"))
MRDA_STAGES = ["01_pretrain", "02_meta_transfer", "03_teacher", "04_student"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("mrda") / "run"
    train(compose(*MRDA, *QUIET), run)
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    save_picture(tmp_path / "photos" / "a.png", 45, 54)
    return tmp_path / "photos"


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        return {row["solver"]: row for row in csv.DictReader(file)}


def test_cards_tell_which_tensors_come_from_where(finished: Path) -> None:
    assert sorted(p.name for p in finished.iterdir()) == MRDA_STAGES
    lines = [read_card(finished / name)["weights_from"] for name in MRDA_STAGES]
    assert lines == [
        "no parent: freshly initialised",
        "20 of 20 network tensors from 01_pretrain",
        "20 of 20 MLN tensors from 02_meta_transfer, 43 encoder and body tensors fresh",
        "27 body tensors from 03_teacher, 16 encoder tensors fresh; its 16 encoder and 20 MLN tensors teach, frozen",
    ]


def test_each_stage_hands_on_what_the_next_one_needs(finished: Path) -> None:
    meta, teacher, student = (load_file(finished / name / "weights.safetensors") for name in MRDA_STAGES[1:])
    assert {k: v for k, v in teacher.items() if k.startswith("mln.")}.keys() == {f"mln.{k}" for k in meta}
    assert all(torch.equal(v, teacher[f"mln.{k}"]) for k, v in meta.items())  # never changed by the teacher
    assert {k.split(".")[0] for k in student} == {"encoder", "body"}
    assert student["encoder.convs.0.weight"].shape[1] == 3


def test_the_table_has_bicubic_the_student_and_the_oracle(
    run: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(compose(*MRDA, *QUIET, f"testset={photos}"), run)
    shown = rows(run)
    assert list(shown) == ["interpolate", "interpolate_aligned", "network", "teacher_oracle"]
    assert shown["teacher_oracle"]["weights"] == shown["network"]["weights"] == "run"
    assert shown["teacher_oracle"]["updates"] == "5"
    printed = capsys.readouterr().out
    assert "teacher_oracle" in printed
    assert "teacher_oracle looks at the HR image: an upper reference, no result" in printed


def test_the_oracle_can_be_left_out(run: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    execute(compose(*MRDA, *QUIET, f"testset={photos}", "compare_with.oracle=null"), run)
    assert list(rows(run)) == ["interpolate", "interpolate_aligned", "network"]
    assert "HR image" not in capsys.readouterr().out


def test_an_evaluation_of_the_run_shows_the_same(run: Path, photos: Path, tmp_path: Path) -> None:
    """In another profile too: networks are made as the stages' cards tell."""
    execute(compose(*MRDA, *QUIET, f"testset={photos}"), run)
    other = ("+experiment=mrda_x4_iso", "logger=none", "degradations=[sig_1.8_b]", f"testset={photos}")
    execute(compose(*other, "profile=quick", "task=evaluate", f"weights={run}"), tmp_path / "evaluation")
    for solver, row in rows(run).items():
        assert rows(tmp_path / "evaluation")[solver]["psnr_y"] == row["psnr_y"]


def test_a_file_of_the_student_alone_has_no_oracle(run: Path, photos: Path, tmp_path: Path) -> None:
    file = run / "04_student" / "weights.safetensors"
    execute(compose(*MRDA, f"testset={photos}", "task=evaluate", f"weights={file}"), tmp_path / "evaluation")
    assert list(rows(tmp_path / "evaluation")) == ["interpolate", "interpolate_aligned", "network"]


def test_the_teacher_alone_is_shown_as_the_oracle_it_is(run: Path, photos: Path) -> None:
    shutil.rmtree(run / "04_student")
    execute(compose(*MRDA, *QUIET, f"testset={photos}", "stages_to_run=[teacher]"), run)
    assert list(rows(run)) == ["interpolate", "interpolate_aligned", "teacher_oracle"]


def test_the_first_stages_network_is_run_as_what_it_is(run: Path) -> None:
    for stage in ("04_student", "03_teacher"):
        shutil.rmtree(run / stage)
    (made,) = [e.made_by for e in learned_entries(compose(*MRDA), from_run(run)) if e.solver == "network"]
    assert isinstance(made, NetworkSolver)
    assert isinstance(made.network, MLN)


def test_every_stage_is_validated_by_its_own_network(run: Path, photos: Path) -> None:
    cfg = compose(*MRDA)
    found = {}
    for stage in cfg.stages:
        recipe = build.recipe(cfg, stage)
        recipe.restore(from_stage(run, stage).state, origin="x")
        made = validator(cfg, stage)
        found[stage] = {} if made is None else made.score(recipe)
    assert set(found["pretrain"]) == {"val/psnr_y/bicubic@own", "val/ssim_y/bicubic@own"}
    assert found["meta_transfer"] == {}
    assert found["teacher"]["val/psnr_y/sig_1.8_b@own"] != found["student"]["val/psnr_y/sig_1.8_b@own"]


def test_a_slice_is_gone_on_with(finished: Path, tmp_path: Path) -> None:
    """A stage cut short after one of its steps ends in the very weights of an uncut one."""
    from metasr.errors import SliceOverError

    cut = Path(shutil.copytree(finished, tmp_path / "cut"))
    for stage in ("student", "teacher"):
        shutil.rmtree(next(cut.glob(f"*_{stage}")))
    for _ in range(12):
        try:
            train(compose(*MRDA, *QUIET, "max_minutes=1e-6"), cut)
        except SliceOverError:
            continue
        break
    for stage in ("03_teacher", "04_student"):
        assert (cut / stage / "weights.safetensors").read_bytes() == (
            finished / stage / "weights.safetensors"
        ).read_bytes()


def test_a_drifting_network_goes_on_too(tmp_path: Path, finished: Path) -> None:
    from metasr.errors import SliceOverError

    never = (*MRDA, *QUIET, "+ablation=mrda_mln_never_reset", "stages.teacher.steps=3")
    ends = []
    for name, slices in (("whole", ()), ("cut", ("max_minutes=1e-6",))):
        place = Path(shutil.copytree(finished, tmp_path / name))
        for stage in ("student", "teacher"):
            shutil.rmtree(next(place.glob(f"*_{stage}")))
        for _ in range(12):
            try:
                train(compose(*never, *slices), place)
            except SliceOverError:
                continue
            break
        ends.append((place / "04_student" / "weights.safetensors").read_bytes())
    assert ends[0] == ends[1]
    assert ends[0] != (finished / "04_student" / "weights.safetensors").read_bytes()


def test_kdsr(tmp_path: Path, photos: Path) -> None:
    execute(compose(*KDSR, *QUIET[2:], f"testset={photos}"), tmp_path / "run")
    shown = rows(tmp_path / "run")
    assert list(shown) == ["interpolate", "interpolate_aligned", "network", "teacher_oracle"]
    assert shown["teacher_oracle"]["updates"] == "0"
    line = read_card(tmp_path / "run" / "02_student")["weights_from"]
    assert line.endswith("tensors fresh; its 16 encoder tensors teach, frozen")


@pytest.mark.parametrize("experiment", ["mrda_x4_aniso_noise", "kdsr_x4_aniso_noise"])
def test_noise_and_blur_of_any_direction(experiment: str, tmp_path: Path) -> None:
    cfg = compose(f"+experiment={experiment}", *COMMON)
    for stage in ("teacher", "student"):
        drawn = build.sampler(cfg, stage).degradations
        assert not drawn.kernels.isotropic
        assert drawn.noise_std == pytest.approx((0, 25 / 255))
        assert drawn.per == "batch"
    assert build.recipe(cfg, "student").encoder_steps == 2
    iso = build.sampler(compose("+experiment=mrda_x4_iso", *COMMON), "meta_transfer").degradations
    assert iso.kernels.isotropic
    assert tuple(iso.noise_std) == (0, 0)


@pytest.mark.parametrize("experiment", ["mrda_x4_aniso_noise", "kdsr_x4_aniso_noise"])
def test_other_scales_have_other_test_degradations(experiment: str) -> None:
    found = {s: list(compose(f"+experiment={experiment}", f"scale={s}").degradations) for s in (2, 3, 4)}
    assert found[2] == found[3] == ["gaussian8", "gaussian8_n10"]
    assert found[4] == ["mrda9-estimated", "mrda9-estimated_n10"]
    for scale, names in found.items():
        assert len(expand(names, scale)) == (18 if scale == 4 else 16)


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("experiment", ["mrda_x4_iso", "kdsr_x4_iso"])
def test_other_scales(experiment: str, scale: int, tmp_path: Path) -> None:
    cfg = compose(
        f"+experiment={experiment}", *COMMON, *(QUIET if experiment[0] == "m" else QUIET[2:]), f"scale={scale}"
    )
    assert tuple(build.sampler(cfg, "teacher").degradations.kernels.std) == (0.2, scale)
    assert cfg.stages.teacher.patch_size % scale == 0
    train(cfg, tmp_path)


# --- upscaling ---


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (13, 2)])
def test_a_photo_of_any_size(finished: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    photo = save_picture(tmp_path / "photo.png", *size)
    cfg = compose("+experiment=mrda_x4_iso", "logger=none", "task=upscale", f"weights={finished}")
    with open_dict(cfg):
        cfg.input, cfg.output = str(photo), str(tmp_path / "large.png")
    (done,) = upscale_task(cfg)
    from PIL import Image

    assert Image.open(done.output).size == (4 * size[1], 4 * size[0])


def test_weights_for_another_scale_enlarge_by_their_own(finished: Path, tmp_path: Path) -> None:
    cfg = compose("+experiment=mrda_x4_iso", "scale=2", "logger=none", "task=upscale", f"weights={finished}")
    with open_dict(cfg):
        cfg.input, cfg.output = str(save_picture(tmp_path / "photo.png", 9, 8)), str(tmp_path / "large.png")
    list(upscale_task(cfg))
    assert read_image(tmp_path / "large.png").shape[-2:] == (18, 16)


def test_without_weights_there_is_nothing_to_upscale_by(tmp_path: Path) -> None:
    cfg = compose("+experiment=mrda_x4_iso", "logger=none", "task=upscale")
    with open_dict(cfg):
        cfg.input, cfg.output = str(save_picture(tmp_path / "photo.png", 9, 8)), str(tmp_path / "large.png")
    with pytest.raises(WeightsError, match=r"no released weights of mrda for bicubic .*give weights=FILE"):
        list(upscale_task(cfg))


# --- what can be wrong ---


def edit_card(folder: Path, **changes: object) -> None:
    path = folder / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_missing_predecessor_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    for stage, parent in (("student", "teacher"), ("teacher", "meta_transfer"), ("meta_transfer", "pretrain")):
        with pytest.raises(
            StageError,
            match=rf"stage '{stage}' needs stage '{parent}' first, which is missing in .*_{parent}; run it with: "
            rf".*\+experiment=mrda_x4_iso.*'stages_to_run=\[{parent}\]'",
        ):
            train(compose(*MRDA, *QUIET, f"stages_to_run=[{stage}]"), tmp_path)


def test_a_foreign_and_a_stale_teacher(run: Path) -> None:
    with pytest.raises(StageError, match=r"'teacher' in .*03_teacher is stale: .*mln_reset: then per_batch, now never"):
        train(compose(*MRDA, *QUIET, "stages.teacher.recipe.mln_reset=never"), run)
    edit_card(run / "03_teacher", experiment="kdsr_x4_iso")
    with pytest.raises(StageError, match=r"03_teacher is foreign: it holds stage 'teacher' of 'kdsr_x4_iso'"):
        train(compose(*MRDA, *QUIET, "stages_to_run=[student]"), run)


def test_a_stale_predecessor_near_or_far(run: Path) -> None:
    """Also where only a later stage is asked for, which is itself as it should be."""
    student = "stages_to_run=[student]"
    with pytest.raises(
        StageError,
        match=r"'student' builds on stage 'teacher' in .*03_teacher, which is stale: .*\(stage\.recipe\.rate: then "
        r"0\.001, now 0\.5\).*remove .*03_teacher and train it again with: .*\+experiment=mrda_x4_iso.*"
        r" 'stages_to_run=\[teacher\]'",
    ):
        train(compose(*MRDA, *QUIET, "stages.teacher.recipe.rate=0.5", student), run)
    with pytest.raises(StageError, match=r"'student' builds on stage 'pretrain' in .*01_pretrain, which is stale: .*"
                       r"stage\.steps: then 2, now 3"):  # fmt: skip
        train(compose(*MRDA, *QUIET, "stages.pretrain.steps=3", student), run)
    train(compose(*MRDA, *QUIET, student), run)


def test_a_grandparent_trained_anew_makes_the_parent_stale(run: Path) -> None:
    weights = run / "02_meta_transfer" / "weights.safetensors"
    state = load_file(weights)
    save_file({k: v + 1 for k, v in state.items()}, weights)
    with pytest.raises(StageError, match=r"02_meta_transfer/weights\.safetensors is not the file that its card"):
        train(compose(*MRDA, *QUIET, "stages_to_run=[student]"), run)
    edit_card(run / "02_meta_transfer", weights=file_hash(weights))  # as if it had been trained again
    with pytest.raises(
        StageError,
        match=rf"'student' builds on stage 'teacher' in .*03_teacher, which is stale: .*\(parent: then \w+, now "
        rf"{file_hash(weights)}\)",
    ):
        train(compose(*MRDA, *QUIET, "stages_to_run=[student]"), run)
    shutil.rmtree(run / "01_pretrain")
    with pytest.raises(StageError, match=r"'meta_transfer' needs stage 'pretrain' first, which is missing"):
        train(compose(*MRDA, *QUIET, "stages_to_run=[student]"), run)


def test_another_width_makes_the_first_stage_stale(run: Path) -> None:
    with pytest.raises(StageError, match=r"'pretrain' in .* is stale: .*width: then 4, now 5"):
        train(compose(*MRDA, *QUIET, "mln.width=5"), run)


def test_a_patch_larger_than_an_image(tmp_path: Path) -> None:
    save_picture(tmp_path / "train" / "small.png", 30, 40)
    cfg = compose(*MRDA, *QUIET, "data=image_folder", f"data.root={tmp_path / 'train'}", "data.val_fraction=0.0")
    with pytest.raises(DataError, match=r"small\.png.* \(30x40\).*smaller than the 48x48 patch|smaller than the 48x48"):
        train(cfg, tmp_path / "run")


def test_a_kernel_for_each_image_where_one_network_is_adapted(tmp_path: Path) -> None:
    """Told before the first stage is trained."""
    each = "stages.teacher.sampler.degradations.per=image"
    with pytest.raises(InputError, match=r"different kernels.*sampler\.degradations\.per=batch"):
        train(compose(*MRDA, *QUIET, each), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    cfg = compose(*KDSR, each)
    build.recipe(cfg, "teacher").require_sampler(build.sampler(cfg, "teacher"))  # adapts none


def test_the_oracles_node(run: Path) -> None:
    with pytest.raises(InputError, match="solver 'best' looks at the HR image, so its name must end in 'oracle'"):
        check_solvers(compose(*MRDA, "compare_with.oracle.name=best"))
    with pytest.raises(InputError, match=r"teacher_oracle is to run stage 'teechr': did you mean 'teacher'"):
        check_solvers(compose(*MRDA, "compare_with.oracle.stage=teechr"))
    with pytest.raises(InputError, match="teacher_oracle runs a teacher, but stage 'student' makes a Student"):
        check_solvers(compose(*MRDA, "compare_with.oracle.stage=student"))
    with pytest.raises(InputError, match=r"teacher_oracle looks at the HR image, so it can only stand beside one"):
        build.solver(compose(*MRDA, "solver=teacher_oracle"), weights=None)
    made = build.oracle(compose(*MRDA), compose(*MRDA).compare_with.oracle, weights=from_stage(run, "teacher"))
    assert isinstance(made, Oracle)
    with pytest.raises(StageError, match="has no finished stage 'teechr'; finish it with"):
        from_stage(run, "teechr")


def test_a_card_makes_no_class_from_elsewhere_in_a_part_of_a_network(finished: Path) -> None:
    cfg = compose(*MRDA)
    state = load_file(finished / "04_student" / "weights.safetensors")
    card = json.loads(json.dumps(read_card(finished / "04_student")))
    assert build.as_trained(cfg, Weights("run", state, card)) is cfg
    card["config"]["stages"]["student"]["recipe"]["model"]["encoder"] = {"_target_": "os.system", "command": "true"}
    with pytest.raises(WeightsError, match=r"BlindSR's encoder is told to be 'os\.system'"):
        build.as_trained(cfg, Weights("run", state, card))
    card = json.loads(json.dumps(read_card(finished / "03_teacher")))
    card["config"]["stages"]["teacher"]["recipe"]["view"] = {"_target_": "os.system", "command": "true"}
    state = load_file(finished / "03_teacher" / "weights.safetensors")
    with pytest.raises(WeightsError, match=r"Teacher's view is told to be 'os\.system'"):
        build.oracle(cfg, cfg.compare_with.oracle, weights=Weights("run", state, card))


# --- controls ---


@pytest.mark.parametrize("ablation", ["mrda_bicubic_only", "mrda_joint", "mrda_second_order", "mrda_no_distillation",
                                      "mrda_random_vector"])  # fmt: skip
def test_controls_run(ablation: str, tmp_path: Path, photos: Path) -> None:
    execute(compose(*MRDA, *QUIET, f"+ablation={ablation}", f"testset={photos}"), tmp_path)
    shown = list(rows(tmp_path))
    assert shown == ["interpolate", "interpolate_aligned", "network"] + ["teacher_oracle"] * (
        ablation != "mrda_bicubic_only"
    )
