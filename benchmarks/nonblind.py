"""Known blur, side by side: any folder of images, kernels and solvers; PSNR and SSIM on Y, CPU seconds, memory.

    python benchmarks/nonblind.py FOLDER [--images 20] [--crop 320] [--solvers interpolate_aligned data_step mzsr]
                                  [--kernels SET iso_2_d FILE ...] [--scale 2] [--downsample direct] [--noise 0]
                                  [--network package.Class --network-weights FILE] [--table out.csv]

Kernels are `SET` (the eight below), names such as `iso_2_d`, or files. The eight are three Gaussians (variance 2; 4, 1;
2.5, 0.6), two strokes of a moving camera, an out-of-focus disc, and two Gaussians off their middle tap, by (1, -1) and
(-0.5, 0.5) pixels. LR images are rounded to 8 bits. Seconds are the process's own CPU time, so take one thread
(OMP_NUM_THREADS=1); memory is what solving took beyond what the process held before it, at its peak (Linux).

A network from outside is one more row: `--network` names its class, on your own command line. It is called as
`network(lr, kernel, scale, noise_std)` with tensors (1, 3, h, w) and (kH, kW) and two numbers, and gives the image.
Solver `mzsr` is MZSR with ten updates of the released weights, `mzsr_0` without any; `unfolded_ensemble` averages over
eight turns and flips.
"""

from __future__ import annotations

import argparse
import csv
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands import at_least, folder
from metasr.config.command_line import status_of
from metasr.errors import InputError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from metasr.degradation.pipeline import Degradation
    from metasr.solvers.base import Solver

DEFAULT_SOLVERS = ["interpolate_aligned", "back_project", "data_step", "mzsr", "unfolded"]
SHAVE = 16  # HR pixels: what a displaced kernel may leave unknown at the border


def kernel_set() -> dict[str, Tensor]:
    """Eight kernels of many kinds, 25×25."""
    import torch

    from metasr.degradation.kernel_samplers import moved_by, stroke
    from metasr.degradation.kernels import anisotropic, disc, isotropic

    size = 25
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    between = torch.exp(-0.5 * (axis[:, None] + 0.5).square() / 1.5 - 0.5 * (axis[None] - 0.5).square() / 1.5)
    return {
        "iso 2.0": isotropic(2.0, size=size),
        "aniso 4/1": anisotropic(4.0, 1.0, -0.5, size=size),
        "aniso 2.5/0.6": anisotropic(2.5, 0.6, 0.8, size=size),
        "motion 7": stroke(7.0, theta=0.4, size=size),
        "motion 10 bent": stroke(10.0, theta=2.0, bend=0.8, size=size),
        "disc 2": disc(2.0, size=size),
        "iso 2.0 at (1, -1)": moved_by(isotropic(2.0, size=size), (1, -1)),
        "iso 1.5 at (-0.5, 0.5)": between / between.sum(),
    }


def kernels_of(given: list[str], scale: float) -> dict[str, Tensor]:
    """Kernels by what was asked for: ``SET``, names, files."""
    from metasr.degradation.kernel_files import load_kernel
    from metasr.degradation.kernels import delta
    from metasr.degradation.names import parse

    found: dict[str, Tensor] = {}
    for name in given:
        if name == "SET":
            found |= kernel_set()
        elif Path(name).is_file():
            found[Path(name).name] = load_kernel(name)
        else:
            kernel = parse(name, scale=scale).kernel
            found[name] = delta() if kernel is None else kernel
    return found


class Outside:
    """A network from outside as a solver."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def solve(self, lr: Tensor, *, scale: float, degradation: Degradation | None = None, seed: int = 0) -> Any:
        """Call it with what is known."""
        import torch

        from metasr.solvers.base import Solution

        assert degradation is not None
        assert degradation.kernel is not None
        with torch.no_grad():
            sr = self.network(lr, degradation.kernel.to(lr), scale, degradation.noise_level)
        if tuple(sr.shape[-2:]) != (round(lr.shape[-2] * scale), round(lr.shape[-1] * scale)):
            raise InputError(f"the network from outside gave {tuple(sr.shape)} for an LR image of {tuple(lr.shape)}")
        return Solution(sr=sr.clamp(0, 1))


def solvers_of(options: argparse.Namespace) -> dict[str, Solver]:
    """The rows by name."""
    from metasr.meta.rates import rates_from_state
    from metasr.models.plain_cnn import PlainCNN
    from metasr.paths import weights_folder
    from metasr.runs.architecture import make_network
    from metasr.runs.weights import from_file, from_release
    from metasr.solvers.back_project import BackProjectSolver
    from metasr.solvers.data_step import DataStepSolver
    from metasr.solvers.interpolate import InterpolateSolver
    from metasr.solvers.mzsr.solver import MZSRSolver
    from metasr.solvers.unfolded import UnfoldedSolver

    def mzsr(steps: int) -> Solver:
        name = "mzsr_x2_meta" if options.downsample == "direct" else "mzsr_x2_bicubic_meta"
        weights = from_release(weights_folder(), name)
        return MZSRSolver(weights.load_into(PlainCNN()), rates=rates_from_state(weights.state), steps=steps)

    def unfolded(*, ensemble: bool) -> Solver:
        given = options.unfolded_weights
        weights = from_release(weights_folder(), "unfolded") if given is None else from_file(Path(given))
        model = weights.card.get("config", {}).get("model")
        if model is None:
            raise InputError(f"{weights.label} has no card beside it that tells its network")
        network = make_network(model, origin=weights.label, state=weights.state)
        return UnfoldedSolver(weights.load_into(network), ensemble=ensemble)

    known: dict[str, Callable[[], Solver]] = {
        "interpolate": InterpolateSolver,
        "interpolate_aligned": lambda: InterpolateSolver(aligned=True),
        "back_project": BackProjectSolver,
        "data_step": DataStepSolver,
        "mzsr_0": lambda: mzsr(0),
        "mzsr": lambda: mzsr(10),
        "unfolded": lambda: unfolded(ensemble=False),
        "unfolded_ensemble": lambda: unfolded(ensemble=True),
    }
    made: dict[str, Solver] = {}
    for name in options.solvers:
        if name not in known:
            raise InputError(f"no solver {name!r}: {nearest(name, known)}")
        made[name] = known[name]()
    if options.network:
        made[options.network.rpartition(".")[2]] = Outside(outside_network(options.network, options.network_weights))
    return made


def outside_network(target: str, weights: str | None) -> Any:
    """A class by its full name, made without arguments, with weights of a file."""
    from hydra.utils import get_class

    from metasr.runs.weights import read_tensors

    network = get_class(target)()
    if weights is not None:
        network.load_state_dict(read_tensors(Path(weights)))
    return network.eval()


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One entry for each (kernel, solver): means over the images."""
    from metasr.degradation.pipeline import Degradation
    from metasr.degradation.resize import middle
    from metasr.io.images import list_images, read_image
    from metasr.metrics.protocol import LumaProtocol
    from metasr.seeds import generator_from

    place = folder(options.folder, what="a folder of HR images")
    paths = list_images(place)[: options.images]
    if not paths:
        raise InputError(f"{place} holds no images")
    solvers, kernels = solvers_of(options), kernels_of(options.kernels, options.scale)
    protocol, rows = LumaProtocol(shave=SHAVE), []
    for kernel_name, kernel in kernels.items():
        degradation = Degradation(
            scale=options.scale, kernel=kernel, downsample=options.downsample, noise_std=options.noise / 255
        )
        sums: dict[str, list[float]] = {name: [0.0, 0.0, 0.0, 0.0] for name in solvers}
        for path in paths:
            hr = protocol.crop_reference(middle(read_image(path)[None], (options.crop, options.crop)), options.scale)
            lr = degradation(hr, generator=generator_from(1, path.name, kernel_name))
            for name, solver in solvers.items():
                before, held = time.process_time(), _held_from_now()
                solution = solver.solve(lr, scale=options.scale, degradation=degradation)
                seconds, memory = time.process_time() - before, _peak() - held
                score = protocol(solution.sr, hr, scale=options.scale)
                for index, value in enumerate((score.psnr_y, score.ssim_y, seconds)):
                    sums[name][index] += value
                sums[name][3] = max(sums[name][3], memory)
        for name, (psnr_y, ssim_y, seconds, memory) in sums.items():
            n = len(paths)
            rows.append(
                {"kernel": kernel_name, "solver": name, "psnr_y": psnr_y / n, "ssim_y": ssim_y / n,
                 "cpu_seconds": seconds / n, "more_mib": memory, "images": n}
            )  # fmt: skip
        _show(kernel_name, rows[-len(solvers) :])
    return rows


def _held_from_now() -> float:
    """MiB that this process holds; where that can be, its peak is counted anew from here."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return _peak()
    return _of_status("VmRSS")


def _peak() -> float:
    """MiB that this process has held at most."""
    try:
        return _of_status("VmHWM")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _of_status(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def _show(title: str, rows: list[dict[str, Any]]) -> None:
    print(f"\n{title}\n{'solver':>22} {'PSNR dB':>8} {'SSIM':>7} {'CPU s':>7} {'+MiB':>6}")
    for row in rows:
        print(
            f"{row['solver']:>22} {row['psnr_y']:8.2f} {row['ssim_y']:7.4f} {row['cpu_seconds']:7.2f} "
            f"{row['more_mib']:6.0f}",
            flush=True,
        )


def _mean(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Over the kernels, by solver."""
    means = []
    for name in dict.fromkeys(row["solver"] for row in rows):
        own = [row for row in rows if row["solver"] == name]
        mean = {key: sum(row[key] for row in own) / len(own) for key in ("psnr_y", "ssim_y", "cpu_seconds")}
        means.append({"solver": name, "more_mib": max(row["more_mib"] for row in own), **mean})
    return means


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="of HR images")
    parser.add_argument("--images", type=int, default=20, help="the first so many by name")
    parser.add_argument("--crop", type=int, default=320, help="largest side of an image's middle that is used")
    parser.add_argument("--solvers", nargs="+", default=DEFAULT_SOLVERS)
    parser.add_argument("--kernels", nargs="+", default=["SET"], help="SET, names or files")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--downsample", choices=["direct", "bicubic", "area"], default="direct")
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation on the 0-255 scale")
    parser.add_argument("--unfolded-weights", help="a file with its card beside it, instead of the released ones")
    parser.add_argument("--network", help="full name of a class from outside")
    parser.add_argument("--network-weights", help="its weights, a file of plain tensors")
    parser.add_argument("--table", help="CSV file to write")
    options = parser.parse_args(arguments)
    at_least(options, images=1, crop=2 * SHAVE + 11, scale=1)
    rows = measure(options)
    _show("mean of all kernels", _mean(rows))
    if options.table:
        with Path(options.table).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(status_of(main))
