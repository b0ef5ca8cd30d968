"""The student of MRDA and of KDSR."""

import copy
import inspect

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from metasr.errors import DivergenceError, InputError, WeightsError
from metasr.meta.precision import Precision
from metasr.models.blind import BlindSR
from metasr.models.den import DegradationEncoder
from metasr.models.mln import MLN
from metasr.models.rdan import RDAN
from metasr.recipes.base import Staircase
from metasr.recipes.distillation import distillation_loss
from metasr.recipes.student import Student
from metasr.recipes.teacher import Teacher
from recipes.blind_parts import (
    PAIR,
    SCALE,
    adapting,
    blind,
    changed,
    cloned,
    mixed,
    mln,
    pair_net,
    pairs,
    same,
    teacher_net,
)
from recipes.fitting import fit, silent_options
from small_problems import bits

pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")


def student(**options: object) -> Student:
    given = {"teacher": teacher_net(seed=2).encoder, "view": adapting(), "mln": mln(), "steps": 6, "rate": 1e-3}
    return Student(blind(), **{**given, **options})


def pair_student(**options: object) -> Student:
    given = {"teacher": pair_net(channels=15, seed=2).encoder, "view": PAIR, "steps": 6, "distill": "kl"}
    return Student(pair_net(), **{**given, **options})


def taught(seed: int = 3) -> dict[str, Tensor]:
    """What a teacher hands on."""
    return Teacher(teacher_net(seed=seed), view=adapting(), mln=mln(seed=seed), steps=1).export()


class Phases(pl.Callback):
    """Weights and learning rate after every step."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []
        self.rates: list[float] = []

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: object) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: object) -> None:
        self.weights.append(cloned(module.model))


def test_the_encoder_learns_alone_then_all_of_it() -> None:
    made, watch = student(encoder_steps=3), Phases()
    before = cloned(made.model)
    logged = fit(made, [pairs(seed=s) for s in range(2)], steps=6, callbacks=[watch])
    for i, after in enumerate(watch.weights):
        moved = {k.split(".")[0] for k in changed(before, after)}
        assert moved == ({"encoder"} if i < 3 else {"encoder", "body"}), i
        assert ("train/l1" in logged[i]) == (i >= 3)
        before = after


def test_adam_begins_with_phase_b_for_the_body() -> None:
    """Its first step is Adam's first, of the size of the rate: moments gathered while idle would make it larger."""
    made, watch = student(encoder_steps=4, schedule="constant"), Phases()
    fit(made, [pairs()], steps=5, callbacks=[watch])
    step = watch.weights[4]["body.head.weight"] - watch.weights[3]["body.head.weight"]
    assert float(step.abs().max()) == pytest.approx(1e-3, rel=1e-3)


def test_distillation_brings_the_vectors_together() -> None:
    made, batch = student(steps=60, encoder_steps=60, rate=1e-2), pairs()
    logged = fit(made, [batch], steps=60)
    assert logged[-1]["train/kl"] < 0.3 * logged[0]["train/kl"]
    assert logged[-1]["train/abs"] < 0.9 * logged[0]["train/abs"]


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("kind", ["kl+abs", "kl", "abs", "none"])
def test_the_gradient_by_hand(alone: bool, kind: str) -> None:
    if alone and kind == "none":
        return  # refused: see test_errors
    made, batch = student(encoder_steps=6 if alone else 0, distill=kind), pairs()
    model = copy.deepcopy(made.blind)
    seen, _ = made.observer.view(batch.lr, batch.hr, mln=made.observer.mln)
    vector = model.encoder(batch.lr)
    loss = distillation_loss(vector, made.teacher(seen), kind=kind)
    if not alone:
        loss = loss + F.l1_loss(model.body(batch.lr, vector), batch.hr)
    want = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
    got = torch.autograd.grad(made.training_step(batch, 0), list(made.model.parameters()))
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("alone", [True, False])
def test_earlier_pairs_are_learned_from_again(alone: bool) -> None:
    """By the encoder, without asking the teacher anew: the loss is the mean over the step's own vectors and them."""
    made, (first, second) = student(encoder_steps=6 if alone else 0, rehearsed=3), [pairs(seed=s) for s in range(2)]
    targets = [made.teacher(made.observer.look(b.lr, b.hr)[0]) for b in (first, second)]
    made.training_step(first, 0)
    lr, vectors = made.remembered()
    for one, vector in zip(lr, vectors, strict=True):
        (row,) = (one == first.lr).flatten(1).all(1).nonzero()[0].tolist()
        torch.testing.assert_close(vector, targets[0][row])
    model = copy.deepcopy(made.blind)
    vector = model.encoder(torch.cat([second.lr, lr]))
    loss = distillation_loss(vector, torch.cat([targets[1], vectors]))
    if not alone:
        loss = loss + F.l1_loss(model.body(second.lr, vector[: len(second.lr)]), second.hr)
    want = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
    got = torch.autograd.grad(made.training_step(second, 1), list(made.model.parameters()))
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-7)


def test_pairs_by_hand() -> None:
    made, batch = pair_student(), pairs()
    model = copy.deepcopy(made.blind)
    seen = torch.cat([batch.lr, F.pixel_unshuffle(batch.hr, SCALE)], 1)
    vector = model.encoder(batch.lr)
    loss = distillation_loss(vector, made.teacher(seen), kind="kl") + F.l1_loss(model.body(batch.lr, vector), batch.hr)
    got = torch.autograd.grad(made.training_step(batch, 0), list(made.model.parameters()))
    for g, w in zip(got, torch.autograd.grad(loss, list(model.parameters())), strict=True):
        torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("reset", ["per_batch", "never"])
def test_teacher_and_meta_learned_network_stay_as_they_are(reset: str) -> None:
    made = student(encoder_steps=2, mln_reset=reset)
    before = bits(made.teacher), bits(made.observer.mln)
    fit(made, [pairs(seed=s) for s in range(3)], steps=5)
    assert (bits(made.teacher), bits(made.observer.mln)) == before
    for p in [*made.teacher.parameters(), *made.observer.mln.parameters()]:
        assert p.grad is None
        assert not p.requires_grad


def test_rates_of_both_phases() -> None:
    made, watch = student(
        steps=8, encoder_steps=4, encoder_rate=3e-3, encoder_schedule=Staircase(every=3, factor=0.1),
        schedule=Staircase(every=2),
    ), Phases()  # fmt: skip
    fit(made, [pairs()], steps=8, callbacks=[watch])
    assert watch.rates == pytest.approx([3e-3, 3e-3, 3e-3, 3e-4, 1e-3, 1e-3, 5e-4, 5e-4])


def test_without_distillation_nobody_asks_the_teacher() -> None:
    made = student(distill="none")
    made.teacher.forward = lambda _: pytest.fail("the teacher was asked")
    made.observer.look = lambda *_: pytest.fail("the MLN was adapted")
    logged = fit(made, [mixed(pairs())], steps=2)
    assert not {"train/kl", "train/abs"} & logged[-1].keys()
    assert logged[-1]["train/loss"] == logged[-1]["train/l1"]


def test_no_option_is_silent() -> None:
    baseline = {
        "model": blind, "teacher": lambda: teacher_net(seed=2).encoder, "view": adapting, "mln": mln,
        "steps": lambda: 10, "encoder_steps": lambda: 2, "rate": lambda: 1e-3,
    }  # fmt: skip
    others = {
        "model": lambda: blind(blocks=2),
        "teacher": lambda: teacher_net(seed=4).encoder,
        "view": lambda: adapting(frozen=("tail",)),
        "mln": lambda: mln(seed=6),
        "mln_reset": lambda: "never",
        "steps": lambda: 4,
        "encoder_steps": lambda: 0,
        "rate": lambda: 2e-3,
        "encoder_rate": lambda: 3e-3,
        "schedule": lambda: "constant",
        "encoder_schedule": lambda: "constant",
        "distill": lambda: "kl",
        "temperature": lambda: 1.0,
        "abs_weight": lambda: 0.5,
        "rehearsed": lambda: 5,
        "train_encoder": lambda: True,  # the other value leaves nothing to distil: see the test of it alone
        "engine": lambda: "eager",
        "precision": lambda: "bf16",
        "layout": lambda: "contiguous",
    }
    batches = [pairs(seed=s, variance=1.0 + s) for s in range(3)]
    # of three steps two belong to phase A, then two to phase B: a schedule shows from the second step of its phase on
    silent = silent_options(Student, baseline, others, batches, steps=3)
    assert silent == ["steps", "schedule", "train_encoder", "engine"]
    more = baseline | {"encoder_steps": lambda: 1}
    silent = silent_options(Student, more, others, batches, steps=3)
    assert silent == ["encoder_schedule", "train_encoder", "engine"]


def test_options_reach_the_engine() -> None:
    made = student(engine="eager", precision="fp32", layout="contiguous")
    assert made.engine.kind == "eager"
    assert made.precision == Precision(arithmetic="fp32", layout="contiguous")


# --- weights from the teacher ---


def test_mapping_at_full_size_is_counted() -> None:
    """339 tensors of RDAN, 16 of DEN_S: with the tensors on no device, it takes no time."""
    with torch.device("meta"):
        body = RDAN()
        made = Student(
            BlindSR(DegradationEncoder(), body), teacher=DegradationEncoder(channels=128), view=adapting(), mln=MLN(),
            steps=1,
        )  # fmt: skip
        parent = Teacher(BlindSR(DegradationEncoder(channels=128), RDAN()), view=adapting(), mln=MLN(), steps=1)
    state = {**parent.model.state_dict(), **parent.observer.state()}
    line = made.load_parent(state, origin="03_teacher")
    assert line == (
        "339 body tensors from 03_teacher, 16 encoder tensors fresh; its 16 encoder and 20 MLN tensors teach, frozen"
    )
    assert sum(p.requires_grad for p in body.parameters()) == 335


@pytest.mark.parametrize("reset", ["per_batch", "never"])
def test_body_from_the_teacher_encoder_fresh(reset: str) -> None:
    made = student(mln_reset=reset)
    encoder = cloned(made.blind.encoder)
    state = taught()
    made.load_parent(state, origin="03_teacher")
    assert all(torch.equal(v, state[f"body.{k}"]) for k, v in made.blind.body.state_dict().items())
    assert all(torch.equal(v, state[f"encoder.{k}"]) for k, v in made.teacher.state_dict().items())
    for network in filter(None, (made.observer.mln, made.observer.drift)):
        assert all(torch.equal(v, state[f"mln.{k}"]) for k, v in network.state_dict().items())
    assert same(cloned(made.blind.encoder), encoder)


def test_another_teachers_weights_are_refused() -> None:
    state = taught()
    for spoiled, message in (
        ({k: v for k, v in state.items() if not k.startswith("mln.")}, r"10 missing \(mln.body.0.bias"),
        ({k: v for k, v in state.items() if k != "body.head.bias"}, r"1 missing \(body.head.bias\)"),
        (state | {"stray": torch.zeros(2)}, r"1 unknown \(stray\)"),
        (state | {"encoder.convs.0.bias": torch.zeros(9)}, "1 of another shape .encoder.convs.0.bias: expected"),
        (mln().state_dict(), "missing .*unknown"),
    ):
        made = student()
        before = bits(made)
        with pytest.raises(WeightsError, match=f"03_teacher holds the weights of another network: .*{message}"):
            made.load_parent(spoiled, origin="03_teacher")
        assert bits(made) == before


def test_only_the_student_is_handed_on() -> None:
    for made in (student(), pair_student()):
        state = made.export()
        assert state.keys() == made.model.state_dict().keys()
        assert {k.split(".")[0] for k in state} == {"encoder", "body"}
    again = student()
    fit(again, [pairs()], steps=1)
    again.restore(student().export(), origin="x")
    assert same(again.export(), student().export())


def test_the_student_takes_the_lr_image_alone() -> None:
    assert list(inspect.signature(BlindSR.forward).parameters) == ["self", "lr"]
    net, lr = blind(), pairs(count=3, side=10).lr
    assert net(lr).shape == (3, 3, 10, 10)
    for height, width in ((1, 1), (4, 5), (3, 1)):
        assert net(lr[:1, :, :height, :width]).shape == (1, 3, SCALE * height, SCALE * width)
    torch.testing.assert_close(torch.cat([net(one[None]) for one in lr]), net(lr), rtol=1e-4, atol=1e-6)


# --- bad input ---


def test_errors() -> None:
    batch = pairs()
    with pytest.raises(InputError, match="the batch has 2 different kernels, but one set of weights is adapted"):
        student().training_step(mixed(batch), 0)
    with pytest.raises(InputError, match="HR must be 2 times as large as LR"):
        student().training_step(batch._replace(hr=batch.hr[..., :12]), 0)
    with pytest.raises(InputError, match=r"encoder_steps must be at least 0 and at most steps, 6, got 7"):
        student(encoder_steps=7)
    with pytest.raises(InputError, match="distill='none' leaves nothing to learn in phase A, got encoder_steps=2"):
        student(encoder_steps=2, distill="none")
    with pytest.raises(InputError, match="distill='none' leaves nothing to rehearse, got rehearsed=2; set it to 0"):
        student(rehearsed=2, distill="none")
    with pytest.raises(InputError, match=r"distill must be one of kl\+abs, kl, abs, none, got 'ce'"):
        student(distill="ce")
    with pytest.raises(InputError, match=r"temperature must be above 0 and abs_weight at least 0, got 0 and 0\.1"):
        student(temperature=0)
    for kind, name in (("none", "temperature"), ("none", "abs_weight"), ("kl", "abs_weight"), ("abs", "temperature")):
        with pytest.raises(
            InputError, match=rf"distill='{kind}' has no part for {name}=0\.2 to act on; leave {name} out"
        ):
            student(distill=kind, **{name: 0.2})
    with pytest.raises(
        InputError, match=r"train_encoder=false leaves nothing to distil into, got 'kl\+abs'; set distill"
    ):
        student(train_encoder=False)
    with pytest.raises(InputError, match="AdaptedFeatures adapts an MLN, got none"):
        student(mln=None)
    with pytest.raises(InputError, match="student and teacher must be vectors of one shape"):
        student(teacher=DegradationEncoder(channels=6, width=5)).training_step(batch, 0)


def test_an_encoder_left_as_it_was_initialised() -> None:
    """Its body learns, and not as it does together with the encoder."""
    made, both = student(distill="none", train_encoder=False), student(distill="none")
    before = {k: v.clone() for k, v in made.model.state_dict().items()}
    for recipe in (made, both):
        fit(recipe, [pairs()], steps=2)
    after = made.model.state_dict()
    assert all(torch.equal(v, before[k]) for k, v in after.items() if k.startswith("encoder."))
    assert any(not torch.equal(v, before[k]) for k, v in after.items() if k.startswith("body."))
    assert any(not torch.equal(v, after[k]) for k, v in both.model.state_dict().items() if k.startswith("encoder."))


def test_divergence_names_the_degradation() -> None:
    with pytest.raises(DivergenceError, match=r"Student: loss became nan at step 0 for degradation blur 2\.0"):
        fit(student(view=adapting(rates=(1e30, 1e30))), [pairs()], steps=2)
