"""Weights: read without executing anything, checked, named."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from metasr.degradation import names
from metasr.errors import StageError, WeightsError
from metasr.io.files import file_hash
from metasr.models.plain_cnn import PlainCNN
from metasr.paths import weights_folder
from metasr.runs.weights import (
    Weights,
    best_released,
    choose,
    from_file,
    from_release,
    from_run,
    read_tensors,
    released,
    released_for,
    resolve,
)
from running import SMALL, compose, train

STORE = weights_folder()
RELEASED = sorted(path.stem for path in STORE.glob("*.json"))


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


def small_state() -> dict[str, Tensor]:
    return PlainCNN(channels=4, layers=2).state_dict()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_the_bomb_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "marker")))
    assert (tmp_path / "marker").is_dir()


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".pth", ".bin", ".pkl", ".safetensors", ""])
@pytest.mark.parametrize("form", ["pickle", "torch", "legacy torch", "inside a state dict"])
def test_a_pickle_posing_as_weights_is_refused_and_not_executed(tmp_path: Path, suffix: str, form: str) -> None:
    path, bomb = tmp_path / f"weights{suffix}", Bomb(tmp_path / "marker")
    if form == "pickle":
        path.write_bytes(pickle.dumps(bomb))
    elif form == "inside a state dict":
        torch.save({"state_dict": small_state(), "hyper_parameters": bomb}, path)
    else:
        torch.save(bomb, path, _use_new_zipfile_serialization=form == "torch")
    wanted = "not a readable safetensors file" if suffix == ".safetensors" else "was not executed"
    for read in (read_tensors, from_file, lambda p: resolve(str(p), folder=STORE)):
        with pytest.raises(WeightsError, match=wanted):
            read(path)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".safetensors"])
def test_plain_state_dicts(tmp_path: Path, suffix: str) -> None:
    state, path = small_state(), tmp_path / f"w{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    found = from_file(path)
    assert same(found.state, state)
    assert found.label == str(path)
    assert found.card == {}


@pytest.mark.filterwarnings("error")
def test_other_pickle_protocols_are_read_or_refused_in_silence(tmp_path: Path) -> None:
    state = small_state()
    torch.save(state, tmp_path / "w3.pt", pickle_protocol=3)
    assert same(read_tensors(tmp_path / "w3.pt"), state)
    torch.save(state, tmp_path / "w4.pt", pickle_protocol=4)
    with pytest.raises(WeightsError, match=r"w4\.pt cannot be read as plain tensors"):
        read_tensors(tmp_path / "w4.pt")


@pytest.mark.parametrize("key", ["state_dict", "model", "params"])
def test_state_dicts_within_a_checkpoint(tmp_path: Path, key: str) -> None:
    torch.save({key: small_state(), "epoch": 3, "global_step": 7}, tmp_path / "w.ckpt")
    assert read_tensors(tmp_path / "w.ckpt").keys() == small_state().keys()


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, {"epoch": 3, "w": torch.zeros(1)}, torch.zeros(3), "text"])
def test_torch_files_without_a_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"holds no state dict of tensors"):
        read_tensors(tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"PK\x03\x04", b"version https://git-lfs.github.com/spec/v1\n"])
def test_unreadable_files(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.(safetensors|pt) (is not a readable|cannot be read)"):
        read_tensors(tmp_path / name)


def test_a_missing_file() -> None:
    with pytest.raises(WeightsError, match=r"no weights file nowhere/w\.pt; give an existing .safetensors file, a run"):
        resolve("nowhere/w.pt", folder=STORE)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (PlainCNN(channels=4, layers=3), r"2 missing \(conv3\.bias; conv3\.weight\)"),
        (
            PlainCNN(channels=5, layers=2),
            r"3 of another shape \(conv1\.weight: expected \(5, 3, 3, 3\), got \(4, 3, 3, 3\)",
        ),
        (nn.Linear(2, 2), r"2 missing \(bias; weight\), 4 unknown \(conv1\.bias; conv1\.weight; conv2\.bias; \.\.\.\)"),
    ],
)
def test_weights_of_another_network(model: nn.Module, message: str) -> None:
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(WeightsError, match=message) as caught:
        Weights("some/file.pt", small_state()).load_into(model)
    assert str(caught.value).startswith("some/file.pt holds the weights of another network")
    assert same(dict(model.state_dict()), before)


def test_rates_are_not_the_networks() -> None:
    state = {**small_state(), "inner_rates": torch.ones(5, 4), "meta_rates.x": torch.ones(1)}
    weights = Weights("w", state)
    assert weights.network.keys() == small_state().keys()
    weights.load_into(PlainCNN(channels=4, layers=2))


def test_a_card_beside_the_file_is_read(tmp_path: Path) -> None:
    save_file(small_state(), tmp_path / "w.safetensors")
    (tmp_path / "w.json").write_text('{"scale": 3}')
    assert from_file(tmp_path / "w.safetensors").card == {"scale": 3}
    for text in ("{", "[]"):
        (tmp_path / "w.json").write_text(text)
        with pytest.raises(WeightsError, match=r"weights card .*w\.json (cannot be read|must hold a JSON object)"):
            from_file(tmp_path / "w.safetensors")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "run"
    train(compose(*SMALL), folder)
    return folder


def test_from_run_takes_the_last_finished_stage(run: Path, tmp_path: Path) -> None:
    found = resolve(str(run), folder=STORE)
    assert found.label == "run"
    assert found.card["stage"] == "meta_transfer"
    assert found.card["scale"] == 2.0
    assert "inner_rates" in found.state
    partly = Path(shutil.copytree(run, tmp_path / "partly"))
    card = json.loads((partly / "02_meta_transfer" / "card.json").read_text())
    (partly / "02_meta_transfer" / "card.json").write_text(json.dumps(card | {"status": "started"}))
    assert from_run(partly).card["stage"] == "pretrain"


def test_from_run_without_a_finished_stage(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"has no finished stage: finish it with `\S*python src/run.py"):
        from_run(tmp_path)


def test_from_run_with_a_damaged_file(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    save_file(small_state(), copy / "02_meta_transfer" / "weights.safetensors")
    with pytest.raises(WeightsError, match="is not the file that its card describes"):
        from_run(copy)


@pytest.mark.parametrize("name", RELEASED)
def test_released_weights_match_their_cards(name: str) -> None:
    card = json.loads((STORE / f"{name}.json").read_text(encoding="utf-8"))
    path = STORE / f"{name}.safetensors"
    assert card["name"] == name
    assert card["sha256"] == file_hash(path)
    found = from_release(STORE, name)
    assert found.label == f"released/{name}"
    assert sum(v.numel() for v in found.network.values()) == card["parameters"]
    assert all(bool(torch.isfinite(v).all()) for v in found.state.values())
    for key in ("method", "model", "scale", "downsample", "default", "data", "licence", "scores", "stage", "status"):
        assert key in card


def test_every_released_file_has_a_card() -> None:
    assert sorted(p.stem for p in STORE.glob("*.safetensors")) == RELEASED == sorted(released(STORE))


def test_released_plain_networks_load() -> None:
    plain = [name for name, card in released(STORE).items() if card["model"] == f"{PlainCNN.__module__}.PlainCNN"]
    assert {"mzsr_x2_meta", "mzsr_x2_bicubic_meta", "mzsr_x2_pretrain"} <= set(plain)
    for name in plain:
        from_release(STORE, name).load_into(PlainCNN())


def test_an_unknown_release() -> None:
    with pytest.raises(WeightsError, match=r"no released weights 'mzsr_x2_mta': did you mean 'mzsr_x2_meta'.*known: "):
        resolve("released/mzsr_x2_mta", folder=STORE)


def test_a_damaged_release(tmp_path: Path) -> None:
    for suffix in (".json", ".safetensors"):
        shutil.copy(STORE / f"mzsr_x2_meta{suffix}", tmp_path)
    data = bytearray((tmp_path / "mzsr_x2_meta.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "mzsr_x2_meta.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match=r"SHA-256 differs.*fetch it again"):
        from_release(tmp_path, "mzsr_x2_meta")


@pytest.mark.parametrize(
    ("degradation", "downsample"),
    [("g2.0d", "direct"), ("gani_d", "direct"), ("direct", "direct"), ("g1.3b", "bicubic"), ("bicubic", "bicubic")],
)
def test_released_weights_are_chosen_by_subsampling(degradation: str, downsample: str) -> None:
    found = released_for(STORE, names.parse(degradation, scale=2))
    assert found.card["downsample"] == downsample
    assert found.card["method"] == "mzsr"
    assert found.card["default"] is True


@pytest.mark.parametrize(
    ("degradation", "adapts", "steps", "name"),
    [
        ("bicubic", False, None, "mzsr_x2_pretrain"),
        ("bicubic", True, 0, "mzsr_x2_pretrain"),
        ("bicubic", True, None, "mzsr_x2_bicubic_meta"),
        ("bicubic", True, 10, "mzsr_x2_bicubic_meta"),
        ("g1.3b", True, 0, "mzsr_x2_bicubic_meta"),
        ("g2.0d", True, 0, "mzsr_x2_meta"),
    ],
)
@pytest.mark.parametrize("source", [None, "released"])
def test_released_weights_fit_the_solver(
    tmp_path: Path, source: str | None, degradation: str, adapts: bool, steps: int | None, name: str
) -> None:
    problem = names.parse(degradation, scale=2)
    found = choose(source, degradation=problem, store=STORE, outputs=tmp_path, adapts=adapts, steps=steps)
    assert found.label == f"released/{name}"


@pytest.mark.parametrize("degradation", ["g2.0d", "g1.3b", "direct"])
def test_no_released_weights_without_adaptation(tmp_path: Path, degradation: str) -> None:
    problem = names.parse(degradation, scale=2)
    with pytest.raises(WeightsError, match=r"no released feed-forward weights .* solver=adapt, or give weights=FILE"):
        choose("released", degradation=problem, store=STORE, outputs=tmp_path, adapts=False)
    named = choose("released/mzsr_x2_meta", degradation=problem, store=STORE, outputs=tmp_path, adapts=False)
    assert named.label == "released/mzsr_x2_meta"


def test_released_weights_are_those_of_the_scale_or_of_the_next_larger_one_or_of_the_largest(tmp_path: Path) -> None:
    for scale in (2, 4):
        save_file(small_state(), tmp_path / f"m_x{scale}.safetensors")
        card = {"method": "mzsr", "downsample": "direct", "scale": scale}
        (tmp_path / f"m_x{scale}.json").write_text(json.dumps(card))
    for scale, name in ((1.5, "m_x2"), (2, "m_x2"), (2.1, "m_x4"), (3, "m_x4"), (4, "m_x4"), (8, "m_x4")):
        assert released_for(tmp_path, names.parse("g2.0d", scale=scale)).label == f"released/{name}"
    save_file(small_state(), tmp_path / "m_all.safetensors")
    (tmp_path / "m_all.json").write_text(json.dumps({"method": "mzsr", "downsample": "direct", "scales": [2.0, 4.0]}))
    assert released_for(tmp_path, names.parse("g2.0d", scale=3)).label == "released/m_all"  # between its scales
    assert released_for(tmp_path, names.parse("g2.0d", scale=2)).label == "released/m_x2"  # made for it alone
    with pytest.raises(WeightsError, match=r"no released weights of mzsr for bicubic subsampling .*give weights=FILE"):
        released_for(tmp_path, names.parse("bicubic", scale=2))


def test_the_best_weights_are_those_whose_card_tells_the_highest_score(tmp_path: Path) -> None:
    tables = {
        "one": {"what": "dB", "direct x2": 30.1, "direct x2 noisy": 27.0, "bicubic x4": 25.0},
        "two": {"what": "dB", "direct x2": 29.9, "direct x2 noisy": 27.5},
        "untold": None,
    }
    for name, table in tables.items():
        (tmp_path / f"{name}.safetensors").touch()
        card = {"name": name} | ({} if table is None else {"validation": table})
        (tmp_path / f"{name}.json").write_text(json.dumps(card))

    def best(name: str, scale: float) -> list[str]:
        return best_released(tmp_path, names.parse(name, scale=scale))

    assert best("g2.0d", 2) == ["one", "two"]
    assert best("g2.0d_n5", 2.4) == ["two", "one"]
    assert best("g1.3b", 8) == ["one"]
    assert best("area", 4) == ["one"]
    assert best("g1.3b", 2) == []
    (tmp_path / "one.json").write_text(json.dumps({"validation": [1]}))
    with pytest.raises(WeightsError, match="validation must be an object"):
        best("g2.0d", 2)


def test_one_prefix_before_the_network_and_its_rates_is_no_matter(tmp_path: Path) -> None:
    whole = load_file(STORE / "mzsr_x2_meta.safetensors")
    for prefix in ("module.", "model."):
        save_file({f"{prefix}{name}": tensor for name, tensor in whole.items()}, tmp_path / "a.safetensors")
        found = resolve(str(tmp_path / "a.safetensors"), folder=STORE)
        assert found.state.keys() == whole.keys()
        found.load_into(PlainCNN())
