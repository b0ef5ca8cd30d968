"""Without any extra every command works, or names the extra that it needs; with all of them nothing is loaded early."""

import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from metasr.cli import main, parser
from running import PROJECT, SMALL, environment, save_picture

MODULES = (
    "hydra_plugins.hydra_joblib_launcher", "hydra_plugins.hydra_submitit_launcher", "hydra_plugins.hydra_ray_launcher",
    "hydra_plugins.hydra_optuna_sweeper", "submitit", "ray", "optuna", "wandb_workspaces", "tensorboard",
    "huggingface_hub", "onnx", "onnxruntime", "onnxscript", "datasets", "pyarrow", "pandas", "spandrel", "torchvision",
    "gradio", "pillow_heif",
)  # fmt: skip
"""What the extras bring."""
RUN = PROJECT / "tests" / "runs" / "old_run" / "run"


@pytest.fixture
def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, None)


def extras() -> dict[str, list[str]]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return project["optional-dependencies"]


def test_the_docs_tell_each_extra_with_its_size() -> None:
    page = (PROJECT / "docs" / "extras.md").read_text()
    told = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", page, re.MULTILINE))
    assert set(extras()) - {"dev", "docs", "notebooks", "sweeps"} <= set(told)
    assert all(re.fullmatch(r"\d+ MB", size) for size in told.values()), told


def commands(tmp_path: Path) -> dict[str, list[tuple[list[str], str]]]:
    """Each command with what it is given, and the extra that it must name; empty where it must work."""
    photo = str(save_picture(tmp_path / "photos" / "a.png", 24, 30))
    folder = str(Path(photo).parent)
    phone, other = tmp_path / "phone.heic", tmp_path / "other.pth"
    phone.write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    torch.save({"body.0.weight": torch.zeros(4, 3, 3, 3)}, other)
    return {
        "upscale": [
            ([photo, "-o", f"{tmp_path}/large.png", "--solver", "interpolate"], ""),
            ([photo, "-o", f"{tmp_path}/x.png", "-w", "hf://somebody/weights"], "hub"),
            ([photo, "-o", f"{tmp_path}/x.png", "-w", str(other), "--solver", "network"], "spandrel"),
            ([str(phone), "-o", f"{tmp_path}/x.png", "--solver", "interpolate"], "heic"),
        ],
        "prepare": [([folder, "-o", f"{tmp_path}/small", "-d", "bicubic"], "")],
        "offset": [([f"{tmp_path}/small/lr/a.png", photo], "")],
        "kernels": [([], "")],
        "weights": [([], "")],
        "info": [([photo], "")],
        "push": [([str(RUN), "me/x", "--licence", "mit"], "hub")],
        "export": [(["mzsr_x2_pretrain", f"{tmp_path}/x.onnx"], "onnx")],
        "import": [([f"{tmp_path}/none.pth", "--as", "mrda_x4"], "-")],  # tells of the file; needs none
        "page": [([], "page")],
    }


COMPOSED = ("run", "sweep", "evaluate", "report")


def test_all_commands_are_looked_at(tmp_path: Path) -> None:
    choices = next(action.choices for action in parser()._actions if action.choices and "upscale" in action.choices)
    assert set(choices) <= {*commands(tmp_path), *COMPOSED}


@pytest.mark.parametrize(
    "command", ["upscale", "prepare", "kernels", "weights", "info", "push", "export", "import", "page"]
)
def test_a_command_works_or_names_its_extra(
    command: str, without_extras: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not re.search(rf"^ +{command} ", parser().format_help(), re.MULTILINE):
        pytest.skip("no such command")
    for words, extra in commands(tmp_path)[command]:
        status = main([command, *words])
        told = capsys.readouterr()
        if extra:
            assert status == 2
            assert extra == "-" or f"pip install 'metasr[{extra}]'" in told.err, told.err
            assert told.err.count("\n") <= 2  # one paragraph, no traceback
        else:
            assert status == 0, told.err


def test_an_offset_is_told_without_extras(
    without_extras: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = save_picture(tmp_path / "a.png", 64, 80)
    assert main(["prepare", str(photo), "-o", f"{tmp_path}/small", "-d", "bicubic"]) == 0
    (small,) = (path for path in (tmp_path / "small").rglob("a*.png"))
    assert main(["offset", str(small), str(photo)]) == 0, capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run", *SMALL, "testset=PHOTOS", "degradations=[bicubic]", "adapt_steps=[0]"), ""),
        (("run", *(c for c in SMALL if c != "logger=none"), "logger=tensorboard"), "metasr[tensorboard]"),
        (("run", *SMALL, "data=hf_dataset", "data.path=somebody/photos"), "metasr[datasets]"),
        (("evaluate", "solver=interpolate", "testset=PHOTOS", "degradations=[bicubic]"), ""),
        (("evaluate", "weights=hf://somebody/weights", "testset=PHOTOS", "degradations=[bicubic]"), "metasr[hub]"),
        (("report", str(RUN), "output=OUT/report.html"), ""),
        (("report", str(RUN), "to=wandb"), "metasr[report]"),
        (("sweep", *SMALL, "seed=1,2", "hydra/launcher=slurm"), "not installed"),
        (("sweep", *SMALL, "seed=1,2", "hydra/sweeper=tpe"), "not installed"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join((value[0], value[-1])),
)
def test_programs_work_or_name_their_extra(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    hides = tmp_path / "hides"
    hides.mkdir()
    (hides / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({MODULES!r}))\n")
    save_picture(tmp_path / "photos" / "a.png", 45, 53)
    path = f"{hides}:{PROJECT / 'src'}"
    words = tuple(w.replace("PHOTOS", str(tmp_path / "photos")).replace("OUT", str(tmp_path)) for w in words)
    done = subprocess.run(
        [sys.executable, "-m", "metasr", *words], cwd=tmp_path, env=environment(tmp_path / "out", PYTHONPATH=path),
        capture_output=True, text=True, timeout=600, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == (2 if told else 0), done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import metasr", ("torch", "hydra", "numpy", "PIL", "wandb")),
        ("from metasr.cli import parser; parser()", ("torch", "hydra", "wandb", "pytorch_lightning")),
        ("import metasr; metasr.load", ("pytorch_lightning", "wandb", "torchmetrics", "scipy", "matplotlib")),
        ("import metasr.jobs.upscale", ("pytorch_lightning", "wandb", "torchmetrics", "scipy", "matplotlib")),
    ],
)
def test_nothing_of_an_extra_is_loaded_before_it_is_asked_for(code: str, heavy: tuple[str, ...]) -> None:
    present = [name for name in MODULES if "." not in name and find_spec(name) is not None]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; before = set(sys.modules); {code}; print(*(set(sys.modules) - before))"],
        capture_output=True, text=True, check=True, cwd=PROJECT / "src",
    )  # fmt: skip
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {*present, *heavy}
