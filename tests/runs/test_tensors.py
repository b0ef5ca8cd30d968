"""Weights as other programs wrap them: read where they are unambiguous, and told apart where they are none."""

import argparse
import pickle
import struct
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import save
from torch import Tensor, nn

from metasr.errors import WeightsError
from metasr.models.plain_cnn import PlainCNN
from metasr.runs.tensors import read_tensors, unwrapped
from metasr.runs.weights import from_file


def net() -> PlainCNN:
    torch.manual_seed(0)
    return PlainCNN(channels=4, layers=2)


def loaded(path: Path) -> dict[str, Tensor]:
    """What a fresh network holds once a file is loaded into it."""
    torch.manual_seed(1)
    return from_file(path).load_into(PlainCNN(channels=4, layers=2)).state_dict()


def assert_same(got: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    assert got.keys() == want.keys()
    for name, tensor in want.items():
        assert torch.equal(got[name], tensor), name


@pytest.mark.parametrize(
    "wrapper", ["state_dict", "model_state_dict", "model", "net", "params_ema", "params-ema", "params"]
)
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "module.model.", "network.sr."])
def test_wrapped_files_load_as_they_are(tmp_path: Path, wrapper: str, prefix: str) -> None:
    state = {f"{prefix}{name}": tensor for name, tensor in net().state_dict().items()}
    torch.save({wrapper: state, "epoch": 3, "lr": 1e-4}, tmp_path / "w.pth")
    assert_same(loaded(tmp_path / "w.pth"), net().state_dict())


def test_two_prefixes_are_two_networks(tmp_path: Path) -> None:
    state = {f"{p}.{name}": tensor for p in ("g", "d") for name, tensor in net().state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"holds the weights of another network: 4 missing .*8 unknown"):
        loaded(tmp_path / "w.pth")


def test_two_sets_of_weights_are_ambiguous(tmp_path: Path) -> None:
    torch.save({"params": net().state_dict(), "params_ema": net().state_dict()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"2 sets of weights, 'params_ema' and 'params'; choose one: torch\.save\("):
        read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_the_networks(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.save({name: tensor.to(dtype) for name, tensor in net().state_dict().items()}, tmp_path / "w.pth")
    got = loaded(tmp_path / "w.pth")
    assert_same(got, {name: tensor.to(dtype).float() for name, tensor in net().state_dict().items()})
    assert {tensor.dtype for tensor in got.values()} == {torch.float32}


class Lit(pl.LightningModule):
    """A LightningModule as people write them."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = PlainCNN(channels=width, layers=2)

    def training_step(self, batch: Tensor) -> Tensor:
        return self.net(batch).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


def test_a_checkpoint_of_lightnings(tmp_path: Path) -> None:
    lit = Lit()
    trainer = pl.Trainer(
        max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(lit, torch.utils.data.DataLoader([torch.zeros(3, 4, 4)]))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert_same(loaded(tmp_path / "last.ckpt"), lit.net.state_dict())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            nn.Linear(2, 2),
            r"a pickle with code, which was not executed: it asks for torch\.nn\.modules\.linear\.Linear;",
        ),
        (
            {"state_dict": {}, "hyper_parameters": argparse.Namespace(a=1)},
            r"a pickle with code, which was not executed: it asks for argparse\.Namespace; .*model\.state_dict\(\)",
        ),
    ],
)
def test_code_is_told_by_its_name(tmp_path: Path, content: object, told: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=told):
        read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "is a pointer of git-lfs.*git lfs pull"),
        (b"\n <!DOCTYPE html><html></html>", "is a web page"),
        (b"<?xml version='1.0'?><Error/>", "is a web page"),
        (b"", "is empty"),
        (pickle.dumps({"a": 1}, protocol=4), "cannot be read as plain tensors"),
    ],
)
def test_what_is_no_weights_file_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=told):
        read_tensors(tmp_path / "w.pth")


def test_a_header_whose_length_looks_like_markup_is_none(tmp_path: Path) -> None:
    """The first eight bytes of a safetensors file are a length, and any bytes."""
    plain = save({"a": torch.ones(2)})
    header = plain[8 : 8 + struct.unpack("<Q", plain[:8])[0]]
    longer = struct.pack("<Q", 0x3C20) + header.ljust(0x3C20) + plain[8 + len(header) :]
    assert longer.lstrip().startswith(b"<")
    (tmp_path / "w.safetensors").write_bytes(longer)
    assert torch.equal(read_tensors(tmp_path / "w.safetensors")["a"], torch.ones(2))


def test_common_prefixes_are_taken_off_where_all_have_them() -> None:
    state = {"a.w": torch.zeros(1), "b.w": torch.zeros(1)}
    given = {f"module.netG.{name}": t for name, t in state.items()}
    assert [min(s) for s in unwrapped(given)] == ["module.netG.a.w", "netG.a.w", "a.w"]
    assert len(list(unwrapped({"model.0.w": torch.zeros(1), "b.w": torch.zeros(1)}))) == 1
    assert list(unwrapped({})) == [{}]
