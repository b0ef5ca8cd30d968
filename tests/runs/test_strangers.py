"""Nothing of a stranger's is executed or written, whoever reads the card or the run folder; each gets its message."""

import json
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from metasr import cli
from metasr.config import build
from metasr.errors import MetasrError, WeightsError
from metasr.models.plain_cnn import PlainCNN
from metasr.paths import conf_folder
from metasr.report.run_rates import learned_rates
from metasr.runs.card import read_card
from metasr.runs.weights import from_file, from_run
from mrda.stage_networks import stage_config, trained_recipe, untrained_recipe
from running import compose, save_picture
from strangers import NAMES, OWN, Trap, hostile_models, hostile_texts, run_folder, small_state, weights_file

TEXTS = tuple(hostile_texts())
EXPERIMENT = ("+experiment=mzsr_x2", "profile=smoke", "logger=none")


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    return Trap.lay(tmp_path / "trap")


def photo(folder: Path) -> Path:
    return save_picture(folder / "photo.png", 20, 23)


def require_one_line(error: BaseException, *mentions: str) -> None:
    text = str(error)
    assert len(text) > 20
    assert "\n" not in text
    for mention in mentions:
        assert mention in text


def test_the_traps_work_where_cards_are_followed(trap: Trap) -> None:
    with pytest.raises(Exception, match="corrupt"):  # it is no file of weights: but what it holds is executed first
        instantiate(hostile_models(trap)["walk to torch.load"])
    assert trap.marker.exists()
    trap.marker.unlink()
    harm = OmegaConf.create({"a": hostile_models(trap)["oc.create"]})
    with pytest.raises(Exception, match="corrupt"):
        instantiate(harm.a)
    assert trap.marker.exists()
    instantiate(hostile_models(trap)["own write_text"] | {"path": {"_target_": "pathlib.Path", "_args_": [str(
        trap.victim)]}})  # fmt: skip
    with pytest.raises(AssertionError, match="was executed"):
        trap.require_unsprung()
    trap.marker.unlink()
    with pytest.raises(AssertionError, match="wrote a file"):
        trap.require_unsprung()


@lru_cache
def composed(*overrides: str) -> DictConfig:
    """One config for all: readers leave it as it is."""
    return compose(*overrides)


def as_solver(path: Path, folder: Path) -> None:
    """What ``metasr upscale -w`` and ``evaluate weights=`` do with weights."""
    build.solver(composed(*EXPERIMENT), weights=from_run(path) if path.is_dir() else from_file(path), steps=1)


def as_estimator(path: Path, folder: Path) -> None:
    cfg = composed("task=upscale", "estimator=parametric", "logger=none")
    cfg.estimator.weights = str(path)
    build.estimator(cfg)


def as_benchmark(path: Path, folder: Path) -> None:
    trained_recipe(path, "pretrain")


def as_untrained(path: Path, folder: Path) -> None:
    untrained_recipe(path, "pretrain", seed=2)


def as_studied_config(path: Path, folder: Path) -> None:
    cfg = stage_config(path / "01_pretrain")
    OmegaConf.to_container(cfg, resolve=True)
    trained_recipe(path, "pretrain")


READERS: dict[str, tuple[Callable[[Path, Path], None], bool]] = {
    "weights of a file": (as_solver, False),
    "weights of a run": (as_solver, True),
    "estimator": (as_estimator, False),
    "estimator of a run": (as_estimator, True),
    "benchmark": (as_benchmark, True),
    "untrained twin": (as_untrained, True),
    "benchmark's config": (as_studied_config, True),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", NAMES)
def test_hostile_networks(trap: Trap, tmp_path: Path, name: str, reader: str) -> None:
    node = hostile_models(trap)[name]
    read, of_run = READERS[reader]
    source = run_folder(tmp_path / "run", node) if of_run else weights_file(tmp_path, {"config": {"model": node}})
    with pytest.raises(MetasrError) as caught:
        read(source, tmp_path)
    require_one_line(caught.value, str(tmp_path))
    trap.require_unsprung()


@pytest.mark.parametrize("name", NAMES)
def test_a_report_names_no_strangers_tensors(trap: Trap, tmp_path: Path, name: str) -> None:
    run = run_folder(tmp_path / "run", hostile_models(trap)[name])
    from safetensors.torch import save_file

    save_file({"inner_rates": torch.full((2, 4), 0.01)}, run / "rates.safetensors")
    try:
        config = read_card(run / "01_pretrain")["config"]
    except MetasrError as error:
        require_one_line(error, str(tmp_path))
    else:
        found = learned_rates(run / "rates.safetensors", config)
        assert found is not None
        assert found.tensors[0] == "tensor 1"
    trap.require_unsprung()


@pytest.mark.parametrize("name", TEXTS)
def test_files_that_are_no_cards(tmp_path: Path, name: str) -> None:
    path = weights_file(tmp_path, hostile_texts()[name]())
    for read in (lambda: from_file(path), lambda: as_estimator(path, tmp_path)):
        with pytest.raises(WeightsError) as caught:
            read()
        require_one_line(caught.value, "stranger.json")


@pytest.mark.parametrize("name", TEXTS)
def test_stages_with_such_cards(tmp_path: Path, name: str) -> None:
    run = run_folder(tmp_path / "run", {"_target_": OWN, "channels": 4, "layers": 2})
    (run / "01_pretrain" / "card.json").write_text(hostile_texts()[name]())
    for read in (from_run, lambda p: trained_recipe(p, "pretrain")):
        with pytest.raises(MetasrError) as caught:
            read(run)
        require_one_line(caught.value, str(run))


@pytest.mark.parametrize("name", ["walk to torch.load", "oc.create", "a hundred million layers", "__class__"])
@pytest.mark.parametrize("of_run", [False, True])
def test_the_command(trap: Trap, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, of_run: bool) -> None:
    node = hostile_models(trap)[name]
    source = run_folder(tmp_path / "run", node) if of_run else weights_file(tmp_path, {"config": {"model": node}})
    output = tmp_path / "out.png"
    assert cli.main(["upscale", str(photo(tmp_path)), "-o", str(output), "-w", str(source), "-n", "1"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    trap.require_unsprung()
    assert not output.exists()


@pytest.mark.parametrize("name", ["walk to torch.load", "oc.create"])
def test_a_view_or_schedule_of_a_recipe(trap: Trap, tmp_path: Path, name: str) -> None:
    """Parts of a recipe beside its network."""
    good = {"_target_": OWN, "channels": 4, "layers": 2}
    node = hostile_models(trap)[name]
    for part in ("schedule", "steps", "engine"):
        recipe = {"_target_": "metasr.recipes.pretrain.Pretrain", "model": good, "steps": 2} | {part: node}
        run = run_folder(tmp_path / part, good, config={"seed": 1, "stages": {"pretrain": {"recipe": recipe}}})
        with pytest.raises(MetasrError) as caught:
            trained_recipe(run, "pretrain")
        require_one_line(caught.value, str(run))
    trap.require_unsprung()


@pytest.mark.parametrize("way", ["absolute", "relative"])
def test_an_experiment_is_a_name_and_never_a_path(
    trap: Trap, tmp_path: Path, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    """A stranger's configuration beside his weights, which his card names as the experiment that made them."""
    model = {"_target_": "metasr.models.plain_cnn.torch.load", "f": str(trap.bomb), "weights_only": False}
    (tmp_path / "evil.yaml").write_text("# @package _global_\n" + json.dumps({"model": model, "method": "other"}))
    place = tmp_path / "evil"
    name = str(place) if way == "absolute" else os.path.relpath(place, conf_folder() / "experiment")
    path = weights_file(tmp_path, {"method": "other", "experiment": name})
    assert cli.main(["upscale", str(photo(tmp_path)), "-o", str(tmp_path / "out.png"), "-w", str(path)]) == 2
    assert "which is not known here" in capsys.readouterr().err
    trap.require_unsprung()


def test_an_honest_card_is_followed(tmp_path: Path) -> None:
    good = {"_target_": OWN, "channels": 4, "layers": 2.0, "last_gain": 1}
    run = run_folder(tmp_path / "run", good)
    made = trained_recipe(run, "pretrain").model
    assert isinstance(made, PlainCNN)
    assert all(torch.equal(made.state_dict()[k], v) for k, v in small_state().items())
    as_solver(run, tmp_path)
    as_solver(weights_file(tmp_path, {"config": {"model": good}}), tmp_path)


def test_what_the_user_types_stays_the_users(tmp_path: Path) -> None:
    card: dict[str, Any] = {"config": {"model": {"_target_": "elsewhere.Network", "width": 3}}}
    found = from_file(weights_file(tmp_path, card))
    cfg = compose("+experiment=mzsr_x2", "model=own", f"model._target_={__name__}.Own")
    assert build.as_trained(cfg, found) is cfg
    with pytest.raises(WeightsError, match=r"'elsewhere\.Network', which is no such class.*model=own"):
        build.as_trained(compose(*EXPERIMENT), found)


def test_names_of_earlier_versions(tmp_path: Path) -> None:
    from metasr.models.maml_sr_net import MAMLSRNet
    from metasr.runs.architecture import make_network

    node = json.loads('{"_target_": "metasr.models.maml_sr_net.MamlSRNet", "width": 2}')
    made = make_network(node, origin="a card", state=MAMLSRNet(2).state_dict())
    assert isinstance(made, MAMLSRNet)


def test_no_environment_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "correct-horse")
    node = {"_target_": OWN, "channels": "${oc.env:SECRET}"}
    with pytest.raises(MetasrError) as caught:
        as_solver(weights_file(tmp_path, {"config": {"model": node}}), tmp_path)
    assert os.environ["SECRET"] not in str(caught.value)
