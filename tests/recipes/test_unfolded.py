"""Training of an unfolded network, and where its priors start."""

import pytest
import torch

from metasr.data.tasks import Pairs
from metasr.degradation.kernels import isotropic
from metasr.degradation.pipeline import Degradation
from metasr.errors import WeightsError
from metasr.models.plain_cnn import ConditionedCNN, PlainCNN
from metasr.models.resunet import ResUNet
from metasr.models.unfolded import UnfoldedNet
from metasr.recipes.unfolded import UnfoldedTraining
from recipes.fitting import fit
from small_problems import picture


def made(*, strided: bool = False) -> UnfoldedTraining:
    torch.manual_seed(0)
    prior = ResUNet((8, 8), blocks=1) if strided else ConditionedCNN(8, 3)
    return UnfoldedTraining(UnfoldedNet(prior, rounds=2), steps=40, rate=3e-3)


@pytest.mark.parametrize("strided", [False, True])
def test_loss_goes_down_below_the_first_data_steps(*, strided: bool) -> None:
    hr = torch.cat([picture(36, 36, seed=i) for i in range(2)])
    degradation = Degradation(scale=2, kernel=isotropic(2.0, size=9), downsample="direct")
    logged = fit(made(strided=strided), [Pairs(degradation(hr), hr, degradation)], steps=40)
    assert logged[-1]["train/loss"] < 0.995 * logged[0]["train/loss"]


def test_each_prior_starts_from_a_plain_network() -> None:
    recipe, plain = made(), PlainCNN(8, 3)
    told = recipe.load_parent(plain.state_dict(), origin="plain")
    assert told == "6 tensors from plain for each of 2 priors"
    image = torch.rand(1, 3, 8, 9)
    for prior in recipe.model.priors:  # type: ignore[union-attr]
        torch.testing.assert_close(prior(image, torch.rand(1, 2)), plain(image))
    again = made()
    again.load_parent(recipe.export(), origin="a run")
    for name, tensor in again.export().items():
        assert torch.equal(tensor, recipe.export()[name])


def test_a_plain_network_of_another_width_or_for_another_prior_is_refused() -> None:
    with pytest.raises(WeightsError, match="of another shape"):
        made().load_parent(PlainCNN(4, 3).state_dict(), origin="narrow")
    with pytest.raises(WeightsError, match="unknown"):
        made(strided=True).load_parent(PlainCNN(8, 3).state_dict(), origin="plain")


def test_the_numbers_of_mu_have_a_rate_of_their_own() -> None:
    recipe = made()
    groups = recipe.parameter_groups()
    assert [group["lr"] for group in groups] == [3e-3, 1e-2]
    assert sum(p.numel() for p in groups[1]["params"]) == 6
