"""``make fuzz``: every bad input once, with counts by class and outcome. Exit status 1 if any is to mend.

python tests/fuzz/run.py [--only KIND] [--seed N] [--sample N] [--verbose]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "src")]

from fuzz import commands, images, kernels  # noqa: E402
from fuzz.harness import GOOD, Case, Ended, run_case  # noqa: E402


def all_cases(seed: int = 1) -> list[Case]:
    """Every case, class by class; names are unique within a class."""
    made: Iterator[Case]
    found = []
    for made in (images.cases(seed), kernels.cases(seed), kernels.names(seed), commands.weights(seed),
                 commands.overrides(seed), commands.numbers(seed)):  # fmt: skip
        found += list(made)
    return found


def sample(count: int, seed: int = 1) -> list[Case]:
    """As many of each class as its share, drawn by a seed."""
    every = all_cases(seed)
    return random.Random(f"sample {seed}").sample(every, count)


def run_all(cases: list[Case], *, verbose: bool = False) -> Iterator[Ended]:
    """Run cases in order, each in a folder of its own that is gone afterwards."""
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            ended = run_case(case, Path(folder) / "case")
        if verbose or not ended.good:
            cost = f"{ended.seconds:.1f} s, {ended.memory:.0f} MiB"
            print(f"{case.kind}, {case.name}: {ended.outcome} ({cost})\n    {ended.told[-1500:]}", flush=True)
        yield ended


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="one class: image, kernel, name, weights, override, number")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=int, help="so many cases, of all classes")
    parser.add_argument("--verbose", action="store_true", help="print every case")
    options = parser.parse_args()
    cases = all_cases(options.seed) if options.sample is None else sample(options.sample, options.seed)
    cases = [case for case in cases if options.only in (None, case.kind)]
    start = time.perf_counter()
    ended = list(run_all(cases, verbose=options.verbose))
    counts = Counter((one.case.kind, one.outcome) for one in ended)
    print(f"\n{len(ended)} cases in {time.perf_counter() - start:.0f} s")
    for (kind, outcome), count in sorted(counts.items()):
        print(f"  {kind:<10} {outcome:<30} {count:5d}{'' if outcome in GOOD else '   <- to mend'}")
    print(
        f"  slowest {max(one.seconds for one in ended):.1f} s, most memory {max(one.memory for one in ended):.0f} MiB"
    )
    return 0 if all(one.good for one in ended) else 1


if __name__ == "__main__":
    sys.exit(main())
