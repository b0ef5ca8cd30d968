"""What tests of reports share: runs as data, and run folders as the program writes them."""

import io
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from PIL import Image
from safetensors.torch import save_file

from metasr import __version__
from metasr.evaluation.results import Row
from metasr.report.html.blocks import Plot
from metasr.report.run_data import RatesTable, RunData, StageData

STAMP = "2026-03-04_05-06-07-000089"
NETWORK = {"_target_": "metasr.models.plain_cnn.PlainCNN", "channels": 3, "layers": 3}


def png(colour: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (13, 7)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, format="PNG")
    return file.getvalue()


def row(psnr: float, **values: Any) -> Row:
    told: dict[str, Any] = {
        "testset": "set5", "degradation": "g2.0d", "scale": 2.0, "solver": "adapt", "weights": "run", "updates": 10.0,
        "images": 5, "psnr_y": psnr, "ssim_y": 0.9, "seconds": 0.5,
    }  # fmt: skip
    told |= values
    if told["solver"] == "adapt" and not told.get("own_stop"):
        told = {"requested": int(told["updates"])} | told
    return Row(**({"taken": told["updates"]} | told))


def rows(psnr: float = 35.5, *, published: float | None = 36.05, bicubic: float = 28.73) -> list[Row]:
    return [
        row(bicubic, solver="interpolate", weights="-", updates=0.0, published_psnr_y=28.73),
        row(29.79, solver="interpolate_aligned", weights="-", updates=0.0),
        row(psnr - 3, updates=0.0),
        row(psnr, published_psnr_y=published),
    ]


def run_data(label: str = "one", **values: Any) -> RunData:
    card = {
        "status": "finished", "steps": 40, "seconds": 1.25, "hash": "abc123", "weights": "f" * 64, "python": "3.11.7",
        "versions": {"torch": "2.13.0", "metasr": __version__}, "machine": {"system": "Linux", "gpu": None},
        "git_commit": "0123abc", "metrics": {"train/loss": 0.0123},
    }  # fmt: skip
    stage = StageData("02_meta_transfer", card, {"train/loss": [(0, 0.5), (1, 0.05), (2, 0.02)]})
    told: dict[str, Any] = {
        "line": label, "experiment": "mzsr_x2", "folder": f"/runs/{label}", "rows": rows(), "stages": [stage],
        "config": {"name": "mzsr_x2", "seed": 1, "profile_name": "smoke", "model": {"channels": 8}},
        "overrides": ["+experiment=mzsr_x2", "seed=1"],
        "losses": {("g2.0d", "adapt", "run"): [0.3, 0.2, 0.15]},
        "pictures": {"bird_g2.0d.png": png(), "kernels.png": png((0, 0, 0)), "adaptation.png": png((1, 2, 3))},
        "rates": RatesTable(("1", "2"), ("conv1.weight", "conv1.bias"), ((0.01, 0.02), (0.005, 0.1))),
    }  # fmt: skip
    return RunData(label, **(told | values))


TABLE = (
    "testset,degradation,scale,solver,weights,updates,images,psnr_y,ssim_y,seconds,published_psnr_y,published_ssim_y,"
    "hf_error_y,own_stop\n"
    "set5,g2.0d,2,interpolate,-,0,5,28.7300,0.8449,0.0010,28.7300,0.8449,6.3649,False\n"
    "set5,g2.0d,2,adapt,run,0,5,{low},0.9100,0.0197,,,nan,False\n"
    "set5,g2.0d,2,adapt,run,10,5,{high},0.9400,0.0337,36.0500,0.9439,5.1000,False\n"
)


def write_run(
    folder: Path,
    *,
    experiment: str = "mzsr_x2",
    high: float = 35.5,
    seed: int = 1,
    table: bool = True,
    last_stage: str = "finished",
    version: str = __version__,
) -> Path:
    """A run folder of two stages, of which the last may be cut short."""
    config = {
        "name": experiment, "seed": seed, "model": NETWORK, "stages": {"pretrain": {}, "meta_transfer": {}},
        "paths": {"outputs": str(folder.parent)}, "profile_name": "smoke",
    }  # fmt: skip
    for number, name in enumerate(config["stages"], start=1):
        stage = folder / f"{number:02d}_{name}"
        logs = stage / "csv" / "version_0"
        logs.mkdir(parents=True)
        card = {
            "experiment": experiment, "stage": name, "status": "finished" if number == 1 else last_stage,
            "config": config, "versions": {"metasr": version, "torch": "2.13.0"}, "metrics": {"train/loss": 0.25},
        }  # fmt: skip
        (stage / "card.json").write_text(json.dumps(card))
        (logs / "metrics.csv").write_text("epoch,step,train/loss\n0,0,0.5\n,7,\n0,1,0.25\n")
        if card["status"] == "finished":
            rates = {"inner_rates": torch.tensor([[0.01] * 6, [0.02] * 6])} if number == 2 else {}
            save_file({"conv1.weight": torch.zeros(3, 3, 3, 3), **rates}, stage / "weights.safetensors")
    if table:
        (folder / "table.csv").write_text(TABLE.format(low=high - 3, high=high))
        (folder / "curves.csv").write_text(
            "degradation,solver,weights,updates,loss,images\ng2.0d,adapt,run,0,0.5,5\ng2.0d,adapt,run,1,0.25,5\n"
        )
        (folder / "pictures").mkdir()
        (folder / "pictures" / "bird_g2.0d.png").write_bytes(png())
        (folder / "pictures" / "kernels.png").write_bytes(png((0, 0, 0)))
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "overrides.yaml").write_text(f"- +experiment={experiment}\n- seed={seed}\n")
    return folder


def write_sweep(folder: Path, *, failed: bool = True) -> Path:
    """A sweep of two variants by two seeds; the last job failed, if wished."""
    number = 0
    for order in ("first", "second"):
        for seed in (1, 2):
            job = folder / f"seed_{seed}-order_{order}"
            broken = failed and number == 3
            if broken:
                job.mkdir(parents=True)
            else:
                write_run(job, seed=seed, high=35.0 + number)
            card = {
                "number": number, "status": "failed" if broken else "finished",
                "overrides": ["+experiment=mzsr_x2", f"seed={seed}", f"order={order}"],
                **({"error": "loss became nan"} if broken else {}),
            }  # fmt: skip
            (job / "job.json").write_text(json.dumps(card))
            number += 1
    return folder


def svg_of(figure: Plot | str) -> ElementTree.Element:
    """A plot, or the first one in a page."""
    text = f"<svg>{figure.inside}</svg>" if isinstance(figure, Plot) else figure
    return ElementTree.fromstring(re.findall(r"<svg.*?</svg>", text, re.DOTALL)[0])
