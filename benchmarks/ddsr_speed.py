"""What a step of DDSR takes against a plain eager version of the same program, and its quality after some steps.

    python benchmarks/ddsr_speed.py [--rounds 5] [--side 128] [--scale 4] [--device cpu] [--cpu-time] [--steps 100 300]

The baseline is written as the published program is: a graph for the forward pass of random kernel learning, a blurred
image of its own for each of the two losses, graphs retained, all sums in float32, the layout as it comes. Both take
turns, an outer iteration (five image steps, one of random kernel learning) at a time; medians and their ratio are
printed, for `faithful` and for `better`. `--steps` then runs both modes to the end and prints PSNR and kernel PSNR
after those numbers of steps: this takes as long as it takes.

The image is an embedded sample's middle. On a machine that others share, `--cpu-time` counts the process's own seconds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from commands import at_least
from commands import device as device_named
from metasr.config.command_line import status_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from metasr.solvers.ddsr.loop import Loop
    from metasr.solvers.ddsr.random_kernels import RandomKernels

OUTER = 5


def plain_eager(
    lr: Tensor,
    *,
    scale: int,
    image_net: nn.Module,
    kernel_net: nn.Module,
    noise: Tensor,
    code: Tensor,
    random_kernels: RandomKernels,
    generator: torch.Generator,
    outer: int,
    ssim_outer: int = 81,
    warm_up: int = 200,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The published program, step by step as it is described; it shares only the networks and the random kernels.

    Yields:
        Image and kernel of the last forward pass of each outer iteration, before its update.
    """
    import torch
    from torch.nn import functional as F

    def degrade(x: Tensor, k: Tensor) -> Tensor:
        r = k.shape[-1] // 2
        weight = k.expand(3, 1, *k.shape)
        return F.conv2d(F.pad(x, (r, r, r, r), mode="circular"), weight, groups=3)[..., ::scale, ::scale]

    def smooth(x: Tensor) -> Tensor:
        taps = torch.exp(-((torch.arange(11, device=x.device) - 5.0) ** 2) / (2 * 1.5**2))
        window = (taps[:, None] * taps / taps.sum() ** 2).to(x).expand(3, 1, 11, 11)
        return F.conv2d(x, window, padding=5, groups=3)

    def ssim(x: Tensor, y: Tensor) -> Tensor:
        a, b = smooth(x), smooth(y)
        aa, bb, ab = smooth(x * x) - a * a, smooth(y * y) - b * b, smooth(x * y) - a * b
        return (((2 * a * b + 1e-4) * (2 * ab + 9e-4)) / ((a * a + b * b + 1e-4) * (aa + bb + 9e-4))).mean()

    def prior(x: Tensor) -> Tensor:
        p = F.pad(x, (1, 1, 1, 1), mode="reflect")
        height, width = x.shape[-2:]
        total = x.new_zeros(())
        for dy, dx in ((-1, 0), (-1, -1), (0, -1), (1, -1)):
            other = p[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
            total = total + (((x - other).abs() + 1e-8) ** 0.67).sum()
        return 1e-3 * 0.20 * total / lr.numel()

    def loss(seen: Tensor, *, similar: bool) -> Tensor:
        return 1 - ssim(seen, lr) if similar else ((seen - lr) ** 2).mean()

    image_adam = torch.optim.Adam(image_net.parameters(), lr=5e-3)
    kernel_adam = torch.optim.Adam(kernel_net.parameters(), lr=1e-4)
    for _ in range(warm_up):
        g = random_kernels.sample(1, generator=generator)[0].to(lr)
        kernel_adam.zero_grad()
        ((kernel_net(code) - g) ** 2).mean().backward()
        kernel_adam.step()
    for iteration in range(outer):
        k, x = kernel_net(code), image_net(noise)
        drawn = random_kernels.sample(5, generator=generator).to(lr)
        e = torch.stack([((degrade(x, g) - lr) ** 2).mean() for g in drawn]).detach()
        p = (e - e.min()) / (1e-5 + (e - e.min()).sum())
        w = -((1 - p) ** 2) * torch.log(p + 1e-3)
        kernel_adam.zero_grad()
        sum(w[j] * ((k - g) ** 2).mean() for j, g in enumerate(drawn)).backward(retain_graph=True)
        kernel_adam.step()
        acc = lr.new_zeros(())
        for q in range(OUTER):
            t = OUTER * iteration + q + 1
            image_adam.zero_grad()
            kernel_adam.zero_grad()
            k, x = kernel_net(code), image_net(noise)
            similar = iteration < ssim_outer
            kernel_loss = loss(degrade(x.detach(), k), similar=similar)
            (loss(degrade(x, k.detach()), similar=similar) + prior(x)).backward(retain_graph=True)
            image_adam.step()
            acc = acc + kernel_loss
            if t % 3 == 0:
                acc.backward(retain_graph=True)
                kernel_adam.step()
                acc = lr.new_zeros(())
        yield x.detach(), k.detach()


def problem(side: int, scale: int, device: str) -> tuple[Tensor, Tensor]:
    """LR and HR of an embedded sample's middle, with a kernel of the published program's draws."""
    from metasr.data.catalog import image_set
    from metasr.degradation.published_ddsr import PublishedDraws
    from metasr.degradation.resize import middle

    images = image_set("samples", split="test")
    hr = middle(images.load(images.names.index("hopper"))[None], (side - side % scale,) * 2)
    return PublishedDraws(scale).draw(hr).lr.to(device), hr.to(device)


def ours(lr: Tensor, scale: int, mode: str) -> Loop:
    """A solver's loop, warmed up."""
    from metasr.degradation.pipeline import Degradation
    from metasr.solvers.ddsr.solver import DDSRSolver

    solver = DDSRSolver(mode=mode, centre="published")  # type: ignore[arg-type]
    loop = solver.loop(lr, Degradation(scale=scale, downsample="direct"), seed=0)
    loop.warm_up()
    return loop


def outer_of(loop: Loop) -> Callable[[], object]:
    """One outer iteration of a loop at a time."""
    taken = 0

    def run() -> None:
        nonlocal taken
        loop.learn_random_kernels()
        for _ in range(OUTER):
            taken += 1
            loop.image_step(taken)
            loop.kernel_step(taken)

    return run


def time_steps(side: int, scale: int, device: str, rounds: int, clock: Callable[[], float]) -> None:
    """The table of times."""
    import torch

    from metasr.models.kernel_net import KernelNet
    from metasr.models.skip_net import SkipNet
    from metasr.solvers.ddsr.random_kernels import RandomKernels

    lr, _ = problem(side, scale, device)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    random = RandomKernels.published(scale)
    plain = plain_eager(
        lr, scale=scale, image_net=SkipNet().to(device), kernel_net=KernelNet(random.size).to(device),
        noise=0.1 * torch.rand(1, 3, *(scale * n for n in lr.shape[-2:]), device=device),
        code=0.1 * torch.rand(200, device=device), random_kernels=random, generator=generator, outer=rounds + 1,
    )  # fmt: skip
    ways: dict[str, Callable[[], object]] = {"plain eager": lambda: next(plain)}
    ways |= {mode: outer_of(ours(lr, scale, mode)) for mode in ("faithful", "better")}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            if device == "cuda":
                torch.cuda.synchronize()
            start = clock()
            way()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first is to warm up, and to capture
                seconds[name].append((clock() - start) / OUTER)
    base = statistics.median(seconds["plain eager"])
    print(f"x{scale}, {side}x{side} HR pixels, {device}, {torch.get_num_threads()} threads, median of {rounds}")
    print(f"{'':14s}{'ms per image step':>20s}{'ratio':>8s}")
    for name, values in seconds.items():
        print(f"{name:14s}{1e3 * statistics.median(values):20.0f}{base / statistics.median(values):8.2f}")


def quality(side: int, scale: int, device: str, steps: list[int]) -> None:
    """The table of PSNR by steps."""
    from metasr.degradation.pipeline import Degradation
    from metasr.metrics.protocol import LumaProtocol
    from metasr.solvers.ddsr.solver import DDSRSolver

    lr, hr = problem(side, scale, device)
    print(f"{'':14s}{'steps':>8s}{'PSNR':>8s}{'seconds':>9s}")
    for mode in ("faithful", "better"):
        solver = DDSRSolver(mode=mode, centre="published")  # type: ignore[arg-type]
        found = solver.snapshots(lr, scale=scale, updates=steps, degradation=Degradation(scale=scale))
        for count, solution in sorted(found.items()):
            score = LumaProtocol()(solution.sr, hr, scale=scale)
            print(f"{mode:14s}{count:8d}{score.psnr_y:8.2f}{solution.seconds:9.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--steps", type=int, nargs="+", default=[])
    options = parser.parse_args()
    at_least(options, rounds=1, side=64, scale=2, steps=1)
    device = device_named(options.device)
    clock = time.process_time if options.cpu_time else time.perf_counter
    time_steps(options.side, options.scale, device, options.rounds, clock)
    if options.steps:
        quality(options.side, options.scale, device, options.steps)


if __name__ == "__main__":
    sys.exit(status_of(main))
