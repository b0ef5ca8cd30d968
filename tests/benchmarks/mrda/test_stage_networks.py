"""The networks of a run's stages."""

import json

import pytest
import torch

from metasr.errors import StageError, WeightsError
from metasr.runs.weights import read_tensors
from mrda.stage_networks import finished_stages, stage_config, trained_recipe
from untrained_blind_run import untrained_run


def test_every_stage_is_its_recipe_with_its_weights(tmp_path) -> None:
    run = untrained_run(tmp_path / "run", "seed=7")
    stages = finished_stages(run)
    assert list(stages) == ["pretrain", "meta_transfer", "teacher", "student"]
    assert stage_config(stages["student"]).seed == 7
    for name, folder in stages.items():
        path = folder / "weights.safetensors"
        state = {k: v + 1 for k, v in read_tensors(path).items()}
        from safetensors.torch import save_file

        save_file(state, path)
        recipe = trained_recipe(run, name)
        exported = recipe.export()
        assert sorted(exported) == sorted(state)
        assert all(torch.equal(exported[k], v) for k, v in state.items())
        assert not recipe.training
        assert not any(p.requires_grad for p in recipe.parameters())


def test_what_is_not_there_is_told_with_what_to_do(tmp_path) -> None:
    with pytest.raises(StageError, match=r"has no finished stage; give the folder of a run, or train one with .*mrda"):
        finished_stages(tmp_path)
    run = untrained_run(tmp_path / "run")
    card = run / "04_student" / "card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "status": "started"}))
    with pytest.raises(StageError, match="no finished stage 'student', but pretrain, meta_transfer, teacher; go on"):
        trained_recipe(run, "student")
    card = run / "03_teacher" / "card.json"
    card.write_text(json.dumps({"stage": "teacher", "status": "finished"}))
    with pytest.raises(StageError, match=r"03_teacher.card.json tells no config; remove the stage's folder"):
        trained_recipe(run, "teacher")
    weights = run / "02_meta_transfer" / "weights.safetensors"
    weights.write_bytes(b"cut")
    with pytest.raises(WeightsError, match="is not a readable safetensors file"):
        trained_recipe(run, "meta_transfer")
