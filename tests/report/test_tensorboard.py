"""What an evaluation sends to TensorBoard, read back from its event files; a whole run beside it."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorboard", reason="needs the extra tensorboard")

from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metasr.evaluation.loss_curves import LossPoint
from metasr.evaluation.results import ImageRow, Table
from metasr.report.tensorboard import log_results
from metasr.training.loggers import close
from running import SMALL, run_py, save_picture


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    return events.Reload()


def test_scores_curves_and_pictures_come_back(tmp_path: Path) -> None:
    picture = save_picture(tmp_path / "bird_g2.0d.png", 11, 17)
    rows = [
        ImageRow("set5", "g2.0d", 2.0, "adapt", "run", updates, "a", psnr, 0.9, 0.1, requested=updates)
        for updates, psnr in ((0, 30.0), (10, 34.5))
    ]
    logger = TensorBoardLogger(save_dir=str(tmp_path), name="tensorboard", default_hp_metric=False)
    log_results(logger, table=Table(rows), losses=[LossPoint("g2.0d", "adapt", "run", 3, 0.25, 1)], pictures=[picture])
    close([logger])
    events = read(tmp_path / "tensorboard" / "version_0")
    curve = events.Scalars("curves/psnr_y/g2.0d/adapt/run")
    assert [(point.step, point.value) for point in curve] == [(0, 30.0), (10, 34.5)]
    assert [(p.step, p.value) for p in events.Scalars("curves/loss/g2.0d/adapt/run")] == [(3, 0.25)]
    assert events.Scalars("test/psnr_y/g2.0d/adapt/run@10")[0].value == 34.5
    assert events.Scalars("test/ssim_y/g2.0d/adapt/run@0")[0].value == pytest.approx(0.9)
    shown = events.Images("test/bird_g2.0d")[0]
    assert (shown.height, shown.width) == (11, 17)
    table = bytes(np.concatenate([t.tensor_proto.string_val for t in events.Tensors("test/table/text_summary")]))
    assert b"| g2.0d | adapt | run | 10 | 34.50 | 0.9000 |" in table


@pytest.mark.slow
def test_a_run_writes_the_same_names_as_to_csv_and_wandb(tmp_path: Path) -> None:
    choices = ["logger=tensorboard", "stages.pretrain.validation.degradations=[bicubic]", "degradations=[bicubic]"]
    small = [c for c in SMALL if c not in ("logger=none", "stages.pretrain.validation.degradations=[]")]
    done = run_py(*small, *choices, "stages_to_run=[pretrain]", "max_images=1", f"run={tmp_path}/run", outputs=tmp_path)
    assert done.returncode == 0, done.stderr
    stage = tmp_path / "run" / "01_pretrain"
    events = read(stage / "tensorboard" / "version_0")
    names = set(events.Tags()["scalars"])
    assert {"train/loss", "val/psnr_y/bicubic@0", "val/ssim_y/bicubic@0"} <= names
    header = (stage / "csv" / "version_0" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert set(header) - {"step", "epoch"} <= names
    assert events.Tags()["images"] == ["val/sr"]
    scores = read(tmp_path / "run" / "evaluation" / "tensorboard" / "version_0").Tags()["scalars"]
    assert "test/psnr_y/bicubic/interpolate/-@0" in scores
