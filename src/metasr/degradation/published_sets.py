"""Named sets of degradations, as tables of blind super-resolution average over them.

===================  ==================================================================================================
``gaussian8``        eight isotropic Gaussians, equally spaced in standard deviation: 1.8 to 3.2 at scale 4, 1.35 to
                     2.40 at 3, 0.80 to 1.60 at 2 (IKC, CVPR 2019; at scale 2 the public program of KDSR takes 0.9 to
                     1.6 instead)
``mrda9-estimated``  nine Gaussians, most of them anisotropic, scale 4: *estimates* of the kernels of MRDA's and KDSR's
                     tables
``dasr9-estimated``  the same for DASR's tables, which have nine others
===================  ==================================================================================================

All are blurred with reflecting borders, downsampled bicubically and rounded to 8 bits. No text tells the anisotropic
kernels, they are only drawn in the tables' margins: the parameters here were fitted to these drawings and rounded, and
only (3.5, 1.5, 20°) of the one and (3.5, 1.5, 30°) and (4, 1.5, 120°) of the other stand in public programs. So what a
table says of these two sets is never *as published*.
"""

from __future__ import annotations

from metasr.errors import InputError

_MRDA9 = (
    (4.0, 1.0, 0), (3.5, 1.5, 20), (3.0, 2.0, 42), (2.6, 2.6, 0), (3.0, 2.0, 0), (3.5, 1.5, 22), (4.0, 1.0, 42),
    (3.5, 2.5, 60), (4.0, 4.0, 0),
)  # fmt: skip
_DASR9 = (
    (2.0, 0.3, 0), (2.0, 1.0, 10), (3.5, 1.5, 30), (3.5, 2.0, 45), (3.5, 2.0, 90), (4.0, 1.5, 120), (4.0, 2.0, 140),
    (4.0, 3.0, 165), (4.0, 4.0, 0),
)  # fmt: skip
"""Standard deviations along and across, in pixels of the HR image, and the angle in degrees."""

_GAUSSIAN8 = {2: (0.80, 1.60), 3: (1.35, 2.40), 4: (1.8, 3.2)}


def _spaced(low: float, high: float) -> tuple[str, ...]:
    """Eight isotropic Gaussians; to four decimals, which names them without touching a score."""
    return tuple(f"sig_{round(low + (high - low) * i / 7, 4):g}_b" for i in range(8))


def _fitted(kernels: tuple[tuple[float, float, int], ...]) -> tuple[str, ...]:
    return tuple(f"sig_{a:g}_b" if a == b else f"sigani_{a:g}_{b:g}_{degrees}_b" for a, b, degrees in kernels)


SETS: dict[str, dict[int, tuple[str, ...]]] = {
    "gaussian8": {scale: _spaced(*ends) for scale, ends in _GAUSSIAN8.items()},
    "mrda9-estimated": {4: _fitted(_MRDA9)},
    "dasr9-estimated": {4: _fitted(_DASR9)},
}


def members_of(name: str, *, scale: float) -> tuple[str, ...]:
    """The short names of a set's degradations, in order.

    Raises:
        InputError: if the set is not given for the scale.
    """
    by_scale = SETS[name]
    if scale not in by_scale:
        raise InputError(
            f"degradations {name} are given for scale {', '.join(map(str, by_scale))}, got {scale:g}; name kernels for "
            "this scale yourself: sig_<standard deviation>_b or sigani_<along>_<across>_<degrees>_b"
        )
    return by_scale[int(scale)]
