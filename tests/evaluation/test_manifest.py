"""What a table's LR images were: the manifest, and sets of degradations in whole jobs."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metasr.config import build
from metasr.config.chain import validator
from metasr.data.catalog import ImageSet
from metasr.degradation import names
from metasr.errors import InputError
from metasr.evaluation.evaluate import evaluate
from metasr.evaluation.manifest import MANIFEST_NAME, Manifest
from metasr.io.images import list_images
from metasr.jobs.run import execute
from metasr.metrics.protocol import LumaProtocol
from running import SMOKE, compose, save_picture

MEMBERS = names.expand(["gaussian8"], 4)
EVALUATE = (*SMOKE, "task=evaluate", "max_images=null", "scale=4", "solver=interpolate")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i, (height, width) in enumerate([(57, 63), (49, 54)]):
        save_picture(folder / f"img{i}.png", height, width, seed=i)
    return folder


def made(photos: Path, degradations: list[str], *, seed: int = 1, scale: float = 4) -> list[dict[str, Any]]:
    manifest = Manifest(seed)
    images = ImageSet("mine", "test", tuple(list_images(photos)))
    evaluate(
        images, degradations, lambda _: [], scale=scale, seed=seed, protocol=LumaProtocol(), manifest=manifest
    )  # fmt: skip
    return json.loads(manifest.to_json())["images"]


def test_a_line_tells_how_its_image_can_be_made_again(photos):
    for line in made(photos, ["g2.0d_n10", "sigani_3_1_20_b_n5", "bicubic"]):
        degradation = names.parse(line["degradation"], scale=line["scale"])
        hr = ImageSet("m", "test", (photos / f"{line['name']}.png",)).load(0)[None]
        hr = LumaProtocol().crop_reference(hr, 4)
        lr = degradation(hr, generator=torch.Generator().manual_seed(line["seed"]))
        levels = (lr[0] * 255).round().byte().permute(1, 2, 0).numpy()
        assert line["pixels_sha256"] == hashlib.sha256(np.ascontiguousarray(levels).tobytes()).hexdigest()
        assert levels.shape[:2] == tuple(line["lr_size"])
        assert line["noise_std"] / 255 == pytest.approx(degradation.noise_std)


def test_what_the_columns_hold(photos):
    blurred, plain = made(photos, ["sig_2_b_n2.5", "direct"])[::2]
    assert (blurred["name"], blurred["degradation"], blurred["scale"]) == ("img0", "sig_2_b_n2.5", 4)
    assert (blurred["kernel_size"], blurred["noise_std"], blurred["padding"]) == ([21, 21], 2.5, "reflect")
    assert (blurred["downsample"], blurred["quantise"]) == ("bicubic", "round")
    weights = names.parse("sig_2_b", scale=4).kernel.numpy().tobytes()
    assert blurred["kernel_sha256"] == hashlib.sha256(weights).hexdigest()
    assert (plain["kernel_size"], plain["kernel_sha256"], plain["padding"], plain["noise_std"]) == (None, None, None, 0)


def test_the_same_twice_and_another_seed(photos):
    first = made(photos, ["gaussian8_n10", "bicubic"])
    assert first == made(photos, ["gaussian8_n10", "bicubic"])
    assert len(first) == 2 * 9
    other = made(photos, ["gaussian8_n10", "bicubic"], seed=2)
    same = [a["pixels_sha256"] == b["pixels_sha256"] for a, b in zip(first, other, strict=True)]
    assert same == [False] * 16 + [True] * 2  # without noise nothing is drawn
    assert len({line["seed"] for line in first + other}) == 36


def test_whole_jobs_write_it_and_tell_of_it(photos, tmp_path, capsys):
    cfg = compose(*EVALUATE, f"testset={photos}", "degradations=[gaussian8_n10,bicubic]", "seed=7")
    for name in ("a", "b"):
        execute(cfg, tmp_path / name)
        told = capsys.readouterr().out
        assert f"test set: 18 LR images made on the fly, seed 7, listed in {tmp_path / name / MANIFEST_NAME}" in told
        assert "gaussian8_n10" in told
    first, second = ((tmp_path / name / MANIFEST_NAME).read_text() for name in ("a", "b"))
    assert first == second
    assert [line["degradation"] for line in json.loads(first)["images"]][::2] == [
        *names.expand(["gaussian8_n10"], 4), "bicubic",
    ]  # fmt: skip


def test_the_mean_of_a_set_is_over_images_and_kernels(photos):
    images = ImageSet("mine", "test", tuple(list_images(photos)))
    table = evaluate(
        images, ["gaussian8", "sig_2_b"], lambda _: [], scale=4, seed=1, protocol=LumaProtocol(), testset="set5"
    )  # fmt: skip
    *single, mean, aligned = table.rows
    assert [row.degradation for row in single[::2]] == MEMBERS
    assert (mean.degradation, mean.solver, aligned.solver) == ("gaussian8", "interpolate", "interpolate_aligned")
    assert mean.images == 2
    assert mean.psnr_y == pytest.approx(np.mean([r.psnr_y for r in table.images if r.solver == "interpolate"]))
    assert mean.published_psnr_y == 24.57  # of that set of images


def test_a_set_for_validation():
    cfg = compose(
        *SMOKE, "scale=4", "stages.pretrain.validation.degradations=[gaussian8]", "stages.pretrain.validation.crop=48"
    )  # fmt: skip
    made = validator(cfg, "pretrain")
    assert made is not None
    found = made.score(build.recipe(cfg, "pretrain"))
    assert {key for key in found if "psnr" in key} == {f"val/psnr_y/{name}@0" for name in MEMBERS}


def test_a_scale_without_the_set_costs_no_training(photos, tmp_path):
    cfg = compose(*EVALUATE, f"testset={photos}", "degradations=[mrda9-estimated]", "scale=2")
    with pytest.raises(InputError, match="mrda9-estimated are given for scale 4, got 2"):
        execute(cfg, tmp_path / "x")
    assert not (tmp_path / "x" / MANIFEST_NAME).exists()


def test_the_protocol_of_the_line_does_not_round_luma():
    assert build.protocol(compose(*SMOKE, "evaluation=dasr")) == LumaProtocol(round_luma=False)
    assert build.protocol(compose(*SMOKE)) == LumaProtocol()
