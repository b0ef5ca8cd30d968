"""What tests of image files share: samples to write, and what reading them must give."""

from pathlib import Path

import numpy as np
import png
import torch

from metasr.io.images import Photo

H, W = 7, 5


def noise(channels: int, full: int = 255, *, seed: int = 0, size: tuple[int, int] = (H, W)) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, full + 1, (*size, channels))
    return values.astype(np.uint8 if full <= 255 else np.uint16)


def photo_of(values: np.ndarray, **fields: object) -> Photo:
    full = 255 if values.dtype == np.uint8 else 65535
    image = torch.from_numpy(values.astype(np.float64) / full).float().movedim(-1, 0)
    channels = image.shape[0]
    rgb = image[:1].repeat(3, 1, 1) if channels < 3 else image[:3]
    alpha = None if channels % 2 else image[-1:]
    return Photo(rgb, alpha, grey=channels < 3, bits=8 if full == 255 else 16, **fields)


def levels(photo: Photo, full: int = 255) -> np.ndarray:
    """The photo's integer values (H, W, 3 or 4), which must be exact to float32."""
    planes = photo.rgb if photo.alpha is None else torch.cat([photo.rgb, photo.alpha])
    scaled = planes.double() * full
    assert (scaled - scaled.round()).abs().max() < 0.01
    return scaled.round().movedim(0, -1).numpy().astype(int)


def as_rgb(values: np.ndarray) -> np.ndarray:
    """What levels() must give for samples of 1 to 4 channels."""
    if values.shape[2] >= 3:
        return values.astype(int)
    return np.concatenate([values[..., :1].repeat(3, 2), values[..., 1:]], 2).astype(int)


def save_png(path: Path, values: np.ndarray, depth: int = 16, **options: object) -> None:
    """Write with pypng's plain path (another one than the package uses)."""
    planes = values.shape[2]
    writer = png.Writer(
        values.shape[1], values.shape[0], greyscale=planes < 3, alpha=planes % 2 == 0, bitdepth=depth, **options
    )
    with path.open("wb") as handle:
        rows = values.reshape(values.shape[0], -1).tolist()
        if options.get("interlace"):
            writer.write_array(handle, [sample for row in rows for sample in row])
        else:
            writer.write(handle, rows)
