"""Images of a Hugging Face dataset, or of parquet files: a column of them, laid down as a folder of image files.

Rows come one by one (streaming), so no more is fetched than is asked for. What was laid down once is found again and
needs neither network nor the ``datasets`` package. Encoded images keep their bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from metasr.errors import DataError, InputError, require_at_least, require_extra
from metasr.io.files import told_of_writing
from metasr.text import pluralize

log = logging.getLogger(__name__)

RECORD = ".dataset.json"
"""Lies in a finished folder, and tells what is in it."""
_SUFFIXES = {
    "JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp", "GIF": ".gif", "PPM": ".ppm",
    "JPEG2000": ".jp2", "AVIF": ".avif",
}  # fmt: skip


@dataclass(frozen=True)
class HFDataset:
    """Which images.

    Attributes:
        path: ``USER/NAME`` on the hub, a ``.parquet`` file, or a folder of such files.
        column: the column of images; none for the only one.
        subset: of a dataset on the hub that has several; none for the only one.
        split: of a dataset on the hub.
        max_images: how many rows are taken, from the first on; none for all.
    """

    path: str
    column: str | None = None
    subset: str | None = None
    split: str = "train"
    max_images: int | None = None

    @property
    def files(self) -> list[Path]:
        """The parquet files, where it lies on this machine; none on the hub.

        Raises:
            DataError: for a folder without any, or a file of another kind.
        """
        place = Path(self.path).expanduser()
        if place.is_dir():
            found = sorted(place.rglob("*.parquet"))
            if not found:
                raise DataError(
                    f"{place} holds no .parquet file; for a folder of images: data=image_folder data.root={place}"
                )
            return found
        if place.is_file() and place.suffix.lower() != ".parquet":
            raise DataError(f"{place} is no .parquet file; for images: data=image_folder data.root=FOLDER")
        return [place] if place.is_file() else []


def laid_down(dataset: HFDataset, base: Path) -> Path:
    """The folder with a dataset's images, made now or found from an earlier time.

    Args:
        dataset: which images.
        base: the folder of all such folders.

    Raises:
        InputError: where the extra is not installed, or for a number of images below 1.
        DataError: for a dataset, column or row that is not there or no image, or if the hub cannot be reached.
        OutputError: if the folder cannot be written.
    """
    require_at_least(1, max_images=dataset.max_images)
    files = dataset.files
    states = [(str(path.absolute()), path.stat().st_mtime_ns, path.stat().st_size) for path in files]
    digest = hashlib.sha256(json.dumps([asdict(dataset), states]).encode()).hexdigest()[:12]
    stem = Path(dataset.path).name or "dataset"
    folder = base / f"{''.join(c if c.isalnum() or c in '._-' else '_' for c in stem)[:60].lstrip('.')}-{digest}"
    if (folder / RECORD).is_file():
        return folder
    require_extra("datasets", "datasets", asked=f"data.path={dataset.path}")
    with told_of_writing(folder):
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=base, prefix=".laying-down-") as temporary:
            inside = Path(temporary) / "images"
            inside.mkdir()
            count = 0
            for index, (suffix, data) in enumerate(_images(dataset, files)):
                (inside / f"{index:06d}{suffix}").write_bytes(data)
                count += 1
            if count == 0:
                raise DataError(f"{dataset.path} has no rows; choose another split or file")
            (inside / RECORD).write_text(json.dumps({**asdict(dataset), "images": count}, indent=2) + "\n")
            if not folder.exists():  # another process may have been quicker
                inside.rename(folder)
    log.info("%s: %s laid down in %s", dataset.path, pluralize(count, "image"), folder)
    return folder


def _images(dataset: HFDataset, files: list[Path]) -> Iterator[tuple[str, bytes]]:
    """Suffix and bytes of each row's image."""
    import datasets

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if files:
                rows = datasets.load_dataset(
                    "parquet", data_files=[str(path) for path in files], split="train", streaming=True
                )
            else:
                rows = datasets.load_dataset(dataset.path, dataset.subset, split=dataset.split, streaming=True)
            column = _column(dataset, rows.features or rows._resolve_features().features or {})
            rows = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))
            for index, row in enumerate(islice(rows, dataset.max_images)):
                yield _encoded(row[column], f"{dataset.path}, row {index}, column {column!r}")
    except (DataError, InputError):
        raise
    except Exception as error:  # of the library's and the network's own many kinds
        first = (str(error).strip().splitlines() or [""])[0][:300]
        raise DataError(
            f"{dataset.path} cannot be read as a dataset ({type(error).__name__}: {first}); data.path takes USER/NAME "
            "of the hub (data.subset, data.split), a .parquet file or a folder of such files"
        ) from error


def _column(dataset: HFDataset, features: Mapping[str, Any]) -> str:
    import datasets

    if dataset.column is not None:
        if dataset.column not in features:
            raise DataError(f"{dataset.path} has no column {dataset.column!r}, only {', '.join(features)}")
        return dataset.column
    pictures = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    if len(pictures) != 1:
        found = f"{len(pictures)} ({', '.join(pictures)})" if pictures else "none"
        raise DataError(
            f"{dataset.path}: one column of images was expected, found {found}, of the columns {', '.join(features)}; "
            "name it: data.column=NAME"
        )
    return pictures[0]


def _encoded(value: Any, where: str) -> tuple[str, bytes]:
    """An image's suffix and bytes; one that comes as an address is decoded by the library, and written as PNG.

    An address on this machine is none that a dataset may name.
    """
    import datasets
    from PIL import Image, UnidentifiedImageError

    data, address = (value or {}).get("bytes"), (value or {}).get("path")
    if data is None and (address is None or "://" not in address or address.startswith("file:")):
        raise DataError(f"{where}: no image's bytes there; leave the row out, or take another column")
    try:
        if data is not None:
            with Image.open(io.BytesIO(data)) as image:
                suffix = _SUFFIXES.get(image.format or "")
            if suffix is not None:
                return suffix, data
            picture = Image.open(io.BytesIO(data))
        else:
            picture = datasets.Image().decode_example(value)
        encoded = io.BytesIO()
        picture.save(encoded, "PNG")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise DataError(f"{where}: not a readable image ({str(error)[:200]}); leave the row out") from error
    return ".png", encoded.getvalue()
