"""Images of parquet files, as the hub's datasets are made of, laid down as a folder."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("datasets", reason="needs the extra datasets")

import datasets
import pyarrow
import pyarrow.parquet

from metasr.config import build
from metasr.data.catalog import image_set
from metasr.data.hf_dataset import HFDataset, laid_down
from metasr.errors import DataError, InputError
from running import SMOKE, compose, picture


def encoded(seed: int, kind: str = "PNG") -> bytes:
    into = io.BytesIO()
    Image.fromarray(picture(40, 52, seed=seed)).save(into, kind)
    return into.getvalue()


def parquet(path: Path, images: list[Any], **more: list[Any]) -> Path:
    """As ``Dataset.to_parquet`` writes it, its features in the file's own notes."""
    columns = {"image": [{"bytes": b, "path": None} if isinstance(b, bytes) else b for b in images], **more}
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image()).to_parquet(str(path))
    return path


def test_a_file_of_images(tmp_path: Path) -> None:
    kinds = ("PNG", "JPEG", "WEBP", "PNG")
    bytes_ = [encoded(i, kind) for i, kind in enumerate(kinds)]
    file = parquet(tmp_path / "photos.parquet", bytes_, label=[1, 2, 3, 4])
    folder = laid_down(HFDataset(str(file)), tmp_path / "out")
    images = image_set("image_folder", split="all", root=folder)
    assert [path.name for path in images.paths] == ["000000.png", "000001.jpg", "000002.webp", "000003.png"]
    assert [path.read_bytes() for path in images.paths] == bytes_
    assert np.array_equal((images.load(0).movedim(0, 2).numpy() * 255).round(), picture(40, 52, seed=0))
    assert [path.name for path in (tmp_path / "out").iterdir()] == [folder.name]


def test_it_is_laid_down_once_and_found_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = parquet(tmp_path / "photos.parquet", [encoded(0), encoded(1)])
    folder = laid_down(HFDataset(str(file)), tmp_path / "out")
    with monkeypatch.context() as hidden:
        hidden.setitem(sys.modules, "datasets", None)
        assert laid_down(HFDataset(str(file)), tmp_path / "out") == folder
        with pytest.raises(InputError, match=r"datasets is not installed: pip install 'metasr\[datasets\]'"):
            laid_down(HFDataset(str(file), max_images=1), tmp_path / "out")
    parquet(file, [encoded(0), encoded(1), encoded(2)])  # another content of the same name
    changed = laid_down(HFDataset(str(file)), tmp_path / "out")
    assert changed != folder
    assert len(image_set("image_folder", split="all", root=changed)) == 3


def test_rows_are_taken_one_by_one(tmp_path: Path) -> None:
    file = parquet(tmp_path / "photos.parquet", [encoded(0), encoded(1), b"not an image"])
    folder = laid_down(HFDataset(str(file), max_images=2), tmp_path / "out")
    assert len(image_set("image_folder", split="all", root=folder)) == 2
    with pytest.raises(DataError, match=r"photos\.parquet, row 2, column 'image': not a readable image"):
        laid_down(HFDataset(str(file)), tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 1  # nothing is left of it


def test_a_folder_of_files_and_plain_columns_of_bytes(tmp_path: Path) -> None:
    parquet(tmp_path / "set" / "train-0.parquet", [encoded(0)])
    parquet(tmp_path / "set" / "train-1.parquet", [encoded(1)])
    folder = laid_down(HFDataset(str(tmp_path / "set")), tmp_path / "out")
    assert [p.read_bytes() for p in image_set("image_folder", split="all", root=folder).paths] == [
        encoded(0), encoded(1),
    ]  # fmt: skip
    plain = tmp_path / "plain.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"picture": [encoded(2)], "name": ["a"]}), plain)
    with pytest.raises(DataError, match=r"found none, of the columns picture, name; name it: data.column=NAME"):
        laid_down(HFDataset(str(plain)), tmp_path / "out")
    folder = laid_down(HFDataset(str(plain), column="picture"), tmp_path / "out")
    assert next(folder.glob("*.png")).read_bytes() == encoded(2)


def test_what_is_wrong_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    file = parquet(tmp_path / "photos.parquet", [encoded(0)], label=[1])
    secret = tmp_path / "secret.png"
    secret.write_bytes(encoded(5))
    address = parquet(tmp_path / "address.parquet", [encoded(0)])
    table = pyarrow.parquet.read_table(address)
    row = pyarrow.array([{"bytes": None, "path": str(secret)}], table.schema.field("image").type)
    pyarrow.parquet.write_table(table.set_column(0, table.schema.field("image"), row), address)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    for choices, told in (
        ({"path": str(file), "column": "imag"}, r"no column 'imag', only image, label"),
        ({"path": str(file), "column": "label"}, r"cannot be read as a dataset"),
        (
            {"path": str(address)},
            r"row 0, column 'image': no image's bytes there",
        ),  # a file of this machine is not read
        ({"path": str(tmp_path / "empty")}, r"holds no \.parquet file; for a folder of images: data=image_folder"),
        ({"path": str(tmp_path / "notes.txt")}, r"is no \.parquet file"),
        ({"path": "somebody/none"}, r"somebody/none cannot be read as a dataset"),
    ):
        with pytest.raises(DataError, match=told):
            laid_down(HFDataset(**choices), tmp_path / "out")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="max_images must be at least 1"):
        laid_down(HFDataset(str(file), max_images=0), tmp_path / "out")


def test_two_columns_of_images_have_to_be_told_apart(tmp_path: Path) -> None:
    columns = {"hr": [{"bytes": encoded(0), "path": None}], "lr": [{"bytes": encoded(1), "path": None}]}
    made = datasets.Dataset.from_dict(columns)
    for name in columns:
        made = made.cast_column(name, datasets.Image())
    made.to_parquet(str(tmp_path / "pairs.parquet"))
    with pytest.raises(DataError, match=r"found 2 \(hr, lr\).*data.column=NAME"):
        laid_down(HFDataset(str(tmp_path / "pairs.parquet")), tmp_path / "out")
    folder = laid_down(HFDataset(str(tmp_path / "pairs.parquet"), column="lr"), tmp_path / "out")
    assert next(folder.glob("*.png")).read_bytes() == encoded(1)


def test_a_run_draws_from_it(tmp_path: Path) -> None:
    file = parquet(tmp_path / "photos.parquet", [encoded(i) for i in range(6)])
    chosen = (*SMOKE, "data=hf_dataset", f"data.path={file}", f"paths.outputs={tmp_path / 'out'}")
    cfg = compose(*chosen)
    train, val = build.images(cfg, "train"), build.images(cfg, "val")
    assert (len(train), len(val)) == (5, 1)
    assert not set(train.paths) & set(val.paths)
    data = build.stage_data(compose(*chosen, "data.max_images=4"), "pretrain")
    data.setup("fit")
    assert data.pool is not None
    assert len(data.images) == 3  # one of four is for validation
    for choices, told in (
        (("data=hf_dataset",), r"data=hf_dataset needs to know which: data.path=USER/NAME"),
        (("data=hf_dataset", "data.path=x", "data.root=y"), r"takes data.path=\.\.\., a folder is data=image_folder"),
        (("data=image_folder", "data.path=x"), r"data.path=x is of data=hf_dataset, got data=image_folder"),
    ):
        with pytest.raises(InputError, match=told):
            build.images(compose(*SMOKE, *choices), "train")
