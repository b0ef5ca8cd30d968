"""The kernel regressor: its Gaussians against independent ones, and what its output may and may not depend on."""

import math

import pytest
import torch

from metasr.degradation import kernels
from metasr.degradation.blur import blur
from metasr.errors import InputError
from metasr.io.jpeg import of_quality
from metasr.models.kernel_regressor import KernelRegressor, axes_of, covariance_of, gaussians_of, statistics


def some_logs(count: int = 7) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def image(height: int = 37, width: int = 45, count: int = 2, *, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 0.5 + 0.2


def made(width: int = 8) -> KernelRegressor:
    torch.manual_seed(0)
    network = KernelRegressor(width=width)
    return network.eval()


def test_the_covariance_is_the_matrix_exponential() -> None:
    logs = some_logs()
    p, q, r = logs.unbind(-1)
    matrices = torch.stack([torch.stack([p + q, r], -1), torch.stack([r, p - q], -1)], -2)
    torch.testing.assert_close(covariance_of(logs), torch.linalg.matrix_exp(matrices))


def test_its_gradient_is_right_and_finite_where_the_blur_is_round() -> None:
    assert torch.autograd.gradcheck(covariance_of, some_logs(3).requires_grad_())
    logs = torch.tensor([[0.3, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    gaussians_of(logs, size=7)[0, 3, 3].backward()
    assert bool(logs.grad.isfinite().all())  # type: ignore[union-attr]
    assert float(logs.grad[0, 0]) < 0  # a wider kernel has a lower peak  # type: ignore[index]


def test_gaussians_are_those_of_their_axes() -> None:
    logs = some_logs()
    for row, kernel in zip(logs, gaussians_of(logs, size=15), strict=True):
        long, short, theta = axes_of(row)
        assert long >= short
        assert -math.pi / 2 < theta <= math.pi / 2
        torch.testing.assert_close(kernel, kernels.anisotropic(long, short, theta, size=15))


def test_axes_are_eigenvalues_and_the_first_eigenvectors_angle() -> None:
    for row in some_logs():
        values, vectors = torch.linalg.eigh(covariance_of(row))
        long, short, theta = axes_of(row)
        assert [short, long] == pytest.approx(values.tolist())
        direction = torch.tensor([math.cos(theta), math.sin(theta)], dtype=torch.float64)
        assert abs(float(vectors[:, 1] @ direction)) == pytest.approx(1)


def test_parameters_and_shapes() -> None:
    assert sum(p.numel() for p in KernelRegressor().parameters()) == 121_861
    for size in ((24, 24), (25, 61), (70, 33)):
        told = made()(image(*size), scale=2.0, direct=True)
        assert told.log_covariance.shape == (2, 3)
        assert told.noise_std.shape == (2,)
        assert bool((told.noise_std >= 0).all())


def test_images_of_a_batch_do_not_mix() -> None:
    network, batch = made(), image()
    whole = network(batch, scale=3.0, direct=False)
    for i in range(2):
        alone = network(batch[i : i + 1], scale=3.0, direct=False)
        torch.testing.assert_close(alone.log_covariance[0], whole.log_covariance[i])
        torch.testing.assert_close(alone.noise_std[0], whole.noise_std[i])


def test_brightness_does_not_matter_but_scale_and_grid_do() -> None:
    network, batch = made(), image()
    reference = network(batch, scale=2.0, direct=True)
    torch.testing.assert_close(
        network(batch + 0.1, scale=2.0, direct=True).log_covariance, reference.log_covariance, atol=1e-4, rtol=1e-4
    )
    other_grid = network(batch, scale=2.0, direct=False).log_covariance
    assert float((other_grid - reference.log_covariance).detach().abs().min()) > 1e-6
    wider = network(batch, scale=4.0, direct=True).log_covariance - reference.log_covariance
    assert bool((wider[:, 0] > 0.5).all())  # from LR to HR pixels: 2 log 2, give or take what was learned


def test_answers_are_bounded_whatever_was_learned() -> None:
    network = made()
    with torch.no_grad():
        network.layers[-1].weight.mul_(1e6)  # type: ignore[operator]
    told = network(image(), scale=2.0, direct=True)
    assert bool(covariance_of(told.log_covariance).isfinite().all())
    assert float(told.noise_std.detach().max()) < 12


@pytest.mark.parametrize(
    ("size", "channels", "message"),
    [
        ((23, 40), 3, r"at least 24x24, got \(1, 3, 23, 40\); give a larger image, or name the kernel"),
        ((40, 40), 1, r"from RGB images of at least 24x24, got \(1, 1, 40, 40\)"),
    ],
)
def test_unfit_images_are_refused(size: tuple[int, int], channels: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        made()(torch.rand(1, channels, *size), scale=2.0, direct=True)


def test_impossible_widths_are_refused() -> None:
    with pytest.raises(InputError, match="width must be at least 1, got 0"):
        KernelRegressor(width=0)


def test_statistics_of_a_wave_are_those_of_its_derivatives() -> None:
    """Along a plane wave of frequency f each difference multiplies the amplitude by 2 |sin(f / 2)|."""
    x, frequency = torch.arange(64, dtype=torch.float64), 0.7
    wave = (0.5 + 0.4 * torch.sin(frequency * x)).expand(1, 3, 48, 64)
    found = statistics(wave)[0].unflatten(0, (7, 30))[2]  # all places alike
    logs = found[6:].unflatten(0, (4, 6)) / 3  # directions x orders, less their mean over the directions
    steps = {0: 2 * math.sin(frequency / 2), 1: 2 * math.sin(frequency / 2), 3: 2 * math.sin(frequency / 2)}
    level = torch.cat([found[:1] * 3 - 8, found[1:6]]).cumsum(0)
    for direction, factor in steps.items():
        ratio = (logs[direction] + level).diff()[:2]  # the weaker ones drown in the floor that is added
        torch.testing.assert_close(
            ratio, torch.full((2,), 2 * math.log(factor), dtype=torch.float64), atol=0.05, rtol=0
        )
    assert float((logs[2] + level).max()) < -10  # nothing changes down the columns


def test_statistics_follow_quarter_turns() -> None:
    batch = image(40, 40).double()
    upright, turned = (statistics(x).unflatten(1, (7, 30)) for x in (batch, batch.rot90(1, (-2, -1))))
    torch.testing.assert_close(upright[:, 2, :6], turned[:, 2, :6], atol=0.15, rtol=0)  # windows lie a little elsewhere
    one, two = (part[:, 2, 6:].unflatten(1, (4, 6)) for part in (upright, turned))
    torch.testing.assert_close(one, two[:, [2, 3, 0, 1]], atol=0.4, rtol=0)


def test_blur_weakens_high_derivatives_and_noise_strengthens_them_in_flat_places() -> None:
    batch = image(60, 60)
    wide = blur(batch, kernels.isotropic(2.0, size=9).float())
    noisy = (wide + 0.03 * torch.randn(wide.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    plain, weak, strong = (statistics(x).unflatten(1, (7, 30))[:, :, 1:6].sum(-1) for x in (batch, wide, noisy))
    assert bool((weak < plain - 1).all())
    assert bool((strong[:, 0] > weak[:, 0] + 1).all())


def test_compression_is_looked_at_image_by_image() -> None:
    network, lr = made(), image(40, 40)[:1].expand(2, -1, -1, -1)
    told = network(lr, scale=2, direct=False, jpeg=(None, of_quality(50)))
    for index, jpeg in enumerate((None, of_quality(50))):
        alone = network(lr[:1], scale=2, direct=False, jpeg=jpeg)
        torch.testing.assert_close(told.log_covariance[index : index + 1], alone.log_covariance)
    assert not torch.allclose(told.log_covariance[0], told.log_covariance[1])
    assert bool(((told.doubt > 0) & (told.doubt < 2)).all())
