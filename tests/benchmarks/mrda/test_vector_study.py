"""Vectors of photographs of known degradation."""

import pytest
import torch
from torch import Tensor, nn

from metasr.data.catalog import ImageSet, image_set
from metasr.degradation.names import parse
from metasr.degradation.resize import imresize
from metasr.errors import DataError
from metasr.metrics.protocol import LumaProtocol
from metasr.models.blind import BlindSR
from metasr.models.den import DegradationEncoder
from metasr.models.mln import MLN
from metasr.models.rdan import RDAN
from metasr.models.teacher import AdaptedFeatures, PairView, TeacherOracle
from mrda import vector_study
from mrda.vector_study import Photo, degraded, pieces, read_vectors, swap_vectors, widths
from running import save_picture


@pytest.fixture(scope="module")
def photos() -> list[Photo]:
    return pieces(image_set("samples", split="test"), size=96)


def student(seed: int = 0) -> BlindSR:
    torch.manual_seed(seed)
    return BlindSR(DegradationEncoder(width=3), RDAN(scale=4, width=4, blocks=1, vector=12)).eval()


def test_pieces_lie_side_by_side(tmp_path) -> None:
    save_picture(tmp_path / "a.png", 50, 67)
    images = ImageSet("x", "test", (tmp_path / "a.png",))
    found = pieces(images, size=24)
    image = images.load(0)[None]
    assert [p.number for p in found] == [0, 1, 2, 3]
    assert torch.equal(found[3].hr, image[..., 24:48, 24:48])
    assert {p.image for p in found} == {images.names[0]}
    with pytest.raises(DataError, match="no image of x is 51x51 or larger; give larger images or a smaller piece"):
        pieces(images, size=51)


def test_widths_cover_training() -> None:
    assert widths(4, count=3) == [0.2, 2.1, 4.0]
    assert widths(2)[-1] == 2.0
    assert len(widths(3)) == 12


def test_noise_is_the_pieces_own_and_the_same_again(photos) -> None:
    lr = degraded(photos[0], "sig_2_b_n10", scale=4, seed=0)
    assert torch.equal(lr, degraded(photos[0], "sig_2_b_n10", scale=4, seed=0))
    assert not torch.equal(lr, degraded(photos[0], "sig_2_b_n10", scale=4, seed=1))
    assert torch.equal(degraded(photos[0], "sig_2_b", scale=4, seed=1), parse("sig_2_b", scale=4)(photos[0].hr))


def contrast(image: Tensor) -> Tensor:
    """How much neighbouring pixels differ, and next ones, on a logarithmic scale: ``(1, 2)``."""
    return torch.stack([(image[..., n:] - image[..., :-n]).abs().mean((1, 2, 3)).log() for n in (1, 2)], 1)


def test_a_vector_that_tells_the_blur_is_found_out(photos) -> None:
    read = {
        "contrast lost": lambda lr, hr: contrast(lr) - contrast(imresize(hr, 1 / 4)),
        "nothing": lambda lr, hr: torch.ones(1, 3),
    }
    found, vectors = vector_study.probe_widths(photos[::3], widths(4, count=5), read, scale=4)
    assert found["contrast lost"].r2 > 0.6
    assert found["contrast lost"].rank_correlation > 0.8
    assert found["nothing"].r2 < 0.05
    assert vectors.degradations[:3] == ["sig_0.2_b", "sig_1.15_b", "sig_2.1_b"]
    assert vectors.by_reader["contrast lost"].shape == (len(photos[::3]) * 5, 2)


def test_readers_are_the_student_and_what_it_is_compared_with(photos) -> None:
    net, fresh, mln = student(), student(1), MLN(width=4, depth=1)
    body = net.body
    adapted = TeacherOracle(
        AdaptedFeatures(gain=3.0), encoder=DegradationEncoder(channels=4, width=3), body=body, mln=mln
    )
    pair = TeacherOracle(PairView(), encoder=DegradationEncoder(channels=51, width=3), body=body)
    hr = photos[0].hr
    lr = degraded(photos[0], "sig_2_b", scale=4, seed=0)
    found = vector_study.readers(net, untrained=fresh, oracle=adapted)
    assert list(found) == [
        "student", "student, untrained", "teacher (oracle)", "teacher, its MLN not adapted",
        "MLN's features, adapted (oracle)", "MLN's features, not adapted",
    ]  # fmt: skip
    values = {name: read(lr, hr) for name, read in found.items()}
    assert torch.equal(values["student"], net.vector(lr))
    assert torch.equal(values["student, untrained"], fresh.vector(lr))
    assert torch.equal(values["teacher (oracle)"], adapted.vector(lr, hr))
    assert torch.equal(values["teacher, its MLN not adapted"], adapted.encoder(3 * mln.features(lr)))
    assert torch.equal(values["MLN's features, not adapted"], 3 * mln.features(lr).mean((2, 3)))
    assert not torch.equal(values["MLN's features, adapted (oracle)"], values["MLN's features, not adapted"])
    assert list(vector_study.readers(net, untrained=fresh, oracle=pair)) == list(found)[:3]
    assert list(vector_study.readers(net, untrained=fresh)) == list(found)[:2]


def test_a_teacher_whose_mln_hardly_moves_reads_the_same_with_and_without_adaptation(photos) -> None:
    """Also where its features are multiplied."""
    view = AdaptedFeatures(gain=20, rates=(1e-12,))
    encoder = DegradationEncoder(channels=4, width=3)
    oracle = TeacherOracle(view, encoder=encoder, body=student().body, mln=MLN(width=4, depth=1))
    hr = photos[0].hr
    lr = degraded(photos[0], "sig_2_b", scale=4, seed=0)
    found = vector_study.readers(student(), untrained=student(1), oracle=oracle)
    values = {name: read(lr, hr) for name, read in found.items()}
    assert torch.equal(values["teacher (oracle)"], values["teacher, its MLN not adapted"])
    assert torch.allclose(values["MLN's features, adapted (oracle)"], values["MLN's features, not adapted"], rtol=1e-5)


class Shift(nn.Module):
    """Enlarges bicubically and adds what the vector tells."""

    scale = 4

    def forward(self, lr: Tensor, vector: Tensor) -> Tensor:
        return imresize(lr, 4) + vector[:, :1, None, None]


class Level(nn.Module):
    """A vector of one number: a tenth of the LR image's mean."""

    def forward(self, lr: Tensor) -> Tensor:
        return lr.mean((1, 2, 3))[:, None] / 10


def test_swapping_puts_the_right_vector_to_the_right_image(photos) -> None:
    net = BlindSR(Level(), Shift())
    two, names = [photos[0], photos[1], photos[-1]], ["sig_1_b", "sig_3_b"]
    assert two[0].image == two[1].image != two[2].image
    found = swap_vectors(net, two, names, scale=4)
    protocol = LumaProtocol()
    lrs = [[parse(n, scale=4)(p.hr) for n in names] for p in two]

    def psnr(image: int, kernel: int, level: Tensor) -> float:
        sr = imresize(lrs[image][kernel], 4) + level.mean() / 10
        return protocol(sr, two[image].hr, scale=4).psnr_y

    for i in (0, 1):
        for j in (0, 1):
            want = sum(psnr(p, j, lrs[p][i]) for p in range(3)) / 3
            assert float(found.matrix[i, j]) == pytest.approx(want, abs=1e-6)
    assert found.cost.diagonal().abs().max() == 0
    want = sum(psnr(p, 1, lrs[other][1]) for p, other in ((0, 2), (1, 2), (2, 0))) / 3
    assert float(found.other_image[1]) == pytest.approx(want, abs=1e-4)
    mean = torch.cat([lr for row in lrs for lr in row]).mean((1, 2, 3)).mean()
    want = sum(psnr(p, 0, mean) for p in range(3)) / 3
    assert float(found.mean_vector[0]) == pytest.approx(want, abs=1e-4)


def test_vectors_come_in_the_order_of_pieces_and_degradations(photos) -> None:
    names = ["sig_1_b", "bicubic"]
    found = read_vectors(photos[:2], names, {"mean": lambda lr, hr: lr.mean((2, 3))}, scale=4)
    assert found.degradations == names * 2
    want = torch.cat([parse(n, scale=4)(p.hr).mean((2, 3)) for p in photos[:2] for n in names])
    assert torch.equal(found.by_reader["mean"], want)
