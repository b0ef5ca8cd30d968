"""The linear probe, the projection and swapped vectors."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from metasr.errors import InputError
from mrda.probe import probe, project, r_squared, rank_correlation, swap_scores


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(images: int = 8, kernels: int = 6, length: int = 20) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Vectors that carry a width along one direction, an image's content along others, and some noise."""
    width = torch.linspace(0.2, 4, kernels).double().repeat(images)
    names = [f"image {i}" for i in range(images) for _ in range(kernels)]
    content = draw(images, length).repeat_interleave(kernels, 0)
    direction, *others = draw(length, length, seed=1)
    content = content @ torch.stack(others).T @ torch.stack(others) / length
    content -= (content @ direction)[:, None] * direction / direction.square().sum()
    return width[:, None] * direction + content + 0.01 * draw(images * kernels, length, seed=2), width, names


def test_a_width_that_is_there_is_told_of_images_not_seen() -> None:
    vectors, width, names = problem()
    found = probe(vectors, width, names)
    assert found.r2 > 0.98
    assert found.rank_correlation > 0.98
    assert found.r2 == pytest.approx(r_squared(found.told, width))
    assert found.rank_correlation == pytest.approx(float(spearmanr(found.told, width).statistic))


def test_noise_tells_nothing() -> None:
    _, width, names = problem()
    found = probe(draw(len(width), 20, seed=5), width, names)
    assert found.r2 < 0.1
    assert abs(found.rank_correlation) < 0.4


def test_what_is_told_of_an_image_does_not_depend_on_its_own_targets() -> None:
    vectors, width, names = problem()
    changed = width.clone()
    changed[:6] += 3  # the first image's
    first, other = probe(vectors, width, names).told, probe(vectors, changed, names).told
    assert torch.equal(first[:6], other[:6])
    assert not torch.equal(first[6:], other[6:])


def test_content_that_tells_the_width_of_its_own_image_alone_is_no_knowledge() -> None:
    """A vector that is an image's mark: with the image's other vectors at hand the mean width could be told."""
    images, kernels = 8, 6
    own = torch.rand(images, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    names = [f"{i}" for i in range(images) for _ in range(kernels)]
    vectors = torch.eye(images).double().repeat_interleave(kernels, 0)
    width = own.repeat_interleave(kernels) + 0.01 * draw(images * kernels)
    assert probe(vectors, width, names).r2 < 0.1


@pytest.mark.parametrize("length", [5, 300])
def test_is_the_ridge_regression_of_numpy(length: int) -> None:
    """Three images: each is told by a fit on the other two, whose penalty those two chose."""
    vectors, width, names = problem(images=3, kernels=7, length=length)
    found = probe(vectors, width, names)

    def fit(x: np.ndarray, y: np.ndarray, at: np.ndarray, strength: float) -> np.ndarray:
        mean, spread = x.mean(0), x.std(0)
        z = (x - mean) / spread
        stacked = np.concatenate([z, np.sqrt(strength * len(x)) * np.eye(length)])
        weights = np.linalg.lstsq(stacked, np.concatenate([y - y.mean(), np.zeros(length)]), rcond=None)[0]
        return (at - mean) / spread @ weights + y.mean()

    x, y = vectors.numpy(), width.numpy()
    part = np.arange(3).repeat(7)
    for held in range(3):
        first, second = (i for i in range(3) if i != held)
        errors = {}
        for strength in 10.0 ** np.arange(-4, 5):
            a = fit(x[part == first], y[part == first], x[part == second], strength) - y[part == second]
            b = fit(x[part == second], y[part == second], x[part == first], strength) - y[part == first]
            errors[strength] = (a**2).sum() + (b**2).sum()
        best = min(errors, key=errors.__getitem__)
        want = fit(x[part != held], y[part != held], x[part == held], best)
        np.testing.assert_allclose(found.told[torch.from_numpy(part == held)], want, rtol=1e-6, atol=1e-8)


def test_rank_correlation_is_spearmans_with_ties_and_without_variance_none() -> None:
    a = torch.tensor([1.0, 2, 2, 5, 3, 3, 3])
    b = torch.tensor([2.0, 1, 4, 4, 4, 9, -1])
    assert rank_correlation(a, b) == pytest.approx(float(spearmanr(a, b).statistic), abs=1e-12)
    assert rank_correlation(a, torch.ones(7)) == 0
    assert rank_correlation(a, a.exp()) == pytest.approx(1)


def test_r_squared_by_hand() -> None:
    true = torch.tensor([1.0, 2.0, 3.0])
    assert r_squared(true, true) == 1
    assert r_squared(true.mean().expand(3), true) == 0
    assert r_squared(torch.tensor([1.0, 2.0, 4.0]), true) == pytest.approx(0.5)
    assert r_squared(-true, true) < 0


def test_projection_has_the_largest_variances_and_is_the_same_for_mirrored_noise_of_the_solver() -> None:
    vectors = draw(9, 5) * torch.tensor([1.0, 7.0, 0.1, 3.0, 0.5]).double()
    found = project(vectors)
    want = torch.linalg.eigvalsh(torch.cov(vectors.T))[-2:].flip(0)
    torch.testing.assert_close(torch.cov(found.T), torch.diag(want), rtol=1e-10, atol=1e-10)
    assert found.mean(0).abs().max() < 1e-12
    torch.testing.assert_close(project(vectors + 5), found, rtol=0, atol=1e-10)
    along = vectors - vectors.mean(0)
    assert float((found[:, 0] * along[:, 1]).sum()) > 0  # its largest loading, the second number's, is positive
    assert project(vectors.float()).dtype == torch.float64


def test_swapping() -> None:
    lrs = [torch.full((1, 3, 2, 3), float(v)) for v in (1, 2, 4)]
    vectors = [torch.full((1, 1), float(v)) for v in (10, 20, 40)]
    found = swap_scores(lambda lr, v: lr + v, lrs, vectors, score=lambda sr: float(sr.mean()))
    assert found.tolist() == [[11, 12, 14], [21, 22, 24], [41, 42, 44]]
    with pytest.raises(InputError, match="as many vectors as LR images are needed, got 2 and 3"):
        swap_scores(lambda lr, v: lr, lrs, vectors[:2], score=float)


@pytest.mark.parametrize(("vectors", "targets", "names", "message"), [
    (torch.rand(4), torch.rand(4), list("abcd"), r"got \(4,\), \(4,\) and 4"),
    (torch.rand(4, 2), torch.rand(3), list("abcd"), r"got \(4, 2\), \(3,\) and 4"),
    (torch.rand(4, 2), torch.rand(4), list("abc"), r"got \(4, 2\), \(4,\) and 3"),
    (torch.full((4, 2), torch.nan), torch.rand(4), list("abcd"), "needs finite vectors and targets"),
    (torch.rand(4, 2), torch.rand(4), list("abab"), "needs at least 3 of them, got 2; give more images"),
    (torch.rand(4, 2), torch.ones(4), list("abcd"), "needs targets that differ, got 4 times 1"),
])  # fmt: skip
def test_bad_input_is_told(vectors, targets, names, message: str) -> None:
    with pytest.raises(InputError, match=message):
        probe(vectors, targets, names)


def test_a_projection_of_too_few_is_refused() -> None:
    with pytest.raises(InputError, match="on 2 axes needs vectors"):
        project(torch.rand(1, 4))
