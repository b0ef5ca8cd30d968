"""What each of DDSR's choices is worth: every one of `better`'s taken back alone, and all of `faithful`'s.

    python benchmarks/ddsr_ablation.py [--folder FOLDER --image butterfly] [--scale 4] [--steps 300] [--seed 0]
                                       [--side 0] [--rows faithful better average] [--device cpu]

FOLDER holds NAME.png (the LR image), hr_NAME.png and kernel_NAME.mat, the LR image displaced as the published
program's are (`--centre` says otherwise); without it, the middle of an embedded sample is degraded by the published
program's draws. `--side` cuts a middle of so many HR pixels from it, for a quicker answer. One row per choice: PSNR and
SSIM on Y, kernel PSNR, seconds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands import at_least, folder
from commands import device as device_named
from metasr.errors import InputError, nearest
from metasr.experiment.cli_checks import status_of

if TYPE_CHECKING:
    from torch import Tensor

ROWS: dict[str, dict[str, Any]] = {
    "faithful": {"mode": "faithful"},
    "better": {},
    "warm-up at 1e-4": {"warmup_rate": 1e-4},
    "no warm-up": {"warmup_steps": 0},
    "no random kernels": {"random_kernels": 0},
    "random kernels of the published widths": {"widths": "wide"},
    "one optimiser": {"optimisers": "shared"},
    "optimisers for both nets": {"optimisers": "all"},
    "losses dropped": {"drop_losses": True},
    "last image": {"average": 0.0},
    "SSIM for 80 steps": {"ssim_steps": 80},
    "prior at 1e-3": {"prior_weight": 1e-3},
    "no prior": {"prior_weight": 0.0},
    "no penalty on the kernel": {"sparse_kernel": 0.0},
    "no early stopping": {"stop": "none"},
    "an image made for random kernels": {"share_forward": False},
    "float32": {"precision": "float32"},
}
"""What differs from ``better``, by the row's name."""


def read(where: Path, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """LR, HR and kernel of a folder.

    Raises:
        InputError: if the folder has no such image.
    """
    from metasr.data.images import read_photo
    from metasr.degradation.kernels import load_kernel

    files = where / f"{name}.png", where / f"hr_{name}.png", where / f"kernel_{name}.mat"
    known = [p.name.removeprefix("hr_").removesuffix(".png") for p in where.glob("hr_*.png")]
    if not all(p.is_file() for p in files):
        raise InputError(f"--image {name}: {', '.join(p.name for p in files)} are needed: {nearest(name, known)}")
    return read_photo(files[0]).rgb[None], read_photo(files[1]).rgb[None], load_kernel(files[2])


def sample(scale: int) -> tuple[Tensor, Tensor, Tensor]:
    """LR, HR and kernel of an embedded sample's middle."""
    from metasr.data.catalog import image_set
    from metasr.degradation.ddsr_published import PublishedDraws
    from metasr.degradation.resize import middle

    images = image_set("samples", split="test")
    hr = middle(images.load(images.names.index("hopper"))[None], (144, 144))
    drawn = PublishedDraws(scale).draw(hr)
    assert drawn.degradation.kernel is not None
    return drawn.lr, hr, drawn.degradation.kernel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--image", default="butterfly")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", type=int, default=0, help="HR pixels of the middle that is cut; 0: all")
    parser.add_argument("--centre", default="published", choices=("published", "middle", "correct"))
    parser.add_argument("--rows", nargs="+", default=list(ROWS), metavar="ROW")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    options = parser.parse_args()
    at_least(options, steps=1, scale=2, side=0, seed=0)
    for row in options.rows:
        if row not in ROWS:
            raise InputError(f"--rows {row!r}: {nearest(row, ROWS)}")
    device = device_named(options.device)
    where = None if options.folder is None else folder(options.folder, what="the one that holds LR, HR and kernels")

    from metasr.degradation.pipeline import Degradation
    from metasr.degradation.resize import middle
    from metasr.evaluation.kernel_metrics import kernel_psnr, resized
    from metasr.evaluation.protocol import LumaProtocol
    from metasr.solvers.ddsr import DDSRSolver

    scale = options.scale
    lr, hr, kernel = sample(scale) if where is None else read(where, options.image)
    hr = hr[..., : lr.shape[-2] * scale, : lr.shape[-1] * scale]
    if options.side:  # the wrapped border is then only nearly what the model says
        low = options.side // scale
        top, left = ((n - low) // 2 for n in lr.shape[-2:])
        lr = middle(lr, (low, low))
        hr = hr[..., top * scale : (top + low) * scale, left * scale : (left + low) * scale]
    print(f"{options.image if where else 'hopper'}, x{scale}, {hr.shape[-2]}x{hr.shape[-1]}, {options.steps} steps, "
          f"seed {options.seed}")  # fmt: skip
    print(f"{'':36s}{'PSNR':>8s}{'SSIM':>8s}{'kernel':>8s}{'steps':>7s}{'seconds':>9s}", flush=True)
    for row in options.rows:
        solver = DDSRSolver(steps=options.steps, centre=options.centre, max_pixels=None, **ROWS[row])
        solved = solver.solve(
            lr.to(device), scale=scale, degradation=Degradation(scale=scale, downsample="direct"), seed=options.seed
        )
        score = LumaProtocol()(solved.sr.cpu(), hr, scale=scale)
        assert solved.kernel is not None
        close = kernel_psnr(solved.kernel, resized(kernel, solved.kernel.shape[-1])).item()
        print(
            f"{row:36s}{score.psnr_y:8.2f}{score.ssim_y:8.4f}{close:8.2f}{solved.updates:7d}{solved.seconds:9.0f}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(status_of(main))
