"""The random degradations of DDSR's public program, bit for bit (Neural Networks 178, 2024; repository XYLGroup/DDSR).

One NumPy generator, seeded once, goes through the images in the order of their names. For each it draws λ1, λ2, θ and a
number per tap (noise on the kernel, of width 0); then, while it degrades, the noise's standard deviation and the noise.
The image is blurred by circular correlation, pixels 0, s, 2s, ... are kept, clipped, and *truncated* to 8 bits.

The kernel is a Gaussian drawn off-centre, cut off by its array, and then moved by a cubic spline so that its centre of
mass lies at (K - s)/2. That decides where an LR pixel looks. Along one axis, for s = 4, LR pixel i and the HR pixels::

    HR pixel   ...  4i-2   4i-1    4i    4i+1   4i+2   4i+3  ...
    published         |   ^         |                           4i - 1.5   what the program does
    direct                          ^                           4i         a kernel in the middle (g2.0d)
    centre                          |         ^                 4i + 1.5   the middle of the block that i stands for

``centre`` is where bicubic resizing puts an LR pixel, and with it every enlargement that knows of no shift. The
program moves the kernel the other way, so that its LR images lie s - 1 HR pixels below and to the right of that (3 at
x4): plain bicubic enlargement of its Set5 x4 scores 21.37 dB, moved back by 3 pixels 26.93 dB. Methods that estimate
the (shifted) kernel do not notice; all others do. ``shift="centre"`` moves the same kernel by s - 1 taps.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from metasr.checks import check_image
from metasr.degradation import kernels
from metasr.degradation.noise import quantise_8bit
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError, require_one_of

Shift = Literal["published", "centre"]
Blur = Literal["gaussian", "disc"]

SCALES = (2, 3, 4, 8)
SET5_MULTIPLE = 12
"""The program's own Set5 was cut to a multiple of 12 before: one set of HR images for x2, x3 and x4."""

_NAME = re.compile(r"ddsr(?P<disc>_disc)?_x(?P<scale>\d+)(?:_n(?P<noise>\d+\.?\d*|\.\d+))?")


def kernel_size(scale: int) -> int:
    """Side K of the kernels: min(4s + 3, 21)."""
    return min(4 * scale + 3, 21)


def width_range(scale: int) -> tuple[float, float]:
    """Range of λ1 and λ2, variances in pixels², and of the disc's radius in pixels: (0.175 s, min(2.5 s, 10))."""
    return 0.175 * scale, min(2.5 * scale, 10.0)


def gaussian_kernel(
    scale: int, variance1: float, variance2: float, theta: float, *, ripple: np.ndarray | None = None
) -> np.ndarray:
    """The program's kernel: drawn at K//2 + (s - 1)/2, moved to (K - s)/2.

    What the array cut off on the right and below is lost; after the move as many rows and columns there are zero. The
    spline may leave weights of about -1e-14.

    Args:
        scale: s.
        variance1: eigenvalue along ``theta``, in pixels².
        variance2: eigenvalue across it.
        theta: radians, from the columns' axis.
        ripple: ``(K, K)`` relative noise of the weights before the move; none for 0.

    Returns:
        ``(K, K)`` float64, sum 1, its centre of mass at (K - s)/2 in both axes.
    """
    from scipy import ndimage

    size = kernel_size(scale)
    turn = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    inverse = np.linalg.inv(turn @ np.diag([variance1, variance2]) @ turn.T)
    axis = np.arange(size) - (size // 2 + (scale - 1) / 2)
    point = np.stack(np.meshgrid(axis, axis), -1)  # (K, K, 2): x, y
    drawn = np.exp(-0.5 * np.einsum("...i,ij,...j", point, inverse, point))
    if ripple is not None:
        drawn = drawn * (1 + ripple)
    wanted = (size - scale) / 2
    moved = ndimage.shift(drawn, [wanted - c for c in ndimage.center_of_mass(drawn)])
    return moved / moved.sum()


def disc_kernel(scale: int, radius: float) -> np.ndarray:
    """The program's out-of-focus kernel: taps no farther than ``radius`` from K//2 - 1, cut off by the array.

    Its centre is a whole tap, 0.5 away from the Gaussians' at x4. As shipped the program stops before it comes to this
    kernel, so no file of its own shows whether this is its last digit.

    Returns:
        ``(K, K)`` float64, sum 1.
    """
    size = kernel_size(scale)
    border = max(0, math.ceil(radius) + 2 - size // 2)
    large = kernels.disc(radius, size=size + 2 * border, centre=size // 2 - 1 + border, subpixels=1).numpy()
    kept = large[border : border + size, border : border + size]
    return kept / kept.sum()


def centred(kernel: np.ndarray, scale: int) -> np.ndarray:
    """The program's Gaussian kernel, moved by s - 1 taps down and right, where it leaves the image in its place.

    Raises:
        InputError: if weights would be lost, which the program's own kernels have not there.
    """
    step = scale - 1
    lost = np.abs(kernel).sum() - np.abs(kernel[: len(kernel) - step, : len(kernel) - step]).sum()
    if lost > 1e-6:
        raise InputError(f"the kernel has {lost:.2g} of its weight in its last {step} rows and columns; it must be 0")
    return np.roll(kernel, (step, step), (0, 1))


def centred_disc(scale: int, radius: float) -> np.ndarray:
    """A disc that leaves the image in its place: at (s - 1)/2 beside the middle, whole, its rim by area."""
    half = (scale - 1) / 2
    size = max(kernel_size(scale), 2 * math.ceil(half + radius) + 1)
    return kernels.disc(radius, size=size, centre=size // 2 + half).numpy()


@dataclass(frozen=True)
class Draw:
    """One image's degradation.

    Attributes:
        degradation: with this image's kernel and noise level.
        lr: ``(1, 3, h, w)`` in [0, 1], whole 8-bit levels.
        parameters: what the kernel was drawn from.
    """

    degradation: Degradation
    lr: Tensor
    parameters: dict[str, float]


@dataclass
class PublishedDraws:
    """The program's draws, one image after the other.

    Attributes:
        scale: 2, 3, 4 or 8.
        seed: of NumPy's legacy generator.
        blur: ``gaussian``, or ``disc`` for out-of-focus blur (a radius takes the place of λ1, λ2, θ and the taps').
        noise_std: upper end of the noise's standard deviation, on the [0, 1] scale: each image's is uniform below it.
        shift: where an LR pixel looks; see this module.

    Raises:
        InputError: for another scale, blur or shift, or a seed that NumPy does not take.
    """

    scale: int
    seed: int = 1
    blur: Blur = "gaussian"
    noise_std: float = 0.0
    shift: Shift = "published"
    _numpy: np.random.RandomState = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise InputError(f"the published draws are for scale {', '.join(map(str, SCALES))}, got {self.scale}")
        require_one_of(self.blur, Blur, name="blur")
        check_shift(self.shift)
        if not 0 <= self.noise_std < math.inf:
            raise InputError(f"noise_std must be finite and at least 0, got {self.noise_std}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"the published draws take a seed from 0 to 2**32 - 1, got {self.seed}")
        self._numpy = np.random.RandomState(self.seed)

    @property
    def name(self) -> str:
        """As ``parse_published`` reads it."""
        disc, noise = "_disc" if self.blur == "disc" else "", self.noise_std * 255
        return f"ddsr{disc}_x{self.scale}" + (f"_n{noise:.12g}" if noise else "")

    def draw(self, hr: Tensor) -> Draw:
        """Degrade the next image.

        Args:
            hr: ``(1, 3, H, W)`` float32 in [0, 1], its sides multiples of the scale.

        Raises:
            InputError: if it is not that, or smaller than the kernel.
        """
        check_image(hr, name="hr")
        if hr.shape[:2] != (1, 3) or any(n % self.scale for n in hr.shape[-2:]):
            raise InputError(f"hr must be (1, 3, H, W) of multiples of {self.scale}, got {tuple(hr.shape)}")
        kernel, parameters = self._kernel()
        std = self._numpy.uniform(0, self.noise_std)
        degradation = Degradation(
            scale=self.scale, kernel=torch.from_numpy(np.ascontiguousarray(kernel)), downsample="direct",
            padding="circular", noise_std=std, quantise="truncate",
        )  # fmt: skip
        clean = degradation.linear(hr.float())[0].permute(1, 2, 0).cpu().numpy()  # (h, w, 3), as the noise is laid out
        noisy = (clean + self._numpy.normal(0, std, clean.shape)).astype(np.float32)
        lr = quantise_8bit(torch.from_numpy(noisy).permute(2, 0, 1)[None], "truncate")
        return Draw(degradation, lr, parameters)

    def _kernel(self) -> tuple[np.ndarray, dict[str, float]]:
        low, high = width_range(self.scale)
        if self.blur == "disc":
            radius = float(self._numpy.uniform(low, high))
            make_disc = disc_kernel if self.shift == "published" else centred_disc
            return make_disc(self.scale, radius), {"radius": radius}
        variance1, variance2 = (float(low + self._numpy.rand() * (high - low)) for _ in range(2))
        theta = float(self._numpy.rand() * np.pi)
        self._numpy.rand(kernel_size(self.scale), kernel_size(self.scale))  # noise on the taps, of width 0
        kernel = gaussian_kernel(self.scale, variance1, variance2, theta)
        kernel = kernel if self.shift == "published" else centred(kernel, self.scale)
        return kernel, {"variance1": variance1, "variance2": variance2, "theta": theta}


def check_shift(shift: str) -> None:
    """Require one of the conventions of this module."""
    if shift not in get_args(Shift):
        raise InputError(
            "shift must be 'published' (LR displaced by scale - 1 HR pixels, as DDSR's files are) or 'centre' (aligned "
            f"as bicubic resizing is), got {shift!r}"
        )


def is_published(name: str) -> bool:
    """Whether a name means these draws: ``ddsr_x4``, ``ddsr_disc_x2``, ``ddsr_x4_n10`` and the like."""
    return _NAME.fullmatch(name.strip()) is not None


def parse_published(name: str, *, seed: int = 1, shift: Shift = "published") -> PublishedDraws:
    """Make the draws that a name means.

    Args:
        name: ``ddsr_x<scale>`` or ``ddsr_disc_x<scale>``, with ``_n<std>`` for noise of up to that standard deviation
            on the 0-255 scale (the program's ``noise_im`` is that over 255).
        seed: see ``PublishedDraws``.
        shift: see this module.

    Raises:
        InputError: for another name, or a scale that is not published.
    """
    match = _NAME.fullmatch(name.strip())
    if match is None:
        raise InputError(f"expected ddsr_x4, ddsr_disc_x4, ddsr_x4_n10 or the like, got {name!r}")
    return PublishedDraws(
        int(match["scale"]),
        seed=seed,
        blur="disc" if match["disc"] else "gaussian",
        noise_std=float(match["noise"] or 0) / 255,
        shift=shift,
    )
