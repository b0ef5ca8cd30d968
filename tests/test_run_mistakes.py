"""What the program refuses, from the command line on."""

from pathlib import Path

import pytest

from running import SMOKE, run_py


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+experiment=mzsr_x3"], "no experiment 'mzsr_x3': did you mean 'zssr_x3' or 'mzsr_x4' or 'mzsr_x2'"),
        (["experiment=mzsr_x2"], "write a plus before it: +experiment=mzsr_x2"),
        (["+experiment=mzsr_x2", "profile=fast"], "no profile 'fast': known: cpu, gpu, paper, quick, smoke"),
        (["+experiment=mzsr_x2", "sead=1"], "no key 'sead': did you mean 'seed'"),
        (["+experiment=mzsr_x2", "data.rot=x"], "Could not override 'data.rot'; Key 'rot' not in 'DataConf'"),
        (["+experiment=mzsr_x2", "seed=1,2"], "Ambiguous value for argument 'seed=1,2'"),
        (
            ["+experiment=mzsr_x2", "task=evalute"],
            "Invalid value 'evalute', expected one of [run, evaluate, upscale, report, prepare, offset]",
        ),
        (["+experiment=mzsr_x2", "run={file}"], "is a file; give a folder, 'last', or leave it out for a new run"),
        (["+experiment=mzsr_x2", "run={file}/x"], "is a file, not a folder; set METASR_OUTPUTS, or run=FOLDER"),
        (
            ["+experiment=mzsr_x2", "paths.outputs={file}/x"],
            "is a file, not a folder; set METASR_OUTPUTS, or run=FOLDER",
        ),
    ],
)
def test_mistakes(tmp_path: Path, arguments: list[str], message: str) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    done = run_py(*(a.format(file=file) for a in arguments), outputs=tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["degradations=[g2.0x]"], "error: unknown degradation 'g2.0x': did you mean 'g2.0d'"),
        (
            ["task=evaluate", "testset=set6"],
            "error: testset 'set6' is neither a folder nor a known set: did you mean 'set5'",
        ),
        (["task=upscale", "input=none.png"], "error: no file or folder none.png"),
        (
            ["stages_to_run=[meta_transfer]"],
            "error: stage 'meta_transfer' needs stage 'pretrain' first, which is missing in",
        ),
    ],
)
def test_mistakes_that_need_more_than_the_config(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run_py(*SMOKE, *arguments, outputs=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.safetensors"))


def test_outputs_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_py(*SMOKE, outputs=tmp_path / "file" / "outputs")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path / 'file'} is a file, not a folder; set METASR_OUTPUTS" in done.stderr
