"""Ready LR images beside HR ones: pairs by name."""

from __future__ import annotations

from pathlib import Path

from metasr.data.catalog import ImageSet
from metasr.errors import DataError
from metasr.io.images import list_images

_SHOWN = 5


def paired(folder: Path, hr: ImageSet, *, scale: float) -> ImageSet:
    """The LR images of a folder that belong to HR images, in their order.

    An LR image is named as its HR image, or with ``x<scale>`` behind: ``0801.png`` or ``0801x2.png`` of ``0801.png``.

    Args:
        folder: of LR images; those of no HR image are an error, unless the HR set is a part of a larger one.
        hr: HR images.
        scale: factor between them.

    Raises:
        DataError: naming the HR images without an LR image, or with two of them.
    """
    by_name: dict[str, list[Path]] = {}
    for path in list_images(folder):
        by_name.setdefault(path.stem, []).append(path)
    stems = [Path(name).stem for name in hr.names]
    candidates = [by_name.get(stem, []) + by_name.get(f"{stem}x{scale:g}", []) for stem in stems]
    lost = [stem for stem, paths in zip(stems, candidates, strict=True) if not paths]
    if lost:
        raise DataError(
            f"{len(lost)} of {len(stems)} images of {hr.name} have no LR image in {folder}: {_listed(lost)}; expected "
            f"files of the same names, or with x{scale:g} behind, found {_listed(list(by_name))}"
        )
    double = [stem for stem, paths in zip(stems, candidates, strict=True) if len(paths) > 1]
    if double:
        raise DataError(f"{folder} has several LR images for {_listed(double)}; leave one of them for each")
    return ImageSet(folder.name, hr.split, tuple(paths[0] for paths in candidates))


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
