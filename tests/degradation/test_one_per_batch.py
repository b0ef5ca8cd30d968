"""What a drawn degradation holds for: kernels and noise levels by image, or one of each for the batch."""

from dataclasses import replace

import pytest
import torch

from metasr.checks import require_one_kernel
from metasr.data.meta_set import take
from metasr.data.patches import PatchPool
from metasr.data.tasks import PairSampler, TaskSampler
from metasr.degradation.kernels import GaussianSampler, isotropic
from metasr.degradation.noise import add_gaussian_noise
from metasr.degradation.pipeline import Degradation, DegradationSampler
from metasr.errors import InputError

KERNELS = GaussianSampler(size=9, std=(0.5, 2.0))
NOISY = DegradationSampler(kernels=KERNELS, scales=(3.0,), noise_std=(0.02, 0.1))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(sampler: DegradationSampler, count: int = 4, seed: int = 0) -> Degradation:
    return sampler.sample(count, generator=generator(seed))


def test_by_default_kernels_are_the_images_and_noise_is_the_batch_s():
    found = drawn(NOISY)
    assert found.kernel.shape == (4, 9, 9)
    assert isinstance(found.noise_std, float)
    assert torch.equal(drawn(replace(NOISY, per="kernel")).kernel, found.kernel)


def test_one_of_each_for_the_batch():
    found = drawn(replace(NOISY, per="batch"))
    assert found.kernel.shape == (1, 9, 9)
    assert isinstance(found.noise_std, float)
    assert torch.equal(found.kernel, drawn(replace(NOISY, per="batch"), count=7).kernel)  # of any size
    require_one_kernel(found)


def test_one_of_each_for_every_image():
    found = drawn(replace(NOISY, per="image"))
    assert torch.equal(found.kernel, drawn(NOISY).kernel)
    levels = torch.cat([drawn(replace(NOISY, per="image"), count=50, seed=s).noise_std for s in range(20)])
    assert levels.shape == (1000,)
    assert 0.02 <= levels.min() < 0.021
    assert 0.099 < levels.max() <= 0.1
    assert levels.mean() == pytest.approx(0.06, abs=0.003)


def test_every_image_gets_its_own_noise():
    levels = torch.tensor([0.0, 0.02, 0.1])
    hr = torch.full((3, 3, 60, 66), 0.5)
    lr = Degradation(scale=2, noise_std=levels, quantise=None)(hr, generator=generator())
    assert (lr[0] - 0.5).abs().max() < 1e-6
    torch.testing.assert_close((lr - 0.5).std((1, 2, 3))[1:], levels[1:], rtol=0.05, atol=0)
    assert Degradation(scale=2, noise_std=levels).noisy
    assert not Degradation(scale=2, noise_std=torch.zeros(3)).noisy


@pytest.mark.parametrize(("per", "kernels", "same"), [("batch", 1, True), ("kernel", 5, False), ("image", 5, False)])
def test_batches_of_pairs(per, kernels, same):
    pool = PatchPool([torch.rand(3, 37, 41, generator=generator())], patch_size=18)
    sampler = PairSampler(batch_size=5, degradations=replace(NOISY, per=per, noise_std=(0.0, 0.0)))
    pairs = sampler.draw(pool, generator=generator(1))
    assert len(pairs.degradation.kernel) == kernels
    again = Degradation(scale=3, kernel=pairs.degradation.kernel[0], quantise=None)
    assert torch.allclose(again(pairs.hr), pairs.lr, atol=1e-6) == same


def test_taken_pairs_keep_their_noise_levels():
    pool = PatchPool([torch.rand(3, 37, 41, generator=generator())], patch_size=18)
    pairs = PairSampler(batch_size=5, degradations=replace(NOISY, per="image")).draw(pool, generator=generator(1))
    some = take(pairs, torch.tensor([4, 1]))
    assert torch.equal(some.degradation.noise_std, pairs.degradation.noise_std[[4, 1]])
    assert torch.equal(some.degradation.kernel, pairs.degradation.kernel[[4, 1]])


def test_a_task_is_of_one_degradation():
    pool = PatchPool([torch.rand(3, 37, 41, generator=generator())], patch_size=18)
    for per in ("kernel", "image", "batch"):
        sampler = TaskSampler(meta_batch=2, support=3, query=2, degradations=replace(NOISY, per=per))
        first, second = sampler.draw(pool, generator=generator(1))
        require_one_kernel(first.degradation)
        assert 0.02 <= first.degradation.noise_level <= 0.1
        assert first.degradation.noise_level != second.degradation.noise_level
        assert not torch.equal(first.degradation.kernel, second.degradation.kernel)


def test_the_border_is_handed_on():
    assert drawn(replace(NOISY, padding="reflect")).padding == "reflect"
    assert drawn(NOISY).padding == "symmetric"


def test_the_one_noise_level_of_images_that_share_it():
    assert Degradation(scale=2, noise_std=torch.full((3,), 0.25)).noise_level == 0.25
    assert Degradation(scale=2, noise_std=0.1).noise_level == 0.1
    with pytest.raises(InputError, match=r"one noise level is wanted, got \[0\.25, 0\.5\]; take the images one by one"):
        Degradation(scale=2, noise_std=torch.tensor([0.25, 0.5])).noise_level  # noqa: B018


def test_levels_of_several_images_in_the_name():
    assert str(Degradation(scale=2, noise_std=torch.tensor([0.2, 0.4]))) == "bicubic_n51to102"
    assert str(Degradation(scale=2, noise_std=torch.tensor([0.2, 0.2], dtype=torch.float64))) == "bicubic_n51"
    assert Degradation(scale=2, noise_std=torch.tensor([0.2, 0.4]), name="x").for_son().name == ""


STACK = torch.stack([isotropic(1.0, size=7), isotropic(2.0, size=7), isotropic(1.0, size=7)])


@pytest.mark.parametrize(
    "one",
    [
        Degradation(scale=2),
        Degradation(scale=2, kernel=STACK[0], noise_std=0.1),
        Degradation(scale=2, kernel=STACK[:1]),
        Degradation(scale=2, kernel=STACK[::2], noise_std=torch.full((2,), 0.1)),
    ],
)
def test_one_degradation_for_all(one):
    require_one_kernel(one)


@pytest.mark.parametrize(
    ("mixed", "message"),
    [
        ({"kernel": STACK}, "2 different kernels, but one set of weights .*sampler.degradations.per=batch"),
        ({"noise_std": torch.tensor([0.1, 0.2, 0.3])}, "3 different noise levels"),
    ],
)
def test_mixed_degradations_where_one_is_required(mixed, message):
    with pytest.raises(InputError, match=message):
        require_one_kernel(Degradation(scale=2, **mixed))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: replace(NOISY, per="pixel"), "per must be one of kernel, image, batch, got 'pixel'"),
        (lambda: replace(NOISY, noise_std=(0.2, 0.1)), r"noise_std must be a range .* got \(0\.2, 0\.1\)"),
        (lambda: replace(NOISY, noise_std=(-0.1, 0.1)), "0 <= low <= high"),
        (lambda: replace(NOISY, variance_per_scale=2.5), "these are drawn by std; leave one of them out"),
        (lambda: Degradation(scale=2, noise_std=torch.tensor([0.1, -0.1])), r"a number or \(B,\), finite and at least"),
        (lambda: Degradation(scale=2, noise_std=torch.zeros(2, 1)), r"a number or \(B,\)"),
        (
            lambda: add_gaussian_noise(torch.zeros(3, 3, 5, 7), torch.zeros(2), generator=generator()),
            "2 noise levels came for 3 images; give one number, or one for each image",
        ),
    ],
)
def test_impossible_choices(call, message):
    with pytest.raises(InputError, match=message):
        call()
