"""Arithmetic and layout of a meta-step."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, softplus

from metasr.data.tasks import Task
from metasr.errors import InputError
from metasr.meta import precision
from metasr.meta.meta_gradient import MetaGradient, meta_gradient
from metasr.meta.precision import Precision, native_bfloat16
from metasr.meta.rates import FixedRates, MetaSGDRates
from metasr.models import plain_cnn
from metasr.models.plain_cnn import PlainCNN
from small_problems import random_task

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("arithmetic", "layout", "cpu", "cuda"),
    [
        ("tf32", "auto", True, True),
        ("auto", "auto", True, True),
        ("bf16", "auto", True, True),
        ("fp32", "auto", True, False),
        ("fp32", "channels_last", True, True),
        ("tf32", "contiguous", False, False),
    ],
)
def test_layouts(arithmetic: str, layout: str, cpu: bool, cuda: bool) -> None:
    precision = Precision(arithmetic=arithmetic, layout=layout)  # type: ignore[arg-type]
    formats = [torch.contiguous_format, torch.channels_last]
    assert precision.memory_format(CPU) == formats[cpu]
    assert precision.memory_format(CUDA) == formats[cuda]


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_bfloat16_on_cpus_that_multiply_it(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "native_bfloat16", lambda: native)
    layer = nn.Linear(3, 2)
    with Precision(arithmetic="auto").autocast(CPU):
        assert layer(torch.ones(1, 3)).dtype == (torch.bfloat16 if native else torch.float32)
    with Precision(arithmetic="auto").autocast(CUDA):
        assert not torch.is_autocast_enabled("cuda")


def test_a_torch_that_cannot_tell_has_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert native_bfloat16() is False


def test_bf16_lowers_the_networks_passes_alone() -> None:
    layer = nn.Linear(3, 2)
    with Precision(arithmetic="bf16").autocast(CPU):
        assert layer(torch.rand(4, 3)).dtype == torch.bfloat16
    assert layer(torch.rand(4, 3)).dtype == torch.float32


@pytest.mark.parametrize("arithmetic", ["fp32", "tf32"])
def test_the_callers_autocast_is_left_alone(arithmetic: str) -> None:
    layer = nn.Linear(3, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16), Precision(arithmetic=arithmetic).autocast(CPU):  # type: ignore[arg-type]
        assert layer(torch.rand(4, 3)).dtype == torch.bfloat16


class Flags(SimpleNamespace):
    """What stands for ``torch.backends.cudnn``: the new flag beside the old ones, or only these."""

    def state(self) -> tuple[object, ...]:
        conv = getattr(self, "conv", None)
        return (self.allow_tf32 if conv is None else conv.fp32_precision), self.deterministic, self.benchmark


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("arithmetic", ["fp32", "tf32", "bf16"])
def test_cudnn_is_set_and_put_back(new: bool, arithmetic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = Flags(allow_tf32=True, deterministic=False, benchmark=True)
    if new:
        flags.conv = SimpleNamespace(fp32_precision="none")
    monkeypatch.setattr(torch.backends, "cudnn", flags)
    before = flags.state()
    precision = Precision(arithmetic=arithmetic)  # type: ignore[arg-type]
    with precision.region(CPU):
        assert flags.state() == before
    inside: list[object] = []

    def work() -> None:
        with precision.region(CUDA):
            inside.extend(flags.state())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    strict = arithmetic == "fp32"
    assert inside == [("ieee" if strict else "tf32") if new else not strict, True, False]
    assert flags.state() == before
    assert flags.allow_tf32 or not new, "the old flag may not be touched beside the new one"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arithmetic": "fp16"}, "precision must be one of auto, fp32, tf32, bf16, got 'fp16'"),
        ({"layout": "nhwc"}, "layout must be one of auto, channels_last, contiguous, got 'nhwc'"),
    ],
)
def test_unknown_choices_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Precision(**options)  # type: ignore[arg-type]


# --- what it does to a meta-gradient, where no kink amplifies rounding ---


def found(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, **options: str) -> MetaGradient:
    monkeypatch.setattr(plain_cnn, "F", SimpleNamespace(relu=softplus))
    torch.manual_seed(0)
    model = PlainCNN(channels=6, layers=3).to(dtype)
    rates = MetaSGDRates(list(model.parameters()), initial=0.05)
    drawn = [random_task(seed=s) for s in (1, 2)]
    tasks = [Task(*(t.to(dtype) for t in task[:4]), task.degradation) for task in drawn]
    return meta_gradient(
        model,
        rates,
        tasks,
        steps=3,
        order="second",
        step_weights=[0.2, 0.3, 0.5],
        loss=mse_loss,
        precision=Precision(**options),  # type: ignore[arg-type]
    )


def difference(got: MetaGradient, want: MetaGradient) -> float:
    a, b = (torch.cat([g.double().flatten() for g in [*m.gradients, m.loss, *m.query[1:]]]) for m in (got, want))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("layout", ["auto", "channels_last"])
def test_layout_changes_the_order_of_sums_alone(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = found(monkeypatch, torch.float64, layout="contiguous")
    other = found(monkeypatch, torch.float64, layout=layout)
    assert difference(other, plain) < 1e-13
    assert all(g.is_contiguous() for g in other.gradients)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_layout_reaches_every_feature_map(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    last = layout == "channels_last"
    seen: list[bool] = []

    class Watching(nn.Conv2d):
        def forward(self, image: Tensor) -> Tensor:
            output = super().forward(image)
            seen.extend(t.is_contiguous(memory_format=torch.channels_last) for t in (image, self.weight, output))
            return output

    model = nn.Sequential(Watching(3, 5, 3, padding=1), nn.ReLU(), Watching(5, 3, 3, padding=1))
    meta_gradient(
        model,
        FixedRates((0.1,)),
        [random_task(seed=1, dtype=torch.float32)],
        steps=2,
        order="second",
        step_weights=[0.5, 0.5],
        precision=Precision(layout=layout),  # type: ignore[arg-type]
    )
    assert seen == [last] * (4 * 2 * 3)  # support and query of two steps, two layers


def test_tf32_is_fp32_on_a_cpu_and_bf16_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    exact, strict, default, low = (
        found(monkeypatch, dtype, arithmetic=arithmetic)
        for dtype, arithmetic in (
            (torch.float64, "fp32"),
            (torch.float32, "fp32"),
            (torch.float32, "tf32"),
            (torch.float32, "bf16"),
        )
    )
    assert all(torch.equal(a, b) for a, b in zip(strict.gradients, default.gradients, strict=True))
    assert difference(strict, exact) < 1e-5
    assert 1e-4 < difference(low, exact) < 3e-2
    assert {g.dtype for g in low.gradients} == {torch.float32}
