"""Tasks and pairs: what is degraded by what."""

from itertools import combinations

import pytest
import torch

from metasr.data.patches import PatchPool
from metasr.data.tasks import PairSampler, TaskSampler, require_drawn_as_one
from metasr.degradation.kernels import GaussianSampler
from metasr.degradation.pipeline import DegradationSampler
from metasr.degradation.resize import imresize
from metasr.errors import InputError
from metasr.seeds import generator_from

KERNELS = GaussianSampler(size=7)
POOL = PatchPool([torch.randint(0, 256, (3, 40, 31), generator=generator_from(0), dtype=torch.uint8)], patch_size=12)


def draw_tasks(*, seed: int = 0, count: int = 4, noise: float = 0.0, kernels: GaussianSampler | None = KERNELS):
    degradations = DegradationSampler(kernels=kernels, scales=(2.0, 3.0), downsample="direct", noise_std=(noise, noise))
    sampler = TaskSampler(meta_batch=count, support=3, query=2, degradations=degradations)
    return sampler.draw(POOL, generator=generator_from(seed))


def test_support_and_query_share_their_tasks_degradation() -> None:
    for task in draw_tasks():
        assert task.degradation.kernel.shape == (1, 7, 7)
        torch.testing.assert_close(task.degradation(task.support_hr), task.support_lr, rtol=0, atol=1e-6)
        torch.testing.assert_close(task.degradation(task.query_hr), task.query_lr, rtol=0, atol=1e-6)


def test_shapes() -> None:
    scales = set()
    for task in draw_tasks(count=8):
        side = 12 // int(task.degradation.scale)
        scales.add(task.degradation.scale)
        assert task.support_hr.shape == (3, 3, 12, 12)
        assert task.query_hr.shape == (2, 3, 12, 12)
        assert task.support_lr.shape == (3, 3, side, side)
        assert task.query_lr.shape == (2, 3, side, side)
    assert scales == {2.0, 3.0}


def test_every_task_has_its_own_kernel_and_every_patch_is_another() -> None:
    tasks = draw_tasks()
    for a, b in combinations(tasks, 2):
        assert (a.degradation.kernel - b.degradation.kernel).abs().max() > 1e-3
    patches = torch.cat([torch.cat([t.support_hr, t.query_hr]) for t in tasks])
    assert all(not torch.equal(a, b) for a, b in combinations(patches, 2))


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_tasks_depend_on_the_generator_alone(noise: float) -> None:
    one, same, other = (draw_tasks(seed=s, noise=noise) for s in (1, 1, 2))
    for a, b in zip(one, same, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True))
        assert torch.equal(a.degradation.kernel, b.degradation.kernel)
    assert not torch.equal(one[0].support_hr, other[0].support_hr)
    assert not torch.equal(one[0].degradation.kernel, other[0].degradation.kernel)


def test_noise_differs_between_patches() -> None:
    (task,) = draw_tasks(count=1, noise=0.1)
    left = torch.cat([task.support_lr, task.query_lr]) - task.degradation.linear(
        torch.cat([task.support_hr, task.query_hr])
    )
    inside = left.abs() < 0.3  # LR is clipped; what is left of the noise is not
    assert inside.float().mean() > 0.9
    assert all((a - b).std() > 0.05 for a, b in combinations(left, 2))


def test_tasks_may_share_their_patches_as_in_the_public_code() -> None:
    degradations = DegradationSampler(kernels=KERNELS, scales=(2.0,), downsample="direct")
    options = {"meta_batch": 3, "support": 3, "query": 2, "degradations": degradations}
    tasks = TaskSampler(**options, shared_patches=True).draw(POOL, generator=generator_from(0))
    own = TaskSampler(**options).draw(POOL, generator=generator_from(0))
    assert all(torch.equal(a, b) for a, b in zip(tasks[0][:4], own[0][:4], strict=True))
    for task in tasks[1:]:
        assert torch.equal(task.support_hr, tasks[0].support_hr)
        assert torch.equal(task.query_hr, tasks[0].query_hr)
        assert not torch.equal(task.support_lr, tasks[0].support_lr)
        torch.testing.assert_close(task.degradation(task.query_hr), task.query_lr, rtol=0, atol=1e-6)
    assert not torch.equal(own[1].support_hr, own[0].support_hr)


def test_batches_of_one_degradation() -> None:
    def sampler(per: str, count: int = 2, kernels: GaussianSampler | None = KERNELS, noise: float = 0.0) -> PairSampler:
        drawn = DegradationSampler(
            kernels=kernels, scales=(2.0,), downsample="direct", per=per, noise_std=(0.0, noise)
        )  # fmt: skip
        return PairSampler(batch_size=count, degradations=drawn)

    for fine in (sampler("batch"), sampler("image", 1), sampler("kernel", kernels=None), object()):
        require_drawn_as_one(fine)
    for per in ("image", "kernel"):
        with pytest.raises(InputError, match=r"2 different kernels.*sampler\.degradations\.per=batch"):
            require_drawn_as_one(sampler(per))
    with pytest.raises(InputError, match="2 different noise levels"):
        require_drawn_as_one(sampler("image", kernels=None, noise=0.1))


def test_tasks_without_blur() -> None:
    (task,) = draw_tasks(count=1, kernels=None)
    step = int(task.degradation.scale)
    assert task.degradation.kernel is None
    assert torch.equal(task.support_lr, task.support_hr[..., ::step, ::step])


@pytest.mark.parametrize(("batch", "support", "query"), [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_empty_tasks_are_refused(batch: int, support: int, query: int) -> None:
    with pytest.raises(InputError, match=f"at least 1, got {batch}, {support} and {query}"):
        TaskSampler(meta_batch=batch, support=support, query=query, degradations=DegradationSampler())


def draw_pairs(*, seed: int = 0, noise: float = 0.0):
    degradations = DegradationSampler(kernels=KERNELS, noise_std=(noise, noise))
    return PairSampler(batch_size=5, degradations=degradations).draw(POOL, generator=generator_from(seed))


def test_each_pair_has_its_own_kernel() -> None:
    pairs = draw_pairs()
    assert pairs.lr.shape == (5, 3, 6, 6)
    assert pairs.hr.shape == (5, 3, 12, 12)
    assert pairs.degradation.kernel.shape == (5, 7, 7)
    torch.testing.assert_close(pairs.degradation(pairs.hr), pairs.lr, rtol=0, atol=1e-6)
    for a, b in combinations(pairs.degradation.kernel, 2):
        assert (a - b).abs().max() > 1e-3


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_pairs_depend_on_the_generator_alone(noise: float) -> None:
    one, same, other = (draw_pairs(seed=s, noise=noise) for s in (1, 1, 2))
    assert torch.equal(one.lr, same.lr)
    assert torch.equal(one.hr, same.hr)
    assert not torch.equal(one.hr, other.hr)


def test_augmentation_of_pairs_takes_the_place_of_turns_and_flips_and_comes_before_degradation() -> None:
    class Negative:
        def __call__(self, hr: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
            assert isinstance(generator, torch.Generator)
            return 1 - hr

    degradations = DegradationSampler(kernels=None, scales=(3.0,), downsample="area")
    drawn = PairSampler(batch_size=4, degradations=degradations, augment=Negative()).draw(
        POOL, generator=generator_from(3)
    )
    generator = generator_from(3)
    degradations.sample(4, generator=generator)
    want = 1 - POOL.draw(4, generator=generator, augment=False)
    assert torch.equal(drawn.hr, want)
    torch.testing.assert_close(drawn.lr, drawn.degradation(drawn.hr))
    plain = PairSampler(batch_size=4, degradations=degradations).draw(POOL, generator=generator_from(3))
    assert not torch.equal(plain.hr, POOL.draw(4, generator=generator_from(3), augment=False))


def test_internal_tasks_learn_from_the_query_patches_at_lr_size() -> None:
    pool = PatchPool(
        [torch.randint(0, 256, (3, 60, 50), generator=generator_from(1), dtype=torch.uint8)], patch_size=36
    )
    degradations = DegradationSampler(kernels=KERNELS, scales=(2.0, 3.0), downsample="direct", quantise="round")
    sampler = TaskSampler(meta_batch=4, support=2, query=2, degradations=degradations, internal=True)
    for task in sampler.draw(pool, generator=generator_from(0)):
        degradation = task.degradation
        torch.testing.assert_close(task.query_lr, degradation(task.query_hr), rtol=0, atol=1e-6)
        father = imresize(task.query_hr, 1 / degradation.scale).clamp(0, 1)
        torch.testing.assert_close(task.support_hr, father)
        torch.testing.assert_close(task.support_lr, degradation.for_son()(father))
    threefold = DegradationSampler(kernels=KERNELS, scales=(3.0,), downsample="bicubic")
    thirds = TaskSampler(meta_batch=1, support=1, query=1, degradations=threefold, internal=True)
    small = PatchPool(
        [torch.randint(0, 256, (3, 60, 50), generator=generator_from(1), dtype=torch.uint8)], patch_size=48
    )
    (task,) = thirds.draw(small, generator=generator_from(0))
    assert (task.query_lr.shape[-1], task.support_hr.shape[-1], task.support_lr.shape[-1]) == (16, 15, 5)
    with pytest.raises(InputError, match="support and query of one number and shared_patches=false, got 3, 2"):
        TaskSampler(meta_batch=1, support=3, query=2, degradations=degradations, internal=True)


def test_told_kernels_are_off_and_the_images_are_not() -> None:
    degradations = DegradationSampler(kernels=KERNELS)
    exact, told = (
        PairSampler(batch_size=3, degradations=degradations, kernel_error=error).draw(POOL, generator=generator_from(0))
        for error in ((0.0, 0.0), (0.3, 0.3))
    )
    assert torch.equal(exact.lr, told.lr)
    assert torch.equal(exact.hr, told.hr)
    assert exact.degradation.kernel is not None
    assert told.degradation.kernel is not None
    assert float((exact.degradation.kernel - told.degradation.kernel).abs().amax((-2, -1)).min()) > 1e-3
    with pytest.raises(InputError, match="kernel_error must be two standard deviations, at least 0"):
        PairSampler(batch_size=3, degradations=degradations, kernel_error=(-0.1, 0.0))
