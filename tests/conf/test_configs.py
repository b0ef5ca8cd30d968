"""Every config is composed and built."""

import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metasr.config import build
from metasr.config.chain import stages
from metasr.config.entries import check_solvers
from metasr.degradation import names
from metasr.errors import WeightsError
from metasr.paths import conf_folder, weights_folder
from metasr.recipes.base import Recipe
from metasr.runs import weights as weights_store
from metasr.solvers.base import Solver
from metasr.solvers.oracle import OracleMaker
from metasr.training.trainer import make_trainer
from running import PROJECT, compose, environment


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


EXPERIMENTS, PROFILES, SOLVERS = choices("experiment"), choices("profile"), choices("solver")
SCHEDULES = sorted(path.name for path in (conf_folder() / "schedule").iterdir())
BASE = ("+experiment=mzsr_x2",)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize(
    "profile",  # two of them change quick's numbers alone
    [pytest.param(p, marks=pytest.mark.slow if p in ("cpu", "gpu") else ()) for p in PROFILES],
)
def test_every_experiment_builds_in_every_profile(experiment: str, profile: str, tmp_path: Path) -> None:
    cfg = compose(f"+experiment={experiment}", f"profile={profile}")
    assert cfg.name == experiment
    assert cfg.profile_name == profile
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    for stage in cfg.stages:
        assert isinstance(build.recipe(cfg, stage), Recipe)
        data = build.stage_data(cfg, stage)
        assert data.steps == cfg.stages[stage].steps
        assert callable(data.sampler.draw)
        for name in names.expand(cfg.stages[stage].validation.degradations, cfg.scale):
            names.parse(name, scale=cfg.scale)
    if cfg.stages:
        made = stages(cfg, tmp_path)
        assert list(made) == list(cfg.stages)
        for name, stage in made.items():
            assert make_trainer(stage.trainer, folder=tmp_path).max_steps == stage.steps == cfg.stages[name].steps
    assert isinstance(build.solver(cfg, weights=None), Solver)
    for name in names.expand(cfg.degradations, cfg.scale):
        degradation = names.parse(name, scale=cfg.scale)
        if cfg.solver.get("needs_network"):
            try:
                weights = weights_store.released_for(weights_folder(), degradation, method=cfg.method)
            except WeightsError:
                continue
            assert isinstance(build.solver(cfg, weights=weights), Solver)
    build.protocol(cfg)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_builds(solver: str) -> None:
    if solver == "teacher_oracle":  # which is none by itself
        cfg = compose("+experiment=mrda_x4_iso", "profile=smoke")
        assert isinstance(build.oracle(cfg, cfg.compare_with.oracle), OracleMaker)
        assert cfg.compare_with.oracle.name == solver
        return
    of_experiments = {
        "metric_constrained": "maml_sr_x2",
        "blind_back_project": "kernel_regressor",
        "unfolded": "unfolded",
        "photo": "photo_x2",
    }
    base = (f"+experiment={of_experiments[solver]}", "profile=smoke") if solver in of_experiments else BASE
    cfg = compose(*base, f"solver={solver}")
    assert isinstance(build.solver(cfg, weights=None), Solver)
    assert cfg.solver.name == solver


def _every_file() -> list[str]:
    """But experiments and ablations, which are composed above and below."""
    found = (p.relative_to(conf_folder()).as_posix() for p in conf_folder().rglob("*.yaml"))
    return sorted(name for name in found if not name.startswith(("config.yaml", "experiment/", "ablation/")))


@pytest.mark.parametrize("name", _every_file())
def test_every_config_file_is_reachable(name: str) -> None:
    group, _, choice = name.removesuffix(".yaml").rpartition("/")
    if group in ("hydra/job_logging", "hydra/hydra_logging"):
        text = (conf_folder() / "config.yaml").read_text(encoding="utf-8")
        assert f"override {group}: {choice}" in text
    elif group.startswith("schedule/"):
        assert group.split("/")[1] in SCHEDULES
    elif group == "stage":
        recipe = compose(*BASE, f"+stage@stages.extra={choice}").stages.extra.recipe
        assert recipe is None if choice == "emptied" else recipe["_target_"].startswith("metasr.recipes.")
    else:
        plus = "+" if group in ("sweep", "meta_set") else ""
        assert compose(*BASE, f"{plus}{group}={choice}").name == "mzsr_x2"


@pytest.mark.parametrize("ablation", choices("ablation"))
def test_ablations_compose_on_the_experiments_that_they_are_for(ablation: str) -> None:
    node = OmegaConf.load(conf_folder() / "ablation" / f"{ablation}.yaml")
    fitting = [e for e in EXPERIMENTS if any(fnmatch(e, pattern) for pattern in node.for_experiments)]
    assert fitting
    for experiment in fitting:
        cfg = compose(f"+experiment={experiment}", f"+ablation={ablation}", "profile=smoke")
        assert cfg.name == experiment
        assert build.recipe(cfg, list(cfg.stages_to_run or cfg.stages)[-1])
        check_solvers(cfg)


def test_every_data_config_names_its_set() -> None:
    for choice in choices("data"):
        assert compose(*BASE, f"data={choice}").data.name == choice


@pytest.mark.parametrize(
    "override",
    [
        "sead=2", "data.rot=x", "stages.pretrain.stps=2", "stages.pretrain.recipe.rat=1",
        "stages.pretrain.sampler.bach=2", "solver.step=3", "model.chanels=3", "trainer.foo=1", "evaluation.foo=1",
        "seed=one", "task=evalute", "stages_to_run=pretrain", "profile=smok", "stages.pretrain.steps=1.5",
    ],
)  # fmt: skip
def test_a_mistyped_key_or_value_is_an_error(override: str) -> None:
    with pytest.raises((HydraException, OmegaConfBaseException, ConfigCompositionException)):
        compose(*BASE, override)


def test_profiles_are_ordered_by_their_effort() -> None:
    steps = [
        [compose(*BASE, f"profile={p}").stages[s].steps for p in ("smoke", "quick", "cpu", "gpu", "paper")]
        for s in ("pretrain", "meta_transfer")
    ]
    assert all(row == sorted(row) and len(set(row)) == len(row) for row in steps)


def test_quick_is_the_default_profile_and_wandb_offline_the_default_logger() -> None:
    cfg = compose(*BASE)
    assert cfg.profile_name == "quick"
    assert cfg.logger.csv
    assert cfg.logger.wandb.mode == "offline"


def test_the_published_schedule_is_the_papers() -> None:
    recipe = build.recipe(compose(*BASE, "profile=paper"), "meta_transfer")
    assert (recipe.inner_steps, recipe.rate, recipe.order) == (5, 1e-4, "second")
    assert list(recipe.rates.parameters()) == []  # fixed
    sampler = build.stage_data(compose(*BASE, "profile=paper"), "meta_transfer").sampler
    assert (sampler.meta_batch, sampler.support, sampler.query) == (5, 8, 8)
    assert tuple(sampler.degradations.kernels.variance) == (1.0, 5.0)


def test_the_kernels_width_grows_with_the_scale() -> None:
    sampler = build.stage_data(compose(*BASE, "scale=4"), "meta_transfer").sampler
    assert tuple(sampler.degradations.kernels.variance) == (1.0, 10.0)
    assert [float(s) for s in sampler.degradations.scales] == [4.0]


@pytest.mark.parametrize("arguments", [["--help"], ["+experiment=mzsr_x2", "--cfg", "job"]])
def test_help_and_config_come_without_heavy_imports(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "src/run.py", *arguments], cwd=PROJECT, env=environment(tmp_path / "out"),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert "hydra" in imported
    for heavy in ("torch", "pytorch_lightning", "wandb", "torchmetrics", "matplotlib", "scipy"):
        assert heavy not in imported
    assert "mzsr_x2" in done.stdout
    assert not (tmp_path / "out").exists()


def test_help_lists_the_choices(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "src/run.py", "--help"], cwd=PROJECT, env=environment(tmp_path), capture_output=True,
        text=True, timeout=60, check=True,
    )  # fmt: skip
    for word in (*EXPERIMENTS, *PROFILES, "task=upscale", "testset", "metasr upscale", "run=last"):
        assert word in done.stdout
