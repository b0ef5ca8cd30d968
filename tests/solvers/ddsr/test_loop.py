"""DDSR's schedule: what happens when, counted, and against the program written down plainly."""

import copy
import runpy
from dataclasses import replace

import pytest
import torch

from meta.recording import Recorder
from metasr.errors import DivergenceError
from metasr.meta.cuda_graph import Engine
from metasr.models.kernel_net import KernelNet
from metasr.models.skip_net import SkipNet
from metasr.solvers.ddsr import average as ddsr_average
from metasr.solvers.ddsr.data_term import DataTerm
from metasr.solvers.ddsr.loop import Loop
from metasr.solvers.ddsr.options import BETTER, FAITHFUL, DDSROptions
from metasr.solvers.ddsr.random_kernels import RandomKernels
from metasr.solvers.step_budget import TimeLimit
from running import PROJECT
from small_problems import picture
from solvers.ddsr_parts import Canvas, canvas_loop

QUICK = replace(FAITHFUL, warmup_steps=2)


def run(loop: Loop, *wanted: int) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    loop.warm_up()
    with TimeLimit(max(wanted)) as limit:
        return {n: (s.image, s.kernel) for n, s in loop.run(wanted, limit).items()}


@pytest.mark.slow
def test_the_published_counters() -> None:
    loop = canvas_loop(FAITHFUL)
    run(loop, 1000)
    trace = loop.trace
    assert (trace.forwards, trace.image_steps) == (1200, 1000)
    assert isinstance(loop.image_net, Canvas)
    assert loop.image_net.calls == 1200
    assert (trace.warmup_steps, trace.random_steps, trace.data_steps) == (200, 200, 333)
    assert trace.warmup_steps + trace.random_steps + trace.data_steps == 733
    assert (trace.sums[:5], sum(trace.sums)) == ([3, 1, 3, 2, 3], 66 * 12 + 3 + 1 + 3)
    assert len(trace.losses) == len(trace.seconds) == 1000


def test_kernel_steps_of_fifteen_image_steps() -> None:
    due = [t for t in range(1, 16) if FAITHFUL.kernel_step_due(t)]
    kept = [t for t in range(1, 16) if FAITHFUL.gradient_kept(t)]
    assert due == [3, 6, 9, 12, 15]
    assert kept == [1, 2, 3, 6, 7, 8, 9, 11, 12, 13, 14, 15]
    ours = [t for t in range(1, 11) if BETTER.kernel_step_due(t)]
    assert ours == [3, 5, 8, 10]
    assert all(BETTER.gradient_kept(t) for t in range(1, 11))


def test_the_loss_changes_after_405_steps() -> None:
    loop = canvas_loop(QUICK)
    run(loop, 407)
    with torch.no_grad():  # the image hardly changes in a step: its losses tell which they are
        seen = loop.observation.degrade(loop.image_net(loop.noise), loop.kernel)
        similar, squared = float(loop.observation.dissimilarity(seen)), float(loop.observation.mse(seen))
    assert loop.trace.losses[404] == pytest.approx(similar, rel=0.2)
    assert loop.trace.losses[405] == pytest.approx(squared, rel=0.2)
    assert similar > 3 * squared


def test_against_the_program_written_down_plainly() -> None:
    """Fifteen image steps, both losses, with real (small) networks in float64."""
    torch.manual_seed(0)
    lr = picture(9, 8, dtype=torch.float64)
    image_net, kernel_net = SkipNet(width=4, skip=2, levels=2).double(), KernelNet(7, hidden=12).double()
    random = RandomKernels(scale=2, size=7, variance=(0.5, 2.0))
    choices = replace(FAITHFUL, ssim_steps=10, warmup_steps=3)
    loop = Loop(
        DataTerm(lr, scale=2), copy.deepcopy(image_net), copy.deepcopy(kernel_net), random_kernels=random,
        choices=choices, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    # the noise is drawn first, then the kernels
    generator = torch.Generator().manual_seed(0)
    torch.rand(1, 3, 18, 16, generator=generator), torch.rand(200, generator=generator)
    pytest.MonkeyPatch().syspath_prepend(str(PROJECT / "benchmarks"))
    plain = runpy.run_path(str(PROJECT / "benchmarks" / "ddsr_speed.py"))["plain_eager"](
        lr, scale=2, image_net=image_net, kernel_net=kernel_net, noise=loop.noise, code=loop.code,
        random_kernels=random, generator=generator, outer=3, ssim_outer=2, warm_up=3,
    )  # fmt: skip
    found = run(loop, 5, 10, 15)
    for (image, kernel), (want_image, want_kernel) in zip(found.values(), plain, strict=True):
        torch.testing.assert_close(image, want_image, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(kernel, want_kernel, rtol=1e-6, atol=1e-9)


def test_snapshots_are_what_shorter_runs_give() -> None:
    together = run(canvas_loop(BETTER), 0, 3, 8)
    for n, state in together.items():
        alone = run(canvas_loop(BETTER), n)[n]
        assert torch.equal(alone[0], state[0])
        assert torch.equal(alone[1], state[1])


def test_the_image_is_the_one_before_its_update() -> None:
    loop = canvas_loop(QUICK)
    ((image, _),) = run(loop, 4).values()
    assert loop.image is not None
    assert torch.equal(image, loop.image)
    assert not torch.allclose(image, loop.render(), atol=1e-5)


def test_sharing_the_forward_pass_saves_it() -> None:
    loop = canvas_loop(replace(QUICK, share_forward=True))
    run(loop, 20)
    assert loop.trace.forwards == 20 + 1  # the first outer iteration has no image yet
    assert loop.trace.random_steps == 4


def test_optimisers() -> None:
    shared, kernel, both = (
        canvas_loop(replace(QUICK, optimisers=kind, ssim_steps=5)) for kind in ("shared", "kernel", "all")
    )
    before = [loop.image_adam for loop in (shared, kernel, both)]
    for loop in (shared, kernel, both):
        run(loop, 10)
    assert shared.random_adam is shared.data_adam
    assert kernel.random_adam is not kernel.data_adam
    counts = [next(iter(a.state.values()))["step"] for a in (shared.data_adam, kernel.data_adam, kernel.random_adam)]
    assert counts == [2 + 2 + 3, 2, 2]  # warm-up, random kernels and data in one; data since the loss changed; random
    renewed = [loop.image_adam is not old for loop, old in zip((shared, kernel, both), before, strict=True)]
    assert renewed == [False, False, True]


@pytest.mark.parametrize(
    "change",
    [
        {"warmup_steps": 3}, {"warmup_rate": 1e-2}, {"random_kernels": 0}, {"random_kernels": 2},
        {"optimisers": "random"}, {"optimisers": "kernel"}, {"accumulate": 1}, {"drop_losses": False},
        {"ssim_steps": 0}, {"prior_weight": 0.0}, {"sparse_kernel": 0.5}, {"average": 0.5}, {"share_forward": True},
    ],
    ids=str,
)  # fmt: skip
def test_every_choice_changes_the_outcome(change: dict[str, object]) -> None:
    base = run(canvas_loop(QUICK), 12)[12]
    other = run(canvas_loop(replace(QUICK, **change)), 12)[12]  # type: ignore[arg-type]
    assert not (torch.equal(base[0], other[0]) and torch.equal(base[1], other[1]))


def test_early_stopping_gives_the_steadiest_image_and_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ddsr_average, "SETTLED", 0.0)
    choices: DDSROptions = replace(QUICK, stop="variance", patience=5, average=0.1)
    loop = canvas_loop(choices)
    loop.warm_up()
    with TimeLimit(3000) as limit:
        (state,) = loop.run((3000,), limit).values()
    assert limit.stopped.startswith("the image changed least at step ")
    least = int(limit.stopped.rpartition(" ")[2])
    assert state.step == len(loop.trace.losses) == least + 5 < 3000
    alone = run(canvas_loop(replace(choices, stop="none")), least)[least]
    torch.testing.assert_close(state.image, alone[0])
    assert torch.equal(state.kernel, alone[1])


def test_no_graph_where_none_is_needed() -> None:
    loop = canvas_loop(QUICK)
    assert not loop.render().requires_grad
    assert not loop.observation.errors(loop.render(), torch.rand(2, 5, 5, requires_grad=True)).requires_grad
    assert not loop.image_step(1).requires_grad


def test_a_loss_that_is_not_a_number_stops() -> None:
    loop = canvas_loop(QUICK)
    with torch.no_grad():
        loop.image_parameters[0].fill_(float("nan"))
    with pytest.raises(DivergenceError, match="the data loss of image step 1 is nan"):
        loop.image_step(1)


@pytest.mark.slow
def test_a_captured_step_is_the_eager_one() -> None:
    eager, captured = canvas_loop(QUICK), canvas_loop(QUICK)
    recorder = Recorder()
    captured.engine = Engine(capture=recorder)
    want, got = run(eager, 410)[410], run(captured, 410)[410]
    assert recorder.captured == 4  # SSIM and mean squared error, with and without the kernel's gradient
    assert recorder.played >= 400
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


def test_losses_that_nobody_waited_for_are_written_down_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    eager, ahead = canvas_loop(QUICK), canvas_loop(QUICK)
    settled: list[int] = []
    settle = ahead._settle
    monkeypatch.setattr(ahead, "_settle", lambda: settled.append(len(ahead._pending)) or settle())
    run(eager, 4), run(ahead, 4)
    assert ahead.trace.losses == eager.trace.losses
    assert settled == [1, 1, 1, 1, 0]  # on a CPU each at once, and once more for the image


def test_the_dark_have_no_prior() -> None:
    lr = picture(6, 5)
    for gain, want in ((1.0, 1e-3), (0.3, 0.0)):
        loop = canvas_loop(FAITHFUL)
        made = Loop(
            DataTerm(lr * gain, scale=2, gain=gain), loop.image_net, loop.kernel_net,
            random_kernels=loop.random_kernels, choices=FAITHFUL, generator=torch.Generator(), code=3,
        )  # fmt: skip
        assert made.prior_weight == want
