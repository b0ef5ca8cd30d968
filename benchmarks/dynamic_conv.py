"""The depthwise convolution by each image's own kernels in its possible forms: times as ratios to the grouped one.

    python benchmarks/dynamic_conv.py [--device auto] [--repeats 15]

The baseline, in the same run and layout, is the published form: the batch folded into channels, one group each. Shapes
are batches of training (16 images of 64 channels; 8 of 32) and of use (1 image of 180x320 and of 96x96), 3x3 kernels.
Each column is the median of the repeats, the forms taking turns; below 1 is faster than the grouped form. Layouts are
contiguous and channels_last. The grouped form is the package's default; the last line tells where another was faster by
more than a tenth.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch
from torch import Tensor

from commands import at_least
from commands import device as device_named
from metasr.config.command_line import status_of
from metasr.models.dynamic_conv import Form, dynamic_depthwise

SHAPES = ((16, 64, 32, 32), (16, 64, 64, 64), (8, 32, 16, 16), (1, 64, 96, 96), (1, 64, 180, 320))
FORMS: tuple[Form, ...] = ("grouped", "unfold", "shifted", "loop")


def timed(form: Form, features: Tensor, kernels: Tensor, *, backward: bool) -> float:
    """Seconds of one convolution, or of one and its gradients."""
    if features.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    if backward:
        total = dynamic_depthwise(features, kernels, form=form).square().sum()
        torch.autograd.grad(total, (features, kernels))
    else:
        with torch.no_grad():
            dynamic_depthwise(features, kernels, form=form)
    if features.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def medians(features: Tensor, kernels: Tensor, *, backward: bool, repeats: int) -> dict[Form, float]:
    """Median seconds of each form; they take turns, after two rounds that do not count."""
    seconds: dict[Form, list[float]] = {form: [] for form in FORMS}
    for round_ in range(repeats + 2):
        for form in FORMS:
            took = timed(form, features, kernels, backward=backward)
            if round_ >= 2:
                seconds[form].append(took)
    return {form: statistics.median(took) for form, took in seconds.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    at_least(options, repeats=1)
    device = device_named(options.device)
    what = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {what}; ratios to the grouped form, forward / forward and backward")
    print(f"{'shape':<18} {'layout':<14} {'grouped, ms':>17} " + " ".join(f"{form:>13}" for form in FORMS[1:]))
    slower = []
    for shape in SHAPES:
        for layout in (torch.contiguous_format, torch.channels_last):
            generator = torch.Generator().manual_seed(0)
            features = torch.randn(shape, generator=generator).to(device).contiguous(memory_format=layout)
            kernels = torch.randn((*shape[:2], 3, 3), generator=generator).to(device)
            features.requires_grad_(), kernels.requires_grad_()
            forward, both = (medians(features, kernels, backward=b, repeats=options.repeats) for b in (False, True))
            name, kind = "x".join(map(str, shape)), "channels_last" if layout is torch.channels_last else "contiguous"
            ratios = [f"{forward[f] / forward['grouped']:.2f} / {both[f] / both['grouped']:.2f}" for f in FORMS[1:]]
            base = f"{1e3 * forward['grouped']:.2f} / {1e3 * both['grouped']:.2f}"
            print(f"{name:<18} {kind:<14} {base:>17} " + " ".join(f"{r:>13}" for r in ratios), flush=True)
            for way, took in (("forward", forward), ("forward and backward", both)):
                best = min(FORMS, key=took.__getitem__)
                if took["grouped"] > 1.1 * took[best]:
                    slower.append(f"{name} {kind} {way}: {best}")
    print("another form is faster by more than a tenth in: " + ("; ".join(slower) if slower else "none"))


if __name__ == "__main__":
    sys.exit(status_of(main))
