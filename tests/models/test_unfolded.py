"""The unfolded network: what it is made of, and what follows from that."""

import copy

import pytest
import torch
from torch import Tensor

from metasr.degradation.data_step import data_step
from metasr.degradation.kernels import anisotropic, isotropic
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import InputError
from metasr.models.plain_cnn import ConditionedCNN, PlainCNN
from metasr.models.resunet import ResUNet
from metasr.models.unfolded import FIRST_MU, UnfoldedNet
from small_problems import picture


def net(*, rounds: int = 2, shared: bool = False, strided: bool = False) -> UnfoldedNet:
    torch.manual_seed(0)
    prior = ResUNet((4, 6), blocks=1) if strided else ConditionedCNN(4, 3)
    return UnfoldedNet(prior, rounds=rounds, shared=shared)


def lr_of(degradation: Degradation) -> Tensor:
    return degradation(picture(42, 54), generator=torch.Generator().manual_seed(0))


def test_with_priors_that_change_nothing_it_is_its_data_steps() -> None:
    """ResUNet begins as the identity."""
    degradation = Degradation(scale=2, kernel=isotropic(1.5, size=9), downsample="direct")
    lr = lr_of(degradation)
    image = imresize(lr, 2, shift=degradation.shift)
    for mu in (FIRST_MU, 2 * FIRST_MU):
        image = data_step(image, lr, degradation, mu)
    torch.testing.assert_close(net(strided=True)(lr, degradation), image, rtol=0, atol=1e-5)


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("scale", [1, 1.5, 2, 3, 4])
def test_one_network_for_every_scale_and_odd_sizes(scale: float, *, strided: bool) -> None:
    degradation = Degradation(scale=scale, kernel=isotropic(1.0, size=5))
    sr = net(strided=strided)(torch.rand(1, 3, 13, 17), degradation)
    assert sr.shape == (1, 3, -(-13 * scale // 1), -(-17 * scale // 1))


def test_each_image_of_a_batch_is_solved_by_its_own_kernel_and_noise() -> None:
    kernels = torch.stack([isotropic(1.0, size=9), anisotropic(3.0, 0.5, 0.4, size=9).roll(1, 0)])
    both = Degradation(
        scale=2, kernel=kernels, downsample="direct", noise_std=torch.tensor([0.0, 0.04], dtype=torch.float64)
    )
    lr = torch.rand(2, 3, 14, 19)
    network = net()
    together = network(lr, both)
    for index in range(2):
        alone = network(lr[index : index + 1], both.of_one(index))
        torch.testing.assert_close(together[index : index + 1], alone, rtol=0, atol=1e-5)


def test_noise_makes_it_trust_the_guess_more() -> None:
    network = net()
    quiet, loud = (float(network.mu(0, torch.tensor([noise]), 2.0).detach()) for noise in (0.0, 0.04))
    assert quiet == pytest.approx(FIRST_MU)
    assert loud / quiet == pytest.approx(1 + (0.04 * 255) ** 2 * 12, rel=1e-4)  # the variances' ratio


def test_rounds_have_priors_of_their_own_unless_shared() -> None:
    assert len(net(rounds=3).priors) == 3
    assert len(net(rounds=3, shared=True).priors) == 1
    with pytest.raises(InputError, match="at least 1 round"):
        net(rounds=0)


def test_every_parameter_is_trained() -> None:
    network = net()
    degradation = Degradation(scale=3, kernel=isotropic(1.0, size=5), noise_std=0.02)
    network(torch.rand(2, 3, 8, 9), degradation).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_a_conditioned_network_begins_as_the_plain_one() -> None:
    torch.manual_seed(0)
    plain, told = PlainCNN(5, 3), ConditionedCNN(5, 3, conditions=2)
    told.load_state_dict(told.state_dict() | plain.state_dict())
    image = torch.rand(1, 3, 9, 11)
    torch.testing.assert_close(told(image, torch.tensor([[0.3, 0.9]])), plain(image))
    torch.nn.init.ones_(told.told.weight)
    assert not torch.equal(told(image, torch.tensor([[0.3, 0.9]])), plain(image))


def test_second_derivatives_pass_through_the_data_step() -> None:
    """An inner loop through it: the gradient of a gradient exists and is not 0."""
    network = copy.deepcopy(net()).double()
    degradation = Degradation(scale=2, kernel=isotropic(1.0, size=5), downsample="direct")
    sr = network(torch.rand(1, 3, 8, 9, dtype=torch.float64), degradation)
    parameters = list(network.parameters())
    first = torch.autograd.grad(sr.square().mean(), parameters, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), parameters)  # type: ignore[arg-type]
    assert all(bool(g.isfinite().all()) for g in second)
    assert float(second[0].abs().sum()) > 0
