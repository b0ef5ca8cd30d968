"""Short names of degradations: ``g2.0d`` and the like, parsed and printed.

==================================  =====================================================================
``bicubic`` ``direct`` ``area``     no blur, that subsampling
``g0.2d g2.0d g1.3b``               isotropic Gaussian of that *variance*, ``d`` direct or ``b`` bicubic subsampling
``gani_d``                          eigenvalues 4.0 and 1.0 at -0.5 rad, direct (``gani_b`` bicubic)
``iso_<variance>_<d|b>``            the same, any variance
``aniso_<v1>_<v2>_<theta>_<d|b>``   eigenvalues and angle in radians
``sig_<std>_<d|b>``                 isotropic by *standard deviation* (IKC, DASR, MRDA, KDSR); 0 for no blur
``sigani_<s1>_<s2>_<deg>_<d|b>``    standard deviations along and across an angle in *degrees*
``disc_<radius>_<d|b>``             out-of-focus blur, radius in pixels
``<file>[#index][_flip][_<d|b>]``   kernel from a file, direct unless said otherwise; ``flip`` turns it half round
``..._n<std>``                      with Gaussian noise of that standard deviation on the 0-255 scale
``..._q<quality>[c|h]``             compressed as JPEG of that quality: ``c`` colour 4:2:0, ``h`` 4:2:2, else 4:4:4
==================================  =====================================================================

Kernels of named degradations are 21×21. Source of the first rows: MZSR (CVPR 2020), table 1. Angles turn from the x
axis (columns) towards the y axis (rows), clockwise on the screen. The images are continued symmetrically beyond their
borders, in the two forms by standard deviation by reflection without the edge pixel, as the programs of these papers
do (on Set14 at scale 4 that makes 0.005 dB).

Sets of degradations (``degradation.published_sets``) have names too, ``gaussian8`` or ``gaussian8_n10``;
``expand`` puts their members in their place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from metasr.degradation import kernels
from metasr.degradation.kernel_files import KERNEL_SUFFIXES, MAX_SIDE, load_kernel
from metasr.degradation.pipeline import Degradation, Downsample
from metasr.degradation.published_ddsr import is_published
from metasr.degradation.published_sets import SETS, members_of
from metasr.errors import InputError, nearest
from metasr.io.jpeg import Jpeg, Subsampling, of_quality

ALIASES = {
    "g0.2d": "iso_0.2_d",
    "g2.0d": "iso_2_d",
    "gani_d": "aniso_4_1_-0.5_d",
    "gani_b": "aniso_4_1_-0.5_b",
    "g1.3b": "iso_1.3_b",
}
PLAIN: tuple[Downsample, ...] = ("bicubic", "direct", "area")
_DOWNSAMPLE: dict[str, Downsample] = {"d": "direct", "b": "bicubic"}
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
_GAUSSIAN = re.compile(
    rf"(?:g(?P<g>{_NUMBER})|iso_(?P<iso>{_NUMBER})_|sig_(?P<sig>{_NUMBER})_"
    rf"|sigani_(?P<s1>{_NUMBER})_(?P<s2>{_NUMBER})_(?P<degrees>{_NUMBER})_"
    rf"|aniso_(?P<v1>{_NUMBER})_(?P<v2>{_NUMBER})_(?P<theta>{_NUMBER})_)(?P<end>[db])"
)
_DISC = re.compile(rf"disc_(?P<radius>{_NUMBER})_(?P<end>[db])")
_NOISE = re.compile(rf"(?P<base>.+)_n(?P<noise>{_NUMBER})")
_JPEG = re.compile(r"(?P<base>.+)_q(?P<quality>\d{1,3})(?P<colour>[ch]?)")
_SUBSAMPLING: dict[str, Subsampling] = {"": "4:4:4", "h": "4:2:2", "c": "4:2:0"}
_FILE = re.compile(
    r"(?P<path>.+?\.(?:mat|npy|npz|png|txt|csv))(?:#(?P<index>\d+))?(?P<flip>_flip)?(?:_(?P<end>[db]))?",
    re.IGNORECASE | re.DOTALL,
)
EXAMPLES = (
    *PLAIN,
    *ALIASES,
    "iso_2.5_d",
    "aniso_4_1_0.5_b",
    "sig_1.6_b",
    "sigani_4_1_20_b",
    "g2.0d_n10",
    "bicubic_q75c",
)


def parse(name: str, *, scale: float, size: int = kernels.TEST_SIZE) -> Degradation:
    """Make the degradation that a short name means.

    Args:
        name: one of the forms of this module's table.
        scale: the factor between HR and LR.
        size: odd side of the Gaussian kernels.

    Returns:
        The degradation, carrying ``name`` in its canonical form (aliases stay aliases).

    Raises:
        InputError: for an unknown name (with the nearest ones) or an impossible width.
    """
    text = str(name).strip()
    if match := _JPEG.fullmatch(text):
        if _JPEG.fullmatch(match["base"]):
            raise InputError(f"degradation {name!r}: a photo is compressed once; give one quality")
        return replace(parse(match["base"], scale=scale, size=size), jpeg=_jpeg_of(match))
    noise, base = 0.0, text
    if match := _NOISE.fullmatch(text):
        base, noise = match["base"], float(match["noise"])
        _check_noise(noise, name=text)
    noise_std = noise / 255
    if match := _FILE.fullmatch(base):
        index = None if match["index"] is None else int(match["index"])
        kernel = load_kernel(Path(match["path"]).expanduser(), index=index, flip=match["flip"] is not None)
        downsample = _DOWNSAMPLE[match["end"] or "d"]
        return Degradation(scale=scale, kernel=kernel, downsample=downsample, noise_std=noise_std, name=text)
    suffix = f"_n{_shortest(noise)}" if noise else ""
    if base in PLAIN:
        return Degradation(scale=scale, downsample=base, noise_std=noise_std, name=base + suffix)
    if match := _DISC.fullmatch(base):
        radius = float(match["radius"])
        if MAX_SIDE < 2 * radius < math.inf:
            raise InputError(f"degradation {name!r}: the disc's radius must be at most {MAX_SIDE // 2}, got {radius:g}")
        kernel = kernels.disc(radius, size=max(size, 2 * math.ceil(radius) + 1) if radius < math.inf else size)
        canonical = f"disc_{_shortest(radius)}_{match['end']}"
        downsample = _DOWNSAMPLE[match["end"]]
        return Degradation(
            scale=scale, kernel=kernel, downsample=downsample, noise_std=noise_std, name=canonical + suffix
        )
    match = _GAUSSIAN.fullmatch(ALIASES.get(base, base))
    if match is None:
        if base in SETS:
            raise InputError(f"{text} is a set of degradations, and one is wanted: {', '.join(expand([text], scale))}")
        if is_published(text):
            raise InputError(f"{text} is drawn anew for each image: make LR images by task=prepare degradation={text}")
        raise InputError(
            f"unknown degradation {name!r}: {nearest(text, (*EXAMPLES, *SETS))}, or a kernel file "
            f"({' '.join(KERNEL_SUFFIXES)})"
        )
    if match["sig"] or match["s1"]:
        return _by_std(match, scale=scale, size=size, noise_std=noise_std, suffix=suffix)
    variance1, variance2, theta = _parameters(match)
    if not all(0 < v < math.inf for v in (variance1, variance2)):
        raise InputError(
            f"degradation {name!r}: widths must be finite and above 0; for no blur use 'bicubic' or 'direct'"
        )
    return Degradation(
        scale=scale,
        kernel=kernels.anisotropic(variance1, variance2, theta, size=size),
        downsample=_DOWNSAMPLE[match["end"]],
        noise_std=noise_std,
        name=(base if base in ALIASES else _canonical(match)) + suffix,
    )


def with_choice(name: str, *, index: int | None = None, flip: bool = False) -> str:
    """The name of a kernel file with what is chosen of it: ``k.npy_b`` becomes ``k.npy#1_flip_b``.

    Args:
        name: of a degradation.
        index: which of several kernels, from 0; none for what the name says.
        flip: turn it by half a turn.

    Raises:
        InputError: if something is chosen and the name is no kernel file's, or says otherwise.
    """
    if index is None and not flip:
        return name
    text = str(name).strip()
    file = _file_of(text)
    if file is None:
        raise InputError(
            f"kernel_index and flip_kernel (--kernel-index, --flip-kernel) are for a kernel file, got {name!r}; leave "
            "them out"
        )
    if index is not None and file["index"] is not None and int(file["index"]) != index:
        raise InputError(f"{text} asks for kernel {file['index']}, kernel_index (--kernel-index) for {index}")
    number = file["index"] if index is None else index
    parts = [file["path"], "" if number is None else f"#{number}", "_flip" if flip or file["flip"] else ""]
    return "".join([*parts, f"_{file['end']}" if file["end"] else "", text[file.end() :]])


def with_noise(name: str, noise: float) -> str:
    """The name with that noise in place of what it says of noise: ``g2.0d_n10`` and 5 give ``g2.0d_n5``.

    Args:
        name: of a degradation, or a kernel file's.
        noise: standard deviation on the 0-255 scale; 0 for none.

    Raises:
        InputError: for noise below 0, or infinite.
    """
    _check_noise(noise, name=name)
    base, _ = _split(str(name).strip())
    compressed = _JPEG.fullmatch(str(name).strip())
    end = "" if compressed is None else f"_q{compressed['quality']}{compressed['colour']}"
    return base + (f"_n{_shortest(noise)}" if noise else "") + end


def without_compression(degradation: Degradation) -> str:
    """A name that ``parse`` takes, of all but the compression; of a kernel without a name, sampling and noise alone."""
    name = str(replace(degradation, jpeg=None))
    if degradation.kernel is not None and not degradation.name:
        return with_noise(degradation.downsample, degradation.noise_level * 255)
    return name


def is_file(name: str) -> bool:
    """Whether a name is a kernel file's."""
    return _file_of(str(name).strip()) is not None


def is_flipped(name: str) -> bool:
    """Whether a name asks for a kernel file's kernel turned by half a turn."""
    file = _file_of(str(name).strip())
    return file is not None and file["flip"] is not None


def expand(wanted: Iterable[str], scale: float) -> list[str]:
    """Put the members of named sets in their place, each name once, in order.

    Args:
        wanted: short names of degradations and of sets, the latter with ``_n<std>`` and ``_q<quality>`` for each
            member.
        scale: the factor between HR and LR, which the sets depend on.

    Raises:
        InputError: for a set that is not given for the scale.
    """
    names: list[str] = []
    for name in wanted:
        names += sets_in([name], scale).get(str(name).strip(), (name,))
    return list(dict.fromkeys(names))


def sets_in(wanted: Iterable[str], scale: float) -> dict[str, tuple[str, ...]]:
    """The named sets among short names, each with its members as they are printed.

    Raises:
        InputError: for a set that is not given for the scale.
    """
    sets: dict[str, tuple[str, ...]] = {}
    for name in wanted:
        text = str(name).strip()
        base, suffix = _split(text)
        if base in SETS:
            if noisy := _NOISE.fullmatch(base + suffix.partition("_q")[0]):
                _check_noise(float(noisy["noise"]), name=text)
            members = members_of(base, scale=scale)
            sets[text] = tuple(str(parse(member + suffix, scale=scale)) for member in members)
    return sets


def _jpeg_of(match: re.Match[str]) -> Jpeg:
    quality = int(match["quality"])
    if not 1 <= quality <= 100:
        raise InputError(f"degradation {match.string!r}: a JPEG's quality is 1 to 100, got {quality}")
    return of_quality(quality, subsampling=_SUBSAMPLING[match["colour"]])


def _file_of(text: str) -> re.Match[str] | None:
    """The parts of a kernel file's name; the match ends before noise and compression."""
    return _FILE.fullmatch(text, 0, len(_split(text)[0]))


def _split(text: str) -> tuple[str, str]:
    """A name without what it says of noise and compression, and that."""
    base = text
    for suffix in (_JPEG, _NOISE):
        if match := suffix.fullmatch(base):
            base = match["base"]
    return base, text[len(base) :]


def _check_noise(noise: float, *, name: str) -> None:
    if not 0 <= noise < math.inf:
        raise InputError(
            f"degradation {name!r}: noise_std must be finite and at least 0, on the 0-255 scale, got {noise:g}"
        )


def _by_std(found: re.Match[str], *, scale: float, size: int, noise_std: float, suffix: str) -> Degradation:
    """A Gaussian by its standard deviations; none of 0, whose name is that of plain subsampling."""
    std1, std2, degrees = (float(found[key] or 0) for key in ("s1", "s2", "degrees"))
    if found["sig"]:
        std1 = std2 = float(found["sig"])
    if not all(0 <= s < math.inf for s in (std1, std2)) or not math.isfinite(degrees):
        raise InputError(
            f"degradation {found.string!r}: standard deviations must be finite and at least 0, and the angle finite, "
            f"got {std1:g}, {std2:g} and {degrees:g} degrees"
        )
    downsample = _DOWNSAMPLE[found["end"]]
    if std1 == std2 == 0:
        return Degradation(scale=scale, downsample=downsample, noise_std=noise_std, name=downsample + suffix)
    if 0 in (std1, std2):
        raise InputError(
            f"degradation {found.string!r}: a width of 0 in one direction alone is no kernel; give both above 0 (0.2 "
            "hardly blurs), or both 0 for no blur"
        )
    if not all(0 < s * s < math.inf for s in (std1, std2)):  # squares, which the kernel is made of
        raise InputError(
            f"degradation {found.string!r}: a standard deviation of {std1 if std1 * std1 in (0, math.inf) else std2:g} "
            "is beyond what can be squared; give 0 for no blur, or a width in pixels"
        )
    degrees = degrees % 180 % 180  # the first may round up to 180
    form, numbers = ("sig", [std1]) if std1 == std2 else ("sigani", [std1, std2, degrees])
    return Degradation(
        scale=scale,
        kernel=kernels.anisotropic(std1**2, std2**2, 0.0 if std1 == std2 else math.radians(degrees), size=size),
        downsample=downsample,
        padding="reflect",
        noise_std=noise_std,
        name="_".join([form, *map(_shortest, numbers), found["end"]]) + suffix,
    )


def _parameters(found: re.Match[str]) -> tuple[float, float, float]:
    if found["v1"]:
        return float(found["v1"]), float(found["v2"]), float(found["theta"])
    variance = float(found["g"] or found["iso"])
    return variance, variance, 0.0


def _canonical(found: re.Match[str]) -> str:
    form = "aniso" if found["v1"] else "iso"
    groups = [found[key] for key in ("v1", "v2", "theta", "iso", "g") if found[key]]
    text = "_".join([form, *(_shortest(float(number)) for number in groups), found["end"]])
    return {meaning: alias for alias, meaning in ALIASES.items()}.get(text, text)


def _shortest(number: float) -> str:
    """The shortest text that reads back as the same number."""
    text = f"{number:g}"
    return text if float(text) == number else repr(number)
