"""What the console command refuses, in one line."""

import json
import shutil
from pathlib import Path

import pytest

from metasr.cli import main
from metasr.paths import weights_folder
from running import save_picture

QUICK = ("--solver", "interpolate")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.png"], "no file or folder none.png; give an existing image or a folder of images"),
        (["empty.png"], "empty.png"),
        (["text.png"], "none of the known formats"),
        (["a.png", "-o", "a.png"], "is an input itself, which is never written over"),
        (["a.png", "-o", "exists.png"], "exists.png exists already"),
        (["a.png", "-o", "a.png/x.png"], "is a file, not a folder"),
        (["a.png", "-o", "x.docx"], "expected a file name that ends in .png"),
        (["a.png", "-k", "g2.0"], "unknown degradation 'g2.0': did you mean"),
        (["a.png", "-k", "none.mat"], "no kernel file none.mat"),
        (["a.png", "-s", "0"], "scale must be a finite number above 0"),
        (["a.png", "-s", "nan"], "scale must be a finite number above 0"),
        (["a.png", "-n", "-1"], "adapt_steps must be a number of at least 0"),
        (["a.png", "-k", "g2.0d", "--solver", "adapt"], "a.png: image of 12x13 is smaller than the 21x21 kernel"),
        (["a.png", "-w", "none.pt"], "no weights file none.pt"),
        (["a.png", "-w", "last"], "weights=last is the last run of an experiment: add +experiment=NAME"),
        (["a.png", "-w", "mzsr_x2_mtea"], "no weights 'mzsr_x2_mtea', released or of that path: did you mean"),
        (["a.png", "--solver", "adpat"], "no solver 'adpat': did you mean 'adapt' or 'adapt_blind'? known: adapt,"),
        (["a.png", "--solver", "adapt,network"], "no solver 'adapt,network': did you mean"),
        (["a.png", "--solver", "metric_constrained"], "is for the networks of the experiment maml_sr_x2 and its like"),
        (["a.png", "--solver", "teacher_oracle"], "no solver 'teacher_oracle'"),
        (["a.png", "-w", "text.png"], "text.png cannot be read as plain tensors and was not executed"),
        (["a.png", "--device", "gpu"], "device 'gpu' is not available"),
        (["a.png", "--tile", "0"], "error: tile must be at least 1"),
        (["a.png", "--son-noise", "-3"], "error: son_noise must be at least 0"),
        (["a.png", "-s", "0.5"], "upscaling needs a scale above 1, got 0.5"),
        (["a.png", "-s", "1"], "upscaling needs a scale above 1, got 1"),
        (["a.png", *QUICK, "--son-noise", "5"], "son_noise is no option of solver interpolate, which has: "),
        (["a.png", *QUICK, "--ensemble"], "ensemble is no option of solver interpolate, which has: "),
        (["a.png", *QUICK, "--tile", "256"], "tile is no option of solver interpolate, which has: "),
        (["a.png", *QUICK, "-n", "10"], "steps is no option of solver interpolate, which has: "),
        (["a.png", *QUICK, "-w", "released"], "weights=released: solver interpolate has none"),
        (["a.png", "--solver", "network", "--rates", "learned"], "rates is no option of solver network, which has: "),
        (["a.png", "--solver", "network", "--back-projection", "-1"], "error: back_projection must be at least 0"),
        (["a.png", "--solver", "network", "-k", "g1.3b"], "no released feed-forward weights for degradation g1.3b"),
    ],
)
def test_errors_in_one_line_with_status_two(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    save_picture(tmp_path / "a.png", 12, 13)
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "exists.png").write_text("kept")
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    assert main(["upscale", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def run_of(folder: Path, method: str, experiment: str, profile: str) -> Path:
    """A run folder whose one stage is finished."""
    stage = folder / "01_stage"
    stage.mkdir(parents=True)
    shutil.copy(weights_folder() / "mzsr_x2_meta.safetensors", stage / "weights.safetensors")
    config = {"name": experiment, "method": method, "profile_name": profile, "scale": 2.0}
    (stage / "card.json").write_text(json.dumps({"status": "finished", "experiment": experiment, "config": config}))
    return folder


def test_weights_of_other_experiments_that_are_unknown_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save_picture(tmp_path / "a.png", 12, 13)
    theirs = run_of(tmp_path / "theirs", "maml_sr", "my_own", "gpu")
    assert main(["upscale", str(source), "-w", str(theirs)]) == 2
    assert "was made by the experiment 'my_own', which is not known here" in capsys.readouterr().err
    mine = run_of(tmp_path / "mine", "mzsr", "mzsr_x2", "gpu")
    assert main(["upscale", str(source), "-w", str(mine), "-n", "1"]) == 0


def test_weights_of_another_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    source = save_picture(tmp_path / "a.png", 12, 13)
    torch.save({"w": torch.zeros(3)}, tmp_path / "other.pt")
    assert main(["upscale", str(source), "-w", str(tmp_path / "other.pt")]) == 2
    assert "holds the weights of another network" in capsys.readouterr().err


def test_solvers_of_an_experiments_networks_are_not_offered(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["upscale", "--help"])
    shown = capsys.readouterr().out.replace("\n", "")
    offered = next(part for part in shown.split("{") if part.startswith("adapt,")).split("}")[0].split(",")
    assert {"adapt", "interpolate", "network", "zssr"} <= set(offered)
    assert not {"metric_constrained", "blind_back_project", "teacher_oracle"} & set(offered)


@pytest.mark.parametrize(
    "arguments",
    [[], ["upscale"], ["shrink", "x"], ["upscale", "x", "-n", "many"],
     ["upscale", "x", "--rates", "fast"], ["upscale", "x", "-s", "twice"], ["upscale", "x", "-q", "-v"]],
)  # fmt: skip
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: metasr" in capsys.readouterr().err
