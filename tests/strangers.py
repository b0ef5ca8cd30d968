"""Hostile cards: what a stranger might put where a card tells a network, and what each would do if it were followed."""

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from metasr.io.files import file_hash
from metasr.models.plain_cnn import PlainCNN

OWN = "metasr.models.plain_cnn.PlainCNN"
Node = dict[str, Any]


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.open, (self.path, os.O_CREAT | os.O_WRONLY)


@dataclass(frozen=True)
class Trap:
    """A folder in which something happens if a card is followed.

    Attributes:
        bomb: a pickle that makes ``marker``.
        marker: must never come to be.
        victim: must never change.
    """

    bomb: Path
    marker: Path
    victim: Path

    @classmethod
    def lay(cls, folder: Path) -> "Trap":
        folder.mkdir(parents=True, exist_ok=True)
        trap = cls(folder / "bomb.pkl", folder / "marker", folder / "victim.txt")
        trap.bomb.write_bytes(pickle.dumps(Bomb(trap.marker)))
        trap.victim.write_text("untouched\n")
        return trap

    def require_unsprung(self) -> None:
        assert not self.marker.exists(), "a stranger's card was executed"
        assert self.victim.read_text() == "untouched\n", "a stranger's card wrote a file"


def _calls(trap: Trap) -> dict[str, Node]:
    """Nodes that do harm when they are instantiated."""
    bomb, victim, marker = str(trap.bomb), str(trap.victim), str(trap.marker)
    load = {"f": bomb, "weights_only": False}
    return {
        "torch.load": {"_target_": "torch.load", **load},
        "walk to torch.load": {"_target_": "metasr.models.plain_cnn.torch.load", **load},
        "walk through a layer": {"_target_": "metasr.models.plain_cnn.Conv2d.__init__.__globals__.torch.load", **load},
        "walk to torch.save": {"_target_": "metasr.models.plain_cnn.torch.save", "obj": [1], "f": victim},
        "walk to os": {"_target_": "metasr.models.plain_cnn.torch.os.open", "path": marker, "flags": 65},
        "walk within a class": {"_target_": f"{OWN}.__init__.__globals__", "x": 1},
        "own write_text": {"_target_": "metasr.runs.card.write_text", "path": victim, "text": "gone"},
        "own read_tensors": {"_target_": "metasr.runs.weights.torch.load", **load},
        "open": {"_target_": "builtins.open", "file": victim, "mode": "w"},
        "numpy.save": {"_target_": "numpy.save", "file": victim, "arr": [1]},
        "pathlib": {"_target_": "pathlib.Path.write_text", "_args_": [victim, "gone"]},
        "os.system": {"_target_": "os.system", "command": f"touch {marker}"},
        "subprocess": {"_target_": "subprocess.run", "args": ["touch", marker]},
        "eval": {"_target_": "builtins.eval", "_args_": [f"open({marker!r}, 'w')"]},
        "exec through hydra": {"_target_": "hydra.utils.call", "config": {"_target_": "os.system", "command": "true"}},
        "get_method": {"_target_": "hydra.utils.get_method", "path": "os.system"},
        "partial": {
            "_target_": "functools.partial",
            "_args_": [{"_target_": "os.system", "command": f"touch {marker}"}],
        },
        "pickle.load": {"_target_": "pickle.load", "file": {"_target_": "builtins.open", "file": bomb, "mode": "rb"}},
        "numpy.load": {"_target_": "numpy.load", "file": bomb, "allow_pickle": True},
        "relative": {"_target_": ".plain_cnn.PlainCNN"},
        "relative up": {"_target_": "..models.plain_cnn.torch.load", **load},
        "trailing dot": {"_target_": f"{OWN}."},
        "zero byte": {"_target_": f"{OWN}\0torch.load"},
        "module alone": {"_target_": "metasr.models.plain_cnn"},
        "other name": {"_target_": "metasr.models.plain_cnn.plaincnn"},
        "a solver": {"_target_": "metasr.solvers.interpolate.InterpolateSolver"},
    }


def _within(trap: Trap) -> dict[str, Node]:
    """The package's own network with something hostile where a plain value belongs."""
    load = f"_target_:metasr.models.plain_cnn.torch.load,f:'{trap.bomb}',weights_only:false"
    call = {"_target_": "torch.load", "f": str(trap.bomb), "weights_only": False}
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    return {
        "oc.create": {"_target_": OWN, "channels": f"${{oc.create:{{{load}}}}}"},
        "oc.decode": {"_target_": OWN, "channels": "${oc.decode:'{_target_: torch.load}'}"},
        "oc.env": {"_target_": OWN, "channels": "${oc.env:HOME}"},
        "oc.select": {"_target_": OWN, "channels": "${oc.select:paths.outputs}"},
        "own resolver": {"_target_": OWN, "channels": f"${{metasr.run_folder:null,x,run,{trap.marker}}}"},
        "no such key": {"_target_": OWN, "channels": "${nope}"},
        "unclosed": {"_target_": OWN, "channels": "${"},
        "missing": {"_target_": OWN, "channels": "???"},
        "a target by interpolation": {"_target_": "${oc.decode:torch.load}", "f": str(trap.bomb)},
        "nested call": {"_target_": OWN, "channels": call},
        "nested call in a list": {"_target_": OWN, "channels": [[call]]},
        "_args_": {"_target_": OWN, "_args_": [call]},
        "_partial_": {"_target_": OWN, "_partial_": True},
        "_convert_": {"_target_": OWN, "_convert_": "object", "_recursive_": True},
        "__class__": {"_target_": OWN, "__class__": "torch.load"},
        "__init__": {"_target_": OWN, "__init__": call},
        "a part that is a call": {"_target_": "metasr.models.blind.BlindSR", "encoder": call, "body": call},
        "a part of another room": {
            "_target_": "metasr.models.blind.BlindSR",
            "encoder": {"_target_": "metasr.runs.card.write_text", "path": str(trap.victim), "text": "gone"},
            "body": {"_target_": "metasr.models.rdan.RDAN"},
        },
        "no layers": {"_target_": OWN, "layers": -3},
        "a hundred million layers": {"_target_": OWN, "layers": 100_000_000},
        "a million channels": {"_target_": OWN, "channels": 10**6},
        "channels beyond the file": {"_target_": OWN, "channels": 1000, "layers": 1000},
        "infinite channels": {"_target_": OWN, "channels": float("inf")},
        "a truth for a number": {"_target_": OWN, "layers": True},
        "a half layer": {"_target_": OWN, "layers": 2.5},
        "an unknown argument": {"_target_": OWN, "depth": 3},
        "text for a number": {"_target_": OWN, "channels": "4"},
        "nested two hundred deep": {"_target_": OWN, "channels": deep},
    }  # fmt: skip


def hostile_models(trap: Trap) -> dict[str, Node]:
    """All of them by name; every one must be an error."""
    return _calls(trap) | _within(trap)


NAMES = tuple(hostile_models(Trap(Path("bomb"), Path("marker"), Path("victim"))))


def hostile_texts() -> dict[str, Callable[[], str]]:
    """Whole files that are no cards, by name."""
    return {
        "200,000 lists": lambda: '{"config": ' + "[" * 200_000 + "]" * 200_000 + "}",
        "200,000 objects": lambda: '{"config": ' + '{"a": ' * 200_000 + "1" + "}" * 200_001,
        "10 MB of nesting": lambda: '{"a": ' * 1_700_000,
        "10 MB of text": lambda: json.dumps({"name": "a" * 10_000_000}),
        "a list": lambda: "[1, 2]",
        "a number of 100,000 digits": lambda: '{"scale": ' + "9" * 100_000 + "}",
        "half a card": lambda: '{"config": {"model": ',
        "config is a list": lambda: '{"config": [1]}',
        "config is a text": lambda: '{"config": "${oc.env:HOME}"}',
        "config is null": lambda: '{"config": null}',
        "stages is a list": lambda: '{"config": {"stages": [1]}}',
        "a stage is a text": lambda: '{"config": {"stages": {"pretrain": "x"}}, "stage": "pretrain"}',
        "a recipe is a number": lambda: '{"config": {"stages": {"pretrain": {"recipe": 1}}}, "stage": "pretrain"}',
        "stage is a list": lambda: '{"stage": ["pretrain"], "config": {"stages": {}}}',
        "stage is an object": lambda: '{"stage": {"_target_": "os.system"}}',
        "model is a list": lambda: '{"config": {"model": [1, 2]}}',
        "model is a text": lambda: '{"config": {"model": "metasr.models.plain_cnn.PlainCNN"}}',
        "scales is a text": lambda: '{"scales": "2,3"}',
        "scales is empty": lambda: '{"scales": []}',
        "scales hold a list": lambda: '{"scales": [[2]]}',
        "scale is NaN": lambda: '{"scale": NaN}',
        "scale is negative": lambda: '{"scale": -2}',
        "scale is a truth": lambda: '{"scale": true}',
        "sha256 is a number": lambda: '{"sha256": 12}',
        "method is an object": lambda: '{"method": {}}',
    }


def small_state() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return PlainCNN(4, 2).state_dict()


def weights_file(folder: Path, card: object) -> Path:
    """A weights file with a card (or a whole text in its place) beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "stranger.safetensors"
    save_file(small_state(), path)
    path.with_suffix(".json").write_text(card if isinstance(card, str) else json.dumps(card), encoding="utf-8")
    return path


def run_folder(folder: Path, model: Any, **more: Any) -> Path:
    """A run folder of one finished stage whose card tells a network, and the same network as a part of its recipe."""
    stage = folder / "01_pretrain"
    stage.mkdir(parents=True, exist_ok=True)
    save_file(small_state(), stage / "weights.safetensors")
    recipe = {"_target_": "metasr.recipes.pretrain.Pretrain", "model": model, "steps": 2}
    card = {
        "experiment": "mzsr_x2", "stage": "pretrain", "status": "finished", "identity": {}, "hash": "0",
        "weights": file_hash(stage / "weights.safetensors"),
        "config": {
            "name": "mzsr_x2", "method": "mzsr", "seed": 1, "scale": 2.0, "model": model, "profile_name": "smoke",
            "stages": {"pretrain": {"recipe": recipe}}, "data": {"name": "samples"},
        },
    }  # fmt: skip
    (stage / "card.json").write_text(json.dumps(card | more), encoding="utf-8")
    return folder
