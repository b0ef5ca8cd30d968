"""ONNX files: the graph against the solver for every kind of network, and the files by onnxruntime against torch."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from metasr.cli import main
from metasr.degradation import names
from metasr.degradation.pipeline import Degradation, Downsample
from metasr.degradation.resize import imresize
from metasr.errors import InputError, OutputError
from metasr.models.blind import BlindSR
from metasr.models.den import DegradationEncoder
from metasr.models.kdsr import KDSRBody, KDSREncoder
from metasr.models.photo import PhotoNet
from metasr.models.plain_cnn import ConditionedCNN, PlainCNN
from metasr.models.rdan import RDAN
from metasr.models.resunet import ResUNet
from metasr.models.unfolded import UnfoldedNet
from metasr.solvers.exported import enlarged, graph_of, mirrored
from metasr.solvers.interpolate import InterpolateSolver
from metasr.solvers.mzsr.solver import MZSRSolver
from metasr.solvers.network import NetworkSolver
from metasr.solvers.unfolded import UnfoldedSolver

RUN = Path(__file__).parents[1] / "runs" / "old_run" / "run"


def unfolded(prior: nn.Module) -> UnfoldedSolver:
    return UnfoldedSolver(UnfoldedNet(prior, rounds=2), tile=None)


def lively(network: nn.Module) -> nn.Module:
    """The same with values in every tensor, as training leaves them: last layers begin at 0."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return network


def picture(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return imresize(torch.rand(1, 3, 6, 7, generator=generator), size=(height, width)).clamp(0, 1)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.5, -1.3), (1.5, 2.0)])
def test_enlarging_is_imresize(scale: int, shift: tuple[float, float]) -> None:
    lr = picture(5, 8)
    by = torch.tensor(shift[0], dtype=torch.float64), torch.tensor(shift[1], dtype=torch.float64)
    assert torch.allclose(enlarged(lr, scale, by), imresize(lr, scale, shift=shift), atol=3e-6)


def test_mirroring_goes_on_beyond_a_small_image() -> None:
    row = torch.tensor([[1.0, 2.0]])[None, None].expand(1, 1, 2, 2)
    assert mirrored(row, 3)[0, 0, 0].tolist() == [2, 2, 1, 1, 2, 2, 1, 1]


@pytest.mark.parametrize("size", [(17, 23), (24, 18), (5, 3), (1, 1)])
@pytest.mark.parametrize(
    ("prior", "kernel", "scale"),
    [
        (ConditionedCNN(4, 3, last_gain=1.0), "g2.0d", 2),
        (ConditionedCNN(4, 3, last_gain=1.0), "gani_d_n5", 3),
        (lively(ResUNet((4, 6), 1)), "g1.3b", 2),
        (lively(ResUNet((4, 6), 1)), "aniso_4_1_0.5_b_n10", 4),
        (lively(ResUNet((4, 6), 1)), "bicubic", 3),
        (lively(ResUNet((4, 6), 1)), "direct", 2),
        (lively(ResUNet((4, 6), 1)), "area", 2),
    ],
)
def test_the_graph_of_an_unfolded_network(prior: nn.Module, kernel: str, scale: int, size: tuple[int, int]) -> None:
    solver, degradation = unfolded(prior), names.parse(kernel, scale=scale)
    graph = graph_of(solver, scale=scale, downsample=degradation.downsample)
    lr = picture(*size)
    with torch.no_grad():
        sr = graph.module(*graph.inputs(lr, degradation).values())
    wanted = solver.solve(lr, scale=scale, degradation=degradation).sr
    assert sr.shape == wanted.shape
    assert float((sr - wanted).abs().max()) < 5e-5


def test_an_off_centre_kernel_moves_the_graphs_guess_too() -> None:
    kernel = torch.zeros(5, 5)
    kernel[3, 1:3] = 0.5
    degradation = Degradation(scale=2, kernel=kernel, downsample="direct")
    solver = unfolded(lively(ResUNet((4, 6), 1)))
    graph = graph_of(solver, scale=2, downsample="direct")
    lr = picture(12, 14)
    with torch.no_grad():
        sr = graph.module(*graph.inputs(lr, degradation).values())
    assert torch.allclose(sr, solver.solve(lr, scale=2, degradation=degradation).sr, atol=5e-5)


KINDS = [
    (NetworkSolver(PlainCNN(4, 3, last_gain=1.0), tile=None), 3),
    (NetworkSolver(lively(BlindSR(KDSREncoder(width=4, blocks=1), KDSRBody(scale=2, width=4, blocks=1))),
                   enlarge_first=False, tile=None), 2),
    (NetworkSolver(lively(BlindSR(DegradationEncoder(width=4), RDAN(scale=4, width=4, blocks=1, vector=16))),
                   enlarge_first=False, tile=None), 4),
]  # fmt: skip


@pytest.mark.parametrize(("solver", "scale"), KINDS, ids=["plain", "kdsr", "mrda"])
def test_the_graph_of_a_feed_forward_network(solver: NetworkSolver, scale: int) -> None:
    graph = graph_of(solver, scale=scale, downsample="bicubic")
    lr = picture(13, 10)
    with torch.no_grad():
        assert torch.allclose(graph.module(lr), solver.solve(lr, scale=scale).sr, atol=3e-6)


def test_what_is_no_graph_is_told() -> None:
    def refused(solver: object, scale: float = 2, downsample: Downsample = "bicubic") -> str:
        with pytest.raises(InputError) as told:
            graph_of(solver, scale=scale, downsample=downsample)  # type: ignore[arg-type]
        return str(told.value)

    assert "adapted to each image by gradient steps, which no graph of a network holds" in refused(
        MZSRSolver(PlainCNN(4, 3))
    )
    assert refused(InterpolateSolver()).startswith("InterpolateSolver works on each image by itself")
    assert refused(KINDS[0][0], 2.5).startswith("a graph enlarges by a whole factor from 2 on, got 2.5")
    assert refused(KINDS[2][0], 3) == "these weights enlarge by 4, got scale 3; leave --scale out"
    graph = graph_of(unfolded(ResUNet((4, 6), 1)), scale=2, downsample="direct")
    with pytest.raises(InputError, match=r"one kernel of up to 25x25, got \(31, 31\)"):
        graph.inputs(picture(8, 8), Degradation(scale=2, kernel=torch.full((31, 31), 1 / 961), downsample="direct"))


PHOTO = NetworkSolver(lively(PhotoNet((2, 4), widths=(4, 6), blocks=(1, 1))), enlarge_first=False, tile=None)


@pytest.mark.parametrize(("scale", "kind"), [(2, "bicubic_n5_q85c"), (4, "bicubic_q40"), (2, "bicubic")])
def test_the_graph_of_a_network_for_photos(scale: int, kind: str) -> None:
    graph, degradation = graph_of(PHOTO, scale=scale, downsample="bicubic"), names.parse(kind, scale=scale)
    lr = picture(13, 11)
    with torch.no_grad():
        sr = graph.module(*graph.inputs(lr, degradation).values())
    assert torch.allclose(sr, PHOTO.solve(lr, scale=scale, degradation=degradation).sr, atol=3e-6)


def exported(*words: str) -> int:
    return main(["export", *words])


def test_mistakes_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for module in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(module, reason="needs the extra onnx")
    for words, told in (
        (("mzsr_x2_pretrain", f"{tmp_path}/x.pt"), "must end in .onnx"),
        (("mzsr_x2", f"{tmp_path}/x.onnx"), "export their pretrained stage (--stage pretrain, or mzsr_x2_pretrain)"),
        (("mzsr_x2_pretrain", f"{tmp_path}/x.onnx", "--stage", "pretrain"), "--stage pretrain is of a run folder"),
        (("unfolded", f"{tmp_path}/x.onnx", "--downsample", "cubic"), "downsample must be one of direct, bicubic"),
        ((str(RUN), f"{tmp_path}/x.onnx", "--stage", "student"), "has no finished stage 'student'"),
    ):
        assert exported(*words) == 2
        assert told in capsys.readouterr().err
    (tmp_path / "there.onnx").write_text("mine")
    assert exported("mzsr_x2_pretrain", f"{tmp_path}/there.onnx") == 2
    assert (tmp_path / "there.onnx").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [tmp_path / "there.onnx"]


@pytest.mark.slow
def test_a_runs_stage_becomes_a_file_for_images_of_any_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for module in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(module, reason="needs the extra onnx")
    import onnx
    import onnxruntime

    import metasr

    target = tmp_path / "net.onnx"
    assert exported(str(RUN), str(target), "--stage", "pretrain", "-s", "3") == 0
    assert "x3, weights run; lr (1, 3, height, width); differs from torch by at most" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [target]  # one file, its tensors in it
    known = {entry.key: entry.value for entry in onnx.load(target).metadata_props}
    assert (known["metasr"], known["scale"], known["weights"]) == (metasr.__version__, "3", "run")
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    assert [put.name for put in (*session.get_inputs(), *session.get_outputs())] == ["lr", "sr"]
    card = json.loads((RUN / "01_pretrain" / "card.json").read_text())
    network = PlainCNN(**{k: v for k, v in card["config"]["model"].items() if k != "_target_"})
    from metasr.runs.weights import from_stage

    solver = NetworkSolver(from_stage(RUN, "pretrain").load_into(network), tile=None)
    for size in ((9, 40), (33, 2)):
        lr = picture(*size)
        (sr,) = session.run(None, {"lr": lr.numpy()})
        assert float((torch.from_numpy(sr) - solver.solve(lr, scale=3).sr).abs().max()) < 1e-4


@pytest.mark.slow
def test_the_released_unfolded_network_becomes_a_file(tmp_path: Path) -> None:
    for module in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(module, reason="needs the extra onnx")
    import onnxruntime

    import metasr
    from metasr.jobs.export import export

    done = export("unfolded", tmp_path / "unfolded.onnx", scale=2, downsample="direct")
    assert done.difference < 1e-4
    assert done.inputs == {"lr": (1, 3, "height", "width"), "kernel": (25, 25), "noise_std": (1,)}
    session = onnxruntime.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
    degradation = names.parse("gani_d", scale=2)
    assert degradation.kernel is not None
    kernel = nn.functional.pad(degradation.kernel, (2, 2, 2, 2)).float()
    lr = picture(21, 30)
    told = {"lr": lr.numpy(), "kernel": kernel.numpy(), "noise_std": torch.zeros(1).numpy()}
    (sr,) = session.run(None, told)
    wanted = metasr.load("unfolded", device="cpu")(lr, degradation=degradation)
    assert float((torch.from_numpy(sr) - wanted).abs().max()) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("solver", "scale"), [*KINDS[1:], (PHOTO, 2)], ids=["kdsr", "mrda", "photo"])
def test_students_become_files(tmp_path: Path, solver: NetworkSolver, scale: int) -> None:
    for module in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(module, reason="needs the extra onnx")
    from metasr.jobs.export import write
    from metasr.runs.weights import Weights

    done = write(solver, Weights("x", solver.network.state_dict()), tmp_path / "x.onnx", scale=scale)
    assert done.difference < 1e-5


def test_a_file_that_differs_from_torch_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metasr.errors import WeightsError
    from metasr.jobs import export as module

    class Program:
        def save(self, path: Path, *, external_data: bool) -> None:
            Path(path).write_bytes(b"x")

    monkeypatch.setattr(module, "require_extra", lambda *_, **__: None)
    monkeypatch.setattr(module, "_program", lambda *_: Program())
    for difference in (2e-4, float("nan")):
        monkeypatch.setattr(module, "_difference", lambda *_, d=difference: d)
        with pytest.raises(WeightsError, match=r"was not written: its images differ from torch's by"):
            module.export("mzsr_x2_pretrain", tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match=r"must end in \.onnx"):
        module.export("mzsr_x2_pretrain", tmp_path / "x")
