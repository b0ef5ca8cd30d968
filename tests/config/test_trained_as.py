"""Weights are run as what they were trained as, and measured on nothing that they have seen."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch

from metasr.config import build
from metasr.config.entries import solver_nodes
from metasr.config.evaluation import evaluation_plan
from metasr.data.catalog import image_set
from metasr.degradation.names import parse
from metasr.errors import DataError, InputError, WeightsError
from metasr.jobs.run import execute
from metasr.models.maml_sr_net import MAMLSRNet
from metasr.runs.folder import command, evaluate_command
from metasr.runs.weights import Weights, choose, from_run
from running import SMALL, compose, save_picture, train

MAML = ("+experiment=maml_sr_x2", "profile=smoke", "logger=none", "stages.maml_sr.validation.degradations=[]",
        "model.width=2", "stages.maml_sr.steps=1", "solver.max_steps=1", "degradations=[area]")  # fmt: skip
WEIGHTED = ("+experiment=weightnet_x2", "profile=smoke", "logger=none", "model.channels=8", "model.layers=3",
            "stages.weighted.validation.degradations=[]", "stages.pretrain.validation.degradations=[]")  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    save_picture(tmp_path / "photos" / "a.png", 45, 52)
    return tmp_path / "photos"


def scores(folder: Path, *overrides: str) -> dict[str, str]:
    execute(compose(*overrides), folder)
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        return {row["solver"]: row["psnr_y"] for row in csv.DictReader(file)}


def test_weights_are_run_as_the_network_that_their_card_tells(tmp_path: Path, photos: Path, caplog) -> None:
    caplog.set_level("INFO")
    train(compose(*MAML, "model.residual=none"), tmp_path / "run")
    common = ("task=evaluate", f"weights={tmp_path / 'run'}", f"testset={photos}")
    right = scores(tmp_path / "a", *MAML, "model.residual=none", *common)
    assert "is run as its card tells" not in caplog.text
    bare = scores(
        tmp_path / "b", "+experiment=maml_sr_x2", "profile=smoke", "solver.max_steps=1", "degradations=[area]", *common
    )
    assert bare == right
    assert "run is run as its card tells: residual=none, width=2" in caplog.text


def test_a_card_makes_no_class_from_elsewhere() -> None:
    cfg = compose(*SMALL)
    card = {"config": {"model": {"_target_": "os.system", "command": "true"}}}
    with pytest.raises(WeightsError, match=r"the card of file: its network is told to be 'os\.system'.*command line"):
        build.as_trained(cfg, Weights("file", {}, card))
    typed = compose("+experiment=mzsr_x2", "model=own", "model._target_=collections.OrderedDict")
    assert build.as_trained(typed, Weights("file", {}, card)) is typed  # the user's word counts, not the file's
    mine = {"config": {"model": {"_target_": "metasr.models.maml_sr_net.MAMLSRNet", "width": 2}}}
    changed = build.as_trained(cfg, Weights("file", MAMLSRNet(2).state_dict(), mine))
    assert isinstance(build.model(changed), MAMLSRNet)
    assert cfg.model._target_.endswith("PlainCNN")


def test_released_weights_of_another_width_do_not_stop_a_run(tmp_path: Path, photos: Path) -> None:
    shown = scores(tmp_path, *(o for o in SMALL if o != "evaluation.released=false"), f"testset={photos}")
    assert set(shown) == {"interpolate", "interpolate_aligned", "adapt"}


def test_what_weights_have_seen_is_no_test_image(tmp_path: Path, photos: Path) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()
    shutil.copy(photos / "a.png", seen / "renamed.png")
    save_picture(seen / "b.png", 45, 52, seed=5)
    own = (*WEIGHTED, "meta_set=image_folder", f"meta_set.root={seen}")
    with pytest.raises(DataError, match=r"1 of 2 images of the meta-data set are test images of photos \(renamed"):
        evaluation_plan(compose(*own, f"testset={photos}"))
    train(compose(*own), tmp_path / "run")
    later = ("+experiment=weightnet_x2", "profile=smoke", "task=evaluate", f"weights={tmp_path / 'run'}")
    with pytest.raises(DataError, match="cannot be tested on them"):
        execute(compose(*later, f"testset={photos}"), tmp_path / "evaluation")
    other = tmp_path / "other"
    save_picture(other / "c.png", 45, 52, seed=9)
    execute(compose(*later, f"testset={other}"), tmp_path / "evaluation")


def test_the_own_set_does_not_keep_others_weights_from_being_measured(tmp_path: Path) -> None:
    brick = tmp_path / "brick"
    brick.mkdir()
    found = image_set("samples", split="train")
    shutil.copy(found.paths[found.names.index("brick")], brick)  # of the default set, which those weights never saw
    cfg = compose("+experiment=weightnet_x2", "profile=smoke", "task=evaluate", f"testset={brick}")
    assert len(evaluation_plan(cfg).testset) == 1
    with pytest.raises(DataError, match="brick"):
        evaluation_plan(compose("+experiment=weightnet_x2", "profile=smoke", f"testset={brick}"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("+experiment=maml_sr_x2", "adapt_steps=3"), "solver metric_constrained has .* its bound is solver.max_steps"),
        (("+experiment=weightnet_x2", "adapt_steps=3"), "solver network has no number of updates; it takes none"),
        (("+experiment=weightnet_x2", "order=first"), "order=first: no stage of weightnet_x2 has order; leave it out"),
        (("+experiment=maml_sr_x2", "rates=fixed"), "rates=fixed: no stage of maml_sr_x2 has rates"),
    ],
)  # fmt: skip
def test_choices_that_nothing_listens_to_are_refused(typed, overrides: tuple[str, ...], message: str) -> None:
    typed(*overrides)
    with pytest.raises(InputError, match=message):
        evaluation_plan(compose(*overrides))


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch):
    """Pretends that these choices were typed."""
    from hydra.core.hydra_config import HydraConfig

    def pretend(*choices: str, folder: str | None = None, hydra: tuple[str, ...] = ()) -> None:
        class Source:
            path, provider = folder, "command-line"

        class Typed:
            class overrides:
                task = choices

            class runtime:
                config_sources = () if folder is None else (Source,)

        Typed.overrides.hydra = hydra

        monkeypatch.setattr(HydraConfig, "initialized", staticmethod(lambda: True))
        monkeypatch.setattr(HydraConfig, "get", staticmethod(lambda: Typed))

    return pretend


def test_commands_keep_what_made_the_weights(typed) -> None:
    typed(
        "+experiment=e", "profile=smoke", "stages_to_run=[b]", "scale=3", "+ablation=x", "max_images=1", "logger=none"
    )
    assert command("e", "/r").endswith(
        "profile=smoke 'stages_to_run=[b]' scale=3 +ablation=x max_images=1 logger=none run=/r"
    )
    assert "stages_to_run" not in command("e", "/r", without=("stages_to_run",))
    assert evaluate_command("e", "/r").endswith(
        "src/run.py +experiment=e scale=3 +ablation=x task=evaluate weights=/r testset=set5 testset_root=FOLDER"
    )


def test_commands_keep_the_users_own_folders_of_configs(typed) -> None:
    searched = "hydra.searchpath=[file:///d]"
    typed("+experiment=mine", folder="/my configs", hydra=(searched, "hydra.job.chdir=false"))
    for told in (command("mine", "/r"), evaluate_command("mine", "/r")):
        assert f" --config-dir '/my configs' '{searched}' +experiment=mine " in told
        assert "chdir" not in told


def test_solvers_side_by_side_need_names_of_their_own() -> None:
    cfg = compose("+experiment=maml_sr_x2", "compare_with.network.name=metric_constrained")
    with pytest.raises(InputError, match="two solvers are named 'metric_constrained'"):
        solver_nodes(cfg)
    assert [n.name for n in solver_nodes(compose("+experiment=maml_sr_x2", "compare_with.loss=null"))] == [
        "metric_constrained", "network", "adapt_consistency", "adapt_fixed",
    ]  # fmt: skip


def test_weights_for_a_range_of_scales_are_silent_inside_it(tmp_path: Path, caplog) -> None:
    train(compose(*SMALL, "stages.meta_transfer.sampler.degradations.scales=[2.0,2.4,3.0]"), tmp_path / "run")
    for scale, warned in ((2.2, False), (3.0, False), (4.0, True)):
        caplog.clear()
        choose(str(tmp_path / "run"), degradation=parse("bicubic", scale=scale), store=tmp_path, outputs=tmp_path)
        assert ("was trained for scale 2 to 3 and is used for 4" in caplog.text) == warned


def test_an_unfinished_run_tells_whose_weights_it_gives(tmp_path: Path, caplog) -> None:
    train(compose(*SMALL), tmp_path / "run")
    card = tmp_path / "run" / "02_meta_transfer" / "card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"status": "started"}))
    found = from_run(tmp_path / "run")
    assert "02_meta_transfer is not finished, these are the weights of 01_pretrain" in caplog.text
    assert "inner_rates" not in found.state
    assert all(isinstance(v, torch.Tensor) for v in found.state.values())
