"""Runs of a blind method and its controls."""

import pytest
import torch

from experiment.blind_chain import untrained_run
from metasr.data.catalog import image_set
from metasr.degradation.names import parse
from metasr.degradation.resize import imresize
from metasr.evaluation.protocol import LumaProtocol
from metasr.experiment.blind_runs import blind_network, feed_forward, kind_of, score, told, ways_of
from metasr.models.blind import BlindSR
from metasr.report.claims import Scores
from metasr.seeds import generator_from


@pytest.mark.parametrize(("choice", "kind"), [
    ("seed=2", "student"),
    ("+ablation=mrda_bicubic_only", "bicubic_only"),
    ("+ablation=mrda_no_distillation", "no_distillation"),
    ("+ablation=mrda_joint", "joint"),
    ("+ablation=mrda_mln_never_reset", "never_reset"),
    ("only=[pretrain]", "other"),
])  # fmt: skip
def test_runs_are_known_by_what_they_were_trained_as(tmp_path, choice: str, kind: str) -> None:
    assert kind_of(untrained_run(tmp_path / "run", choice)) == kind


def test_kdsr_is_a_chain_with_a_student_as_well(tmp_path) -> None:
    run = untrained_run(tmp_path / "run", experiment="kdsr_x4_iso")
    assert kind_of(run) == "student"
    assert list(ways_of(run)) == ["bicubic", "student", "teacher (oracle)"]


def test_ways_are_scored_as_an_evaluation_scores_them(tmp_path) -> None:
    run = untrained_run(tmp_path / "run")
    images = image_set("samples", split="test").subset(1)
    network = blind_network(run)
    assert isinstance(network, BlindSR)
    ways = ways_of(run)
    found = Scores()
    score(images, ["sig_2_b_n10"], ways, scale=4, seed=3, into=found)
    degradation = parse("sig_2_b_n10", scale=4)
    hr = images.load(0)[None]
    lr = degradation(hr, generator=generator_from(3, images.names[0], str(degradation), "degrade"))
    protocol = LumaProtocol()
    key = ("sig_2_b_n10", images.names[0])
    assert found.values["bicubic", *key] == protocol(imresize(lr, 4), hr, scale=4).psnr_y
    with torch.no_grad():
        assert found.values["student", *key] == protocol(network(lr), hr, scale=4).psnr_y
        assert torch.equal(feed_forward(network)(lr, hr), network(lr))
    assert found.values["teacher (oracle)", *key] != found.values["student", *key]


def test_a_run_is_told_in_words(tmp_path) -> None:
    assert told(untrained_run(tmp_path / "run", "seed=5")) == "mrda_x4_iso, profile smoke, seed 5, samples"
