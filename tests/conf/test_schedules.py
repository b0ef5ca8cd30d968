"""The numbers of every profile: schedules override keys that exist, and the composed config can be read."""

from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from metasr.config.show import as_text, config_text, wants_config
from metasr.paths import conf_folder
from running import compose

CONF = conf_folder()
PROFILES = ("quick", "cpu", "gpu", "paper", "smoke")
METHODS = sorted(path.name for path in (CONF / "schedule").iterdir())
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
WHOLE = sorted((CONF / "schedule").glob("*/*.yaml"))
PARTS = sorted((CONF / "schedule").glob("*/*/*.yaml"))


def content(path: Path) -> dict:
    return {key: value for key, value in OmegaConf.to_container(OmegaConf.load(path)).items() if key != "defaults"}


def unknown_keys(given: object, known: object, path: str = "") -> list[str]:
    """Keys of a nested mapping that another has not; what has a ``_target_`` replaces a value as a whole."""
    if not isinstance(given, dict) or "_target_" in given:
        return []
    return [
        name
        for key, value in given.items()
        for name in (unknown_keys(value, known[key], f"{path}{key}.") if isinstance(known, dict | DictConfig)
                     and key in known else [f"{path}{key}"])
    ]  # fmt: skip


def test_unknown_keys_are_seen() -> None:
    known = {"a": {"b": 1}, "c": 2}
    assert unknown_keys({"a": {"b": 3}, "c": {"_target_": "x"}}, known) == []
    assert unknown_keys({"a": {"x": 3}, "d": 1, "c": {"y": 1}}, known) == ["a.x", "d", "c.y"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_every_profile(method: str) -> None:
    assert sorted(path.stem for path in (CONF / "schedule" / method).glob("*.yaml")) == sorted(PROFILES)


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_schedule_overrides_keys_that_exist(path: Path) -> None:
    quick = compose(f"schedule={path.parent.name}/quick")
    assert unknown_keys(content(path), quick) == []


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.relative_to(CONF / "schedule").as_posix())
def test_a_profile_s_model_and_solver_override_keys_that_exist(path: Path) -> None:
    group, line = path.parent.name, f"/schedule/{path.parent.parent.name}/{path.parent.name}@_here_: ${{profile}}"
    takers = [taker for taker in (CONF / group).glob("*.yaml") if line in taker.read_text(encoding="utf-8")]
    assert takers
    for taker in takers:
        assert unknown_keys(content(path), content(taker)) == []
        node = compose(f"{group}={taker.stem}", f"profile={path.stem}")[group]
        for key, value in content(path).items():
            assert OmegaConf.merge(node, {key: value}) == node


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_composed_config_is_short_and_says_numbers(experiment: str) -> None:
    cfg = compose(f"+experiment={experiment}")
    text = as_text(cfg)
    assert text.count("\n") < 150
    assert max(map(len, text.splitlines())) <= 220
    assert "metasr.enlarged" not in text
    read = yaml.safe_load(text)
    for stage, node in cfg.stages.items():
        assert read["stages"][stage]["steps"] == node.steps
        assert read["stages"][stage]["patch_size"] == node.patch_size
        assert float(read["stages"][stage]["recipe"]["rate"]) == node.recipe.rate
    whole = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    assert OmegaConf.to_container(OmegaConf.create(read), resolve=True) == {
        key: value for key, value in whole.items() if value is not None and value is not False
    }


def test_the_program_shows_it_so(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults: [mzsr_x2, _self_]\nname: mine\nseed: 7\n", encoding="utf-8"
    )
    arguments = ["--config-dir", str(tmp_path), "+experiment=mine", "--cfg", "job", "stages.pretrain.steps=7"]
    read = yaml.safe_load(config_text(arguments, CONF))
    assert (read["name"], read["seed"], read["stages"]["pretrain"]["steps"]) == ("mine", 7, 7)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [("--cfg job", True), ("+experiment=a -c job", True), ("--cfg hydra", False), ("--cfg job --resolve", False),
     ("--cfg all", False), ("-m --cfg job", False), ("job", False)],
)  # fmt: skip
def test_other_forms_are_left_to_hydra(arguments: str, wanted: bool) -> None:
    assert wants_config(arguments.split()) is wanted


def test_what_is_typed_and_ablations_win_over_the_profile() -> None:
    typed = ("profile=gpu", "stages.meta_transfer.steps=3", "model.last_gain=0.5", "rates=fixed")
    cfg = compose("+experiment=mzsr_x2", *typed)
    assert (cfg.stages.meta_transfer.steps, cfg.stages.pretrain.steps) == (3, 30_000)
    assert (cfg.model.last_gain, cfg.stages.meta_transfer.recipe.rates) == (0.5, "fixed")
    assert compose("+experiment=mzsr_x2", "profile=paper").rates == "fixed"
    assert compose("+experiment=mzsr_x2", "profile=paper", "+ablation=mzsr_whole").rates == "per_step"
    assert compose("+experiment=kdsr_x4_iso", "profile=paper", "model=kdsr_l").model.encoder.width == 128


def test_a_chosen_model_or_solver_takes_nothing_of_another_s_profile() -> None:
    own = compose("+experiment=mzsr_x2", "profile=paper", "model=own", "model._target_=x.Y").model
    assert dict(own) == {"_target_": "x.Y"}
    assert "rate" not in compose("+experiment=maml_sr_x2", "profile=paper", "solver=network").solver
    assert compose("profile=paper", "solver=zssr").solver.max_steps == 3000


def test_inner_steps_of_mrda_are_the_published_ones_in_the_papers_profile_alone() -> None:
    for profile, meta, adapted in (("paper", 1e-2, [1e-2, *[5e-3] * 4]), ("quick", 0.1, [0.1] * 5)):
        made = compose("+experiment=mrda_x4_iso", f"profile={profile}").stages
        assert made.meta_transfer.recipe.inner_rate == meta
        assert made.teacher.recipe.view.rates == made.student.recipe.view.rates == adapted
