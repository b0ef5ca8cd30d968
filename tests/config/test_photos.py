"""What upscaling is asked for: solvers that come with weights, names of weights, plain choices of any signs."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import save_file

from metasr.config import build
from metasr.config.photo_weights import full_name, sampling_of
from metasr.config.photos import photo_config, photo_solver
from metasr.errors import InputError, WeightsError
from metasr.paths import weights_folder
from metasr.solvers.maml_sr.solver import MAMLSRSolver
from running import compose


@pytest.fixture(scope="module")
def maml_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of another method than MZSR, untrained."""
    folder = tmp_path_factory.mktemp("run")
    cfg = compose("+experiment=maml_sr_x3", "profile=smoke")
    stage = folder / "01_maml_sr"
    stage.mkdir()
    save_file(build.model(cfg).state_dict(), stage / "weights.safetensors")
    config = {"name": "maml_sr_x3", "method": "maml_sr", "profile_name": "smoke", "scale": 3.0,
              "model": compose_plain(cfg.model)}  # fmt: skip
    card = {"status": "finished", "experiment": "maml_sr_x3", "stage": "maml_sr", "config": config}
    (stage / "card.json").write_text(json.dumps(card))
    return folder


def compose_plain(node: object) -> object:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(node, resolve=True)  # type: ignore[arg-type]


def test_weights_bring_the_solver_of_their_experiment(maml_run: Path) -> None:
    cfg = photo_config(weights=str(maml_run), device="cpu")
    assert (cfg.name, cfg.solver.name, cfg.scale) == ("maml_sr_x3", "metric_constrained", 3)
    made = photo_solver(cfg, ["bicubic"])
    assert isinstance(made.solver, MAMLSRSolver)
    assert (made.weights, str(made.degradations[0]), made.degradations[0].scale) == ("run", "bicubic", 3)
    assert photo_config(weights=str(maml_run), solver="network").solver.name == "network"
    assert photo_config(weights=str(maml_run), scale=2.0).scale == 2


def test_solvers_of_an_experiment_come_with_it() -> None:
    assert photo_config(solver="unfolded").name == "unfolded"
    assert [photo_config(solver="photo", scale=s).name for s in (None, 2.0, 3.0, 4.0)] == [
        "photo_x2", "photo_x2", "photo_x4", "photo_x4",
    ]  # fmt: skip
    with pytest.raises(InputError, match="is for the networks of the experiment maml_sr_x2 and its like"):
        photo_config(solver="metric_constrained")


def test_the_scale_is_that_of_the_weights() -> None:
    assert photo_config().scale == 2
    assert photo_config(weights="mzsr_x2").scale == 2
    assert photo_config(weights="mzsr_x2", scale=3.0).scale == 3


@pytest.mark.parametrize(
    ("name", "full", "sampling"),
    [
        ("mzsr_x2", "released/mzsr_x2_meta", "direct"),
        ("mzsr_x2_bicubic", "released/mzsr_x2_bicubic_meta", "bicubic"),
        ("mzsr_x2_pretrain", "released/mzsr_x2_pretrain", "bicubic"),
        ("released/mzsr_x2_meta", "released/mzsr_x2_meta", "direct"),
        ("released", "released", "bicubic"),
        (None, None, "bicubic"),
    ],
)
def test_names_of_weights(name: str | None, full: str | None, sampling: str) -> None:
    assert full_name(name) == full
    assert sampling_of(name) == sampling


def test_files_come_before_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mzsr_x2").write_bytes(b"")
    assert full_name("mzsr_x2") == "mzsr_x2"
    assert full_name("nowhere/x.pt") == "nowhere/x.pt"
    with pytest.raises(WeightsError, match="no weights 'mzsr_x', released or of that path: did you mean 'mzsr_x2"):
        full_name("mzsr_x")


def test_a_kernel_brings_the_weights_that_are_best_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the cards' tables, whatever the released ones tell."""
    store = tmp_path / "weights"
    shutil.copytree(weights_folder(), store)
    for module in ("photos", "photo_weights"):
        monkeypatch.setattr(f"metasr.config.{module}.weights_folder", lambda: store)
    for card_path in store.glob("*.json"):
        card = json.loads(card_path.read_text())
        card["validation"] = {
            "unfolded": {"direct x2": 30.0, "bicubic x2": 31.0, "bicubic x2 estimated": 28.0},
            "mzsr_x2_meta": {"direct x2": 29.0},
            "mzsr_x2_bicubic_meta": {"bicubic x2": 32.0, "bicubic x2 estimated": 27.0},
        }.get(card["name"], {})
        card_path.write_text(json.dumps(card))
    for kernel in ("g2.0d", "k.npy", "kernels_d/"):
        cfg = photo_config(kernel=kernel)
        assert (cfg.name, cfg.solver.name, cfg.weights) == ("unfolded", "unfolded", "released/unfolded")
        assert cfg.scale == 2
    for kernel in ("g1.3b", "k.npy_b"):
        cfg = photo_config(kernel=kernel)
        assert (cfg.name, cfg.solver.name, cfg.weights) == (None, "adapt", "released/mzsr_x2_bicubic_meta")
    for asked in ({"solver": "zssr"}, {"weights": "mzsr_x2"}, {"solver": "adapt"}):
        assert photo_config(kernel="g2.0d", **asked).solver.name == asked.get("solver", "adapt")  # type: ignore[arg-type]
    assert photo_config(kernel="estimate").weights == photo_config(kernel="estimate_b").weights == "released/unfolded"
    for kernel in ("g2.0d_n3", "estimate_d"):  # nothing was measured there
        assert (photo_config(kernel=kernel).solver.name, photo_config(kernel=kernel).weights) == ("adapt", None)
    assert photo_config(kernel="g2.0d", options={"back_projection": 2}).weights == "released/mzsr_x2_meta"
    assert photo_config(kernel="g2.0d", options={"ensemble": True}, steps=3).weights == "released/unfolded"
