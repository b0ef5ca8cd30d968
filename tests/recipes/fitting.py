"""Runs a recipe in a real trainer, on given batches."""

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from metasr.models.plain_cnn import PlainCNN
from metasr.recipes.base import Recipe


class Given(pl.LightningDataModule):
    """Hands batch ``step`` of a list to step ``step``, past Lightning's own moving of batches, as our data do."""

    def __init__(self, batches: Sequence[Any], steps: int) -> None:
        super().__init__()
        self.batches = batches
        self.steps = steps

    def train_dataloader(self) -> DataLoader:
        return DataLoader(range(self.steps), batch_size=None)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return self.batches[self.trainer.global_step % len(self.batches)]


class Gradients(pl.Callback):
    """Keeps how long each parameter's gradient was at every step, none for a parameter without one."""

    def __init__(self) -> None:
        self.norms: list[dict[str, float | None]] = []

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        named = module.named_parameters()
        self.norms.append({n: None if p.grad is None else float(p.grad.norm()) for n, p in named})


class Losses(pl.Callback):
    """Keeps what was logged at every step."""

    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.logged.append({k: float(v) for k, v in trainer.callback_metrics.items()})


class Either(PlainCNN):
    """Takes the enlarged LR, or the LR itself: what is smaller than 12 pixels it enlarges by 2 first."""

    def forward(self, image: Tensor) -> Tensor:
        small = image.shape[-1] < 12
        return super().forward(functional.interpolate(image, scale_factor=2.0) if small else image)


def fit(recipe: Recipe, batches: Sequence[Any], *, steps: int, **options: Any) -> list[dict[str, float]]:
    """Train for some steps; what was logged at each."""
    losses = Losses()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            accelerator="cpu",
            max_steps=steps,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[*options.pop("callbacks", []), losses],
            **options,
        )
        trainer.fit(recipe, datamodule=Given(batches, steps))
    assert trainer.global_step == steps
    return losses.logged


def silent_options(
    recipe: type[Recipe], baseline: dict[str, Callable[[], Any]], others: dict[str, Callable[[], Any]], batches: Any,
    *, steps: int = 2,
) -> list[str]:  # fmt: skip
    """Which constructor arguments make no difference to what a few steps export.

    Args:
        recipe: the class; ``others`` must give every argument of its constructor another value.
        baseline: makers of the arguments of the run that others are compared with.
        others: makers of another value, one per argument.
        batches: what to train on.
        steps: how many.
    """
    arguments = [name for name in inspect.signature(recipe.__init__).parameters if name != "self"]
    assert sorted(arguments) == sorted(others), "the test must know every argument"

    def outcome(changed: dict[str, Callable[[], Any]]) -> dict[str, Tensor]:
        torch.manual_seed(0)
        made = recipe(**{name: make() for name, make in (baseline | changed).items()})
        fit(made, batches, steps=steps)
        return made.export()

    reference = outcome({})
    again = outcome({})
    assert all(torch.equal(v, again[k]) for k, v in reference.items()), "runs must repeat for this to mean anything"
    silent = []
    for name, make in others.items():
        got = outcome({name: make})
        if got.keys() == reference.keys() and all(torch.equal(got[k], v) for k, v in reference.items()):
            silent.append(name)
    return silent
