"""Weights and cards of strangers, choices that are mistyped, and numbers out of their range."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save, save_file

from fuzz.harness import Case
from fuzz.images import encoded
from metasr.models.plain_cnn import PlainCNN
from strangers import NAMES, OWN, Bomb, Trap, hostile_models, hostile_texts, run_folder, weights_file

NUMBERS = ("0", "-1", "1e9", "nan", "inf", "-inf", "1e-9", "2.5", "x", "", "99999999999999999999", "1e999")


def weights(seed: int = 1) -> Iterator[Case]:
    """About 140."""
    for name in NAMES:
        yield Case("weights", f"card: {name}", partial(_with_card, name))
    for name in NAMES[:12]:
        yield Case("weights", f"run: {name}", partial(_with_run, name))
    for name in hostile_texts():
        yield Case("weights", f"card that is no card: {name}", partial(_with_text, name))
    for name, content in {**_files(), **_states()}.items():
        yield Case("weights", name, partial(_with_file, name.split()[0], content))


def _photo(folder: Path) -> list[str]:
    (folder / "a.png").write_bytes(encoded("png"))
    return ["upscale", str(folder / "a.png"), "-o", str(folder / "out" / "b.png"), "-n", "1"]


def _with_card(name: str, folder: Path) -> Sequence[str]:
    node = hostile_models(Trap.lay(folder / "trap"))[name]
    return [*_photo(folder), "-w", str(weights_file(folder / "w", {"config": {"model": node}}))]


def _with_run(name: str, folder: Path) -> Sequence[str]:
    node = hostile_models(Trap.lay(folder / "trap"))[name]
    return [*_photo(folder), "-w", str(run_folder(folder / "run", node))]


def _with_text(name: str, folder: Path) -> Sequence[str]:
    return [*_photo(folder), "-w", str(weights_file(folder / "w", hostile_texts()[name]()))]


def _with_file(suffix: str, content: Callable[[], bytes], folder: Path) -> Sequence[str]:
    path = folder / f"w.{suffix}"
    path.write_bytes(content())
    return [*_photo(folder), "-w", str(path)]


def _state(**more: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return {**PlainCNN().state_dict(), **more}


def _changed(change: Callable[[torch.Tensor], torch.Tensor], name: str = "conv1.bias") -> dict[str, torch.Tensor]:
    state = _state()
    return {**state, name: change(state[name])}


def _states() -> dict[str, Callable[[], bytes]]:
    """Tensors of kinds that no network has, rates of shapes that none has, by name; the first word is the suffix."""
    made: dict[str, Callable[[], Any]] = {
        "as they should be": _state,
        "of whole numbers": lambda: _changed(lambda t: (100 * t).int()),
        "of truths": lambda: _changed(lambda t: t > 0),
        "of complex numbers": lambda: _changed(lambda t: t.to(torch.complex64)),
        "of float8": lambda: _changed(lambda t: t.to(torch.float8_e4m3fn)),
        "of float16": lambda: {k: v.half() for k, v in _state().items()},
        "of float64": lambda: {k: v.double() for k, v in _state().items()},
        "with NaN": lambda: _changed(lambda t: t * float("nan")),
        "with infinite values": lambda: _changed(lambda t: t + float("inf")),
        "with huge values": lambda: _changed(lambda t: t + 3e38),
        "of another width": lambda: PlainCNN(8, 8).state_dict(),
        "with a scalar": lambda: _changed(lambda t: t.sum()),
        "with a tensor less": lambda: {k: v for k, v in _state().items() if k != "conv8.bias"},
        "with a tensor more": lambda: _state(extra=torch.zeros(2)),
        "with an empty tensor": lambda: _changed(lambda t: t[:0]),
        "with 1-D rates": lambda: _state(inner_rates=torch.full((16,), 0.01)),
        "with 3-D rates": lambda: _state(inner_rates=torch.full((2, 16, 1), 0.01)),
        "with no rates": lambda: _state(inner_rates=torch.zeros(0, 16)),
        "with too few rates": lambda: _state(inner_rates=torch.full((2, 3), 0.01)),
        "with negative rates": lambda: _state(inner_rates=torch.full((2, 16), -0.01)),
        "with absurd rates": lambda: _state(inner_rates=torch.full((2, 16), 1e6)),
        "with NaN rates": lambda: _state(inner_rates=torch.full((2, 16), float("nan"))),
        "with whole rates": lambda: _state(inner_rates=torch.ones(2, 16, dtype=torch.int64)),
        "with misnumbered rates": lambda: _state(**{"meta_rates.x": torch.ones(3)}),
        "with rates of other shapes": lambda: _state(**{"meta_rates.0": torch.ones(3) / 100}),
    }
    wrapped: dict[str, Callable[[], Any]] = {
        "under params_ema": lambda: {"params_ema": _state()},
        "under params": lambda: {"params": _state(), "iter": 3},
        "under state_dict": lambda: {"state_dict": _state(), "epoch": 1},
        "under params and params_ema": lambda: {"params": _state(), "params_ema": _state()},
        "of DataParallel": lambda: {f"module.{k}": v for k, v in _state().items()},
        "of a checkpoint": lambda: {"state_dict": {f"model.{k}": v for k, v in _state().items()}},
        "with whole numbers for names": lambda: dict(enumerate(_state().values())),
        "with tuples for names": lambda: {("a", 1): torch.zeros(1)},
        "that is a list": lambda: list(_state().values()),
        "that is a tensor": lambda: torch.zeros(3),
        "that is sparse": lambda: _changed(lambda t: t.to_sparse()),
        "that is quantised": lambda: _changed(lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8)),
        "without values": lambda: _changed(lambda t: t.to("meta")),
        "with a value for a billion": lambda: _changed(lambda t: torch.zeros(1).expand(10**9)),
        "with a module": lambda: {"model": PlainCNN(4, 2)},
        "with a bomb": lambda: {**_state(), "x": Bomb(Path("marker"))},
    }
    return {f"safetensors {name}": partial(_safe, what) for name, what in made.items()} | {
        f"pth {name}": partial(_torch, what) for name, what in {**made, **wrapped}.items()
    }


def _safe(what: Callable[[], Any]) -> bytes:
    return save({k: v.contiguous() for k, v in what().items()})


def _torch(what: Callable[[], Any]) -> bytes:
    file = io.BytesIO()
    torch.save(what(), file)
    return file.getvalue()


def _files() -> dict[str, Callable[[], bytes]]:
    import pickle

    head = b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}'
    return {
        "safetensors empty": lambda: b"", "pth empty": lambda: b"",
        "safetensors of noise": lambda: random.Random(3).randbytes(500),
        "safetensors cut short": lambda: _safe(_state)[:5000],
        "safetensors of a head of 2^60": lambda: (2**60).to_bytes(8, "little") + b"{}",
        "safetensors that claims terabytes": lambda: len(head).to_bytes(8, "little") + head,
        "safetensors without tensors": lambda: (2).to_bytes(8, "little") + b"{}",
        "safetensors that is a pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "pth that is a pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "pth that is a page": lambda: b"<!DOCTYPE html><html></html>",
        "safetensors that is a page": lambda: b"\n <html></html>",
        "pkl that is a bomb": lambda: pickle.dumps(Bomb(Path("marker"))),
        "ckpt that is a bomb": lambda: _torch(lambda: Bomb(Path("marker"))),
        "safetensors that is a pickle": lambda: pickle.dumps(Bomb(Path("marker"))),
        "pth that is a zip": lambda: b"PK\3\4" + b"\0" * 100, "pth cut short": lambda: _torch(_state)[:5000],
        "json alone": lambda: json.dumps({"config": {"model": {"_target_": OWN}}}).encode(),
    }  # fmt: skip


def numbers(seed: int = 1) -> Iterator[Case]:
    """About 90."""
    options = {"-s": ("--solver", "interpolate"), "-n": (), "--tile": (), "--son-noise": (), "--back-projection": (),
               "--seed": (), "--gain": ("--solver", "ddsr", "-n", "1"),
               "--budget-seconds": ("--solver", "zssr", "-n", "1")}  # fmt: skip
    for option, others in options.items():
        for value in NUMBERS:
            if option in ("-n", "--back-projection") and value == NUMBERS[-2]:
                continue  # as many steps as that are what was asked for
            steps = () if others or option == "-n" else ("-n", "1")
            yield Case("number", f"{option} {value!r}", partial(_number, (*steps, *others, f"{option}={value}"
                       if option.startswith("--") else f"{option}{value}")))  # fmt: skip


def _number(options: Sequence[str], folder: Path) -> Sequence[str]:
    return [*_photo(folder)[:4], *options]


def overrides(seed: int = 1, count: int = 150) -> Iterator[Case]:
    """Choices near good ones, of jobs that train nothing."""
    draw = random.Random(f"overrides {seed}")
    good = ["task=upscale", "solver=interpolate", "scale=2", "kernel=bicubic", "seed=1", "weights=released",
            "tile=64", "logger=none", "overwrite=true", "estimator=parametric", "profile=smoke", "device=cpu",
            "+experiment=mzsr_x2", "adapt_steps=1", "solver.ensemble=true", "testset=set5", "max_images=1",
            "degradations=[bicubic]"]  # fmt: skip
    bad = ["", "=", "nan", "inf", "-1", "1e9", "null", "[]", "{}", "${nope}", "${oc.env:HOME}", "???", "x", "[1,2", "'",
           "${", "true", "0", "2.5", "a b", "é", "..", "/", "\\", "%", "[[[]]]", "{a:1}", "1" * 400, "choice(1,2)",
           "glob(*)", "interval(0,1)", "${oc.create:{_target_:os.system}}", "range(1,3)", "sort(1)", "1,2"]  # fmt: skip
    seen: set[str] = set()
    while len(seen) < count:
        choice = draw.choice(good)
        key = choice.partition("=")[0]
        kind = draw.choice(("value", "value", "value", "key", "typo", "plus", "part"))
        if kind == "value":
            choice = f"{key}={draw.choice(bad)}"
        elif kind == "key":
            other = draw.choice(("model._target_", "paths.outputs", "nope", "hydra.run.dirr", "_target_", key * 2))
            choice = f"{other}={draw.choice(bad)}"
        elif kind == "typo":
            place = draw.randrange(len(choice))
            choice = choice[:place] + draw.choice("axz=.+~@/[ ") + choice[place + 1 :]
        elif kind == "plus":
            choice = draw.choice(("+", "++", "~", "@", "-")) + choice
        else:
            choice = choice[: draw.randrange(1, len(choice))]
        if choice not in seen:
            seen.add(choice)
            yield Case("override", f"{len(seen)} {choice[:40]!r}", partial(_override, choice))


def _override(choice: str, folder: Path) -> Sequence[str]:
    (folder / "a.png").write_bytes(encoded("png"))
    fixed = ["task=upscale", "solver=interpolate", "input=a.png", "output=out/b.png", "logger=none"]
    return ["run", *fixed, choice]


def photo_weights(path: Path) -> Path:
    """Good weights, for a case that needs some."""
    save_file(_state(), path)
    return path
