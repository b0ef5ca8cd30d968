"""Training of the network for photos: it learns what it is told, and goes on at other scales."""

import pytest
import torch

from metasr.data.drawings import Drawings
from metasr.data.patches import PatchPool
from metasr.data.tasks import PairSampler, TaskSampler
from metasr.degradation.jpeg import JpegSampler
from metasr.degradation.pipeline import DegradationSampler
from metasr.degradation.told import told
from metasr.errors import WeightsError
from metasr.models.photo import PhotoNet
from metasr.recipes.meta_transfer import MetaTransfer
from metasr.recipes.photo import PhotoTraining
from recipes.fitting import fit
from small_problems import picture


def made(scales: tuple[int, ...] = (2,)) -> PhotoTraining:
    torch.manual_seed(0)
    return PhotoTraining(PhotoNet(scales, widths=(8, 8), blocks=(1, 1)), steps=100, rate=3e-3)


def sampler(**options: object) -> PairSampler:
    degradations = DegradationSampler(
        noise_std=(0.02, 0.08), jpeg=JpegSampler(quality=(30, 60), share=0.7), quantise="round", per="image"
    )
    return PairSampler(batch_size=8, degradations=degradations, **options)  # type: ignore[arg-type]


def test_told_noise_is_off_by_as_much_as_is_said() -> None:
    pool = PatchPool([picture(40, 40)[0]], patch_size=24)
    told, true = [], []
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        true.append(sampler().draw(pool, generator=generator))
        generator = torch.Generator().manual_seed(seed)
        told.append(sampler(noise_error=(0.2, 0.0)).draw(pool, generator=generator))
    assert all(torch.equal(a.lr, b.lr) for a, b in zip(told, true, strict=True))
    ratios = torch.cat(
        [(a.degradation.noise_std / b.degradation.noise_std).log() for a, b in zip(told, true, strict=True)]
    )
    assert 0.17 < float(ratios.std()) < 0.23
    assert abs(float(ratios.mean())) < 0.03
    added = sampler(noise_error=(0.0, 2.0)).draw(pool, generator=torch.Generator().manual_seed(0))
    assert float((added.degradation.noise_std - true[0].degradation.noise_std).abs().max()) > 1 / 255
    assert float(added.degradation.noise_std.min()) >= 0  # type: ignore[union-attr]


def test_it_takes_noise_and_compression_away() -> None:
    pool = PatchPool([picture(64, 64)[0]], patch_size=32)
    recipe = made()
    draws = sampler(augment=Drawings(share=0.2))
    batch = draws.draw(pool, generator=torch.Generator().manual_seed(0))
    losses = [logged["train/loss"] for logged in fit(recipe, [batch], steps=100)]
    assert losses[-1] < 0.95 * losses[0]


def test_other_scales_go_on_from_its_body() -> None:
    parent = made()
    for parameter in parent.model.parameters():
        torch.nn.init.normal_(parameter)
    child = made((4, 3))
    count = len(parent.export())
    line = child.load_parent(parent.export(), origin="photo_x2")
    assert line == f"{count - 2} of {len(child.export())} network tensors from photo_x2"
    assert torch.equal(child.model.head.weight, parent.model.head.weight)
    assert not child.model.tails["x4"].weight.any()
    broken = {name: tensor for name, tensor in parent.export().items() if not name.startswith("head.")}
    with pytest.raises(WeightsError, match="head"):
        child.load_parent(broken, origin="photo_x2")


def test_meta_transfer_takes_what_is_told_with_the_patches() -> None:
    pool = PatchPool([picture(64, 64)[0]], patch_size=32)
    degradations = DegradationSampler(noise_std=(0.02, 0.08), jpeg=JpegSampler(quality=(30, 60)), quantise="round")
    tasks = TaskSampler(meta_batch=2, support=2, query=2, degradations=degradations, tell=True)
    batch = tasks.draw(pool, generator=torch.Generator().manual_seed(0))
    for task in batch:
        assert torch.equal(task.support_lr, told(task.support_lr[:, :3], task.degradation))
    recipe = MetaTransfer(
        PhotoNet((2,), widths=(8, 8), blocks=(1, 1)), steps=4, inner_steps=2, rate=1e-3, enlarge_first=False,
        precision="fp32",
    )  # fmt: skip
    before = recipe.export()
    fit(recipe, [batch], steps=4)
    moved = {name for name, tensor in recipe.export().items() if not torch.equal(tensor, before[name])}
    assert {"inner_rates", "head.weight", "tails.x2.weight"} <= moved
