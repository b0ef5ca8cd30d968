"""From config to objects."""

from pathlib import Path

import pytest
import torch

from metasr.config import build
from metasr.config.chain import trainer_options
from metasr.errors import DataError, InputError
from metasr.meta.rates import FixedRates
from metasr.paths import weights_folder
from metasr.runs.weights import from_release
from metasr.training.trainer import make_trainer
from running import OWN_NETWORKS, SMOKE, compose


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_networks_{abs(hash(tmp_path)) % 10**9}"
    (tmp_path / f"{name}.py").write_text(OWN_NETWORKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_the_seed_makes_the_network_and_leaves_the_random_state_alone() -> None:
    cfg = compose(*SMOKE)
    state = torch.random.get_rng_state()
    a, b = build.model(cfg).state_dict(), build.model(cfg).state_dict()
    c = build.model(compose(*SMOKE, "seed=2")).state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["conv1.weight"], c["conv1.weight"])
    recipe = build.recipe(cfg, "pretrain").model.state_dict()
    assert all(torch.equal(a[k], recipe[k]) for k in a)


def test_an_own_network_with_arguments(own: str) -> None:
    cfg = compose(*SMOKE, "model=own", f"model._target_={own}.Sharp", "+model.strength=0.25")
    assert build.model(cfg).gain.item() == 0.25  # type: ignore[operator]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=own"], r"model=own needs a class: for a network of your own write model=own model\._target_="),
        (
            ["model._target_={own}.Sharp"],
            r"Sharp cannot be made: .*unexpected keyword argument.*; for a network of your own",
        ),
        (["model=own", "model._target_={own}.not_a_module"], r"must make a torch.nn.Module, got int"),
        (["model=own", "model._target_=nowhere.Net"], r"model\._target_=nowhere\.Net cannot be made"),
        (["model.layers=1"], r"PlainCNN needs at least 2 layers"),
    ],
)
def test_wrong_networks(own: str, overrides: list[str], message: str) -> None:
    cfg = compose(*SMOKE, *(o.format(own=own) for o in overrides))
    with pytest.raises(InputError, match=message):
        build.model(cfg)


def test_a_recipe_or_solver_must_be_one() -> None:
    cfg = compose(*SMOKE, "stages.pretrain.recipe={_target_:torch.nn.Identity}")
    with pytest.raises(InputError, match=r"stages\.pretrain\.recipe must make a metasr Recipe, got Identity"):
        build.recipe(cfg, "pretrain")
    cfg = compose(*SMOKE, "solver=interpolate", "solver._target_=torch.nn.Identity")
    with pytest.raises(InputError, match=r"solver\._target_ must make a metasr Solver, got Identity"):
        build.solver(cfg, weights=None)


def test_rates_of_the_solver() -> None:
    weights = from_release(weights_folder(), "mzsr_x2_meta")
    learned = build.solver(compose(*SMOKE), weights=weights).rates  # type: ignore[attr-defined]
    assert torch.equal(dict(learned.state_dict())["inner_rates"], weights.state["inner_rates"])
    assert build.solver(compose(*SMOKE, "solver.rates=published"), weights=weights).rates is None  # type: ignore[attr-defined]
    given = build.solver(compose(*SMOKE, "solver.rates=[0.1,0.2]"), weights=weights).rates  # type: ignore[attr-defined]
    assert isinstance(given, FixedRates)
    with pytest.raises(
        InputError, match=r"solver\.rates must be 'learned', 'published' or a list of numbers, got 'fast'"
    ):
        build.solver(compose(*SMOKE, "solver.rates=fast"), weights=weights)


def test_weights_without_learned_rates_say_so(caplog: pytest.LogCaptureFixture) -> None:
    weights = from_release(weights_folder(), "mzsr_x2_pretrain")
    assert build.solver(compose(*SMOKE), weights=weights).rates is None  # type: ignore[attr-defined]
    assert "released/mzsr_x2_pretrain has no learned rates: the solver's own are used" in caplog.text


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x", "meta?", "tpu"])
def test_unknown_devices(name: str) -> None:
    with pytest.raises(InputError, match=r"device .* is not available: .*use device=auto or device=cpu"):
        build.device(name)


def test_devices() -> None:
    assert build.device("cpu").type == "cpu"
    assert build.device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("overrides", "found", "want"),
    [
        ([], "cuda", {"accelerator": "gpu"}),
        ([], "cpu", {"accelerator": "cpu"}),
        (["device=cuda:1"], "cuda:1", {"accelerator": "gpu", "devices": [1]}),
        (["device=cuda:1", "trainer.devices=2"], "cuda:1", {"accelerator": "gpu"}),
        (["trainer.accelerator=gpu", "device=cpu"], "cpu", {}),
    ],
)
def test_the_device_is_the_trainers_too(
    monkeypatch: pytest.MonkeyPatch, overrides: list[str], found: str, want: dict[str, object]
) -> None:
    monkeypatch.setattr(build, "device", lambda _: torch.device(found))
    assert build.accelerator(compose(*SMOKE, *overrides)) == want


def test_nothing_is_trained_on_other_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "device", lambda _: torch.device("mps"))
    with pytest.raises(InputError, match=r"device 'mps' cannot be trained on; use device=auto, cuda or cpu"):
        build.accelerator(compose(*SMOKE, "device=mps"))


def test_the_trainer_trains_on_the_device(tmp_path: Path) -> None:
    from pytorch_lightning.accelerators import CPUAccelerator

    options = trainer_options(compose(*SMOKE, "device=cpu"), "pretrain")
    assert isinstance(make_trainer(options, folder=tmp_path).accelerator, CPUAccelerator)
    with pytest.raises(InputError, match=r"device 'gpu' is not available"):
        trainer_options(compose(*SMOKE, "device=gpu"), "pretrain")


def test_training_images_must_be_findable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("METASR_DATA", raising=False)
    with pytest.raises(DataError, match=r"image_folder needs to know where its images lie"):
        build.stage_data(compose(*SMOKE, "data=image_folder"), "pretrain")
    with pytest.raises(DataError, match=r"expected images .* found no file"):
        build.stage_data(compose(*SMOKE, "data=image_folder", f"data.root={tmp_path}"), "pretrain")


@pytest.mark.parametrize(
    ("stage", "rate"), [("pretrain", "rate"), ("meta_transfer", "rate"), ("meta_transfer", "rates_lr")]
)
def test_a_stages_learning_rates_are_checked_before_any_training(stage: str, rate: str) -> None:
    with pytest.raises(InputError, match=rf": {rate} must be a finite number above 0, got -1"):
        build.recipe(compose(*SMOKE, f"stages.{stage}.recipe.{rate}=-1"), stage)
