import hashlib
import http.server
import io
import os
import tarfile
import threading
import zipfile

import pytest
from PIL import Image

from metasr.data import catalog
from metasr.data.download import Archive, fetch, unpack
from metasr.errors import DataError

BODY = bytes(range(256)) * 4096  # 1 MiB, so that it comes in more than one chunk


class Server(http.server.ThreadingHTTPServer):
    body = BODY
    ranges = True  # whether it honours Range
    cut: int | None = None  # send that many bytes and hang up
    seen: list[tuple[str | None, int]]  # the Range header and the status of each answer


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        body, asked = self.server.body, self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        status = 404 if self.path == "/gone" else 416 if start >= len(body) else 206 if start else 200
        self.server.seen.append((asked, status))
        self.send_response(status)
        if status == 416:
            self.send_header("Content-Range", f"bytes */{len(body)}")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        sent = body[start:] if status < 400 else b""
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent[: self.server.cut])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as running:
        running.seen = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def archive(server, *, path="file.bin", body=None, extract=False, known=True, **more):
    digest = "sha256:" + hashlib.sha256(server.body if body is None else body).hexdigest()
    url = f"http://127.0.0.1:{server.server_address[1]}/{path}"
    return Archive(url, path, digest if known else None, extract=extract, **more)


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return out.getvalue()


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (7, 5), (10, 20, 30)).save(out, "png")
    return out.getvalue()


def test_a_file_is_downloaded_once(server, tmp_path):
    item = archive(server)
    path = fetch(item, tmp_path / "new", progress=False)
    assert path.read_bytes() == BODY
    assert fetch(item, tmp_path / "new", progress=False) == path
    assert server.seen == [(None, 200)]
    assert os.listdir(tmp_path / "new") == ["file.bin"]


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_continues(server, tmp_path, ranges):
    server.ranges = ranges
    server.cut = 300_000
    with pytest.raises(DataError, match=r"stopped after [\d,]+ bytes.*run again to continue"):
        fetch(archive(server), tmp_path, progress=False)
    kept = (tmp_path / "file.bin.part").stat().st_size
    assert 200_000 < kept <= 300_000
    assert not (tmp_path / "file.bin").exists()
    server.cut = None
    assert fetch(archive(server), tmp_path, progress=False).read_bytes() == BODY
    assert server.seen[1] == (f"bytes={kept}-", 206 if ranges else 200)
    assert not (tmp_path / "file.bin.part").exists()


def test_it_continues_with_a_progress_bar(server, tmp_path, capsys):
    (tmp_path / "file.bin.part").write_bytes(BODY[:1000])
    assert fetch(archive(server), tmp_path).read_bytes() == BODY
    assert "file.bin" in capsys.readouterr().err


def test_a_whole_part_is_not_fetched_again(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(BODY)
    assert fetch(archive(server), tmp_path, progress=False).read_bytes() == BODY
    assert [status for _, status in server.seen] == [416]


def test_a_part_longer_than_the_file_is_started_over(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(BODY + b"more")
    assert fetch(archive(server), tmp_path, progress=False).read_bytes() == BODY
    assert [status for _, status in server.seen] == [416, 200]


def test_a_wrong_checksum_is_refused_and_the_file_set_aside(server, tmp_path):
    with pytest.raises(DataError, match=r"must have the checksum sha256:\w+, got sha256:\w+.*\.bad"):
        fetch(archive(server, body=b"other"), tmp_path, progress=False)
    assert os.listdir(tmp_path) == ["file.bin.bad"]
    (tmp_path / "file.bin").write_bytes(b"placed by hand, damaged")
    with pytest.raises(DataError, match="checksum"):
        fetch(archive(server), tmp_path, progress=False)


def test_being_offline_is_told_with_the_way_by_hand(server, tmp_path):
    item = archive(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=r"out of reach.*online.*place it as .*file\.bin and run again") as caught:
        fetch(item, tmp_path, progress=False)
    assert item.url in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_file_that_has_gone_is_told(server, tmp_path):
    with pytest.raises(DataError, match=r"refused: 404.*place it as"):
        fetch(archive(server, path="gone"), tmp_path, progress=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_archives_are_unpacked(kind, tmp_path):
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        path.write_bytes(zipped(**{"Set/HR/a.txt": b"1", "Set/LR/a.txt": b"2"}))
    else:
        with tarfile.open(path, "w:gz") as file:
            for name, content in {"Set/HR/a.txt": b"1", "Set/LR/a.txt": b"2"}.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))
            link = tarfile.TarInfo("Set/HR/link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            file.addfile(link)
    (tmp_path / "Set/HR").mkdir(parents=True)
    (tmp_path / "Set/HR/mine.txt").write_text("kept")
    unpack(path, tmp_path, members="*/HR/*")
    files = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert files == ["Set/HR/a.txt", "Set/HR/mine.txt", path.name]


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "C:\\evil", "..\\evil"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_that_leave_the_folder_are_refused(kind, name, tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    path = tmp_path / "bad"
    if kind == "zip":
        path.write_bytes(zipped(**{"good": b"1", name: b"2"}))
    else:
        with tarfile.open(path, "w") as file:
            for member in (tarfile.TarInfo("good"), tarfile.TarInfo(name)):
                file.addfile(member)
    with pytest.raises(DataError, match="outside its folder"):
        unpack(path, folder)
    assert os.listdir(folder) == []
    assert sorted(os.listdir(tmp_path)) == ["bad", "inner"]


def test_damaged_archives_are_told(tmp_path):
    whole = zipped(a=b"1" * 5000)
    at = whole.index(b"1" * 100)
    for content, message in ((b"no archive", "neither"), (whole[:at] + b"2" + whole[at + 1 :], "damaged")):
        (tmp_path / "x.zip").write_bytes(content)
        with pytest.raises(DataError, match=message):
            unpack(tmp_path / "x.zip", tmp_path)
    assert os.listdir(tmp_path) == ["x.zip"]


def offer(monkeypatch, name, *archives):
    entry = catalog.CATALOG[name]
    monkeypatch.setitem(catalog.CATALOG, name, type(entry)(**{**vars(entry), "archives": archives}))


@pytest.mark.parametrize("below", ["", "Set5"])
def test_a_data_set_is_fetched_when_asked(server, tmp_path, monkeypatch, below):
    server.body = zipped(**{f"Set5_HR/{i}.png": png() for i in range(5)})
    offer(monkeypatch, "set5", archive(server, path="Set5_HR.zip", extract=True))
    root = tmp_path / below
    with pytest.raises(DataError, match="download=True"):
        catalog.image_set("set5", split="test", root=root)
    images = catalog.image_set("set5", split="test", root=root, download=True)
    assert images.paths[0] == tmp_path / "Set5" / "Set5_HR" / "0.png"
    assert images.load(4).shape == (3, 5, 7)
    catalog.image_set("set5", split="test", root=root, download=True)
    assert len(server.seen) == 1


@pytest.mark.filterwarnings("ignore:.*are not comparable")
def test_only_the_split_that_is_asked_for_is_fetched(server, tmp_path, monkeypatch):
    server.body = zipped(**{"DIV2K_valid_HR/0801.png": png()})
    gone = archive(server, path="gone", splits=("train",))
    offer(monkeypatch, "div2k", gone, archive(server, path="val.zip", extract=True, splits=("val",)))
    assert len(catalog.image_set("df2k", split="val", root=tmp_path, download=True)) == 1
    with pytest.raises(DataError, match=gone.url):
        catalog.image_set("div2k", split="train", root=tmp_path, download=True)


def test_an_archive_without_the_images_is_told(server, tmp_path, monkeypatch):
    server.body = zipped(**{"elsewhere/deep/0.png": png()})
    offer(monkeypatch, "set5", archive(server, path="a.zip", extract=True))
    with pytest.raises(DataError, match=r"was fetched into .* not where they were expected"):
        catalog.image_set("set5", split="test", root=tmp_path, download=True)
