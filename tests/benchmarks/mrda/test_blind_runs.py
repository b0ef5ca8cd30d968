"""Runs of a blind method and its controls."""

import pytest
import torch

from metasr.data.catalog import image_set
from metasr.degradation.names import parse
from metasr.degradation.resize import imresize
from metasr.errors import InputError
from metasr.metrics.protocol import LumaProtocol
from metasr.models.blind import BlindSR
from metasr.seeds import generator_from
from mrda.blind_runs import (
    blind_network,
    feed_forward,
    kind_of,
    require_comparable,
    score,
    seed_of,
    told,
    ways_of,
)
from mrda.claims import Scores
from mrda.stage_networks import trained_recipe, untrained_recipe
from untrained_blind_run import untrained_run


@pytest.mark.parametrize(("choice", "kind"), [
    ("seed=2", "student"),
    ("+ablation=mrda_bicubic_only", "bicubic_only"),
    ("+ablation=mrda_no_distillation", "no_distillation"),
    ("+ablation=mrda_random_vector", "random_vector"),
    ("+ablation=mrda_joint", "joint"),
    ("+ablation=mrda_mln_never_reset", "never_reset"),
    ("stages_to_run=[pretrain]", "other"),
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
    protocol = LumaProtocol(round_luma=False)
    score(images, ["sig_2_b_n10"], ways, scale=4, seed=3, into=found, protocol=protocol)
    degradation = parse("sig_2_b_n10", scale=4)
    hr = images.load(0)[None]
    lr = degradation(hr, generator=generator_from(3, images.names[0], str(degradation), "degrade"))
    key = ("sig_2_b_n10", images.names[0])
    assert found.values["bicubic", *key] == protocol(imresize(lr, 4), hr, scale=4).psnr_y
    with torch.no_grad():
        assert found.values["student", *key] == protocol(network(lr), hr, scale=4).psnr_y
        assert torch.equal(feed_forward(network)(lr, hr), network(lr))
    assert found.values["teacher (oracle)", *key] != found.values["student", *key]


def test_a_run_is_told_in_words(tmp_path) -> None:
    assert told(untrained_run(tmp_path / "run", "seed=5")) == "mrda_x4_iso, profile smoke, seed 5, samples"


def test_controls_differ_in_what_they_are_controls_of(tmp_path) -> None:
    run = untrained_run(tmp_path / "run")
    kinds = ("bicubic_only", "no_distillation", "random_vector", "joint")
    controls = {kind: [untrained_run(tmp_path / kind, f"+ablation=mrda_{kind}", "seed=7")] for kind in kinds}
    controls |= {"never_reset": [untrained_run(tmp_path / "never", "+ablation=mrda_mln_never_reset")]}
    controls |= {"student": [untrained_run(tmp_path / "second", "seed=2")]}
    require_comparable(run, controls)
    assert [seed_of(run), seed_of(controls["joint"][0])] == [1, 7]


@pytest.mark.parametrize(("kind", "choices", "message"), [
    ("student", ["+ablation=mrda_second_order"], r"no control \(student\) .*recipe\.order: then first, now"),
    ("student", ["seed=1"], r"are both student of seed 1; give runs of different seeds"),
    ("no_distillation", ["+ablation=mrda_no_distillation", "stages.student.recipe.rate=0.5"],
     r"differs in stages\.student\.recipe\.rate: then 0\.001, now 0\.5; train it with the same choices"),
    ("student", ["scale=2", "seed=2"], r"differs in scale: then 4\.0, now 2\.0; stages.* and \d+ more"),
    ("joint", ["+ablation=mrda_joint", "model.body.width=5"], r"differs in stages\..*width: then 4, now 5"),
    ("student", ["data=t91", "seed=2"], "differs in data.name: then samples, now t91"),
])  # fmt: skip
def test_controls_of_another_run_are_refused(tmp_path, kind: str, choices: list[str], message: str) -> None:
    run, other = untrained_run(tmp_path / "run"), untrained_run(tmp_path / "other", *choices)
    with pytest.raises(InputError, match=message):
        require_comparable(run, {kind: [other]})


def test_a_run_is_given_once(tmp_path) -> None:
    run, other = untrained_run(tmp_path / "run"), untrained_run(tmp_path / "other", "seed=2")
    for given in ([run], [other, tmp_path / "run" / ".." / "other"]):
        with pytest.raises(InputError, match="is given twice; give each run once"):
            require_comparable(run, {"student": given})


def test_an_untrained_network_begins_as_the_runs_own_did(tmp_path) -> None:
    run = untrained_run(tmp_path / "run", "model.init=he")
    own, fresh, same = (r.model for r in (trained_recipe(run, "student"), untrained_recipe(run, "student", seed=2),
                                          untrained_recipe(run, "student", seed=2)))  # fmt: skip
    for (name, a), b, c in zip(own.named_parameters(), fresh.parameters(), same.parameters(), strict=True):
        assert torch.equal(b, c)
        if a.std() > 0:
            assert not torch.equal(a, b), name
    biases = [p for n, p in fresh.encoder.named_parameters() if n.endswith("bias")]
    assert biases
    assert all(bool((b == 0).all()) for b in biases)  # He's, not the framework's own
    with pytest.raises(InputError, match=r"seed 1 is that of .*run itself; give another one"):
        untrained_recipe(run, "student", seed=1)
