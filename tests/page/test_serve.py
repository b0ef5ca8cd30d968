"""The page's server: on this machine alone, and nobody else's files."""

import json
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from metasr.cli import main
from metasr.errors import InputError
from metasr.page import serve as serving
from page.browser import free_port, served


def test_a_port_that_is_taken_or_none(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["page", "--port", str(port)]) == 2
    told = capsys.readouterr().err
    assert f"error: port {port} is taken by another program" in told
    assert f"--port {port + 1}" in told
    assert main(["page", "--port", "0"]) == 2
    assert "port (--port) must be 1 to 65535, got 0" in capsys.readouterr().err


def test_without_gradio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(InputError, match=r"needs gradio, which is not installed: pip install 'metasr\[page\]'"):
        serving.launch(tmp_path, port=free_port())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served(folder) as url:
        yield url
        assert not (folder / "asked_for").exists(), (folder / "asked_for").read_text()
    assert not list(folder.glob("metasr_page_*"))


def get(url: str, *, host: str | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status), answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


@pytest.mark.slow
def test_it_answers_to_this_machine_alone(address: str) -> None:
    assert get(address)[0] == 200
    assert get(address, host="example.org")[0] == 400  # another site's script that has its name lead here
    port = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(OSError, match=r"refused|timed out|unreachable"):  # this machine's too, and not the page's
        socket.create_connection(("127.0.0.2", port), timeout=5)


@pytest.mark.slow
def test_nothing_of_it_comes_from_elsewhere(address: str) -> None:
    with urllib.request.urlopen(address) as answer:
        policy, text = answer.headers["content-security-policy"], answer.read().decode()
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    config = json.loads(get(f"{address}config")[1])
    assert config["analytics_enabled"] is False
    for sign in ("googleapis", "gstatic", "cdn", "huggingface.co"):
        assert f"//{sign}" not in text
        assert f'src="https://{sign}' not in text


def succeeds(address: str, body: dict[str, object]) -> bool:
    """Whether an event that a browser would send comes to a good end."""
    request = urllib.request.Request(
        f"{address}gradio_api/queue/join", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(
        f"{address}gradio_api/queue/data?session_hash={body['session_hash']}", timeout=60
    ) as answer:
        for line in answer:
            if b"process_completed" in line:
                return bool(json.loads(line.removeprefix(b"data: "))["success"])
    raise AssertionError("the event did not end")


@pytest.mark.slow
def test_files_of_others_are_not_read(address: str, folder: Path) -> None:
    (folder / "secret.png").write_text("secret")
    for path in ("/etc/passwd", str(folder / "secret.png"), str(folder / "page.log"), __file__):
        for form in ("gradio_api/file=", "gradio_api/file/", "file="):
            status, text = get(f"{address}{form}{path}")
            assert status in (403, 404), (form, path)
            assert "secret" not in text.replace("secret.png", "")
            assert "root:" not in text
    for form in ("gradio_api/file=", "gradio_api/file/", "gradio_api/proxy="):
        assert get(f"{address}{form}http://127.0.0.1:9/x")[0] == 403

    # Nor by pretending that it was uploaded.
    config = json.loads(get(f"{address}config")[1])
    ids = {c["id"]: c["props"].get("elem_id") for c in config["components"]}
    photo = next(number for number, name in ids.items() if name == "photo")
    number = next(d["id"] for d in config["dependencies"] if d["inputs"] == [photo])
    for path in (str(folder / "secret.png"), "http://127.0.0.1:9/x.png"):
        file = {"path": path, "orig_name": "x.png", "meta": {"_type": "gradio.FileData"}}
        assert not succeeds(address, {"data": [file], "fn_index": number, "session_hash": "abc123"})
    assert not [p for p in folder.glob("metasr_page_*/**/*") if p.is_file() and p.read_bytes() == b"secret"]


@pytest.mark.slow
def test_uploads_are_for_their_owner_alone(address: str, folder: Path) -> None:
    (private,) = folder.glob("metasr_page_*")
    assert private.stat().st_mode & 0o077 == 0
