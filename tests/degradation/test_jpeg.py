"""Compression as a degradation: its names, batches of it, random draws."""

import pytest
import torch

from metasr.degradation.jpeg import JpegSampler, compress
from metasr.degradation.kernels import GaussianSampler
from metasr.degradation.names import expand, parse, with_choice
from metasr.degradation.pipeline import Degradation, DegradationSampler
from metasr.errors import InputError
from metasr.io.jpeg import Jpeg, of_quality, standard_tables
from metasr.io.levels import to_levels
from small_problems import picture


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("text", ["bicubic_q75", "bicubic_n5_q75c", "g2.0d_q30h", "sig_1.6_b_n2.5_q95c", "direct_q100"])
def test_names_are_read_and_printed(text: str) -> None:
    found = parse(text, scale=2)
    assert str(found) == text
    assert isinstance(found.jpeg, Jpeg)
    assert str(parse(str(found), scale=2)) == text
    plain = parse(text.rpartition("_q")[0], scale=2)
    assert (plain.jpeg, plain.noise_std, plain.downsample) == (None, found.noise_std, found.downsample)


def test_what_the_letter_means() -> None:
    letters = {"": "4:4:4", "h": "4:2:2", "c": "4:2:0"}
    for letter, subsampling in letters.items():
        assert parse(f"bicubic_q60{letter}", scale=2).jpeg == of_quality(60, subsampling=subsampling)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [("bicubic_q0", "quality is 1 to 100, got 0"), ("bicubic_q101c", "got 101"), ("bicubic_q50_q60", "compressed once"),
     ("bicubic_q60_n5", "unknown degradation")],
)  # fmt: skip
def test_what_is_no_compression_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(text, scale=2)


def test_sets_and_kernel_files_take_it_too(tmp_path) -> None:
    members = expand(["gaussian8_n10_q75c"], 4)
    assert len(members) == 8
    assert all(name.endswith("_n10_q75c") for name in members)
    assert with_choice("k.npy_b_n5_q75", index=1, flip=True) == "k.npy#1_flip_b_n5_q75"


def test_a_batch_is_compressed_image_by_image() -> None:
    images = torch.cat([picture(40, 48), picture(40, 48).flip(-1), picture(40, 48)])
    each = (of_quality(40, subsampling="4:2:0"), None, of_quality(90))
    degradation = Degradation(scale=1, jpeg=each)
    together = degradation(images)
    for index, jpeg in enumerate(each):
        alone = degradation.of_one(index)
        assert alone.jpeg == jpeg
        assert torch.equal(together[index : index + 1], alone(images[index : index + 1]))
    assert torch.equal(together[1], to_levels(images[1]) / 255)
    with pytest.raises(InputError, match="2 compressions came for 3 images"):
        compress(images, each[:2])
    with pytest.raises(InputError, match="takes RGB images"):
        compress(images[:, :1], each)


@pytest.mark.parametrize(("quality", "most"), [(50, 4.0), (75, 3.0), (95, 2.0)])
def test_kornias_codec_is_near_the_codec_and_not_the_same(quality: int, most: float) -> None:
    """Mean difference in grey levels; why values are the codec's own, and gradients alone kornia's."""
    from kornia.enhance import jpeg_codec_differentiable

    image = to_levels(picture(64, 64)) / 255
    jpeg = of_quality(quality, subsampling="4:2:0")
    luma, chroma = (torch.tensor(table, dtype=torch.float32).reshape(8, 8) for table in (jpeg.luma, jpeg.chroma))
    other = jpeg_codec_differentiable(image, torch.tensor([50.0]), luma, chroma)
    assert 0.2 < 255 * float((compress(image, jpeg) - other).abs().mean()) < most


def test_gradients_pass_and_values_stay_the_codecs() -> None:
    images = torch.cat([picture(32, 40)] * 3).requires_grad_()
    each = (of_quality(40, subsampling="4:2:0", corner=(3, 5)), of_quality(40), None)
    coded = compress(images, each)
    assert torch.equal(coded.detach(), compress(images.detach(), each))
    target = torch.rand(images.shape, generator=generator())
    (gradient,) = torch.autograd.grad((coded * target).sum(), images)
    torch.testing.assert_close(gradient[1:], target[1:])
    assert float(gradient[0].abs().mean()) > 0.02
    assert float((gradient[0] - target[0]).abs().mean()) > 0.02


def test_the_lower_the_quality_the_farther_from_the_image() -> None:
    image = picture(64, 64)
    errors = [float((compress(image, of_quality(q)) - image).square().mean()) for q in (100, 90, 70, 40, 10)]
    assert errors == sorted(errors)
    assert errors[0] < 1e-5 < 20 * errors[0] < errors[-1]


def test_a_grid_elsewhere_is_that_of_a_cut_photo() -> None:
    image = picture(64, 64)
    jpeg = of_quality(30, subsampling="4:2:0")
    cut = compress(image, jpeg)[..., 11:, 6:]  # whole units begin 5 rows below and 10 columns right of its corner
    again = compress(image[..., 11:, 6:], Jpeg(luma=jpeg.luma, chroma=jpeg.chroma, subsampling="4:2:0", corner=(5, 10)))
    inside = (slice(None), slice(None), slice(8, -8), slice(12, -8))
    assert float((cut - again)[inside].abs().mean()) < 2e-3
    assert float((cut - compress(image[..., 11:, 6:], jpeg))[inside].abs().mean()) > 1e-2


def test_draws_have_their_shares_and_repeat() -> None:
    sampler = JpegSampler(quality=(30, 95), share=0.7, subsampled_share=0.6)
    drawn = sampler.sample(600, generator=generator())
    assert drawn == sampler.sample(600, generator=generator())
    coded = [jpeg for jpeg in drawn if jpeg is not None]
    assert 0.65 < len(coded) / 600 < 0.75
    assert 0.53 < sum(jpeg.subsampled for jpeg in coded) / len(coded) < 0.67
    qualities = {jpeg.quality for jpeg in coded}
    assert {30, 95} <= qualities <= set(range(30, 96))
    assert {jpeg.corner[0] for jpeg in coded} == set(range(16))
    assert all(jpeg.standard for jpeg in coded)
    assert {jpeg.corner for jpeg in JpegSampler(anywhere=False).sample(20, generator=generator()) if jpeg} == {(0, 0)}
    for wrong in ({"quality": (0, 50)}, {"quality": (60, 50)}, {"share": 1.2}, {"subsampled_share": -1}):
        with pytest.raises(InputError):
            JpegSampler(**wrong)  # type: ignore[arg-type]


def test_a_sampler_of_degradations_draws_one_for_each_image_or_one_for_all() -> None:
    options = {"noise_std": (0.01, 0.05), "clean_share": 0.5, "jpeg": JpegSampler(share=0.5)}
    each = DegradationSampler(per="image", **options).sample(400, generator=generator())  # type: ignore[arg-type]
    assert len(each.jpeg) == 400  # type: ignore[arg-type]
    assert isinstance(each.noise_std, torch.Tensor)
    assert 0.4 < float((each.noise_std == 0).double().mean()) < 0.6
    one = DegradationSampler(per="batch", kernels=GaussianSampler(), **options)  # type: ignore[arg-type]
    assert len(one.sample(4, generator=generator()).jpeg) == 1  # type: ignore[arg-type]


def test_compression_leaves_the_other_draws_as_they_were() -> None:
    plain = DegradationSampler(kernels=GaussianSampler(), noise_std=(0.0, 0.1))
    coded = DegradationSampler(kernels=GaussianSampler(), noise_std=(0.0, 0.1), jpeg=JpegSampler())
    a, b = plain.sample(3, generator=generator()), coded.sample(3, generator=generator())
    assert a.noise_std == b.noise_std
    assert torch.equal(a.kernel, b.kernel)  # type: ignore[arg-type]


def test_a_name_tells_of_many() -> None:
    luma, chroma = standard_tables(50)
    assert str(Degradation(scale=2, jpeg=(of_quality(40), None, of_quality(90)))) == "bicubic_q40to90"
    assert str(Degradation(scale=2, jpeg=(None, None))) == "bicubic"
    assert str(Degradation(scale=2, jpeg=Jpeg(luma=(200, *luma[1:]), chroma=chroma))) == "bicubic_q~50"
