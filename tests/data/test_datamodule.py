"""Batches for Lightning: what they depend on, and on what they do not."""

import os
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from metasr.data.catalog import ImageSet
from metasr.data.datamodule import PatchData
from metasr.data.patches import PatchPool
from metasr.errors import DataError
from metasr.io.images import Photo, write_photo


class Pictures:
    """Stands in for an image set; counts how often it is asked."""

    names = ("first", "second")
    lr = ()

    def __init__(self) -> None:
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return 2

    def sizes(self, index: int) -> list[tuple[int, int]]:
        return [(20 + index, 30)]

    def only(self, _: object) -> "Pictures":
        return self

    def load(self, index: int) -> Tensor:
        self.loaded.append(index)
        return torch.rand(3, 20 + index, 30, generator=torch.Generator().manual_seed(index))


class Cut:
    """The plainest sampler: a few patches."""

    def draw(self, pool: PatchPool, *, generator: torch.Generator) -> Tensor:
        return pool.draw(3, generator=generator)


@dataclass
class At:
    """A trainer's place, as far as the data look at it."""

    global_step: int = 0
    global_rank: int = 0
    lightning_module: Any = None

    @property
    def strategy(self) -> Any:
        return SimpleNamespace(root_device=torch.device("cpu"))


def data(*, steps: int = 6, seed: int = 0, stage: str = "pretrain", patch_size: int = 8) -> PatchData:
    return PatchData(Pictures(), sampler=Cut(), patch_size=patch_size, steps=steps, seed=seed, stage=stage)


def batch(at: At, *, after: int = 0, **options: Any) -> Tensor:
    """The batch at a place, after some others were drawn."""
    made = data(**options)
    made.setup("fit")
    for step in range(after):
        made.trainer = At(global_step=step + 1000)
        made.on_after_batch_transfer(step, 0)
    made.trainer = at
    return made.on_after_batch_transfer(123, 0)


def test_batch_depends_on_seed_stage_step_and_rank() -> None:
    base = batch(At(5, 1), seed=3, stage="pretrain")
    assert base.shape == (3, 3, 8, 8)
    assert torch.equal(base, batch(At(5, 1), seed=3, stage="pretrain"))
    for at, seed, stage in [
        (At(6, 1), 3, "pretrain"),
        (At(5, 0), 3, "pretrain"),
        (At(1, 5), 3, "pretrain"),
        (At(5, 1), 4, "pretrain"),
        (At(5, 1), 3, "meta_transfer"),
    ]:
        assert not torch.equal(base, batch(at, seed=seed, stage=stage)), (at, seed, stage)


def test_batch_depends_on_nothing_else() -> None:
    base = batch(At(5, 0))
    assert torch.equal(base, batch(At(5, 0), after=3))
    assert torch.equal(base, batch(At(5, 0), steps=100))
    torch.manual_seed(99)
    assert torch.equal(base, batch(At(5, 0)))


def test_pictures_are_decoded_once() -> None:
    made = data()
    made.setup("fit")
    pool = made.pool
    made.setup("fit")
    assert made.pool is pool
    assert made.images.loaded == [0, 1]


def test_loader_counts_the_steps() -> None:
    assert list(data(steps=4).train_dataloader()) == [0, 1, 2, 3]


def test_too_small_pictures_are_told_by_name() -> None:
    with pytest.raises(DataError, match=r"1 of 2 .* 21x21 patch: first \(20x30\)"):
        data(patch_size=21).setup("fit")


class Recorder(pl.LightningModule):
    """Keeps the batches it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[Tensor] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.seen.append(batch.clone())
        return self.weight * batch.mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder: Path, *, until: int, resume: str | None = None) -> tuple[Recorder, pl.Trainer]:
    recorder = Recorder()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=until,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(recorder, datamodule=data(steps=6), ckpt_path=resume, weights_only=None if resume is None else True)
    return recorder, trainer


@pytest.mark.filterwarnings("ignore")
def test_resumed_run_draws_what_an_uninterrupted_one_would_have(tmp_path: Path) -> None:
    whole, _ = fit(tmp_path, until=6)
    first, trainer = fit(tmp_path, until=3)
    trainer.save_checkpoint(tmp_path / "resume.ckpt")
    second, _ = fit(tmp_path, until=6, resume=str(tmp_path / "resume.ckpt"))
    assert (len(whole.seen), len(first.seen), len(second.seen)) == (6, 3, 3)
    assert torch.equal(torch.stack(whole.seen), torch.stack(first.seen + second.seen))
    assert len({b.numpy().tobytes() for b in whole.seen}) == 6


def test_steps_that_share_a_batch_draw_the_same() -> None:
    """A resumed run may begin with any of them, so that it cannot be remembered: it is computed."""
    twice = SimpleNamespace(steps_per_batch=2)
    seen = [batch(At(step, lightning_module=twice)) for step in range(6)]
    for first in (0, 2, 4):
        assert torch.equal(seen[first], seen[first + 1])
    assert len({b.numpy().tobytes() for b in seen}) == 3
    once = [batch(At(step, lightning_module=SimpleNamespace())) for step in range(3)]
    assert all(torch.equal(a, b) for a, b in zip(once, seen[::2], strict=True))


def photographs(folder: Path, *, seed: int = 0) -> ImageSet:
    """Two files that were written long ago."""
    generator = torch.Generator().manual_seed(seed)
    paths = tuple(folder / f"{i}.png" for i in range(2))
    for path in paths:
        write_photo(Photo(torch.rand(3, 20, 30, generator=generator)), path, overwrite=True)
        os.utime(path, (1e9 + seed, 1e9 + seed))
    return ImageSet("x", "train", paths)


def pool_of(images: ImageSet, *, patch_size: int = 8) -> PatchPool:
    made = PatchData(images, sampler=Cut(), patch_size=patch_size, steps=1, seed=0, stage="x")
    made.setup("fit")
    assert made.pool is not None
    return made.pool


def test_the_next_stage_finds_the_pictures_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Path] = []
    load = ImageSet.load
    monkeypatch.setattr(ImageSet, "load", lambda self, i: loaded.append(self.paths[i]) or load(self, i))
    images = photographs(tmp_path)
    first, second = pool_of(images), pool_of(photographs_again(images), patch_size=5)
    assert loaded == list(images.paths)
    assert first.pixels.data_ptr() == second.pixels.data_ptr()
    assert torch.equal(first.pixels[:600].float() / 255, load(images, 0).permute(1, 2, 0).reshape(-1, 3))

    cropped = pool_of(ImageSet("x", "train", images.paths, crop=(16, 16)))
    assert (len(loaded), len(cropped.pixels)) == (4, 2 * 16 * 16)
    pool_of(images)
    assert len(loaded) == 6, "only the last set is kept"
    changed = pool_of(photographs(tmp_path, seed=1))
    assert len(loaded) == 8
    assert not torch.equal(changed.pixels, first.pixels)


def photographs_again(images: ImageSet) -> ImageSet:
    """The same files, as another stage finds them."""
    return ImageSet(images.name, images.split, tuple(images.paths))


def test_new_files_are_decoded_anew(tmp_path: Path) -> None:
    """A second change within the grain of a file's times must not go unseen."""
    images = photographs(tmp_path)
    os.utime(images.paths[0])
    first = pool_of(images).pixels
    write_photo(Photo(torch.zeros(3, 20, 30)), images.paths[0], overwrite=True)
    assert not torch.equal(pool_of(images).pixels, first)
