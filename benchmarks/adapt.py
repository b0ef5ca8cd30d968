"""What adapting to one image takes: milliseconds, PSNR and memory of `MZSRSolver` against plain eager PyTorch.

    python benchmarks/adapt.py [--repeats 5] [--updates 0 1 10] [--sizes 256 512 1024] [--device cpu]

The first table enlarges a 256×256 image (an embedded 512×512 sample, degraded by g2.0d) by 2 with the released weights.
Its baseline, measured in the same run and in turns with the others, is what one would write first: `nn.Conv2d` and ReLU
on the whole image in the ordinary layout, `torch.autograd.grad` of the mean absolute error, the output without
gradients. Every way makes its own son and enlargement. GFLOP/s counts the convolutions' multiplications and additions,
without the first layer's input gradient; the machine's own rate for one 64→64 convolution is printed beside it. The
PSNR difference is to the baseline's result, on Y, in dB.

On a machine that others share, `OMP_NUM_THREADS=1 python benchmarks/adapt.py --cpu-time` counts the process's own
seconds instead (with more threads, those spent waiting for each other would be counted too).

The second table is time and peak memory (of a process of its own; on a GPU, of its allocator) against image size, with
10 updates. 4096×4096 is `--sizes 4096`; the baseline is left out where it would take more than 8 GiB of a CPU's memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from commands import at_least
from commands import device as device_named
from metasr.config.command_line import status_of

if TYPE_CHECKING:
    from torch import Tensor

    from metasr.degradation.pipeline import Degradation
    from metasr.meta.rates import Rates
    from metasr.models.plain_cnn import PlainCNN

CHILD = "--child"
CLOCK = time.perf_counter
SAMPLE = "samples/train/ascent.png"
PLAIN_LIMIT = 1400  # a larger side takes the baseline more than 8 GiB: 4 KiB a pixel
Way = Callable[["Tensor", int], "Tensor"]


def plain_eager(network: PlainCNN, rates: Rates, degradation: Degradation) -> Way:
    """The baseline; it shares no code with the solver but the degradation and the resize."""
    import torch
    from torch import nn

    from metasr.degradation.resize import imresize

    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            state = network.state_dict()
            self.convs = nn.ModuleList()
            for i in range(1, network.layers + 1):
                out, into = state[f"conv{i}.weight"].shape[:2]
                conv = nn.Conv2d(into, out, 3, padding=1)
                conv.load_state_dict({name: state[f"conv{i}.{name}"] for name in ("weight", "bias")})
                self.convs.append(conv)

        def forward(self, image: Tensor) -> Tensor:
            features = image
            for conv in self.convs[:-1]:
                features = torch.relu(conv(features))
            return image + self.convs[-1](features)

    def solve(lr: Tensor, updates: int) -> Tensor:
        net = Chain().to(lr.device)
        parameters = list(net.parameters())
        source = imresize(degradation.for_son(noise_std=0.0)(lr), 2, size=(lr.shape[-2], lr.shape[-1]))
        for step in range(updates):
            loss = (net(source) - lr).abs().mean()
            gradients = torch.autograd.grad(loss, parameters)
            row = rates.at(step)
            with torch.no_grad():
                for i, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
                    parameter -= (row[i] if isinstance(row, list) else row) * gradient
        with torch.no_grad():
            return net(imresize(lr, 2)).clamp(0, 1)

    return solve


def ways(device: str) -> dict[str, Way]:
    """The baseline, the solver without and with its written-out steps, and its options."""
    import torch

    from metasr.degradation.names import parse
    from metasr.meta.cuda_graph import Engine
    from metasr.meta.rates import PerStepRates, rates_from_state
    from metasr.models.plain_cnn import PlainCNN
    from metasr.paths import weights_folder
    from metasr.runs.weights import from_release
    from metasr.solvers.mzsr.solver import MZSRSolver

    class General(PlainCNN):
        """Another class: nothing is known of it."""

    weights = from_release(weights_folder(), "mzsr_x2_meta")
    rates = rates_from_state(weights.state)
    assert isinstance(rates, PerStepRates)
    rates = rates.to(device)
    degradation = parse("g2.0d", scale=2)

    def solver(kind: type[PlainCNN], backward: str, *, engine: str = "eager") -> Way:
        network = weights.load_into(kind()).to(device)
        made = MZSRSolver(network, rates=rates, backward_precision=backward)  # type: ignore[arg-type]
        made._engine = Engine(engine)  # type: ignore[arg-type]

        def solve(lr: Tensor, updates: int) -> Tensor:
            made.steps = updates
            return made.solve(lr, scale=2, degradation=degradation).sr

        return solve

    network = weights.load_into(PlainCNN()).to(device)
    assert isinstance(network, PlainCNN)
    found: dict[str, Way] = {
        "plain eager": plain_eager(network, rates, degradation),
        "solver, any network": solver(General, "float32"),
        "solver, float32": solver(PlainCNN, "float32"),
        "solver, bfloat16 backward": solver(PlainCNN, "bfloat16"),
    }
    if torch.device(device).type == "cuda":
        found["solver, captured"] = solver(PlainCNN, "float32", engine="auto")
        found["solver, bfloat16 backward, captured"] = solver(PlainCNN, "bfloat16", engine="auto")
    found["solver as it comes"] = solver(PlainCNN, "auto", engine="auto")
    return found


def wait(device: str) -> float:
    """Seconds, when everything asked for is done."""
    import torch

    if device != "cpu":
        torch.cuda.synchronize()
    return CLOCK()


def machine_rates(device: str) -> dict[str, float]:
    """GFLOP/s of one 64→64 convolution of a 256×256 image, channels last: what steps can at most come to."""
    import torch
    from torch.nn import functional as F

    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(1, 64, 256, 256, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
        w = torch.randn(64, 64, 3, 3, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
        times = []
        with torch.no_grad():
            for _ in range(20):
                start = wait(device)
                F.conv2d(x, w, padding=1)
                times.append(wait(device) - start)
        found[str(dtype).removeprefix("torch.")] = 2 * 9 * 64 * 64 * 256**2 / min(times) / 1e9
    return found


def operations(updates: int, pixels: int) -> float:
    """GFLOP of the convolutions: steps on the LR's pixels, output on four times as many."""
    inner, ends = 6 * 64 * 64 * 9, 2 * 3 * 64 * 9
    forward = 2 * (inner + ends)
    step = 3 * forward - ends  # the first layer's input gradient is not needed
    return (updates * step + 4 * forward) * pixels / 1e9


def compare(device: str, updates: list[int], repeats: int, only: tuple[str, ...]) -> None:
    """The first table."""
    import metasr.data
    from metasr.degradation.names import parse
    from metasr.io.images import read_image
    from metasr.metrics.protocol import LumaProtocol
    from metasr.metrics.psnr_ssim import psnr

    hr = read_image(Path(metasr.data.__path__[0]) / SAMPLE)[None].to(device)
    lr = parse("g2.0d", scale=2)(hr)
    protocol = LumaProtocol()
    found = {name: way for name, way in ways(device).items() if name.startswith(("plain eager", *only))}
    print(f"\n{'setting':>36} {'updates':>8} {'ms':>9} {'ratio':>6} {'GFLOP/s':>8} {'PSNR dB':>8} {'to plain':>9}")
    for count in updates:
        times: dict[str, list[float]] = {name: [] for name in found}
        results: dict[str, Tensor] = {}
        for name, solve in found.items():
            for _ in range(3 if device != "cpu" else 1):  # a size is captured when it comes again
                results[name] = solve(lr, count)
        for _ in range(repeats):
            for name, solve in found.items():
                start = wait(device)
                solve(lr, count)
                times[name].append(wait(device) - start)
        scores = {
            name: psnr(protocol.luma(sr, scale=2), protocol.luma(hr, scale=2)).item() for name, sr in results.items()
        }
        baseline = statistics.median(times["plain eager"])
        for name in found:
            seconds = statistics.median(times[name])
            rate = operations(count, lr.shape[-1] * lr.shape[-2]) / seconds
            print(
                f"{name:>36} {count:8d} {1e3 * seconds:9.1f} {baseline / seconds:6.2f} {rate:8.0f} {scores[name]:8.3f} "
                f"{scores[name] - scores['plain eager']:+9.4f}",
                flush=True,
            )


def child(device: str, name: str, side: int, updates: int) -> None:
    """Enlarge one image of noise and print what it took."""
    import torch

    solve = ways(device)[name]
    lr = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    start = wait(device)
    solve(lr, updates)
    seconds = wait(device) - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if device != "cpu":
        peak = torch.cuda.max_memory_allocated() / 2**30
    print(json.dumps({"seconds": seconds, "peak_gib": peak}))


def sizes(device: str, sides: list[int], repeats: int) -> None:
    """The second table."""
    print(f"\n{'image':>10} {'setting':>20} {'seconds':>9} {'peak GiB':>9} {'ratio':>6}")
    for side in sides:
        baseline = None
        for name in ("plain eager", "solver as it comes"):
            if name == "plain eager" and device == "cpu" and side > PLAIN_LIMIT:
                continue
            found = []
            for _ in range(repeats):
                command = [sys.executable, __file__, CHILD, device, name, str(side), "10", CLOCK.__name__]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    break
                found.append(json.loads(done.stdout.splitlines()[-1]))
            if not found:
                print(f"{side:>5}x{side:<4} {name:>20} failed: {done.stderr.strip().splitlines()[-1][:80]}", flush=True)
                continue
            seconds = statistics.median(f["seconds"] for f in found)
            peak = max(f["peak_gib"] for f in found)
            baseline = baseline or (seconds if name == "plain eager" else None)
            ratio = f"{baseline / seconds:.2f}" if baseline else "-"
            print(f"{side:>5}x{side:<4} {name:>20} {seconds:9.2f} {peak:9.2f} {ratio:>6}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--updates", type=int, nargs="*", default=[0, 1, 10])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[""], help="settings whose name begins so, beside the baseline")
    parser.add_argument("--sizes", type=int, nargs="*", help="sides of the second table; none to leave it out")
    parser.add_argument("--size-repeats", type=int, default=1)
    parser.add_argument(
        "--cpu-time", action="store_true", help="count the process's own seconds, on a machine that others share"
    )
    options = parser.parse_args()
    at_least(options, updates=0, repeats=1, sizes=1, size_repeats=1)
    device = device_named(options.device)
    if options.cpu_time:
        global CLOCK
        CLOCK = time.process_time

    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}; 256×256 ×2, g2.0d, released mzsr_x2_meta")
    print(", ".join(f"one convolution in {k}: {v:.0f} GFLOP/s" for k, v in machine_rates(device).items()), flush=True)
    if options.updates:
        compare(device, options.updates, options.repeats, tuple(options.only))
    sides = options.sizes
    if sides is None:
        sides = [256, 512, 1024] if device == "cpu" else [256, 512, 1024, 2048, 4096]
    if sides:
        sizes(device, sides, options.size_repeats)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == CHILD:
        CLOCK = getattr(time, sys.argv[6])
        child(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    else:
        sys.exit(status_of(main))
