"""What an observer keeps from batch to batch, and hands on."""

import copy

import pytest
import torch

from metasr.errors import InputError
from metasr.models.mln import MLN
from metasr.models.teacher import AdaptedFeatures, PairView
from metasr.recipes.observer import Observer
from small_problems import bits, picture


def mln() -> MLN:
    torch.manual_seed(0)
    return MLN(scale=3, width=3, depth=1)


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    hr = picture(21, 15)
    return hr[..., 1::3, 1::3], hr


VIEW = AdaptedFeatures(rates=(0.1, 0.05))


def test_looking_changes_nothing_and_keeping_the_drift_alone() -> None:
    for reset in ("per_batch", "never"):
        observer = Observer(VIEW, mln=mln(), reset=reset)
        start, before = bits(observer.mln), bits(observer)
        first, adapted = observer.look(*pair())
        assert first.shape == (1, 3, 7, 5)
        assert not first.requires_grad
        assert bits(observer) == before
        observer.keep(adapted)
        assert bits(observer.mln) == start
        second, _ = observer.look(*pair())
        assert torch.equal(first, second) == (reset == "per_batch")


def test_features_are_those_of_the_adapted_network() -> None:
    """At rates next to nothing they are the network's own."""
    network, (lr, hr) = mln(), pair()
    still, _ = AdaptedFeatures(rates=(1e-12,))(lr, hr, mln=network)
    torch.testing.assert_close(still, network.features(lr).detach())
    moved, adapted = VIEW(lr, hr, mln=network)
    assert (moved - still).abs().max() > 1e-4
    torch.testing.assert_close(moved, adapted.features(lr).detach())
    assert (adapted(lr) - hr).abs().mean() < (network(lr) - hr).abs().mean()


def test_loading_forgets_the_drift() -> None:
    observer = Observer(VIEW, mln=mln(), reset="never")
    state = copy.deepcopy(observer.state())
    observer.keep(observer.look(*pair())[1])
    assert bits(observer.drift) != bits(observer.mln)
    observer.load(state)
    assert bits(observer.drift) == bits(observer.mln)


def test_without_a_network() -> None:
    observer = Observer(PairView())
    assert observer.state() == {}
    seen, adapted = observer.look(*pair())
    assert (seen.shape, adapted) == ((1, 30, 7, 5), [])
    observer.keep(adapted)


def test_errors() -> None:
    with pytest.raises(InputError, match="mln_reset must be one of per_batch, never, got 'often'"):
        Observer(VIEW, mln=mln(), reset="often")
    with pytest.raises(InputError, match="mln_reset='never' lets an adapted network drift, but PairView adapts none"):
        Observer(PairView(), reset="never")
    with pytest.raises(InputError, match=r"frozen must be a list, got 'tail'; write \[tail\]"):
        AdaptedFeatures(frozen="tail")
    with pytest.raises(InputError, match="frozen head, body and tail leave nothing to adapt; leave one of them out"):
        AdaptedFeatures(frozen=("tail", "head", "body"))
    with pytest.raises(InputError, match="AdaptedFeatures adapts an MLN, got none"):
        Observer(VIEW)
    with pytest.raises(InputError, match="PairView adapts no network"):
        Observer(PairView(), mln=mln())
    lr, hr = pair()
    with pytest.raises(InputError, match="HR must be 3 times as large as LR, 21x12 for LR of 7x4, got 21x15"):
        Observer(VIEW, mln=mln()).look(lr[..., :4], hr)
    with pytest.raises(InputError, match="HR must be 3 times as large as LR, 21x12 for LR of 7x4, got 21x15"):
        Observer(PairView()).look(lr[..., :4], hr)
