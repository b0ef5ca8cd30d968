"""Networks of other programs' files, by spandrel: what is told of them, and that they run as they are."""

import importlib.util
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from metasr.errors import InputError, WeightsError
from metasr.jobs.evaluate import evaluate_weights
from metasr.jobs.upscale import upscale_task
from metasr.models.plain_cnn import PlainCNN
from metasr.models.spandrel_network import SpandrelNetwork, spandrel_network
from metasr.solvers.network import NetworkSolver, tile_for
from running import PROJECT, compose, environment, save_picture
from small_problems import picture

needs_spandrel = pytest.mark.skipif(
    importlib.util.find_spec("spandrel") is None,
    reason="spandrel is not installed: pip install --no-deps spandrel einops",
)


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The few names that spandrel imports of torchvision, where there is none that fits this torch."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in [n for n in sys.modules if n.split(".")[0] in ("torchvision", "spandrel")]:
            monkeypatch.delitem(sys.modules, name)
        functional = types.ModuleType("torchvision.transforms.functional")
        functional.InterpolationMode = functional.rotate = functional.normalize = None  # type: ignore[attr-defined]
        for name in ("torchvision", "torchvision.transforms"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.setitem(sys.modules, functional.__name__, functional)


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    stand_in(monkeypatch)
    yield
    for name in [n for n in sys.modules if n.split(".")[0] == "spandrel"]:
        del sys.modules[name]


def made(architecture: str, scale: int = 2) -> torch.nn.Module:
    """A small network of an architecture of spandrel's, randomly drawn."""
    from spandrel.architectures.Compact import Compact
    from spandrel.architectures.DnCNN import DnCNN
    from spandrel.architectures.ESRGAN import ESRGAN
    from spandrel.architectures.RCAN import RCAN
    from spandrel.architectures.SwinIR import SwinIR

    torch.manual_seed(0)
    makers: dict[str, Any] = {
        "ESRGAN": lambda: ESRGAN(num_filters=8, num_blocks=1, scale=scale),
        "RCAN": lambda: RCAN(scale=scale, n_resgroups=2, n_resblocks=2, n_feats=16, reduction=4),
        "SwinIR": lambda: SwinIR(
            img_size=16, depths=[2], embed_dim=12, num_heads=[2], window_size=4, mlp_ratio=2, upscale=scale,
            upsampler="pixelshuffledirect", resi_connection="1conv",
        ),
        "RealESRGAN Compact": lambda: Compact(num_feat=8, num_conv=2, upscale=scale),
        "grey": lambda: Compact(num_in_ch=1, num_out_ch=1, num_feat=8, num_conv=2, upscale=scale),
        "restores": lambda: DnCNN(in_nc=3, out_nc=3, nc=8, nb=4),
    }  # fmt: skip
    return makers[architecture]().eval()


def state_of(architecture: str, scale: int = 2) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in made(architecture, scale).state_dict().items()}


@needs_spandrel
@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("architecture", ["ESRGAN", "RCAN", "SwinIR", "RealESRGAN Compact"])
def test_known_networks_run_as_they_are(architecture: str, scale: int) -> None:
    network = spandrel_network(state_of(architecture, scale), origin="f.pth")
    assert isinstance(network, SpandrelNetwork)
    assert (network.scale, network.architecture) == (scale, architecture)
    assert network.looks_at_all == (architecture == "SwinIR")
    assert not any(parameter.requires_grad for parameter in network.parameters())
    lr = picture(16, 24)
    with torch.no_grad():
        want = made(architecture, scale)(lr.clone()).clamp(0, 1)
    solved = NetworkSolver(network, enlarge_first=False).solve(lr, scale=scale)
    assert torch.equal(lr, picture(16, 24))  # RCAN's multiplies its input where it lies
    torch.testing.assert_close(solved.sr, want, rtol=0, atol=1e-5)


@needs_spandrel
@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("architecture", ["ESRGAN", "RCAN", "SwinIR", "RealESRGAN Compact"])
@pytest.mark.parametrize("size", [(1, 1), (13, 10)])
def test_any_size(architecture: str, size: tuple[int, int]) -> None:
    network = spandrel_network(state_of(architecture), origin="f.pth")
    assert network is not None
    sr = NetworkSolver(network, enlarge_first=False, ensemble=True).solve(picture(*size), scale=2).sr
    assert sr.shape == (1, 3, 2 * size[0], 2 * size[1])
    assert bool(sr.isfinite().all())


@needs_spandrel
@pytest.mark.usefixtures("torchvision")
def test_tiles_where_the_network_takes_them() -> None:
    lr = picture(70, 21)
    compact = spandrel_network(state_of("RealESRGAN Compact"), origin="f.pth")
    assert compact is not None
    whole, tiled = (NetworkSolver(compact, enlarge_first=False, tile=t).solve(lr, scale=2).sr for t in (None, 16))
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


def test_a_network_that_looks_at_all_is_given_all(caplog: pytest.LogCaptureFixture) -> None:
    network = PlainCNN(4, 2)
    assert tile_for(network, 16, torch.zeros(1, 3, 99, 9)) == 16
    network.looks_at_all = True  # type: ignore[assignment]
    assert tile_for(network, None, torch.zeros(1, 3, 99, 9)) is None
    assert tile_for(network, 16, torch.zeros(1, 3, 1024, 9)) == 1024
    assert not caplog.records
    assert tile_for(network, 16, torch.zeros(1, 3, 1025, 9)) == 1024
    assert "there may be seams" in caplog.text


@needs_spandrel
@pytest.mark.usefixtures("torchvision")
def test_grey_networks_work_on_each_colour() -> None:
    network, lr = spandrel_network(state_of("grey"), origin="f.pth"), picture(9, 8)
    assert network is not None
    with torch.no_grad():
        want = torch.cat([made("grey")(lr[:, i : i + 1]) for i in range(3)], 1).clamp(0, 1)
    torch.testing.assert_close(network(lr), want, rtol=0, atol=1e-6)


@needs_spandrel
@pytest.mark.usefixtures("torchvision")
def test_half_precision_is_computed_in_full() -> None:
    state = {name: tensor.half() for name, tensor in state_of("ESRGAN").items()}
    network = spandrel_network(state, origin="f.pth")
    assert network is not None
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert network(picture(9, 8)).dtype == torch.float32


@needs_spandrel
@pytest.mark.usefixtures("torchvision")
def test_networks_that_are_of_no_use_are_told() -> None:
    assert spandrel_network(torch.nn.Linear(2, 2).state_dict(), origin="f.pth") is None
    with pytest.raises(WeightsError, match=r"f\.pth is of DnCNN, which restores images and does not enlarge"):
        spandrel_network(state_of("restores"), origin="f.pth")
    broken = state_of("RCAN")
    broken["body.0.body.0.body.0.weight"] = torch.zeros(3, 3)
    with pytest.raises(WeightsError, match=r"f\.pth looks like a network that spandrel knows, but cannot be made one"):
        spandrel_network(broken, origin="f.pth")


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] in packages]:
        monkeypatch.delitem(sys.modules, name)
    for name in packages:
        monkeypatch.setitem(sys.modules, name, None)


def test_without_spandrel_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "spandrel")
    with pytest.raises(
        WeightsError, match=r"f\.pth holds the weights of another .* spandrel: pip install 'metasr\[spandrel\]'"
    ):
        spandrel_network({"a": torch.zeros(1)}, origin="f.pth")


@needs_spandrel
def test_without_torchvision_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "spandrel"]:
        monkeypatch.delitem(sys.modules, name)
    without(monkeypatch, "torchvision")
    with pytest.raises(WeightsError, match=rf"needs torchvision, .*belongs to torch {torch.__version__.split('+')[0]}"):
        spandrel_network({"a": torch.zeros(1)}, origin="f.pth")


@needs_spandrel
def test_a_torchvision_of_another_torch_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It fails as it is imported, with an error that is no ImportError."""
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    for name in [n for n in sys.modules if n.split(".")[0] in ("spandrel", "torchvision")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WeightsError, match=r"cannot be imported here \(operator torchvision::nms does not exist\)"):
        spandrel_network({"a": torch.zeros(1)}, origin="f.pth")


@needs_spandrel
@pytest.mark.usefixtures("torchvision")
class TestFromAFile:
    def upscale(self, folder: Path, weights: Path, **choices: Any) -> tuple[int, int]:
        import metasr

        (done,) = metasr.upscale(
            save_picture(folder / "photo.png", 20, 23), folder / "large.png", weights=str(weights), overwrite=True,
            device="cpu", **choices,
        )  # fmt: skip
        assert done.weights == str(weights)
        assert done.updates == 0
        with Image.open(done.output) as image:
            return image.size

    @pytest.mark.parametrize("wrapper", ["params_ema", "params", "state_dict"])
    def test_upscale_takes_architecture_and_scale_from_it(self, wrapper: str, tmp_path: Path) -> None:
        state = {f"module.{name}": tensor.half() for name, tensor in state_of("ESRGAN", 4).items()}
        torch.save({wrapper: state}, tmp_path / "x4.pth")
        assert self.upscale(tmp_path, tmp_path / "x4.pth") == (92, 80)
        assert self.upscale(tmp_path, tmp_path / "x4.pth", solver="network", ensemble=True) == (92, 80)

    def test_the_task_takes_the_scale_from_it_too(self, tmp_path: Path) -> None:
        torch.save(state_of("RCAN", 3), tmp_path / "x3.pth")
        cfg = compose(
            "task=upscale", "solver=network", f"weights={tmp_path / 'x3.pth'}", "device=cpu", "logger=none",
            f"input={save_picture(tmp_path / 'photo.png', 8, 9)}", f"output={tmp_path / 'large.png'}",
        )  # fmt: skip
        list(upscale_task(cfg))
        with Image.open(tmp_path / "large.png") as image:
            assert image.size == (27, 24)

    def test_safetensors_too(self, tmp_path: Path) -> None:
        save_file(state_of("RCAN", 2), tmp_path / "rcan.safetensors")
        assert self.upscale(tmp_path, tmp_path / "rcan.safetensors") == (46, 40)

    def test_another_scale_goes_by_way_of_its_own(self, tmp_path: Path) -> None:
        save_file(state_of("RCAN", 4), tmp_path / "rcan.safetensors")
        assert self.upscale(tmp_path, tmp_path / "rcan.safetensors", scale=3) == (69, 60)

    def test_a_table_of_another_scale_is_refused(self, tmp_path: Path) -> None:
        save_file(state_of("RCAN", 4), tmp_path / "rcan.safetensors")
        cfg = compose(
            "task=evaluate", "solver=network", f"weights={tmp_path / 'rcan.safetensors'}", "degradations=[bicubic]",
            f"testset={save_picture(tmp_path / 'hr' / 'a.png', 20, 24).parent}", "device=cpu", "logger=none",
        )  # fmt: skip
        with pytest.raises(InputError, match="these weights enlarge by 4, but scale 2 was asked for; set scale=4"):
            evaluate_weights(cfg, tmp_path)

    def test_another_solver_is_refused(self, tmp_path: Path) -> None:
        save_file(state_of("RCAN", 2), tmp_path / "rcan.safetensors")
        with pytest.raises(InputError, match=r"solver adapt does not run networks such as RCAN.*take solver=network"):
            self.upscale(tmp_path, tmp_path / "rcan.safetensors", solver="adapt")

    def test_loaded_in_python(self, tmp_path: Path) -> None:
        import metasr

        torch.save(state_of("RCAN", 3), tmp_path / "rcan.pth")
        solver = metasr.load(str(tmp_path / "rcan.pth"), device="cpu")
        assert repr(solver).startswith("<solver network, weights ")
        assert solver(picture(9, 8)[0]).shape == (3, 27, 24)

    def test_files_of_the_public_programs_are_told_to_be_imported(self, tmp_path: Path) -> None:
        from runs import public_programs

        torch.save(public_programs.mrda(scale=2), tmp_path / "mrda.pt")
        with pytest.raises(WeightsError, match=r"import it first: metasr import .*mrda\.pt --as mrda_x4"):
            self.upscale(tmp_path, tmp_path / "mrda.pt")


@pytest.mark.slow
@needs_spandrel
def test_the_command_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        torch.save(state_of("RCAN", 2), tmp_path / "rcan.pth")
    save_picture(tmp_path / "photo.png", 8, 8)
    (tmp_path / "torchvision.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'torchvision'\", name='torchvision')"
    )
    done = subprocess.run(
        [sys.executable, "-m", "metasr", "upscale", "photo.png", "-w", "rcan.pth"], cwd=tmp_path, text=True,
        env=environment(tmp_path, PYTHONPATH=f"{tmp_path}:{PROJECT / 'src'}"), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "needs torchvision" in done.stderr
