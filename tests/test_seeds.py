import subprocess
import sys
from itertools import combinations

import torch

from metasr.seeds import generator_from, seed_from

PARTS = [(0,), (1,), ("0",), ("",), (0, 0), (0, "baby"), ("0", "baby"), ("baby", 0), ("ba", "by"), ("baby",), (-1,),
         (10,), (1, 0), ("1", "0"), (True,)]  # fmt: skip


def test_what_differs_has_another_seed():
    seeds = [seed_from(*parts) for parts in PARTS]
    assert len(set(seeds)) == len(PARTS)


def test_seeds_fit_a_generator_and_use_its_range():
    seeds = [seed_from(7, f"image {i}") for i in range(500)]
    assert all(0 <= s < 2**63 for s in seeds)
    assert max(seeds) > 0.95 * 2**63
    assert len(set(seeds)) == 500
    for bit in range(63):
        assert 150 < sum(s >> bit & 1 for s in seeds) < 350


def test_a_seed_never_changes():
    # The first 8 bytes of SHA-256 of "int:3", a unit separator and "str:baby", by another program (sha256sum), halved.
    assert seed_from(3, "baby") == 4509954952459602008


def test_the_seed_is_the_same_in_another_process():
    code = "from metasr.seeds import seed_from; print(seed_from(3, 'baby'))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) == seed_from(3, "baby")


def test_generators_repeat_and_differ():
    a, b = (torch.rand(5, generator=generator_from(3, "baby")) for _ in range(2))
    assert torch.equal(a, b)
    for x, y in combinations(PARTS[:6], 2):
        assert not torch.equal(torch.rand(5, generator=generator_from(*x)), torch.rand(5, generator=generator_from(*y)))


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    torch.rand(5, generator=generator_from(3, "baby"))
    assert torch.equal(torch.get_rng_state(), before)
