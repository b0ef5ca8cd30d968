"""The teacher of MRDA and of KDSR."""

import copy

import pytest
import pytorch_lightning as pl
import torch
from torch.nn import functional as F

from metasr.errors import DivergenceError, InputError, WeightsError
from metasr.meta.inner_loop import inner_loop
from metasr.meta.precision import Precision
from metasr.meta.rates import FixedRates
from metasr.recipes.meta_transfer import MetaTransfer
from metasr.recipes.teacher import Teacher
from recipes.blind_parts import (
    MLN_WIDTH,
    PAIR,
    SCALE,
    adapting,
    changed,
    cloned,
    mixed,
    mln,
    pair_net,
    pairs,
    same,
    teacher_net,
)
from recipes.fitting import Gradients, fit, silent_options
from small_problems import bits

pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")


def teacher(**options: object) -> Teacher:
    given = {"view": adapting(), "mln": mln(), "steps": 4, "rate": 1e-3}
    return Teacher(teacher_net(), **{**given, **options})


def pair_teacher(**options: object) -> Teacher:
    return Teacher(pair_net(channels=3 + 3 * SCALE**2), **{"view": PAIR, "steps": 4, "rate": 1e-3, **options})


def test_loss_goes_down() -> None:
    for made in (teacher(steps=40, rate=1e-2), pair_teacher(steps=40, rate=1e-2)):
        logged = fit(made, [pairs()], steps=40)
        assert logged[-1]["train/loss"] < 0.6 * logged[0]["train/loss"]


def test_a_step_by_hand() -> None:
    """SGD on the pairs by torch alone, features of that, and the gradient of the L1 loss."""
    made, batch = teacher(), pairs()
    net = copy.deepcopy(made.observer.mln).requires_grad_(True)
    for rate in (0.05, 0.02):
        gradients = torch.autograd.grad(F.l1_loss(net(batch.lr), batch.hr), list(net.parameters()))
        with torch.no_grad():
            for p, g in zip(net.parameters(), gradients, strict=True):
                p -= rate * g
    model = copy.deepcopy(made.model)
    loss = F.l1_loss(model.body(batch.lr, model.encoder(net.features(batch.lr).detach())), batch.hr)
    want = torch.autograd.grad(loss, list(model.parameters()))
    got = torch.autograd.grad(made.training_step(batch, 0), list(made.model.parameters()))
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-7)


def test_the_pairs_view_by_hand() -> None:
    made, batch = pair_teacher(), pairs()
    model = copy.deepcopy(made.model)
    folded = [batch.hr[:, :, i::SCALE, j::SCALE] for i in range(SCALE) for j in range(SCALE)]
    seen = torch.cat([batch.lr, torch.stack(folded, 2).flatten(1, 2)], 1)
    loss = F.l1_loss(model.body(batch.lr, model.encoder(seen)), batch.hr)
    got = torch.autograd.grad(made.training_step(batch, 0), list(made.model.parameters()))
    for g, w in zip(got, torch.autograd.grad(loss, list(model.parameters())), strict=True):
        torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-7)


class Epoch(pl.Callback):
    """What the MLN is at every step, in training mode and out of it."""

    def __init__(self) -> None:
        self.seen: list[dict[str, bytes]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: object) -> None:
        module.eval()
        module.train()
        self.seen.append(bits(module.observer.mln))


@pytest.mark.parametrize("reset", ["per_batch", "never"])
def test_the_meta_learned_network_is_bit_identical_before_and_after_an_epoch(reset: str) -> None:
    made, watch = teacher(steps=6, mln_reset=reset), Epoch()
    before = bits(made.observer.mln)
    model = cloned(made.model)
    fit(made, [pairs(seed=s) for s in range(3)], steps=6, callbacks=[watch])
    assert watch.seen == [before] * 6
    assert len(changed(model, made.model.state_dict())) > 20
    assert all(p.grad is None and not p.requires_grad for p in made.observer.mln.parameters())


def test_looking_at_a_pair_as_validation_does_leaves_everything_as_it_is() -> None:
    made = teacher().eval()
    before = bits(made)
    batch = pairs()
    with torch.inference_mode():
        made.oracle()(batch.lr, batch.hr)
    assert bits(made) == before


def test_each_batch_starts_anew_or_where_the_last_one_ended() -> None:
    batches = [pairs(seed=s, variance=v) for s, v in ((0, 1.0), (1, 4.0), (2, 2.0))]
    fresh, drifting = teacher(mln_reset="per_batch"), teacher(mln_reset="never")
    net = copy.deepcopy(drifting.observer.mln).requires_grad_(True)
    for batch in batches:
        seen, adapted = fresh.observer.look(batch.lr, batch.hr)
        assert adapted == []
        once = inner_loop(
            copy.deepcopy(fresh.observer.mln).requires_grad_(True),
            lambda n, b=batch: F.l1_loss(n(b.lr), b.hr), steps=2, rates=FixedRates((0.05, 0.02)), order="none",
        )  # fmt: skip
        torch.testing.assert_close(seen, once.features(batch.lr).detach())
        drifting.training_step(batch, 0)
        net = inner_loop(
            net, lambda n, b=batch: F.l1_loss(n(b.lr), b.hr), steps=2, rates=FixedRates((0.05, 0.02)), order="none"
        )
    for p, q in zip(drifting.observer.drift.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    assert changed(cloned(drifting.observer.mln), drifting.observer.drift.state_dict())


def test_drift_is_part_of_a_resume_point_and_not_of_the_export() -> None:
    drifting = teacher(mln_reset="never")
    drifting.training_step(pairs(), 0)
    again = teacher(mln_reset="never")
    again.load_state_dict(drifting.state_dict())
    assert same(cloned(again.observer.drift), cloned(drifting.observer.drift))
    exported = drifting.export()
    assert all(torch.equal(exported[f"mln.{k}"], v) for k, v in mln().state_dict().items())
    assert not [k for k in exported if "drift" in k or "observer" in k]


def test_frozen_children_stay_and_gradients_run_through_them() -> None:
    view, start, batch = adapting(frozen=("tail",)), mln(), pairs()
    _, adapted = view(batch.lr, batch.hr, mln=start)
    moved = changed(cloned(start), dict(adapted.state_dict()))
    assert moved
    assert all(k.startswith(("head.", "body.")) for k in moved)


def test_gain_is_a_factor_of_the_features_alone() -> None:
    batch = pairs()
    (plain, one), (loud, other) = (adapting(gain=g)(batch.lr, batch.hr, mln=mln()) for g in (1.0, 20.0))
    torch.testing.assert_close(loud, 20 * plain)
    assert same(dict(one.state_dict()), dict(other.state_dict()))


def test_the_optimiser_and_ddp_see_encoder_and_body_alone() -> None:
    made, seen = teacher(), Gradients()
    fit(made, [pairs()], steps=1, callbacks=[seen])
    (norms,) = seen.norms
    assert {n for n, g in norms.items() if g is None} == {f"observer.mln.{k}" for k, _ in mln().named_parameters()}
    optimised = {id(p) for g in made.parameter_groups() for p in g["params"]}
    assert optimised == {id(p) for p in made.model.parameters()}


def test_no_option_is_silent() -> None:
    baseline = {
        "model": teacher_net, "view": adapting, "mln": mln, "steps": lambda: 10, "rate": lambda: 1e-3,
    }  # fmt: skip
    others = {
        "model": lambda: teacher_net(blocks=2),
        "view": lambda: adapting(rates=(0.5,)),
        "mln": lambda: mln(seed=6),
        "mln_reset": lambda: "never",
        "steps": lambda: 20,
        "rate": lambda: 2e-3,
        "schedule": lambda: "constant",
        "engine": lambda: "eager",
        "precision": lambda: "bf16",
        "layout": lambda: "contiguous",
    }
    batches = [pairs(seed=s, variance=1.0 + s) for s in range(3)]
    assert silent_options(Teacher, baseline, others, batches) == ["engine"]  # how fast, not what


def test_options_reach_the_engine() -> None:
    made = teacher(engine="eager", precision="fp32", layout="contiguous")
    assert made.engine.kind == "eager"
    assert made.precision == Precision(arithmetic="fp32", layout="contiguous")


# --- weights from one stage to the next ---


def meta_learned() -> dict[str, torch.Tensor]:
    return MetaTransfer(mln(seed=9), steps=1, rates="fixed", enlarge_first=False).export()


@pytest.mark.parametrize("reset", ["per_batch", "never"])
def test_the_parents_network_is_taken_and_told_of(reset: str) -> None:
    made = teacher(mln_reset=reset)
    model = cloned(made.model)
    line = made.load_parent(meta_learned(), origin="02_meta_transfer")
    assert line == f"10 of 10 MLN tensors from 02_meta_transfer, {len(model)} encoder and body tensors fresh"
    for network in filter(None, (made.observer.mln, made.observer.drift)):
        assert same(cloned(network), cloned(mln(seed=9)))
    assert same(cloned(made.model), model)


def test_learned_rates_of_the_parent_are_told_as_not_used() -> None:
    state = MetaTransfer(mln(), steps=1, enlarge_first=False).export()
    assert teacher().load_parent(state, origin="p").endswith(", 1 rate tensors not used")


def test_another_networks_weights_are_refused() -> None:
    state = meta_learned()
    for spoiled, message in (
        ({k: v for k, v in state.items() if k != "body.0.bias"}, r"missing \(mln.body.0.bias\)"),
        (state | {"extra": torch.zeros(1)}, r"1 unknown \(mln.extra\)"),
        (
            state | {"head.0.bias": torch.zeros(9)},
            r"1 of another shape \(mln.head.0.bias: expected \(6,\), got \(9,\)\)",
        ),
    ):
        with pytest.raises(WeightsError, match=message):
            teacher().load_parent(spoiled, origin="02_meta_transfer")


def test_export_comes_back_whole() -> None:
    for make in (teacher, pair_teacher):
        made = make()
        fit(made, [pairs()], steps=1)
        state = made.export()
        again = make()
        again.restore(state, origin="03_teacher")
        assert same(again.export(), state)
        with pytest.raises(WeightsError, match="03_teacher holds the weights of another network"):
            make().restore({k: v for k, v in state.items() if not k.startswith("encoder.")}, origin="03_teacher")


def test_a_teacher_goes_on_from_one_with_its_mln() -> None:
    given = teacher().export()
    for value in given.values():
        value.add_(0.1)
    made = teacher()
    assert made.load_parent(given, origin="p") == f"{len(given)} of {len(given)} encoder, body and MLN tensors from p"
    assert same(made.export(), given)


def test_a_teacher_of_pairs_starts_from_its_like() -> None:
    made = pair_teacher()
    assert made.load_parent(pair_teacher().export(), origin="p").endswith("network tensors from p")
    assert not [k for k in made.export() if k.startswith("mln.")]


# --- bad input ---


def test_errors() -> None:
    batch = pairs()
    with pytest.raises(InputError, match="the batch has 2 different kernels, but one set of weights is adapted"):
        teacher().training_step(mixed(batch), 0)
    pair_teacher().training_step(mixed(batch), 0)  # which adapts nothing
    with pytest.raises(InputError, match="HR must be 2 times as large as LR, 16x16 for LR of 8x8, got 15x15"):
        teacher().training_step(batch._replace(hr=batch.hr[..., :15, :15]), 0)
    with pytest.raises(InputError, match="AdaptedFeatures adapts an MLN, got none; set the recipe's mln to"):
        teacher(mln=None)
    with pytest.raises(InputError, match="PairView adapts no network; set the recipe's mln to null"):
        teacher(view=PAIR)
    with pytest.raises(InputError, match="mln_reset must be one of per_batch, never, got 'always'"):
        teacher(mln_reset="always")
    with pytest.raises(InputError, match="frozen must be some of head, body and tail, got tale"):
        adapting(frozen=("tale",))
    with pytest.raises(InputError, match="at least one rate, all above 0"):
        adapting(rates=(0.1, 0.0))
    with pytest.raises(InputError, match="gain must be above 0, got 0"):
        adapting(gain=0)
    with pytest.raises(InputError, match="this view adapts an MLN, got none"):
        adapting()(batch.lr, batch.hr, mln=None)


def test_divergence_names_the_degradation() -> None:
    with pytest.raises(DivergenceError, match=r"Teacher: loss became nan at step 0 for degradation blur 2\.0"):
        fit(teacher(view=adapting(rates=(1e30, 1e30))), [pairs()], steps=2)


def test_widths_are_as_expected() -> None:
    assert teacher().model.encoder.channels == MLN_WIDTH
