"""A folder of weights side by side: each with the network and the solver that it was made for."""

import csv
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from metasr.config.comparison import compared_entries, weights_files
from metasr.config.evaluation import evaluation_plan
from metasr.errors import InputError, WeightsError
from metasr.evaluation.solved import Entry
from metasr.jobs.evaluate import evaluate_weights
from metasr.jobs.import_weights import import_weights
from metasr.models.plain_cnn import PlainCNN
from metasr.solvers.mzsr.solver import MZSRSolver
from metasr.solvers.network import NetworkSolver
from running import PROJECT, compose, save_picture
from runs import public_programs

EXAMPLES = PROJECT / "docs" / "examples"
OWN = ("+networks.theirs._target_=carn.CARN", "+networks.theirs.width=4")


@pytest.fixture(autouse=True)
def _examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(EXAMPLES)
    yield
    for name in ("carn", "ikc"):
        sys.modules.pop(name, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights of four kinds, one that is none, and a file that is no weights' at all."""
    from carn import CARN

    torch.manual_seed(0)
    place = tmp_path / "weights"
    place.mkdir()
    for name, stage in (("pretrained", "pretrain"), ("adapting", "meta_transfer")):
        save_file(PlainCNN(4, 3).state_dict(), place / f"{name}.safetensors")
        model = {"_target_": "metasr.models.plain_cnn.PlainCNN", "channels": 4, "layers": 3}
        card = {"method": "mzsr", "stage": stage, "scale": 2.0, "config": {"model": model}}
        (place / f"{name}.json").write_text(json.dumps(card))
    torch.save(CARN(width=4).state_dict(), place / "theirs.pth")
    torch.save(public_programs.mrda(scale=2), tmp_path / "mrda.pt")
    list(import_weights(tmp_path / "mrda.pt", "mrda_x2", place / "blind.safetensors"))
    (place / "torn.pth").write_bytes(b"\0" * 9)
    (place / "README.txt").write_text("no weights")
    return place


def entries(folder: Path, *choices: str, testset: Path | None = None) -> list[Entry]:
    pictures = testset or save_picture(folder.parent / "hr" / "a.png", 24, 30).parent
    cfg = compose(
        "+experiment=comparison_x2", f"weights={folder}", f"testset={pictures}", "degradations=[g2.0d]", "device=cpu",
        *choices,
    )  # fmt: skip
    by_degradation, weights = compared_entries(cfg, evaluation_plan(cfg))
    assert weights is None
    (rows,) = by_degradation.values()
    return rows


def test_each_file_is_run_as_it_was_made(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = {row.weights: row for row in entries(folder, *OWN, "adapt_steps=[0,2]")}
    assert sorted(rows) == ["adapting", "blind", "pretrained", "theirs"]
    assert isinstance(rows["adapting"].made_by, MZSRSolver)
    assert rows["adapting"].updates == (0, 2)
    plain, blind, own = (rows[name].made_by for name in ("pretrained", "blind", "theirs"))
    assert isinstance(plain, NetworkSolver)
    assert isinstance(blind, NetworkSolver)
    assert isinstance(own, NetworkSolver)
    assert (plain.enlarge_first, blind.enlarge_first, own.enlarge_first) == (True, False, False)
    assert type(own.network).__name__ == "CARN"
    assert len({row.digest for row in rows.values()}) == 4
    assert [record.getMessage().split(" ")[0] for record in caplog.records if "left out" in record.getMessage()] == [
        "torn.pth"
    ]


def test_the_table_has_a_row_for_each(folder: Path, tmp_path: Path) -> None:
    pictures = save_picture(tmp_path / "hr" / "a.png", 24, 30).parent
    cfg = compose(
        "+experiment=comparison_x2", f"weights={folder}", f"testset={pictures}", "degradations=[bicubic]", "device=cpu",
        "adapt_steps=1", *OWN,
    )  # fmt: skip
    assert cfg.task.value == "evaluate"
    (tmp_path / "job").mkdir()
    evaluate_weights(cfg, tmp_path / "job")
    with (tmp_path / "job" / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["solver"], row["weights"], row["updates"]) for row in csv.DictReader(file)]
    assert rows[2:] == [
        ("adapt", "adapting", "1"),
        ("network", "blind", "0"),
        ("network", "pretrained", "0"),
        ("network", "theirs", "0"),
    ]


def test_published_numbers_stand_beside_networks_of_their_name() -> None:
    from carn import CARN
    from ikc import IKC

    from metasr.evaluation.published import published_as
    from metasr.models.blind import BlindSR
    from metasr.models.den import DegradationEncoder
    from metasr.models.kdsr import KDSRBody, KDSREncoder
    from metasr.models.rdan import RDAN

    mrda = BlindSR(DegradationEncoder(width=2), RDAN(scale=2, width=4, blocks=1, vector=8))
    medium = BlindSR(KDSREncoder(width=4, blocks=1), KDSRBody(width=4, blocks=1))
    large = BlindSR(KDSREncoder(width=128, blocks=0), KDSRBody(width=128, blocks=1))
    known = {"CARN": CARN(width=2), "IKC": IKC(blocks=1), "MRDA": mrda, "KDSR-M": medium, "KDSR-L": large}
    for name, network in known.items():
        assert published_as(NetworkSolver(network), updates=0, method="comparison") == name


def test_examples_have_the_published_sizes() -> None:
    from carn import CARN
    from ikc import IKC

    assert sum(p.numel() for p in CARN().parameters()) == 1_591_963  # 1,592 K
    ikc = IKC()
    unused = sum(p.numel() for p in ikc.sftmd.sft_branch.parameters())
    assert sum(p.numel() for p in ikc.parameters()) - unused == 5_315_351  # 5.32 M
    with torch.no_grad():
        assert CARN(3, width=4)(torch.rand(1, 3, 5, 6)).shape == (1, 3, 15, 18)
        assert IKC(2, blocks=1, rounds=2)(torch.rand(1, 3, 5, 6)).shape == (1, 3, 10, 12)


def test_files_of_ikc_become_one(tmp_path: Path) -> None:
    from ikc import IKC, main

    whole = IKC(blocks=1)
    files = []
    for part in ("sftmd", "predictor", "corrector"):
        files.append(str(tmp_path / f"{part}.pth"))
        state = whole.get_submodule(part).state_dict()
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, files[-1])
    main(*files, str(tmp_path / "ikc.pth"))
    assert torch.load(tmp_path / "ikc.pth", weights_only=True).keys() == whole.state_dict().keys()


def test_a_network_of_another_scale_is_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = entries(folder, *OWN, "+networks.theirs.scale=4")
    assert "theirs" not in [row.weights for row in rows]
    assert "theirs.pth is left out: these weights enlarge by 4, but scale 2 was asked for" in caplog.text


def test_what_cannot_be_compared(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"networks\.them: .* has no weights of that name: did you mean 'theirs'"):
        entries(folder, "+networks.them._target_=carn.CARN")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "torn.pth").write_bytes(b"\0" * 9)
    with pytest.raises(WeightsError, match=r"none of its 1 files can be compared"):
        entries(tmp_path / "empty")
    cfg = compose("+experiment=comparison_x2", "testset=samples")
    with pytest.raises(InputError, match=r"comparison_x2 compares the weights of a folder: give weights=FOLDER"):
        compared_entries(cfg, evaluation_plan(cfg))


def test_files_of_one_name_are_told_apart(folder: Path) -> None:
    (folder / "theirs.pt").write_bytes((folder / "theirs.pth").read_bytes())
    assert {"theirs.pt", "theirs.pth"} <= {row.weights for row in entries(folder, *OWN)}


def test_which_folders_are_folders_of_weights(folder: Path, tmp_path: Path) -> None:
    assert [path.name for path in weights_files(str(folder))] == [
        "adapting.safetensors", "blind.safetensors", "pretrained.safetensors", "theirs.pth", "torn.pth",
    ]  # fmt: skip
    (tmp_path / "run" / "01_pretrain").mkdir(parents=True)
    (tmp_path / "run" / "01_pretrain" / "card.json").write_text("{}")
    (tmp_path / "run" / "x.pth").write_bytes(b"")
    for other in (str(tmp_path / "run"), "released", "last", None, str(tmp_path / "nowhere")):
        assert weights_files(other) == []


@pytest.mark.skipif(importlib.util.find_spec("spandrel") is None, reason="spandrel is not installed")
def test_other_programs_files_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from models.test_spandrel_network import stand_in, state_of

    stand_in(monkeypatch)
    torch.save(state_of("RCAN", 2), folder / "rcan.pth")
    rows = {row.weights: row for row in entries(folder, *OWN)}
    assert rows["rcan"].made_by.network.architecture == "RCAN"
    assert not rows["rcan"].made_by.enlarge_first
