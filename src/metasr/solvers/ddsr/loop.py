"""DDSR's loop: an image net and a kernel net, taught in turn by one low-resolution image."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.errors import DivergenceError
from metasr.meta.cuda_graph import Engine
from metasr.meta.inner_loop import Trace
from metasr.meta.precision import Precision
from metasr.metrics.kernel import kernel_psnr
from metasr.solvers.base import clock
from metasr.solvers.ddsr.average import RunningImage
from metasr.solvers.ddsr.data_term import DataTerm
from metasr.solvers.ddsr.options import PER_OUTER, DDSROptions
from metasr.solvers.ddsr.random_kernels import RandomKernels, teaching_weights
from metasr.solvers.ddsr.sparse_prior import published_prior
from metasr.solvers.step_budget import TimeLimit

IMAGE_RATE, KERNEL_RATE = 5e-3, 1e-4
PENDING = 25  # image steps that a GPU may be ahead of their losses
NOISE = 0.1  # both nets' input is U(0, NOISE)


@dataclass
class DDSRTrace(Trace):
    """What happened, by image step.

    ``losses`` are the data losses (1 - SSIM, then mean squared errors), ``rates`` the image net's.

    Attributes:
        forwards: how often the image net ran.
        image_steps: of the image net's optimiser.
        warmup_steps: of the kernel net's, on random kernels before the first image step.
        random_steps: of the kernel net's, in random kernel learning.
        data_steps: of the kernel net's, on sums of data losses.
        sums: how many losses each of them saw.
    """

    forwards: int = 0
    image_steps: int = 0
    warmup_steps: int = 0
    random_steps: int = 0
    data_steps: int = 0
    sums: list[int] = field(default_factory=list)

    def until(self, step: int) -> DDSRTrace:
        """What had happened after some image steps; the counters are those of the whole run."""
        lists = {name: getattr(self, name)[:step] for name in ("losses", "rates", "seconds", "kernel_psnr")}
        return replace(self, **lists, sums=list(self.sums))


class State(NamedTuple):
    """What was there after a number of image steps: image and kernel of the last forward pass, before its update."""

    image: Tensor  # (1, 3, H, W)
    kernel: Tensor  # (K, K)
    step: int
    length: int  # of the trace
    seconds: float


class Loop:
    """One image's nets, optimisers and losses.

    Args:
        observation: what is known.
        image_net: from noise to image; taught in place.
        kernel_net: from noise to kernel; taught in place. None for a known kernel.
        kernel: the known kernel ``(K, K)``, where there is no net.
        random_kernels: the prior of random kernel learning.
        choices: what to do when.
        generator: of noise and random kernels.
        precision: of the image net's passes.
        truth: ``(K, K)``, before direct subsampling; for the trace alone.
    """

    def __init__(
        self,
        observation: DataTerm,
        image_net: nn.Module,
        kernel_net: nn.Module | None,
        *,
        random_kernels: RandomKernels,
        choices: DDSROptions,
        generator: torch.Generator,
        code: int = 200,
        kernel: Tensor | None = None,
        precision: Precision | None = None,
        truth: Tensor | None = None,
    ) -> None:
        lr = observation.lr
        height, width = (n * observation.scale for n in lr.shape[-2:])
        self.observation, self.choices = observation, choices
        self.precision = precision or Precision()
        self.layout = self.precision.memory_format(lr.device)
        self.image_net: nn.Module = image_net.to(lr.device).to(memory_format=self.layout)  # type: ignore[call-overload]
        self.random_kernels, self.generator, self.truth = random_kernels, generator, truth
        noise = NOISE * torch.rand(1, lr.shape[1], height, width, generator=generator)
        self.noise = noise.to(lr).contiguous(memory_format=self.layout)
        self.code = (NOISE * torch.rand(code, generator=generator)).to(lr)
        self.kernel_net = None if kernel_net is None else kernel_net.to(lr.device)
        self.kernel = kernel.to(lr) if kernel is not None else self._make_kernel()
        self.prior_weight = choices.prior_weight if observation.gain == 1 else 0.0
        self.trace = DDSRTrace()
        self.engine = Engine()
        self.image_parameters = list(self.image_net.parameters())
        self.image_adam = torch.optim.Adam(self.image_parameters, lr=IMAGE_RATE)
        if self.kernel_net is not None:
            self.random_adam, self.data_adam = self._kernel_adam(), self._kernel_adam()
        self._taps: Tensor | None = None  # the sum of the data losses' gradients by the kernel's taps
        self._summed, self._summed_loss = 0, self.noise.new_zeros(())
        self.image: Tensor | None = None  # of the last forward pass
        self.loss: Tensor | None = None  # of the last image step
        self._pending: list[tuple[Tensor, Tensor]] = []  # losses and kernels that nobody has waited for
        self._start = clock(lr.device)

    def warm_up(self, limit: TimeLimit | None = None) -> None:
        """Draw the kernel net towards random kernels, one a step.

        Args:
            limit: may end it; none for all of its steps.
        """
        if self.kernel_net is None:
            return
        adam = torch.optim.Adam(self.kernel_net.parameters(), lr=self.choices.warmup_rate)
        for _ in range(self.choices.warmup_steps):
            random = self.random_kernels.sample(1, generator=self.generator)[0].to(self.kernel)
            self._kernel_step(adam, (self.kernel - random).square().mean())
            self.trace.warmup_steps += 1
            if limit is not None and not limit.prepare(f"warm-up {self.trace.warmup_steps}"):
                break
        if self.choices.optimisers == "shared":
            self.random_adam = self.data_adam = self._kernel_adam(adam)

    def run(self, wanted: Collection[int], limit: TimeLimit) -> dict[int, State]:
        """Take image steps until the largest number that is wanted, or until the limit is over.

        Returns:
            A state for each wanted number; where the limit stopped earlier, the last one there was (that of no step,
            if it was over before).
        """
        self._start = clock(self.noise.device)
        states: dict[int, State] = {}
        mask = self.observation.mask
        seen = None if mask is None else F.interpolate(mask, scale_factor=self.observation.scale)
        running = RunningImage(self.choices, seen=seen)

        def keep(step: int, image: Tensor, kernel: Tensor) -> State:
            self._settle()
            seconds = clock(self.noise.device) - self._start
            return State(image.clone(), kernel.detach().clone(), step, len(self.trace.losses), seconds)

        if 0 in wanted or limit.stopped:
            states[0] = keep(0, self.render(), self.kernel)
        last = max(wanted)
        for step in range(1, 1 if limit.stopped else last + 1):
            if step == self.choices.ssim_steps + 1:
                self._renew()
            if (step - 1) % PER_OUTER == 0:
                self.learn_random_kernels()
            kernel = self.kernel
            image = self.image_step(step)
            self.kernel_step(step)
            over = running.add(image, kernel.detach(), step)
            if over:
                limit.stop(over)
            more = limit.tick(self.loss, image=image)
            if step in wanted or not more:
                best, best_kernel = running.best
                states[step] = keep(step, best, best_kernel)
            if not more:
                break
        reached = max(states)
        return {n: states.get(n, states[reached]) for n in wanted}

    def learn_random_kernels(self) -> None:
        """One step of the kernel net towards random kernels, the more the better they explain the LR image."""
        if self.kernel_net is None or not self.choices.random_kernels:
            return
        image = self.image if self.choices.share_forward and self.image is not None else self.render()
        drawn = self.random_kernels.sample(self.choices.random_kernels, generator=self.generator).to(image)
        weights = teaching_weights(self.observation.errors(image, drawn))
        distances = (self.kernel - drawn).square().mean((1, 2))
        self._kernel_step(self.random_adam, (weights * distances).sum())
        self.trace.random_steps += 1

    def image_step(self, step: int) -> Tensor:
        """Forward, data loss and prior, one step of the image net; the kernel's share of the gradient is put by.

        Returns:
            The image before the step, without history.
        """
        similar = step <= self.choices.ssim_steps
        held = self.kernel_net is not None and self.choices.gradient_kept(step)

        def gradients(inputs: Sequence[Tensor], _: bool) -> list[Tensor]:
            noise, taps = inputs
            taps = taps.detach().requires_grad_(held)
            with self.precision.autocast(noise.device):
                image = self.image_net(noise)
            image = image.to(noise.dtype)  # bfloat16 where autocast made it so
            seen = self.observation.degrade(image, taps)
            data = self.observation.dissimilarity(seen) if similar else self.observation.mse(seen)
            total = data
            if self.prior_weight:
                total = data + published_prior(image, low_values=seen.numel(), weight=self.prior_weight)
            by = [*self.image_parameters, *([taps] if held else [])]
            return [image.detach(), data.detach(), *torch.autograd.grad(total, by)]

        with torch.enable_grad(), self.precision.region(self.noise.device):
            image, data, *grads = self.engine.run(
                gradients,
                [self.noise, self.kernel.detach()],
                parameters=self.image_parameters,
                key=(similar, held),
            )
        self.loss = data
        self._pending.append((data, self.kernel.detach()))
        if data.device.type == "cpu" or len(self._pending) >= PENDING:
            self._settle()
        if held:
            taps = grads.pop()
            self._taps = taps if self._taps is None else self._taps + taps
            self._summed += 1
            self._summed_loss = self._summed_loss + data
        for parameter, gradient in zip(self.image_parameters, grads, strict=True):
            parameter.grad = gradient
        self.image_adam.step()
        self.trace.forwards += 1
        self.trace.image_steps += 1
        self.image = image
        return image

    def kernel_step(self, step: int) -> None:
        """One step of the kernel net on the data losses put by, where it is time for one."""
        if self._taps is None or not self.choices.kernel_step_due(step):
            return
        assert self.kernel_net is not None
        penalty = self.kernel.new_zeros(())
        if self.choices.sparse_kernel:
            spread = (self.kernel + 1e-8).sqrt().sum() / self.kernel.shape[-1]
            penalty = self.choices.sparse_kernel * self._summed_loss * spread
        self._kernel_step(self.data_adam, (self.kernel * self._taps).sum() + penalty)
        self.trace.data_steps += 1
        self.trace.sums.append(self._summed)
        self._taps, self._summed, self._summed_loss = None, 0, torch.zeros_like(self._summed_loss)

    def _settle(self) -> None:
        """Write down the steps that nobody has waited for yet.

        Raises:
            DivergenceError: if a loss is not finite.
        """
        seconds = clock(self.noise.device) - self._start
        for data, kernel in self._pending:
            loss = float(data)
            if not math.isfinite(loss):
                raise DivergenceError(
                    f"the data loss of image step {len(self.trace.losses) + 1} is {loss} (rate {IMAGE_RATE:g}); try "
                    "another seed, or precision=float32"
                )
            self.trace.losses.append(loss)
            self.trace.rates.append(IMAGE_RATE)
            self.trace.seconds.append(seconds)
            if self.truth is not None:
                self.trace.kernel_psnr.append(float(kernel_psnr(kernel, self.truth)))
        self._pending.clear()

    def render(self) -> Tensor:
        """The image net's image, without history."""
        with torch.no_grad(), self.precision.region(self.noise.device), self.precision.autocast(self.noise.device):
            image = self.image_net(self.noise)
        self.trace.forwards += 1
        return image.to(self.noise.dtype)

    def _make_kernel(self) -> Tensor:
        assert self.kernel_net is not None
        with torch.enable_grad():
            return self.kernel_net(self.code)

    def _kernel_step(self, adam: torch.optim.Adam, loss: Tensor) -> None:
        assert self.kernel_net is not None
        parameters = list(self.kernel_net.parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        adam.step()
        self.kernel = self._make_kernel()

    def _kernel_adam(self, like: torch.optim.Adam | None = None) -> torch.optim.Adam:
        """An optimiser of the kernel net, with another one's memory."""
        assert self.kernel_net is not None
        adam = torch.optim.Adam(self.kernel_net.parameters(), lr=KERNEL_RATE)
        if like is not None:
            adam.load_state_dict(
                {"state": like.state_dict()["state"], "param_groups": adam.state_dict()["param_groups"]}
            )
        return adam

    def _renew(self) -> None:
        """Optimisers without a memory of the SSIM's gradients, for the mean squared error."""
        if self.choices.optimisers in ("kernel", "all") and self.kernel_net is not None:
            self.data_adam = self._kernel_adam()
        if self.choices.optimisers == "all":
            self.image_adam = torch.optim.Adam(self.image_parameters, lr=IMAGE_RATE)
