"""Fetch a data set's archive: resumed when interrupted, checked, unpacked without leaving its folder.

The transfer itself is pooch's. Around it, bytes go to ``NAME.part``, and a later call asks the server for the rest
only (RFC 9110, section 14). A file gets its own name once it is whole and its checksum, where one is known, agrees.
"""

from __future__ import annotations

import fnmatch
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

import pooch
import requests
from tqdm import tqdm

from metasr.errors import DataError
from metasr.io.files import put_in_place

_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 16  # bytes; at most that many are lost when a transfer stops


@dataclass(frozen=True)
class Archive:
    """A file to download.

    Attributes:
        url: where it is published.
        filename: its name on disk.
        known_hash: ``"sha256:..."`` or ``"md5:..."`` as its publisher or users state it, or None where nobody does.
        extract: unpack it (zip, or tar with any compression) into the folder it is fetched to.
        members: unpack only members whose path matches this glob.
        splits: the splits it is needed for; empty means all.
    """

    url: str
    filename: str
    known_hash: str | None = None
    extract: bool = True
    members: str = "*"
    splits: tuple[str, ...] = ()


def fetch(archive: Archive, folder: str | Path, *, progress: bool = True) -> Path:
    """Download an archive into a folder, and unpack it there.

    A file that is already there under its name is checked and not downloaded again, so one placed by hand works too.

    Args:
        archive: what to fetch.
        folder: where to; made if it is not there.
        progress: show a progress bar.

    Returns:
        The folder if the archive is unpacked, else the file.

    Raises:
        DataError: the server is out of reach or refuses, the transfer stopped short, the checksum differs (the file
            is kept as ``NAME.bad``), or the archive is damaged or has a member that would land outside the folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / archive.filename
    if not path.is_file():
        part = path.with_name(path.name + ".part")
        _transfer(archive, part, path, progress=progress)
        _verify(part, archive, bad=path.with_name(path.name + ".bad"))
        put_in_place(part, path)
    else:
        _verify(path, archive, bad=path.with_name(path.name + ".bad"))
    if not archive.extract:
        return path
    unpack(path, folder, members=archive.members)
    return folder


def _transfer(archive: Archive, part: Path, path: Path, *, progress: bool) -> None:
    """Bring ``part`` to its full length, from where it stands."""
    by_hand = f"Or download it elsewhere, place it as {path} and run again."
    try:
        try:
            _request(archive.url, part, progress=progress)
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code != 416 or not part.exists():
                raise
            if error.response.headers.get("Content-Range") == f"bytes */{part.stat().st_size}":
                return  # nothing is missing
            part.unlink()  # longer than the file: not a beginning of it, so start afresh
            _request(archive.url, part, progress=progress)
    except requests.HTTPError as error:
        raise DataError(
            f"{archive.url} was refused: {error}. Look on the publisher's page whether the file has moved. {by_hand}"
        ) from error
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
        raise DataError(f"{_stopped(archive.url, part)} {by_hand}") from error
    except requests.RequestException as error:
        raise DataError(
            f"{archive.url} is out of reach ({type(error).__name__}): is this machine online? "
            f"Run again to continue where it stopped. {by_hand}"
        ) from error
    finally:
        if part.exists() and part.stat().st_size == 0:
            part.unlink()


def _stopped(url: str, part: Path, expected: int | None = None) -> str:
    have = part.stat().st_size if part.exists() else 0
    of = f" of {expected:,}" if expected else ""
    return f"{url} stopped after {have:,}{of} bytes, kept in {part}: run again to continue from there."


def _request(url: str, part: Path, *, progress: bool) -> None:
    """Ask for the bytes after those in ``part``, and append them (or start over where the server sends all)."""
    expected: int | None = None
    with part.open("ab") as file:
        start = file.tell()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})

        def on_response(response: requests.Response, *_args: Any, **_kwargs: Any) -> None:
            nonlocal start, expected
            if response.status_code == 206:
                offered = response.headers.get("Content-Range", "none").removeprefix("bytes ").partition("-")[0]
                if offered != str(start):
                    raise requests.exceptions.InvalidHeader(f"asked for the bytes from {start}, offered {offered}")
            elif response.status_code == 200:  # the whole file comes, whatever we asked for
                file.truncate(0)
                start = 0
            else:  # a redirection, or an error that is raised later
                return
            if "Content-Length" in response.headers:
                expected = start + int(response.headers["Content-Length"])

        # The total is pooch's to set; without any, a bar is neither true nor false to it.
        bar: Any = tqdm(total=1, unit="B", unit_scale=True, desc=part.stem, leave=False) if progress else False
        downloader = pooch.HTTPDownloader(
            progressbar=bar,
            chunk_size=_CHUNK,
            timeout=_TIMEOUT,
            headers=headers,
            hooks={"response": on_response},
        )
        downloader(url, file, None)
    if expected is not None and part.stat().st_size != expected:
        raise requests.exceptions.ChunkedEncodingError(_stopped(url, part, expected))


def _verify(path: Path, archive: Archive, *, bad: Path) -> None:
    if archive.known_hash is None:
        return
    algorithm, _, expected = archive.known_hash.rpartition(":")
    algorithm = algorithm or "sha256"
    got = pooch.file_hash(str(path), alg=algorithm)
    if got == expected.lower():
        return
    os.replace(path, bad)
    raise DataError(
        f"{archive.filename} from {archive.url} must have the checksum {archive.known_hash}, got {algorithm}:{got}; "
        f"it is kept as {bad} and not used. Delete it and run again; "
        "if it differs again, the published file has changed."
    )


def unpack(path: str | Path, folder: str | Path, *, members: str = "*") -> None:
    """Unpack a zip or tar file into a folder; files that are there already are replaced.

    Only plain files are unpacked: links and devices are passed over.

    Args:
        path: the archive.
        folder: where its members go.
        members: only members whose path matches this glob.

    Raises:
        DataError: it is no zip or tar file, is damaged, or has a member that would land outside the folder. In that
            case nothing is placed in the folder.
    """
    path, folder = Path(path), Path(folder)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=folder) as name:
        inside = Path(name)
        try:
            if zipfile.is_zipfile(path):
                _unzip(path, inside, members)
            elif tarfile.is_tarfile(path):
                _untar(path, inside, members)
            else:
                raise DataError(f"{path} must be a zip or tar file and is neither; delete it and fetch it again")
        except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's fault (full, not writable), not the archive's
            raise DataError(f"{path} is damaged ({error}); delete it and fetch it again") from error
        for file in sorted(p for p in inside.rglob("*") if p.is_file()):
            target = folder / file.relative_to(inside)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)


def _unzip(path: Path, inside: Path, members: str) -> None:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            target = _target(inside, member.filename, path)
            if member.is_dir() or not fnmatch.fnmatch(member.filename, members):
                continue
            with archive.open(member) as source:
                _write(source, target)


def _untar(path: Path, inside: Path, members: str) -> None:
    with tarfile.open(path) as archive:
        for member in archive:
            target = _target(inside, member.name, path)
            if not member.isfile() or not fnmatch.fnmatch(member.name, members):
                continue
            source = archive.extractfile(member)
            assert source is not None  # a plain file has contents
            with source:
                _write(source, target)


def _target(inside: Path, name: str, path: Path) -> Path:
    """Where a member goes, refused if that is not below ``inside`` on any system."""
    windows = PureWindowsPath(name)
    if ".." in windows.parts or windows.anchor or PurePosixPath(name).is_absolute():
        raise DataError(f"{path} has a member that would land outside its folder: {name!r}; do not use this archive")
    return inside / name


def _write(source: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
