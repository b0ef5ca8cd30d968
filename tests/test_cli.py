"""The console command: paths as they are, errors in one line."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from metasr import __version__
from metasr.cli import main, parser
from metasr.config.photos import verbatim
from metasr.io.images import read_photo
from metasr.paths import weights_folder
from running import PROJECT, environment, save_picture

NAMES = [
    "plain.png", "two words.png", "[x](y){z}.png", "a=b.png", "a,b.png", "Zoë à la plage – été.jpg", "写真.png",
    "'quoted\".png", "$HOME ${oc.env:HOME}.png", "\\${x}.png", "back\\slash.png", "#1 & co;.png", "100%.png", "???",
    "~tilde.png", "*.png", " spaces .png", "-dash.png", "null", "1e5", "${", "a\\\\${b}.png",
]  # fmt: skip
QUICK = ("--solver", "interpolate")


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_taken_verbatim(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_picture(tmp_path / "x.png", 9, 11).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    output = f"out of {name}.png"
    assert main(["upscale", *QUICK, "-o", output, "--", name]) == 0
    assert read_photo(output).rgb.shape == (3, 18, 22)
    assert main(["upscale", *QUICK, "--overwrite", "--", name]) == 0
    assert read_photo(f"{Path(name).stem}_x2.png").rgb.shape == (3, 18, 22)
    shown = capsys.readouterr().out
    assert shown.startswith(f"{output}  (0.")
    assert "0 updates, weights -)" in shown


@pytest.mark.parametrize("text", [*NAMES, "", "\\", "\\\\", "$", "{", "${a}${b}", "\\\\\\${x}", None])
def test_texts_go_through_the_config_unchanged(text: str | None) -> None:
    cfg = OmegaConf.create({"key": None})
    cfg.key = verbatim(text)
    assert cfg.key == ("./???" if text == "???" else text)


def test_kernel_file_and_weights_with_odd_names(tmp_path: Path) -> None:
    import numpy as np

    from metasr.degradation.kernels import isotropic

    source = save_picture(tmp_path / "a.png", 25, 23)
    np.save(tmp_path / "my kernel, v=2 [${x}].npy", isotropic(1.0, size=9).numpy())
    shutil.copy(weights_folder() / "mzsr_x2_meta.safetensors", tmp_path / "w = [1], ${y}.safetensors")
    done = main(["upscale", str(source), "-k", str(tmp_path / "my kernel, v=2 [${x}].npy"), "-n", "1",
                 "-w", str(tmp_path / "w = [1], ${y}.safetensors"), "-o", str(tmp_path / "o.png")])  # fmt: skip
    assert done == 0
    assert (tmp_path / "o.png").is_file()


def test_options_reach_the_solver(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save_picture(tmp_path / "a.png", 27, 25)
    made = []
    for i, more in enumerate([[], ["--rates", "published"], ["--son-noise", "9"], ["--back-projection", "2"],
    ["--ensemble"],
                              ["-n", "2"], ["-k", "iso_1_b"], ["-w", "released/mzsr_x2_pretrain"], ["--solver",
                              "network"]]):  # fmt: skip
        steps = [] if "network" in more else ["-n", "1"]
        assert main(["upscale", str(source), *steps, "-o", str(tmp_path / f"{i}.png"), *more]) == 0
        made.append((tmp_path / f"{i}.png").read_bytes())
    assert len(set(made)) == len(made)
    assert main(["upscale", str(source), "-n", "1", "-o", str(tmp_path / "t.png"), "--tile", "16"]) == 0
    assert main(["upscale", str(source), "-n", "1", "-s", "3", "--side-by-side", "-o", str(tmp_path / "s.png")]) == 0
    assert read_photo(tmp_path / "s.png").rgb.shape == (3, 81, 75)
    assert (tmp_path / "s_side_by_side.png").is_file()
    assert "1 update, weights released/mzsr_x2_bicubic_meta" in capsys.readouterr().out


def test_the_seed_counts_where_there_is_noise(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "a.png", 27, 25)
    made = []
    for i, seed in enumerate((1, 1, 2)):
        arguments = ["upscale", str(source), "-n", "1", "--son-noise", "20", "--seed", str(seed)]
        assert main([*arguments, "-o", str(tmp_path / f"{i}.png")]) == 0
        made.append((tmp_path / f"{i}.png").read_bytes())
    assert made[0] == made[1] != made[2]


def test_what_a_shell_makes_of_a_star(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("a.jpg", "b.jpg", "sub/c.jpg"):
        save_picture(tmp_path / name, 9, 9)
    monkeypatch.chdir(tmp_path)
    assert main(["upscale", *QUICK, "a.jpg", "b.jpg", "sub", "-o", "out/", "-s", "3x"]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "b.png", "c.png"]
    assert read_photo("out/c.png").rgb.shape == (3, 27, 27)
    shown = capsys.readouterr().out.splitlines()
    assert [line.partition("  (")[0] for line in shown] == [
        "1 of 3: out/a.png", "2 of 3: out/b.png", "3 of 3: out/c.png",
    ]  # fmt: skip
    (tmp_path / "out" / "b.png").unlink()
    assert main(["upscale", *QUICK, ".", "-r", "-o", "out", "-s", "x3", "--skip-existing"]) == 0
    again = capsys.readouterr()
    assert [line.partition("  (")[0] for line in again.out.splitlines()] == [
        "1 of 2: out/b.png",
        "2 of 2: out/sub/c.png",
    ]
    assert "1 of 3 photos are enlarged already" in caplog.text
    assert main(["upscale", *QUICK, ".", "-r", "-o", "out", "--skip-existing", "--overwrite"]) == 2


def test_a_kernel_file_is_read_as_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    source = save_picture(tmp_path / "a.png", 25, 23)
    monkeypatch.chdir(tmp_path)
    kernels = np.zeros((2, 5, 5))
    kernels[0, 2, 2:], kernels[1, 2, 1:4] = [3, 2, 1], 1
    np.save("k.npy", kernels / kernels.sum((1, 2), keepdims=True))
    made, told = [], []
    for i, more in enumerate(
        [["-k", "k.npy"], ["-k", "k.npy", "--flip-kernel"], ["-k", "k.npy#0_flip"],
         ["-k", "k.npy", "--kernel-index", "1"], ["-k", "k.npy#1"]]
    ):  # fmt: skip
        caplog.clear()
        assert main(["upscale", str(source), "--solver", "unfolded", "-o", f"{i}.png", *more]) == 0
        made.append(Path(f"{i}.png").read_bytes())
        told.append([record.getMessage() for record in caplog.records if record.levelname == "WARNING"])
    assert made[1] == made[2]
    assert made[3] == made[4]
    assert len(set(made)) == 3
    assert "k.npy holds 2 kernels, the first is taken" in told[0][0]
    assert told[0][1].startswith("k.npy: kernel 5x5, centre of mass at 0.67 px right of its middle tap, ")
    assert told[0][1].endswith("if it comes from a program that convolves (conv2, ndimage.convolve)")
    assert len(told[1]) == 1
    assert told[2:] == [[], [], []]
    assert main(["upscale", str(source), "-k", "bicubic", "--flip-kernel", "-o", "x.png"]) == 2
    assert main(["upscale", str(source), "-k", "k.npy", "--kernel-index", "2", "-o", "x.png"]) == 2


def test_frames_and_the_bound_on_pixels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    pages = [Image.new("RGB", (9, 7), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    pages[0].save("a.tif", save_all=True, append_images=pages[1:])
    assert main(["upscale", *QUICK, "a.tif", "--frame", "1", "-o", "a.png"]) == 0
    assert read_photo("a.png").rgb[:, 3, 3].tolist() == [0, 0, 1]
    assert main(["upscale", *QUICK, "a.tif", "--frame", "2", "-o", "b.png"]) == 2
    assert main(["upscale", *QUICK, "a.tif", "--frame", "-1", "-o", "b.png"]) == 2
    assert main(["upscale", *QUICK, "a.tif", "--max-pixels", "62", "-o", "b.png"]) == 2
    assert main(["upscale", *QUICK, "a.tif", "--max-pixels", "0", "-o", "b.png"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert "it holds 2 frame(s), so frame must be 0 to 1, got 2" in told[0]
    assert told[1] == "error: frame (--frame) counts from 0, got -1"
    assert "at most 62 are read; if that is its true size, allow it (max_pixels, --max-pixels)" in told[2]
    assert told[3] == "error: max_pixels (--max-pixels) must be at least 1, got 0"
    assert not Path("b.png").exists()


@pytest.mark.parametrize(("text", "want"), [("2", 2.0), ("2x", 2.0), ("x3", 3.0), ("1.5X", 1.5), ("×4", 4.0)])
def test_factors(text: str, want: float) -> None:
    assert parser().parse_args(["upscale", "a.png", "-s", text]).scale == want


class Pipe(io.StringIO):
    """Standard input or output that holds bytes, and is no terminal."""

    def __init__(self, content: bytes = b"") -> None:
        super().__init__()
        self.buffer = io.BytesIO(content)


def test_standard_input_and_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = save_picture(tmp_path / "a.jpg", 9, 11)
    assert main(["upscale", *QUICK, str(source)]) == 0
    want = (tmp_path / "a_x2.png").read_bytes()
    monkeypatch.chdir(tmp_path)
    for arguments in (["-"], ["-", "-o", "-"], [str(source), "-o", "-"]):
        monkeypatch.setattr(sys, "stdin", Pipe(source.read_bytes()))
        pipe = Pipe()
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["upscale", *QUICK, *arguments]) == 0
        assert pipe.buffer.getvalue() == want
        assert pipe.getvalue() == ""
        assert "standard output  (" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", Pipe(source.read_bytes()))
    assert main(["upscale", *QUICK, "-", "-o", "b.png"]) == 0
    assert (tmp_path / "b.png").read_bytes() == want
    for arguments, message in (
        (["-", "a.jpg"], "standard input (-) is one photo alone"),
        (["a.jpg", "b.png", "-o", "-"], "standard output takes one photo"),
    ):
        assert main(["upscale", *QUICK, *arguments]) == 2
        assert message in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", Pipe(b"nothing"))
    assert main(["upscale", *QUICK, "-"]) == 2
    assert "standard_input: the content is none of the known formats" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "a_x2.png", "b.png"]


def test_quiet_and_verbose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    source = save_picture(tmp_path / "in" / "a.png", 9, 11)
    (tmp_path / "in" / "b.png").write_bytes(b"broken")
    target = str(tmp_path / "a_x2.png")
    assert main(["upscale", *QUICK, str(source), "-o", target, "-q"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["upscale", *QUICK, str(source), "-o", target, "-v", "--overwrite"]) == 0
    assert "(11x9) -> " in caplog.text
    assert "kernel bicubic" in caplog.text
    capsys.readouterr()
    assert main(["upscale", *QUICK, "-q", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "1 of 2 photos were left out, for the reasons given above: b.png; the others are done" in shown.err
    assert "left out: cannot read" in caplog.text


def test_lists_and_what_would_be_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from metasr.degradation import names
    from metasr.jobs.lists import KERNELS

    assert main(["kernels"]) == 0
    listed = capsys.readouterr().out
    for form, _ in KERNELS:
        for name in form.split(", "):
            assert name in listed
            if "kernel" not in name and name != "estimate":
                names.parse(name, scale=2)
    assert main(["weights"]) == 0
    listed = capsys.readouterr().out
    assert {p.stem for p in weights_folder().glob("*.safetensors")} == {row.split()[0] for row in listed.splitlines()}
    assert "mzsr_x2_meta          x2: mzsr, adapts to the photo: kernels that end in d" in listed
    source = save_picture(tmp_path / "a.png", 40, 51, 1)
    assert main(["info", str(source)]) == 0
    shown = capsys.readouterr().out
    assert f"{source}: 51x40 pixels, grey, 8 bits" in shown
    assert f"to {tmp_path}/a_x2.png, 102x80 pixels, by " in shown
    assert "not compressed" in shown
    assert main(["info", str(tmp_path)]) == 2


def test_hydras_choices_go_to_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    from metasr.jobs import program

    given: list[list[str]] = []
    monkeypatch.setattr(program, "run_program", lambda choices: given.append(list(choices)) or 7)
    for arguments, want in (
        (["run", "+experiment=x", "-m"], ["+experiment=x", "-m"]),
        (["+experiment=x"], ["+experiment=x"]),
        (["--config-dir", "d", "+experiment=x"], ["--config-dir", "d", "+experiment=x"]),
        (["sweep", "seed=1,2"], ["--multirun", "seed=1,2"]),
        (["evaluate", "weights=last"], ["task=evaluate", "weights=last"]),
        (["report", "a b", "/c", "to=html"], ["task=report", "to=html", "runs=['a b',/c]"]),
        (["report", "sweep=x"], ["task=report", "sweep=x"]),
    ):
        assert main(arguments) == 7
        assert given.pop() == want


def test_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("b.png", "a.png"):
        save_picture(tmp_path / "my scans" / name, 9, 9)
    assert main(["upscale", *QUICK, str(tmp_path / "my scans") + "/"]) == 0
    assert sorted(p.name for p in (tmp_path / "my scans_x2").iterdir()) == ["a.png", "b.png"]
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--version"], ["upscale", "--help"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert f"metasr {__version__}" in shown
    assert "metasr upscale photo.jpg -k kernel.mat --steps 20" in shown
    assert parser().prog == "metasr"


def test_a_terminal_that_cannot_show_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    source = save_picture(tmp_path / "写真.png", 9, 9)
    assert main(["upscale", *QUICK, str(source)]) == 0
    assert (tmp_path / "写真_x2.png").is_file()


@pytest.mark.parametrize("arguments", [["run", "--help"], ["sweep", "-h"]])
def test_the_help_of_hydras_commands(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert "task=upscale" in capsys.readouterr().out


def test_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "metasr", "--version"], cwd=tmp_path, env=environment(tmp_path), text=True,
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"metasr {__version__}\n")


def command() -> list[str]:
    found = shutil.which("metasr", path=os.fspath(Path(sys.executable).parent))
    return [found] if found else [sys.executable, "-m", "metasr"]


def test_the_installed_command(tmp_path: Path) -> None:
    source = save_picture(tmp_path / "a = [b], été.png", 9, 9)
    assert main(["upscale", *QUICK, str(source)]) == 0
    done = subprocess.run(
        [*command(), "upscale", *QUICK, source.name], cwd=tmp_path, env=environment(tmp_path / "out"), text=True,
        capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 2  # the second time it exists
    assert done.stdout == ""
    assert (
        done.stderr
        == "error: a = [b], été_x2.png exists already; choose another name, or allow it: overwrite=true (--overwrite)\n"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a = [b], été.png", "a = [b], été_x2.png"]


def test_help_is_light(tmp_path: Path) -> None:
    code = (
        "import sys, metasr.cli; metasr.cli.parser(); "
        "assert not {'torch', 'numpy', 'hydra', 'omegaconf'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment(tmp_path), check=True, timeout=60)
