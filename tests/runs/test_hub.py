"""Weights on the hub: pushed to a stand-in for it, fetched back by its own library in its offline mode, no network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("huggingface_hub", reason="needs the extra hub")

import huggingface_hub
import huggingface_hub.constants
import huggingface_hub.errors

import metasr
from metasr.cli import main
from metasr.errors import InputError, OutputError, StageError, WeightsError
from metasr.jobs.push import FILES, push
from metasr.runs import hub
from metasr.runs.weights import from_run, resolve
from running import PROJECT, environment

RUN = PROJECT / "tests" / "runs" / "old_run" / "run"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Cache:
    """The library's cache of fetched repositories."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, files: Path, *, commit: str = COMMIT) -> Path:
        """Lay a folder's files down as those of a repository's branch main."""
        place = self.folder / f"models--{name.replace('/', '--')}"
        snapshot = place / "snapshots" / commit
        snapshot.mkdir(parents=True, exist_ok=True)
        for file in files.iterdir():
            shutil.copy(file, snapshot)
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / "main").write_text(commit)
        return snapshot


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """Offline, with an empty cache."""
    hub.fetch.cache_clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return Cache(tmp_path / "cache")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """What is pushed of a run."""
    push(RUN, "me/small-x2", licence="mit", output=tmp_path / "written")
    return tmp_path / "written"


def test_what_is_written(written: Path) -> None:
    assert sorted(path.name for path in written.iterdir()) == sorted(FILES)
    card = json.loads((written / "config.json").read_text())
    assert (card["library"], card["licence"], card["experiment"]) == ("metasr", "mit", "mzsr_x2")
    assert set(card["config"]) <= {"name", "method", "seed", "scale", "profile_name", "model", "mln", "rates", "order",
                                   "stages"}  # fmt: skip
    page = (written / "README.md").read_text()
    about = huggingface_hub.ModelCard(page).data
    own = {"license": "mit", "library_name": "metasr", "pipeline_tag": "image-to-image"}
    assert own.items() <= about.to_dict().items()
    scores = {(r.dataset_config, r.metric_type): r.metric_value for r in about.eval_results}
    assert scores["g2.0d", "psnr"] == pytest.approx(27.8429)
    assert len(scores) == 4
    assert "| samples | bicubic | interpolate_aligned | - | 0 | 1 | 31.96 | 0.9349 |" in page
    assert 'metasr.load("hf://me/small-x2")' in page


def test_nothing_of_the_machine_goes_along(tmp_path: Path) -> None:
    run = shutil.copytree(RUN, tmp_path / "somebodys" / "run")
    card = run / "02_meta_transfer" / "card.json"
    content = json.loads(card.read_text())
    content["config"]["data"]["root"] = "/home/somebody/pictures"
    content["config"]["paths"]["outputs"] = "/home/somebody/outputs"
    content["config"]["testset_root"] = "/home/somebody/tests"
    content["data"]["files"] = {"somebodys_holiday.jpg": 12345}
    content["init"] = "/home/somebody/weights.pth"
    card.write_text(json.dumps(content))
    push(run, "me/x", licence="mit", output=tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        assert b"somebody" not in path.read_bytes(), path.name


def test_pushed_weights_are_loaded_and_are_the_same(cache: Cache, written: Path) -> None:
    cache.add("me/small-x2", written)
    fetched, own = resolve("hf://me/small-x2", folder=Path()), from_run(RUN)
    assert fetched.label == "hf://me/small-x2"
    assert fetched.digest == own.digest
    assert fetched.architecture == own.architecture
    lr = torch.rand(3, 20, 24, generator=torch.Generator().manual_seed(0))
    loaded = metasr.load("hf://me/small-x2", steps=1, device="cpu")
    assert repr(loaded) == "<solver adapt, weights hf://me/small-x2, x2, direct by default>"
    assert torch.equal(loaded(lr), metasr.load(str(RUN), steps=1, device="cpu")(lr))


def test_a_commit_may_be_named(cache: Cache, written: Path) -> None:
    cache.add("me/small-x2", written)
    assert resolve(f"hf://me/small-x2@{COMMIT}", folder=Path()).card["licence"] == "mit"
    with pytest.raises(WeightsError, match="hf://me/small-x2@v2 cannot be had"):
        resolve("hf://me/small-x2@v2", folder=Path())


def test_what_was_never_fetched_is_told_offline(cache: Cache) -> None:
    with pytest.raises(WeightsError, match=r"hf://me/other cannot be had: it was not fetched before.*go online once"):
        metasr.load("hf://me/other")


@pytest.mark.parametrize("name", ["me", "me/x/y", "../x", "me/..", "me/x y", "", "me/x;y"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(InputError, match=r"a repository of the hub is USER/REPO"):
        resolve(f"hf://{name}", folder=Path())


def test_a_repository_of_something_else(cache: Cache, written: Path) -> None:
    (written / "config.json").write_text('{"architectures": ["Swin2SR"]}')
    cache.add("me/swin", written)
    with pytest.raises(WeightsError, match=r"its config.json is not of `metasr push`"):
        metasr.load("hf://me/swin")


def test_weights_that_are_not_the_cards(cache: Cache, written: Path) -> None:
    data = bytearray((written / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (written / "weights.safetensors").write_bytes(data)
    cache.add("me/cut", written)
    with pytest.raises(WeightsError, match=r"SHA-256 differs"):
        metasr.load("hf://me/cut")


def test_nothing_of_a_strangers_repository_is_executed(cache: Cache, written: Path, tmp_path: Path) -> None:
    card = json.loads((written / "config.json").read_text())
    recipe = card["config"]["stages"]["meta_transfer"]["recipe"]
    recipe["model"] = {"_target_": "os.system", "command": f"touch {tmp_path}/executed"}
    card["config"]["model"] = recipe["model"]
    (written / "config.json").write_text(json.dumps(card))
    (written / "metasr.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    cache.add("me/evil", written)
    with pytest.raises(WeightsError, match=r"is told to be 'os.system', which is no such class of this package's"):
        metasr.load("hf://me/evil")
    assert not (tmp_path / "executed").exists()


class Hub:
    """Stands for the hub's API: keeps repositories as folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.private: dict[str, bool] = {}
        self.refuses = ""

    def __call__(self, **_: Any) -> "Hub":
        return self

    def repo_exists(self, name: str) -> bool:
        return (self.folder / name).is_dir()

    def file_exists(self, name: str, file: str) -> bool:
        return (self.folder / name / file).is_file()

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> None:
        if self.refuses:
            raise huggingface_hub.errors.HfHubHTTPError.__new__(huggingface_hub.errors.HfHubHTTPError, self.refuses)
        self.private[name] = private
        (self.folder / name).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(self, *, repo_id: str, folder_path: Path, allow_patterns: list[str], commit_message: str) -> None:
        for name in allow_patterns:
            shutil.copy(folder_path / name, self.folder / repo_id / name)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", made)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "token")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return made


def test_pushing(api: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", str(RUN), "me/small-x2", "--licence", "cc-by-4.0", "--private"]) == 0
    assert "to use it: metasr upscale photo.jpg -w hf://me/small-x2" in capsys.readouterr().out
    assert sorted(path.name for path in (api.folder / "me/small-x2").iterdir()) == sorted(FILES)
    assert api.private == {"me/small-x2": True}
    before = (api.folder / "me/small-x2" / "config.json").read_bytes()
    assert main(["push", str(RUN), "me/small-x2", "--licence", "mit"]) == 2
    assert "me/small-x2 holds weights already; choose another name, or replace them: --overwrite" in (
        capsys.readouterr().err
    )
    assert (api.folder / "me/small-x2" / "config.json").read_bytes() == before
    assert main(["push", str(RUN), "me/small-x2", "--licence", "mit", "--overwrite"]) == 0
    assert json.loads((api.folder / "me/small-x2" / "config.json").read_text())["licence"] == "mit"


def test_what_the_hub_refuses_is_told(api: Hub) -> None:
    api.refuses = "403 Forbidden"
    with pytest.raises(OutputError, match=r"the hub did not take me/x \(HfHubHTTPError: .*check the login"):
        push(RUN, "me/x", licence="mit")


def test_nobody_logged_in_and_offline(api: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(InputError, match=r"nobody is logged in to the hub: run `hf auth login` first, or set HF_TOKEN"):
        push(RUN, "me/x", licence="mit")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OutputError, match=r"HF_HUB_OFFLINE is set, so nothing can be pushed"):
        push(RUN, "me/x", licence="mit")


def test_a_licence_is_asked_for(api: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return self is asked

    asked = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert main(["push", str(RUN), "me/x"]) == 2
    assert "weights are published under a licence: add --licence mit" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", asked)
    monkeypatch.setattr("builtins.input", lambda text: "apache-2.0")
    assert main(["push", str(RUN), "me/x"]) == 0
    assert json.loads((api.folder / "me/x/config.json").read_text())["licence"] == "apache-2.0"
    with pytest.raises(InputError, match=r"a licence is written as the hub does, such as mit.*got 'My own: terms'"):
        push(RUN, "me/y", licence="My own: terms")


def test_folders_that_cannot_be_pushed(tmp_path: Path, written: Path) -> None:
    with pytest.raises(StageError, match="no run folder"):
        push(tmp_path / "none", "me/x", licence="mit")
    with pytest.raises(StageError, match="has no finished stage"):
        push(written, "me/x", licence="mit")
    with pytest.raises(OutputError, match="exists already"):
        push(RUN, "me/x", licence="mit", output=written)


@pytest.mark.slow
def test_the_librarys_own_offline_mode(cache: Cache, written: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    Cache(home / "hub").add("me/small-x2", written)
    code = "import metasr; print(metasr.load('hf://me/small-x2', device='cpu')); metasr.load('hf://me/none')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False,
        env=environment(tmp_path, HF_HUB_OFFLINE="1", HF_HOME=str(home), PATH=os.environ["PATH"]),
    )  # fmt: skip
    assert done.stdout == "<solver adapt, weights hf://me/small-x2, x2, direct by default>\n"
    assert done.stderr.strip().endswith("or give weights=FILE")
