"""What DDSR's benchmarks share: prepared images, what is done to them, and how an answer is scored."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands import at_least
from metasr.errors import InputError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from metasr.degradation.pipeline import Degradation
    from metasr.solvers.base import Solution

ROWS: dict[str, dict[str, Any]] = {
    "faithful": {"mode": "faithful"},
    "better": {},
    "warm-up at 1e-4": {"warmup_rate": 1e-4},
    "no warm-up": {"warmup_steps": 0},
    "no random kernels": {"random_kernels": 0},
    "random kernels of the published widths": {"widths": "wide"},
    "random kernels of both widths": {"widths": "both"},
    "both widths, in the warm-up alone": {"widths": "both", "random_kernels": 0},
    "one optimiser": {"optimisers": "shared"},
    "one for random kernels, one for losses": {"optimisers": "random"},
    "optimisers for both nets": {"optimisers": "all"},
    "losses dropped": {"drop_losses": True},
    "last image": {"average": 0.0},
    "SSIM for a fifth as long": {"ssim_share": 0.08},
    "SSIM to the end": {"ssim_share": 1.0},
    "prior at 3e-3": {"prior_weight": 3e-3},
    "no prior": {"prior_weight": 0.0},
    "penalty on the kernel": {"sparse_kernel": 0.2},
    "no early stopping": {"stop": "none"},
    "early stopping after 50 steps": {"patience": 50},
    "kernels from the middle": {"centre": "middle"},
    "kernels from where bicubic looks": {"centre": "correct"},
    "darkened model": {"brighten": False},
    "an image made for random kernels": {"share_forward": False},
    "float32": {"precision": "float32"},
}
"""What differs from ``better``, by the row's name."""

CORNER = 10  # LR pixels, above and to the left of a covered square


@dataclass(frozen=True)
class Problem:
    """An LR image, what it came from, and what a blind solver is told: mask and gain, and the truth for measuring."""

    name: str
    lr: Tensor
    hr: Tensor
    degradation: Degradation


@dataclass(frozen=True)
class Score:
    """PSNR and SSIM on Y, of the visible region too where there is a mask; PSNR of the kernel."""

    psnr: float
    ssim: float
    visible: float | None
    kernel: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options for what else is done to the images."""
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--centre", default="published", choices=("published", "middle", "correct"),
                        help="where the prepared LR images lie")  # fmt: skip
    parser.add_argument("--side", type=int, default=0, help="HR pixels of the middle that is cut; 0: all")
    parser.add_argument("--noise", type=float, default=0.0, metavar="STD", help="of 255; the HR is degraded anew")
    parser.add_argument("--disc", type=float, default=0.0, metavar="RADIUS",
                        help="in HR pixels, in place of the prepared kernel; the HR is degraded anew")  # fmt: skip
    parser.add_argument("--cover", type=int, default=0, metavar="SIDE",
                        help=f"LR pixels of a square that is covered, {CORNER} from the upper left corner")  # fmt: skip
    parser.add_argument("--gain", type=float, default=1.0, help="brightness that the LR image is brought to")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))


def check_options(options: argparse.Namespace) -> None:
    """Require options in their ranges.

    Raises:
        InputError: naming the first that is not.
    """
    at_least(options, scale=2, side=0, noise=0, disc=0, cover=0)
    if not 0 < options.gain <= 1:
        raise InputError(f"--gain must be in (0, 1], got {options.gain:g}")


def rows_named(names: Sequence[str] | None) -> list[str]:
    """Names of ``ROWS``.

    Raises:
        InputError: for the first that is none of them.
    """
    for name in names or ():
        if name not in ROWS:
            raise InputError(f"--rows {name!r}: {nearest(name, ROWS)}")
    return list(names or ())


def arguments(row: str, *, steps: int, centre: str, ssim_share: float | None = None) -> dict[str, Any]:
    """The solver's arguments for one of ``ROWS``.

    Args:
        row: its name.
        steps: image steps.
        centre: of the kernels, unless the row has one of its own.
        ssim_share: of the steps, how many are taken before the loss changes, unless the row has one of its own; none
            for as many as the solver takes.
    """
    changed = {"steps": steps, "centre": centre, "ssim_share": ssim_share} | ROWS[row]
    share = changed.pop("ssim_share")
    return changed if share is None else {"ssim_steps": round(share * steps)} | changed


def names_in(where: Path) -> list[str]:
    """The images of a folder, of either layout.

    Raises:
        InputError: if it holds none.
    """
    found = [p.name.removeprefix("hr_").removesuffix(".png") for p in where.glob("hr_*.png")]
    found += [p.stem for p in where.glob("hr/*.png")]
    if not found:
        raise InputError(f"{where} holds neither hr_NAME.png nor hr/NAME.png; prepare it with prepare.hr=true")
    return sorted(found)


def read(where: Path, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """LR, HR and kernel of a folder: NAME.png, hr_NAME.png and kernel_NAME.mat, or lr/, hr/ and kernels/NAME.npy.

    Raises:
        InputError: if the folder has no such image.
    """
    from metasr.degradation.kernel_files import load_kernel
    from metasr.io.images import read_photo

    own = where / f"{name}.png", where / f"hr_{name}.png", where / f"kernel_{name}.mat"
    prepared = where / "lr" / f"{name}.png", where / "hr" / f"{name}.png", where / "kernels" / f"{name}.npy"
    files = prepared if (where / "lr").is_dir() else own
    if not all(p.is_file() for p in files):
        known = [p.name.removeprefix("hr_").removesuffix(".png") for p in where.glob("hr_*.png")]
        known += [p.stem for p in where.glob("hr/*.png")]
        wanted = ", ".join(p.relative_to(where).as_posix() for p in files)
        raise InputError(f"--image {name}: {wanted} are needed: {nearest(name, known)}")
    return read_photo(files[0]).rgb[None], read_photo(files[1]).rgb[None], load_kernel(files[2])


def sample(scale: int) -> tuple[Tensor, Tensor, Tensor]:
    """LR, HR and kernel of an embedded sample's middle, by the published program's draws."""
    from metasr.data.catalog import image_set
    from metasr.degradation.published_ddsr import PublishedDraws
    from metasr.degradation.resize import middle

    images = image_set("samples", split="test")
    hr = middle(images.load(images.names.index("hopper"))[None], (144, 144))
    drawn = PublishedDraws(scale).draw(hr)
    assert drawn.degradation.kernel is not None
    return drawn.lr, hr, drawn.degradation.kernel


def problem(options: argparse.Namespace, where: Path | None, name: str) -> Problem:
    """An image as the options want it.

    With noise or a disc its HR is degraded anew, as the published program does it: circular correlation, 0::s, noise of
    seed 1, truncation to 8 bits. Cover and gain come after that, and are known.

    Raises:
        InputError: if there is no such image, or the covered square does not fit into it.
    """
    import torch

    from metasr.degradation.kernels import disc
    from metasr.degradation.pipeline import Degradation
    from metasr.degradation.resize import middle
    from metasr.solvers.ddsr.random_kernels import centre_of

    scale = options.scale
    lr, hr, kernel = sample(scale) if where is None else read(where, name)
    hr = hr[..., : lr.shape[-2] * scale, : lr.shape[-1] * scale]
    if options.disc:
        size = kernel.shape[-1]
        kernel = disc(options.disc, size=size, centre=centre_of(options.centre, scale=scale, size=size))
    if options.disc or options.noise:
        again = Degradation(
            scale=scale, kernel=kernel, downsample="direct", padding="circular", quantise="truncate",
            noise_std=options.noise / 255,
        )  # fmt: skip
        lr = again(hr, generator=torch.Generator().manual_seed(1))
    if options.side:  # the wrapped border is then only nearly what the model says
        low = options.side // scale
        top, left = ((n - low) // 2 for n in lr.shape[-2:])
        lr = middle(lr, (low, low))
        hr = hr[..., top * scale : (top + low) * scale, left * scale : (left + low) * scale]
    mask = None
    if options.cover:
        end = CORNER + options.cover
        if end > min(lr.shape[-2:]):
            raise InputError(f"--cover {options.cover}: {name} has only {lr.shape[-2]}x{lr.shape[-1]} LR pixels")
        mask = torch.ones(1, 1, *lr.shape[-2:])
        mask[..., CORNER:end, CORNER:end] = 0
        lr = lr * mask
    known = Degradation(scale=scale, kernel=kernel, downsample="direct", mask=mask, gain=options.gain)
    return Problem(name, lr * options.gain, hr, known)


def score(given: Problem, solved: Solution) -> Score:
    """PSNR and SSIM on unrounded Y, without a border of ``scale`` pixels, as the published figures; kernel PSNR."""
    import torch.nn.functional as F

    from metasr.metrics.kernel import kernel_psnr, resized
    from metasr.metrics.protocol import LumaProtocol

    scale, protocol, sr = int(given.degradation.scale), LumaProtocol(round_luma=False), solved.sr.cpu()
    found = protocol(sr, given.hr, scale=scale)
    visible = None
    if given.degradation.mask is not None:
        away = protocol.luma(sr, scale=scale) - protocol.luma(given.hr, scale=scale)
        seen = F.interpolate(given.degradation.mask, scale_factor=scale)
        cut = [(n - m) // 2 for n, m in zip(seen.shape[-2:], away.shape[-2:], strict=True)]
        seen = seen[..., cut[0] : cut[0] + away.shape[-2], cut[1] : cut[1] + away.shape[-1]].bool()
        visible = float(-10 * (away[seen.expand_as(away)] / 255).square().mean().log10())
    assert solved.kernel is not None
    assert given.degradation.kernel is not None
    truth = resized(given.degradation.kernel, solved.kernel.shape[-1])
    return Score(found.psnr_y, found.ssim_y, visible, float(kernel_psnr(solved.kernel, truth)))


def told(options: argparse.Namespace) -> str:
    """What is done to the images, in a few words."""
    words = [f"x{options.scale}"]
    words += [f"noise {options.noise:g}/255"] if options.noise else []
    words += [f"disc of radius {options.disc:g}"] if options.disc else []
    words += [f"{options.cover}x{options.cover} LR pixels covered"] if options.cover else []
    words += [f"gain {options.gain:g}"] if options.gain != 1 else []
    return ", ".join(words)
