"""What a second-order meta-step of the 225 K network takes: time, gradient error and peak memory of each setting.

    python benchmarks/meta_step.py [--tasks 5] [--patches 8] [--size 64] [--steps 5] [--repeats 20] [--device auto]

The baseline, in the same run, is what one would write first: learn2learn's MAML around a network of `nn.Conv2d`, fp32,
eager. The numbers given above are the defaults on a GPU (5 tasks of 8 support and 8 query patches of 64x64, 5 steps);
on a CPU they are 1 task of 4 + 4 patches of 48x48, 5 steps and 5 repeats: under three minutes on two cores.

Columns: median milliseconds; how many times faster than the baseline; relative error of the gradient against float64,
median of 5 draws of weights and data, on a twin of the network without kinks (softplus for ReLU, squared loss for L1;
rounding is amplified at kinks, at random), for one task (on a CPU of 1 + 1 patches of 32x32); the stock path's own
error at that precision, of which the setting's should be at most twice; and peak memory beyond what was in use before.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from commands import at_least
from commands import device as device_named
from metasr.config.command_line import status_of
from metasr.data.tasks import Task
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError
from metasr.meta.cuda_graph import Engine, StepFunction
from metasr.meta.learn2learn import MAML
from metasr.meta.meta_gradient import PixelLoss, enlarge, meta_gradient
from metasr.meta.precision import Precision
from metasr.meta.rates import FixedRates, PerStepRates
from metasr.meta.step_weights import StepWeights
from metasr.models.plain_cnn import PlainCNN

RATE = 1e-2
DRAWS = 5
EARLY, LATE = 1000, 10_000  # training iterations whose step weights are used: annealing, and at the floor
Step = Callable[[nn.Module, Sequence[Task], PixelLoss], list[Tensor]]


class Twin(PlainCNN):
    """The network without kinks."""

    def forward(self, image: Tensor) -> Tensor:
        """Softplus where the network has ReLU."""
        features = image
        for i in range(1, self.layers + 1):
            features = self.get_submodule(f"conv{i}")(features if i == 1 else F.softplus(features))
        return image + features


@dataclass
class Setting:
    """A row of the table.

    Attributes:
        name: what it is.
        make: a fresh step, with an engine of its own.
        stock: whether its network is made of ``nn.Conv2d``.
        precision: arithmetic, for the stock path's own error.
        judged: whether its gradient is the baseline's, and so can be compared.
    """

    name: str
    make: Callable[[], Step]
    stock: bool
    precision: Precision
    judged: bool = True


class OneStream(Engine):
    """Captures all tasks one after the other."""

    def run(
        self, function: StepFunction, inputs: Sequence[Tensor], *, parameters: Sequence[Tensor], key: Hashable = ()
    ) -> list[Tensor]:
        """See ``meta.cuda_graph.Engine.run``."""
        return super().run(lambda given, _: function(given, False), inputs, parameters=parameters, key=key)


def with_stock_convolutions(network: PlainCNN) -> PlainCNN:
    """The same network, of ``nn.Conv2d``."""
    stock = copy.deepcopy(network)
    for name, conv in list(stock.named_children()):
        assert isinstance(conv, nn.Conv2d)
        plain = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1).to(conv.weight)
        plain.load_state_dict(conv.state_dict())
        setattr(stock, name, plain)
    return stock


def stock_step(steps: int, precision: Precision, weights: Sequence[float]) -> Step:
    """Learn2learn as in its examples, with a query loss after each step."""

    def run(network: nn.Module, tasks: Sequence[Task], loss: PixelLoss) -> list[Tensor]:
        maml = MAML(network, lr=RATE)
        parameters = list(network.parameters())
        sums = [torch.zeros_like(p) for p in parameters]

        def loss_of(learner: nn.Module, source: Tensor, target: Tensor) -> Tensor:
            with precision.autocast(source.device):
                output = learner(source)
            return loss(output.to(target.dtype), target)

        with precision.region(parameters[0].device):
            for task in tasks:
                support, query = enlarge(task.support_lr, task.support_hr, 2), enlarge(task.query_lr, task.query_hr, 2)
                layout = precision.memory_format(support.device)
                support, query = support.contiguous(memory_format=layout), query.contiguous(memory_format=layout)
                learner = maml.clone()
                total = torch.zeros((), device=support.device, dtype=support.dtype)
                for weight in weights[:steps]:
                    learner.adapt(loss_of(learner, support, task.support_hr))
                    total = total + weight * loss_of(learner, query, task.query_hr)
                for into, gradient in zip(sums, torch.autograd.grad(total, parameters), strict=True):
                    into += gradient / len(tasks)
        return sums

    return run


def our_step(
    steps: int, precision: Precision, weights: Sequence[float], *, engine: Engine, learned: bool = False
) -> Step:
    """The package's meta-step."""
    rates: list[PerStepRates | FixedRates] = []

    def run(network: nn.Module, tasks: Sequence[Task], loss: PixelLoss) -> list[Tensor]:
        if not rates:
            like = next(network.parameters())
            rates.append(PerStepRates(steps, 16, initial=RATE).to(like) if learned else FixedRates((RATE,)))
        found = meta_gradient(
            network, rates[0], tasks, steps=steps, order="second", step_weights=weights, loss=loss,
            precision=precision, engine=engine,
        )  # fmt: skip
        return found.gradients

    return run


def settings(device: str, steps: int) -> list[Setting]:
    """The rows: the baseline first, then lever after lever."""
    weights = StepWeights().at(EARLY, steps)
    skipping = StepWeights(skip_floor=True).at(LATE, steps)
    rows: list[Setting] = []

    def add(name: str, arithmetic: str, layout: str, *, stock: bool = False, kind: str = "eager", late: bool = False,
            learned: bool = False, one_stream: bool = False) -> None:  # fmt: skip
        precision = Precision(arithmetic=arithmetic, layout=layout)  # type: ignore[arg-type]
        given = skipping if late else weights

        def make() -> Step:
            if stock:
                return stock_step(steps, precision, given)
            engine = (OneStream if one_stream else Engine)(kind)  # type: ignore[arg-type]
            return our_step(steps, precision, given, engine=engine, learned=learned)

        rows.append(Setting(name, make, stock, precision, judged=not (late or learned)))

    add("stock learn2learn, fp32 (baseline)", "fp32", "contiguous", stock=True)
    if device == "cuda":
        add("stock, tf32", "tf32", "contiguous", stock=True)
        add("stock, bf16", "bf16", "contiguous", stock=True)
        add("closed form, fp32", "fp32", "contiguous")
        add("closed form, tf32, channels_last", "tf32", "channels_last")
        add("captured, fp32", "fp32", "contiguous", kind="captured")
        add("captured, fp32, channels_last", "fp32", "channels_last", kind="captured")
        add("captured, tf32", "tf32", "contiguous", kind="captured")
        add("captured, tf32, channels_last, one stream", "tf32", "channels_last", kind="captured", one_stream=True)
        add("captured, tf32, channels_last (default)", "tf32", "channels_last", kind="captured")
        add("the same, learned rates", "tf32", "channels_last", kind="captured", learned=True)
        add("the same, weights at the floor skipped", "tf32", "channels_last", kind="captured", late=True)
        add("captured, bf16, channels_last", "bf16", "channels_last", kind="captured")
    else:
        add("stock, fp32, channels_last", "fp32", "channels_last", stock=True)
        add("closed form, fp32", "fp32", "contiguous")
        add("closed form, fp32, channels_last (default)", "fp32", "channels_last")
        add("the same, learned rates", "fp32", "channels_last", learned=True)
        add("the same, weights at the floor skipped", "fp32", "channels_last", late=True)
        add("stock, bf16", "bf16", "contiguous", stock=True)
        add("closed form, bf16, channels_last", "bf16", "channels_last")
    return rows


def draw_tasks(count: int, patches: int, size: int, *, device: str, dtype: torch.dtype, seed: int) -> list[Task]:
    """Tasks of smooth random images, direct subsampling by 2."""
    generator = torch.Generator().manual_seed(seed)
    degradation = Degradation(scale=2, downsample="direct")
    tasks = []
    for _ in range(count):
        coarse = torch.rand(2 * patches, 3, size // 4 + 1, size // 4 + 1, generator=generator)
        hr = F.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1).to(device, dtype)
        lr = degradation(hr)
        tasks.append(Task(lr[:patches], hr[:patches], lr[patches:], hr[patches:], degradation))
    return tasks


def clock(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


class Peak:
    """Peak memory in MiB since it was made, beyond what was in use then; none where the system does not tell."""

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated() / 2**20
            return
        gc.collect()
        try:
            ctypes.CDLL(None).malloc_trim(0)  # glibc: what is free is not kept
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Linux: the peak starts afresh
            self.before = self._status("VmRSS")
        except (OSError, AttributeError):
            self.before = float("nan")

    @staticmethod
    def _status(key: str) -> float:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))

    def read(self) -> float:
        """The peak so far."""
        if self.before != self.before:
            return self.before
        return (torch.cuda.max_memory_allocated() / 2**20 if self.cuda else self._status("VmHWM")) - self.before


def flat(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([g.detach().double().flatten() for g in gradients[:16]])


def errors(rows: Sequence[Setting], *, patches: int, size: int, steps: int, device: str) -> list[float]:
    """Each row's gradient error on the twin: median over draws, against float64."""
    made = [row.make() for row in rows]
    twin = Twin().to(device)
    stock = with_stock_convolutions(twin)
    exact_step = our_step(steps, Precision(layout="contiguous"), StepWeights().at(EARLY, steps), engine=Engine("eager"))
    found: list[list[float]] = [[] for _ in rows]
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        state = Twin().state_dict()
        twin.load_state_dict(state), stock.load_state_dict(state)  # in place: captured steps stay good
        tasks = draw_tasks(1, patches, size, device=device, dtype=torch.float32, seed=seed)
        doubled = [Task(*(t.double() for t in task[:4]), task.degradation) for task in tasks]
        exact = flat(exact_step(copy.deepcopy(twin).double(), doubled, F.mse_loss))
        for row, step, into in zip(rows, made, found, strict=True):
            if row.judged:
                got = flat(step(stock if row.stock else twin, tasks, F.mse_loss))
                into.append(float((got - exact).norm() / exact.norm()))
    return [statistics.median(e) if e else float("nan") for e in found]


def timings(
    rows: Sequence[Setting], *, tasks: Sequence[Task], repeats: int, device: str
) -> tuple[list[float], list[float]]:
    """Median milliseconds and peak memory of each row; on a CPU, which others may use too, round about."""
    torch.manual_seed(0)
    network = PlainCNN().to(device)
    stock = with_stock_convolutions(network)
    times: list[list[float]] = [[] for _ in rows]
    peaks = [0.0] * len(rows)

    def measure(i: int, step: Step, *, first: bool) -> None:
        peak = Peak(device) if first else None
        start = clock(device)
        step(stock if rows[i].stock else network, tasks, F.l1_loss)
        if peak is None:
            times[i].append(1e3 * (clock(device) - start))
        else:
            peaks[i] = peak.read()

    if device == "cpu":
        made = [row.make() for row in rows]
        for turn in range(repeats + 1):
            for i, step in enumerate(made):
                measure(i, step, first=turn == 0)
    else:
        for i, row in enumerate(rows):
            step = row.make()
            for turn in range(repeats + 3):
                measure(i, step, first=turn == 0)
            del times[i][:2], step  # the first steps after a capture warm up
    return [statistics.median(t) for t in times], peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tasks", "patches", "size", "steps", "repeats"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options = parser.parse_args()
    at_least(options, tasks=1, patches=1, size=16, steps=1, repeats=1)
    if options.size is not None and options.size % 2:
        raise InputError(f"--size must be even, as patches are halved, got {options.size}")
    device = device_named(options.device)
    defaults = {"tasks": 5, "patches": 8, "size": 64, "steps": 5, "repeats": 20}
    if device == "cpu":
        defaults |= {"tasks": 1, "patches": 4, "size": 48, "repeats": 5}
    tasks, patches, size, steps, repeats = (getattr(options, k) or v for k, v in defaults.items())

    what = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {what}")
    print(f"{tasks} tasks of {patches} + {patches} patches of {size}x{size}, {steps} steps", flush=True)
    rows = settings(device, steps)
    small = device == "cpu"  # where float64 is slow, and the error does not depend on the size
    wrong = errors(rows, patches=1 if small else patches, size=32 if small else size, steps=steps, device=device)
    drawn = draw_tasks(tasks, patches, size, device=device, dtype=torch.float32, seed=0)
    times, peaks = timings(rows, tasks=drawn, repeats=repeats, device=device)
    own = {row.precision.arithmetic: e for row, e in reversed(list(zip(rows, wrong, strict=True))) if row.stock}
    print(f"{'setting':<42} {'ms':>8} {'ratio':>6} {'error':>8} {'stock':>8} {'<= 2x':>5} {'MiB':>7}")
    best = 0
    for i, row in enumerate(rows):
        limit = own[row.precision.arithmetic]
        judged = (
            f"{wrong[i]:8.1e} {limit:8.1e} {'yes' if wrong[i] <= 2 * limit else 'NO':>5}" if row.judged else " " * 23
        )
        print(f"{row.name:<42} {times[i]:8.1f} {times[0] / times[i]:6.2f} {judged} {peaks[i]:7.0f}")
        strict = row.precision.arithmetic == "fp32" or device == "cuda"
        if row.judged and strict and wrong[i] <= 2 * limit and times[i] < times[best]:
            best = i
    print(f"fastest of those{' in float32' if device == 'cpu' else ''}: {rows[best].name}")


if __name__ == "__main__":
    sys.exit(status_of(main))
