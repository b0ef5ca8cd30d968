"""Files of the public programs: every tensor placed, and the very numbers that those networks give."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metasr.config.entries import learned_entries
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError, MetasrError, WeightsError
from metasr.io.images import read_photo
from metasr.jobs.import_weights import import_weights
from metasr.models.plain_cnn import PlainCNN
from metasr.recipes.teacher import Teacher
from metasr.runs.architecture import make_network, make_recipe
from metasr.runs.public_networks import NAMES, from_torch
from metasr.runs.tensorflow_bundle import read_bundle
from metasr.runs.weights import Weights, from_file
from metasr.solvers.network import NetworkSolver
from metasr.solvers.oracle import OracleMaker
from running import compose, save_picture
from runs import public_programs as public
from small_problems import picture

TENSORFLOW = Path(__file__).parent / "tensorflow"
RUN = {"mrda": public.run_mrda, "kdsr_m": public.run_kdsr, "kdsr_l": public.run_kdsr}
MAKE: dict[str, Any] = {"mrda": public.mrda, "kdsr_m": public.kdsr, "kdsr_l": public.kdsr}


def imported(state: dict[str, torch.Tensor], name: str, folder: Path, **more: Any) -> Weights:
    """A state, saved as its program does, imported, and read back with its card."""
    torch.save(state, folder / "theirs.pt")
    list(import_weights(folder / "theirs.pt", name, folder / "ours.safetensors", **more))
    return from_file(folder / "ours.safetensors")


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("program", MAKE)
def test_a_student_gives_the_public_networks_numbers(program: str, scale: int, tmp_path: Path) -> None:
    state, lr = MAKE[program](scale=scale), picture(13, 10)
    weights = imported(state, f"{program}_x{scale}", tmp_path)
    assert len(weights.state) == len(state)
    assert sum(t.numel() for t in weights.state.values()) == sum(t.numel() for t in state.values())
    network = make_network(weights.architecture, origin="card", state=weights.state)
    weights.load_into(network)
    with torch.no_grad():
        want, got = RUN[program](state, lr), network(lr)
    assert got.shape == (1, 3, 13 * scale, 10 * scale)
    assert torch.equal(got, want)
    solved = NetworkSolver(network, enlarge_first=False).solve(lr, scale=scale, degradation=Degradation(scale=scale))
    torch.testing.assert_close(solved.sr, want.clamp(0, 1), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "sizes", "numbers"),
    [
        ("mrda", {"width": 64, "blocks": 27, "encoder": 64}, 5_838_737),
        ("kdsr_m", {"width": 64, "blocks": 53, "residual": 9}, 5_795_099),
        ("kdsr_l", {"width": 128, "blocks": 28, "residual": 5}, 14_191_003),
    ],
)
def test_the_published_sizes(program: str, sizes: dict[str, int], numbers: int, tmp_path: Path) -> None:
    state, lr = MAKE[program](scale=4, **sizes), picture(9, 8)
    torch.save(state, tmp_path / "theirs.pt")
    lines = list(import_weights(tmp_path / "theirs.pt", f"{program}_x4", tmp_path / "ours.safetensors"))
    assert len(lines) == 1
    assert f"{numbers:,} numbers in {len(state)} tensors, every one of them placed" in lines[0]
    weights = from_file(tmp_path / "ours.safetensors")
    network = make_network(weights.architecture, origin="card", state=weights.state)
    with torch.no_grad():
        assert torch.equal(weights.load_into(network)(lr), RUN[program](state, lr))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_teacher_of_kdsr(scale: int, tmp_path: Path) -> None:
    state, lr, hr = public.kdsr(scale=scale, teacher=True), picture(6, 7), picture(6 * scale, 7 * scale, seed=1)
    weights = imported(state, f"kdsr_m_x{scale}", tmp_path)
    assert weights.card["stage"] == "teacher"
    recipe = make_recipe(weights.card["config"]["stages"]["teacher"]["recipe"], origin="card", seed=1)
    assert isinstance(recipe, Teacher)
    recipe.restore(weights.state, origin="file")
    seen = torch.cat([lr, torch.nn.functional.pixel_unshuffle(hr, scale)], 1)
    with torch.no_grad():
        assert torch.equal(recipe.oracle()(lr, hr), public.run_kdsr(state, lr, seen))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_teacher_of_mrda_with_its_second_stage(scale: int, tmp_path: Path) -> None:
    state, second = public.mrda(scale=scale, teacher_of=4), public.mln(scale=scale)
    torch.save(second, tmp_path / "meta.pt")
    weights = imported(state, f"mrda_x{scale}", tmp_path, mln=tmp_path / "meta.pt")
    recipe = make_recipe(weights.card["config"]["stages"]["teacher"]["recipe"], origin="card", seed=1)
    recipe.restore(weights.state, origin="file")
    assert len(weights.state) == len(state) + len(second)
    lr, mln = picture(6, 7), recipe.observer.mln
    with torch.no_grad():
        seen = public.mln_features(second, lr)
        assert torch.equal(mln.features(lr), seen)
        assert torch.equal(recipe.model.body(lr, recipe.model.encoder(seen)), public.run_mrda(state, lr, seen))


def test_a_second_stage_of_mrda_by_itself(tmp_path: Path) -> None:
    state = public.mln(scale=4)
    weights = imported(state, "mrda_x4", tmp_path)
    assert weights.card["stage"] == "meta_transfer"
    network = make_network(weights.architecture, origin="card", state=weights.state)
    weights.load_into(network)
    with torch.no_grad():
        assert torch.equal(network.features(picture(6, 7)), public.mln_features(state, picture(6, 7)))


def changed(state: dict[str, torch.Tensor], **changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    new = {**state, **{k.replace("__", "."): v for k, v in changes.items()}}
    return {k: v for k, v in new.items() if v is not None}


@pytest.mark.parametrize(
    ("make", "name", "told"),
    [
        (lambda: changed(public.mrda(scale=4), G__head__0__bias=None), "mrda_x4", r"1 missing \(body\.head\.bias\)"),
        (lambda: changed(public.mrda(scale=4), G__x=torch.ones(1)), "mrda_x4", r"holds 1 tensor that no .* \(G\.x\)"),
        (lambda: changed(public.mrda(scale=4), G__head__0__bias=torch.ones(5)), "mrda_x4", r"1 of another shape"),
        (lambda: public.mrda(scale=2), "mrda_x4", r"enlarges by 2, not by 4 as mrda_x4 does; import it --as mrda_x2"),
        (lambda: public.mrda(scale=3), "mrda_x2", r"enlarges by 3, .*--as mrda_x3"),
        (lambda: public.kdsr(scale=4), "mrda_x4", r"tensors that no network of mrda's has"),
        (lambda: public.mrda(scale=4), "kdsr_m_x4", r"tensors that no network of kdsr_m's has"),
        (
            lambda: changed(public.mrda(scale=4), G__sub_mean__bias=-255 * public.MEAN),
            "mrda_x4",
            r"made for images of another range .*\(G\.sub_mean\)",
        ),
        (lambda: public.mln(scale=4), "kdsr_m_x4", r"none of the names of kdsr_m's files"),
        (lambda: public.mrda(scale=4, teacher_of=4), "mrda_x4", r"give that file too: --mln"),
        (lambda: PlainCNN(4, 2).state_dict(), "mrda_x4", r"none of the names of mrda's files"),
    ],
)
def test_files_of_another_network_are_refused(make: Any, name: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=told):
        imported(make(), name, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["theirs.pt"]


def test_the_other_published_size_is_named() -> None:
    state = {k: v.expand(v.shape) for k, v in public.kdsr(scale=4, width=64, blocks=53, residual=9).items()}
    with pytest.raises(WeightsError, match=r"of the size of kdsr_m, not of kdsr_l; import it --as kdsr_m_x4"):
        from_torch("kdsr_l_x4", state, origin="theirs.pt")


def test_a_second_stage_without_need_is_refused(tmp_path: Path) -> None:
    torch.save(public.mln(scale=4), tmp_path / "meta.pt")
    with pytest.raises(WeightsError, match=r"--mln is for a teacher of MRDA, which .*theirs\.pt is not"):
        imported(public.mrda(scale=4), "mrda_x4", tmp_path, mln=tmp_path / "meta.pt")
    with pytest.raises(InputError, match="not for MZSR"):
        list(import_weights(TENSORFLOW / "tiny.index", "mzsr_x2", tmp_path / "o.safetensors", mln=tmp_path / "meta.pt"))


def test_wrapped_and_half_files_are_imported_too(tmp_path: Path) -> None:
    state = public.mrda(scale=2)
    weights = imported({"state_dict": {f"module.{k}": v for k, v in state.items()}}, "mrda_x2", tmp_path)
    assert weights.state.keys() == from_torch("mrda_x2", state, origin="f").state.keys()


@pytest.mark.parametrize(("name", "left_out"), [("tiny", ""), ("tiny_full", ", 22 tensors of an optimiser left out")])
@pytest.mark.parametrize("suffix", ["", ".index", ".data-00000-of-00001"])
def test_a_checkpoint_that_tensorflow_wrote(name: str, left_out: str, suffix: str, tmp_path: Path) -> None:
    target = tmp_path / "ours.safetensors"
    lines = list(import_weights(TENSORFLOW / f"{name}{suffix}", "mzsr_x2", target))
    assert f"113 numbers in 4 tensors, every one of them placed{left_out}; card ours.json" in lines[0]
    assert lines[1] == "not of the published size: channels 2, layers 2"
    weights = from_file(target)
    network = weights.load_into(make_network(weights.architecture, origin="card", state=weights.state))
    with np.load(TENSORFLOW / "tiny.npz") as known:
        image, want = (torch.from_numpy(known[key]).permute(0, 3, 1, 2) for key in ("image", "output"))
    with torch.no_grad():
        torch.testing.assert_close(network(image), want, rtol=0, atol=1e-6)


def copy_of_tiny(folder: Path) -> tuple[Path, Path]:
    index, shard = folder / "tiny.index", folder / "tiny.data-00000-of-00001"
    for path in (index, shard):
        path.write_bytes((TENSORFLOW / path.name).read_bytes())
    return index, shard


def test_any_changed_byte_of_a_checkpoint_is_found(tmp_path: Path) -> None:
    """All of an index but the padding of its last 48 bytes, and the whole of the data, is under checksums."""
    index, shard = copy_of_tiny(tmp_path)
    whole = read_bundle(index).tensors
    for path, places in ((index, range(0, index.stat().st_size - 48, 5)), (shard, range(0, shard.stat().st_size, 13))):
        data = path.read_bytes()
        for place in places:
            path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
            try:
                found = read_bundle(index).tensors
            except WeightsError:
                continue
            assert all(torch.equal(found[k], whole[k]) for k in whole), place  # a byte that nothing hangs on
            assert path == index
        path.write_bytes(data)


@pytest.mark.parametrize("size", [0, 10, 48, 100, 200])
def test_a_checkpoint_cut_short(size: int, tmp_path: Path) -> None:
    index, _ = copy_of_tiny(tmp_path)
    index.write_bytes(index.read_bytes()[:size])
    with pytest.raises(WeightsError, match=r"tiny\.index (is|was)"):
        read_bundle(index)


def test_a_checkpoint_without_its_data(tmp_path: Path) -> None:
    index, shard = copy_of_tiny(tmp_path)
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(WeightsError, match="is damaged or cut short"):
        read_bundle(index)
    shard.unlink()
    with pytest.raises(WeightsError, match=r"tiny\.data-00000-of-00001 cannot be read .*belongs beside tiny\.index"):
        read_bundle(index)
    with pytest.raises(WeightsError, match=r"no TensorFlow checkpoint .*there is no none\.index"):
        read_bundle(tmp_path / "none")
    with pytest.raises(WeightsError, match="is a TensorFlow checkpoint, as MZSR's are"):
        list(import_weights(index, "mrda_x4", tmp_path / "o.safetensors"))


def test_names_and_outputs_are_checked(tmp_path: Path) -> None:
    torch.save(public.mrda(scale=2), tmp_path / "theirs.pt")
    with pytest.raises(InputError, match=r"--as mrda: did you mean 'mrda_x\d'"):
        list(import_weights(tmp_path / "theirs.pt", "mrda"))
    with pytest.raises(InputError, match=r"must be a \.safetensors file, got .*x\.pth"):
        list(import_weights(tmp_path / "theirs.pt", "mrda_x2", tmp_path / "x.pth"))
    target = tmp_path / "x.safetensors"
    list(import_weights(tmp_path / "theirs.pt", "mrda_x2", target))
    with pytest.raises(MetasrError, match="exists already"):
        list(import_weights(tmp_path / "theirs.pt", "mrda_x2", target))
    list(import_weights(tmp_path / "theirs.pt", "mrda_x2", target, overwrite=True))


def test_every_name_is_listed_by_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    from metasr.cli import parser

    with pytest.raises(SystemExit):
        parser().parse_args(["import", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert all(name in told or name[:-1] in told for name in NAMES)


def test_an_imported_student_enlarges_by_its_own_scale(tmp_path: Path) -> None:
    """Its experiment's configuration is one of x4; its card says x2."""
    import metasr

    imported(public.mrda(scale=2), "mrda_x2", tmp_path)
    photo = save_picture(tmp_path / "photo.png", 9, 8)
    (done,) = metasr.upscale(photo, tmp_path / "large.png", weights=str(tmp_path / "ours.safetensors"), device="cpu")
    assert read_photo(done.output).rgb.shape == (3, 18, 16)
    assert metasr.load(str(tmp_path / "ours.safetensors"), device="cpu").scale == 2


def test_an_imported_teacher_is_evaluated_as_an_oracle(tmp_path: Path) -> None:
    weights = imported(public.kdsr(scale=4, teacher=True), "kdsr_m_x4", tmp_path)
    cfg = compose("+experiment=kdsr_x4_iso", "device=cpu")
    (row,) = learned_entries(cfg, weights)
    assert row.solver == "teacher_oracle"
    assert isinstance(row.made_by, OracleMaker)
    lr, hr = picture(6, 7), picture(24, 28, seed=1)
    seen = torch.cat([lr, torch.nn.functional.pixel_unshuffle(hr, 4)], 1)
    want = public.run_kdsr(public.kdsr(scale=4, teacher=True), lr, seen).clamp(0, 1)
    got = row.made_by.for_image(hr).solve(lr, scale=4, degradation=Degradation(scale=4)).sr
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)
