"""Short names of degradations: ``g2.0d`` and the like, parsed and printed.

==================================  =====================================================================
``bicubic`` ``direct`` ``area``     no blur, that subsampling
``g0.2d g2.0d g1.3b``               isotropic Gaussian of that *variance*, ``d`` direct or ``b`` bicubic subsampling
``gani_d``                          eigenvalues 4.0 and 1.0 at -0.5 rad, direct (``gani_b`` bicubic)
``iso_<variance>_<d|b>``            the same, any variance
``aniso_<v1>_<v2>_<theta>_<d|b>``   eigenvalues and angle in radians
``sig_<std>_<d|b>``                 isotropic by *standard deviation*, the convention of other papers
``<file>[#index][_<d|b>]``          kernel from a .mat, .npy or .png file, direct unless said otherwise
``..._n<std>``                      with Gaussian noise of that standard deviation on the 0-255 scale
==================================  =====================================================================

Kernels of named degradations are 21×21. Source of the first rows: MZSR (CVPR 2020), table 1.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from metasr.degradation import kernels
from metasr.degradation.pipeline import Degradation, Downsample
from metasr.errors import InputError, nearest

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
    rf"|aniso_(?P<v1>{_NUMBER})_(?P<v2>{_NUMBER})_(?P<theta>{_NUMBER})_)(?P<end>[db])"
)
_NOISE = re.compile(rf"(?P<base>.+)_n(?P<noise>{_NUMBER})")
_FILE = re.compile(r"(?P<path>.+?\.(?:mat|npy|png))(?:#(?P<index>\d+))?(?:_(?P<end>[db]))?", re.IGNORECASE | re.DOTALL)
EXAMPLES = (*PLAIN, *ALIASES, "iso_2.5_d", "aniso_4_1_0.5_b", "sig_1.6_b", "g2.0d_n10")


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
    noise, base = 0.0, text
    if found := _NOISE.fullmatch(text):
        base, noise = found["base"], float(found["noise"])
    noise_std = noise / 255
    if found := _FILE.fullmatch(base):
        kernel = kernels.load_kernel(Path(found["path"]).expanduser(), index=int(found["index"] or 0))
        downsample = _DOWNSAMPLE[found["end"] or "d"]
        return Degradation(scale=scale, kernel=kernel, downsample=downsample, noise_std=noise_std, name=text)
    suffix = f"_n{_shortest(noise)}" if noise else ""
    if base in PLAIN:
        return Degradation(scale=scale, downsample=base, noise_std=noise_std, name=base + suffix)
    found = _GAUSSIAN.fullmatch(ALIASES.get(base, base))
    if found is None:
        raise InputError(f"unknown degradation {name!r}: {nearest(text, EXAMPLES)}, or a kernel file (.mat .npy .png)")
    variance1, variance2, theta = _parameters(found)
    if not all(0 < v < math.inf for v in (variance1, variance2)):
        raise InputError(
            f"degradation {name!r}: widths must be finite and above 0; for no blur use 'bicubic' or 'direct'"
        )
    return Degradation(
        scale=scale,
        kernel=kernels.anisotropic(variance1, variance2, theta, size=size),
        downsample=_DOWNSAMPLE[found["end"]],
        noise_std=noise_std,
        name=(base if base in ALIASES else _canonical(found)) + suffix,
    )


def _parameters(found: re.Match[str]) -> tuple[float, float, float]:
    if found["v1"]:
        return float(found["v1"]), float(found["v2"]), float(found["theta"])
    variance = float(found["sig"]) ** 2 if found["sig"] else float(found["g"] or found["iso"])
    return variance, variance, 0.0


def _canonical(found: re.Match[str]) -> str:
    form = "aniso" if found["v1"] else "sig" if found["sig"] else "iso"
    given = [found[key] for key in ("v1", "v2", "theta", "sig", "iso", "g") if found[key]]
    text = "_".join([form, *(_shortest(float(number)) for number in given), found["end"]])
    return {meaning: alias for alias, meaning in ALIASES.items()}.get(text, text)


def _shortest(number: float) -> str:
    """The shortest text that reads back as the same number."""
    text = f"{number:g}"
    return text if float(text) == number else repr(number)
