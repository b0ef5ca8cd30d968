"""What tests of whole jobs share: composing configs, running the program, small pictures."""

import copy
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import DictConfig, open_dict
from PIL import Image

from metasr.config.chain import chain
from metasr.config.schema import register
from metasr.paths import conf_folder
from metasr.runs.folder import register_resolvers
from metasr.runs.weights import Weights
from metasr.training.callbacks import Watch
from metasr.training.chain import run_chain

PROJECT = Path(__file__).resolve().parents[1]

SMOKE = ("+experiment=mzsr_x2", "profile=smoke", "logger=none")
NO_VALIDATION = ("stages.pretrain.validation.degradations=[]", "stages.meta_transfer.validation.degradations=[]")
SMALL = (*SMOKE, *NO_VALIDATION, "model.channels=8", "model.layers=3", "evaluation.released=false")
"""The smoke profile with a network so small that a whole chain takes a second."""


def compose(*overrides: str) -> DictConfig:
    """The composed config, as the command line composes it."""
    return copy.deepcopy(_composed(overrides))


@lru_cache
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    register()
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return hydra_compose("config", overrides=list(overrides))


def train(cfg: DictConfig, run: Path, *, watch: Watch | None = None) -> Weights:
    """Run a composed experiment's chain in a folder."""
    return run_chain(chain(cfg, run), watch=watch)


def environment(outputs: Path, **more: str) -> dict[str, str]:
    """The environment of a subprocess that writes below ``outputs``."""
    kept = {k: v for k, v in os.environ.items() if k not in ("METASR_DATA", "HYDRA_FULL_ERROR")}
    return {**kept, "METASR_OUTPUTS": str(outputs), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **more}


def run_py(*arguments: str, outputs: Path, timeout: float = 240, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``python src/run.py`` to its end, without a terminal and without input."""
    return subprocess.run(
        [sys.executable, "src/run.py", *arguments], cwd=PROJECT, env=environment(outputs, **more), text=True,
        stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False,
    )  # fmt: skip


def picture(height: int, width: int, channels: int = 3, *, seed: int = 0, full: int = 255) -> np.ndarray:
    """A smooth picture with an edge, (H, W, channels) or (H, W) for one channel; integers 0..full."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    planes = []
    for _ in range(channels):
        a, b, c = rng.uniform(2, 9, 3)
        planes.append(0.5 + 0.3 * np.sin(a * x + b * y + c) + 0.15 * (x + 0.6 * y > 0.5))
    values = np.clip(np.stack(planes, -1), 0, 1) * full
    values = values.round().astype(np.uint8 if full == 255 else np.uint16)
    return values[..., 0] if channels == 1 else values


def upscale_config(solver: str, **values: object) -> DictConfig:
    """The config of an upscaling job, with top-level keys set past hydra's grammar."""
    cfg = compose("task=upscale", "logger=none", f"solver={solver}")
    with open_dict(cfg):
        for key, value in values.items():
            cfg[key] = str(value) if isinstance(value, Path) else value
    return cfg


def save_picture(path: Path, height: int = 53, width: int = 61, channels: int = 3, *, seed: int = 0) -> Path:
    """Write an 8-bit picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(height, width, channels, seed=seed)).save(path)
    return path


OWN_NETWORKS = '''
import torch
from torch import nn


class Sharp(nn.Module):
    """Keeps the size."""

    def __init__(self, strength=0.5):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(strength))

    def forward(self, image):
        return image + self.gain * (image - nn.functional.avg_pool2d(image, 3, 1, 1))


class Double(nn.Module):
    """Enlarges by two."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.0))

    def forward(self, image):
        return nn.functional.interpolate(image, scale_factor=2) * self.gain


def not_a_module():
    return 3
'''
