"""What the blind methods' profiles and controls are configured as."""

import pytest

from metasr.config import build
from running import compose


def test_controls_have_as_many_steps_and_gradients() -> None:
    cfg = compose("+experiment=mrda_x4_iso", "profile=paper")
    bicubic = compose("+experiment=mrda_x4_iso", "profile=paper", "+ablation=mrda_bicubic_only")
    assert bicubic.stages.pretrain.steps == cfg.stages.teacher.steps + cfg.stages.student.steps
    assert (
        build.recipe(
            compose("+experiment=mrda_x4_iso", "profile=smoke", "+ablation=mrda_bicubic_only"), "pretrain"
        ).model.encoder.channels
        == 3
    )
    joint = compose("+experiment=mrda_x4_iso", "profile=paper", "+ablation=mrda_joint").stages.meta_transfer
    meta = cfg.stages.meta_transfer
    assert joint.steps == meta.steps * meta.sampler.meta_batch * (meta.recipe.inner_steps + 1)
    assert joint.sampler.batch_size == meta.sampler.support


def test_the_published_schedule_is_the_papers() -> None:
    cfg = compose("+experiment=mrda_x4_iso", "profile=paper")
    assert [cfg.stages[s].steps for s in cfg.stages] == [582_600, 129_600, 647_000, 323_500]
    meta = build.recipe(cfg, "meta_transfer")
    assert (meta.inner_steps, meta.order, meta.rate, meta.rates.schedule) == (5, "first", 1e-4, (1e-2,))
    assert meta.step_weights.at(0, 5) == [0, 0, 0, 0, 1]
    tasks = build.sampler(cfg, "meta_transfer")
    assert (tasks.meta_batch, tasks.support, tasks.query) == (5, 16, 16)
    student = build.recipe(cfg, "student")
    assert (student.encoder_steps, student.distill, student.temperature, student.abs_weight) == (
        64_700, "kl+abs", 0.15, 0.1,
    )  # fmt: skip
    assert student.rate_factor(40_000) == pytest.approx(0.1)
    assert student.rate_factor(64_700 + 80_875) == pytest.approx(0.5)
    assert tuple(student.observer.view.frozen) == ("tail",)
    assert tuple(student.observer.view.rates) == (1e-2, 5e-3, 5e-3, 5e-3, 5e-3)
    assert not tasks.shared_patches
    public = compose("+experiment=mrda_x4_iso", "profile=paper", "+ablation=mrda_shared_patches")
    assert build.sampler(public, "meta_transfer").shared_patches


def test_the_published_schedule_of_kdsr() -> None:
    """600 epochs for isotropic kernels; for others the encoder alone for 100 epochs, then to epoch 500."""
    iso, aniso = (build.recipe(compose(f"+experiment=kdsr_x4_{kind}", "profile=paper"), "student")
                  for kind in ("iso", "aniso_noise"))  # fmt: skip
    assert (iso.steps, iso.encoder_steps) == (582_600, 0)
    assert (aniso.steps, aniso.encoder_steps) == (485_500, 97_100)
    assert iso.rate_factor(145_650) == 0.5
    assert aniso.rate_factor(97_100 + 121_375) == 0.5
    assert build.sampler(compose("+experiment=kdsr_x4_aniso_noise", "profile=smoke"), "student")


def test_the_line_of_dasr_takes_psnr_its_own_way() -> None:
    for experiment in ("mrda_x4_iso", "kdsr_x4_aniso_noise"):
        assert not build.protocol(compose(f"+experiment={experiment}")).round_luma
    assert build.protocol(compose("+experiment=mrda_x4_iso", "evaluation=luma")).round_luma
