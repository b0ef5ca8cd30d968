"""The wheel: built, installed in a fresh environment elsewhere, it trains and enlarges without the checkout."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from metasr.data.catalog import image_set
from metasr.io.images import read_photo
from running import NO_VALIDATION, PROJECT, environment

pytestmark = pytest.mark.slow
pytest.importorskip("hatchling", reason="the wheel is built by hatchling, which `make setup` installs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without network."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*pip, "-w", folder, PROJECT], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("metasr-*.whl")
    return found


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of a fresh environment that has the wheel, and the present one's packages for its dependencies."""
    place = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True, timeout=300)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", place / "bin" / "python", "install"]
    done = subprocess.run(
        [*pip, "--no-deps", "--no-index", "--ignore-installed", wheel], capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return place / "bin"


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints, outside of the checkout and of the tests' own settings."""
    kept = {k: v for k, v in environment(cwd).items() if k not in ("PYTHONPATH", "METASR_OUTPUTS", "VIRTUAL_ENV")}
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env={**kept, "PATH": path, "HOME": str(cwd)}, text=True,
        capture_output=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_in_it(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (*sorted((PROJECT / "conf").rglob("*.yaml")), *sorted((PROJECT / "weights").glob("*.safetensors"))):
        assert f"metasr/_project/{path.relative_to(PROJECT).as_posix()}" in names
    assert {"metasr/py.typed", "metasr/__main__.py", "metasr/data/samples/CREDITS.md"} <= names
    assert not [name for name in names if name.startswith(("tests/", "notebooks/", "docs/", "outputs/"))]


def test_it_trains_and_enlarges_elsewhere(bin_folder: Path, tmp_path: Path) -> None:
    where = run(bin_folder / "python", "-c", "import metasr; print(metasr.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(bin_folder.parent)

    small = ("profile=smoke", "logger=csv", "max_images=1", *NO_VALIDATION)
    printed = run(bin_folder / "metasr", "run", "+experiment=mzsr_x2", *small, cwd=tmp_path)
    trained = (tmp_path / "outputs" / "mzsr_x2" / "latest").resolve(strict=True)
    assert (trained / "02_meta_transfer" / "weights.safetensors").is_file()
    assert f"run folder: {trained}" in printed
    assert "metasr run +experiment=mzsr_x2 profile=paper" in printed
    assert "src/run.py" not in printed

    photo = image_set("samples", split="test").paths[0]
    run(bin_folder / "metasr", "upscale", photo, "-o", "large.png", "-n", "1", cwd=tmp_path)
    assert read_photo(tmp_path / "large.png").rgb.shape[-2:] == tuple(2 * n for n in read_photo(photo).rgb.shape[-2:])
    run(bin_folder / "metasr", "upscale", photo, "-o", "own.png", "-n", "1", "-w", trained, cwd=tmp_path)
    assert "mzsr_x2_meta" in run(bin_folder / "python", "-m", "metasr", "weights", cwd=tmp_path)
