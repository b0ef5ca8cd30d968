"""Photos as people have them, and every way to enlarge them, side by side: PSNR on Y, the worst image, CPU seconds.

    python benchmarks/photos.py FOLDER [--images 20] [--crop 192] [--held-out choosing|testing] [--choices auto lanczos]
                                [--conditions clean q75] [--results photos.jsonl] [--keep FOLDER] [--table FILE.md]

FOLDER holds HR images, of which the middle crop is made small in each of the conditions below, written as a PNG or
JPEG file (by Pillow, colour at half size as everyday files have it), read again as `metasr upscale` reads it, and
enlarged x2 by each choice. `screenshot` and `line_art` are drawn anew for each image; a screenshot shows a part of
the image too.

`--held-out` takes the images that training leaves out of a plain folder (the suite's validation images): a half of them
for choosing how the default decides, the other for testing it.

A line is added to the results file for each image, condition and choice; a command that is repeated goes on where it
ended. `--keep` writes each LR file, truth and result there, for looking at. CPU seconds are the process's own, per
megapixel of the result, so take one thread (OMP_NUM_THREADS=1). `loss` is the largest loss of any image against the
better of bicubic and Lanczos, in dB.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from commands import at_least, folder
from metasr.config.command_line import status_of
from metasr.errors import InputError, nearest

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from metasr.config.photos import PhotoSolver
    from metasr.solvers.base import Solution

SCALE = 2


@dataclass(frozen=True)
class Condition:
    """How a photo came to be what people have.

    Attributes:
        degradation: by what HR becomes LR (see ``metasr kernels``).
        quality: of the JPEG file; none for a PNG file.
        subject: ``photo``, ``screenshot`` or ``line_art``.
    """

    degradation: str = "bicubic"
    quality: int | None = None
    subject: str = "photo"


CONDITIONS = {
    "clean": Condition(),
    "q95": Condition(quality=95),
    "q90": Condition(quality=90),
    "q75": Condition(quality=75),
    "q60": Condition(quality=60),
    "q50": Condition(quality=50),
    "n3": Condition("bicubic_n3"),
    "n5_q85": Condition("bicubic_n5", 85),
    "n10": Condition("bicubic_n10"),
    "soft": Condition("sig_1.2_b"),
    "soft_n5_q85": Condition("sig_1.2_b_n5", 85),
    "soft_n8_q85": Condition("sig_1.2_b_n8", 85),
    "screenshot": Condition(subject="screenshot"),
    "screenshot_q80": Condition(quality=80, subject="screenshot"),
    "line_art": Condition(subject="line_art"),
}
CHOICES: dict[str, dict[str, Any]] = {
    "bicubic": {"solver": "interpolate_aligned"},
    "lanczos": {"solver": "lanczos"},
    "adapt": {"solver": "adapt", "kernel": "bicubic"},
    "auto": {},
    "network": {"solver": "network", "weights": "released/mzsr_x2_pretrain"},
    "estimate": {"solver": "adapt", "kernel": "estimate"},
    "photo": {"solver": "auto", "options": {"guard": False}},
}
"""Choices of ``metasr.upscale``: ``adapt`` is ten updates of the released weights, ``network`` what these came from,
``photo`` the photo network alone, told compression and noise as the default tells it."""
PLAIN = ("bicubic", "lanczos")

THEMES = (
    ((30, 30, 34), (220, 220, 220), (48, 48, 54), (86, 156, 214)),
    ((20, 24, 40), (235, 235, 245), (40, 46, 70), (255, 170, 60)),
    ((255, 255, 255), (32, 32, 32), (232, 234, 237), (26, 115, 232)),
    ((250, 246, 238), (50, 40, 30), (220, 210, 195), (170, 40, 60)),
)
"""Colours of a screenshot: paper, ink, bars and buttons."""


def screenshot(photo: Image, seed: int) -> Image:
    """A window with a menu, a side bar, running text, buttons and a part of a photo, of the photo's size."""
    from PIL import Image, ImageDraw, ImageFont

    random = Random(f"screenshot {seed}")
    paper, ink, bar, accent = random.choice(THEMES)
    width, height = photo.size
    image = Image.new("RGB", photo.size, paper)
    draw = ImageDraw.Draw(image)
    small, large = (
        ImageFont.load_default(size=size) for size in random.choice(((10, 14), (11, 16), (12, 18), (14, 20)))
    )
    draw.rectangle((0, 0, width, 19), fill=bar)
    draw.text((6, 4), "File  Edit  View  Help", fill=ink, font=small)
    left = width // 4
    side = Image.new("RGB", (left, height), bar)
    for row in range(8, height, 18):
        colour = accent if random.random() < 0.2 else ink
        ImageDraw.Draw(side).text((5, row), _words(random, 2), fill=colour, font=small)
    image.paste(side, (0, 20))
    draw.line((left, 20, left, height), fill=ink)
    draw.text((left + 8, 26), _words(random, 3).title(), fill=ink, font=large)
    line = 26 + 2 * int(large.size)
    half = line + (height - line) // 2
    for row in range(line, half, int(small.size) + 4):
        draw.text((left + 8, row), _words(random, 12), fill=ink, font=small)
    part = photo.crop((0, 0, width // 3, max(1, (height - half) * 2 // 3)))
    image.paste(part, (left + 8, half + 4))
    x = left + 16 + width // 3
    for row in (half + 6, half + 32):
        draw.rounded_rectangle((x, row, x + 56, row + 20), radius=5, fill=accent, outline=ink)
        draw.text((x + 6, row + 4), _words(random, 1), fill=paper, font=small)
    return image


def line_art(photo: Image, seed: int) -> Image:
    """Black lines on white: curves, outlines, hatching and lettering, smooth at their edges; of the photo's size."""
    from PIL import Image, ImageDraw, ImageFont

    random = Random(f"line art {seed}")
    fine = 4
    width, height = (side * fine for side in photo.size)
    image = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(image)
    for _ in range(14):
        thick = random.choice((1, 1.5, 2, 3)) * fine
        x, y = random.uniform(0, width), random.uniform(0, height)
        w, h = (random.uniform(0.1, 0.6) * side for side in (width, height))
        kind = random.randrange(4)
        if kind == 0:
            draw.arc(
                (x - w, y - h, x + w, y + h),
                random.uniform(0, 180),
                random.uniform(180, 360),
                fill=0,
                width=round(thick),
            )
        elif kind == 1:
            corners = [(x + random.uniform(-w, w), y + random.uniform(-h, h)) for _ in range(5)]
            draw.line([*corners, corners[0]], fill=0, width=round(thick), joint="curve")
        elif kind == 2:
            gap, slope = random.uniform(4, 9) * fine, random.uniform(-1, 1)
            for i in range(12):
                draw.line((x + i * gap, y, x + i * gap + slope * h, y + h), fill=0, width=round(thick))
        else:
            draw.text(
                (x - w, y),
                _words(random, 2),
                fill=0,
                font=ImageFont.load_default(size=random.choice((14, 20, 30)) * fine),
            )
    return image.reduce(fine).convert("RGB")


def _words(random: Random, count: int) -> str:
    vowels, consonants = "aeiou", "bcdfghklmnprstvw"
    return " ".join(
        "".join(random.choice(consonants) + random.choice(vowels) for _ in range(random.randint(1, 4)))
        for _ in range(count)
    )


def truth_of(path: Path, condition: Condition, *, index: int, crop: int) -> Tensor:
    """The HR image of a condition, ``(1, 3, H, W)``, sides a multiple of the scale."""
    import numpy as np
    import torch
    from PIL import Image

    from metasr.degradation.resize import middle
    from metasr.io.images import read_image

    hr = middle(read_image(path), (crop, crop))
    height, width = (side - side % (2 * SCALE) for side in hr.shape[-2:])
    hr = hr[..., :height, :width]
    if condition.subject == "photo":
        return hr[None]
    levels = (hr.movedim(0, -1) * 255).round().to(torch.uint8).numpy()
    drawn = {"screenshot": screenshot, "line_art": line_art}[condition.subject](Image.fromarray(levels), index)
    return torch.from_numpy(np.asarray(drawn).copy()).movedim(-1, 0)[None].float() / 255


def write_small(hr: Tensor, condition: Condition, target: Path, *, seed: int) -> Path:
    """Make an HR image small in some condition, and write the file that a user would have."""
    import torch
    from PIL import Image

    from metasr.degradation.names import parse

    degradation = parse(condition.degradation, scale=SCALE)
    lr = degradation(hr, generator=torch.Generator().manual_seed(seed))
    image = Image.fromarray((lr[0].movedim(0, -1) * 255).round().to(torch.uint8).numpy())
    path = target.with_suffix(".png" if condition.quality is None else ".jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **({} if condition.quality is None else {"quality": condition.quality}))
    return path


def solver_of(choice: str, photo: str | None) -> PhotoSolver:
    """What enlarges by a choice; ``photo`` is a file with other weights of the photo network than the released ones."""
    from metasr.config.photos import photo_config, photo_solver

    cfg = photo_config(scale=SCALE, device="cpu", **CHOICES[choice])
    if photo and choice in ("auto", "photo"):
        cfg.solver.methods.photo_x2.weights = photo
    if choice == "photo":
        made = photo_solver(cfg, [cfg.kernel])
        return replace(made, solver=Alone(made.solver))
    return photo_solver(cfg, [cfg.kernel])


class Alone:
    """The photo network without the others, told what the default would tell it."""

    def __init__(self, auto: Any) -> None:
        found = [method for method in auto.methods if (method.name, method.scale) == ("photo", SCALE)]
        if not found:
            raise InputError("there are no released weights of the photo network; give some: --photo FILE")
        self.auto, self.method = auto, found[0]

    def solve(self, lr: Tensor, *, scale: float, degradation: Any = None, seed: int = 0) -> Solution:
        """See ``metasr.solvers.base.Solver.solve``."""
        from metasr.solvers.base import Solution

        _, choice = self.auto.look(lr, scale=scale, degradation=degradation)
        return Solution(sr=self.method.enlarge(lr, self.auto.problem(degradation, choice), seed=seed))


def images_of(options: argparse.Namespace) -> list[Path]:
    """The HR images, each with a place that does not depend on how many are taken."""
    from metasr.data.catalog import image_set
    from metasr.io.images import list_images

    place = folder(options.folder, what="a folder of HR images")
    if options.held_out is None:
        paths = list_images(place)
    else:
        held = list(image_set("image_folder", split="val", root=str(place)).paths)
        paths = held[::2] if options.held_out == "choosing" else held[1::2]
    return paths[: options.images]


def rows_of(
    options: argparse.Namespace, paths: Sequence[Path], known: dict[tuple[str, ...], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Measure what is not known yet, a row for each image, condition and choice."""
    from metasr.io.images import Photo, read_photo, write_photo
    from metasr.jobs.upscale import upscale_photo
    from metasr.metrics.protocol import LumaProtocol

    solvers: dict[str, PhotoSolver] = {}
    with TemporaryDirectory() as temporary:
        work = Path(options.keep or temporary)
        for index, path in enumerate(paths):
            for name in options.conditions:
                missing = [c for c in options.choices if (path.name, name, c, str(options.crop)) not in known]
                if not missing:
                    continue
                condition = CONDITIONS[name]
                hr = truth_of(path, condition, index=index, crop=options.crop)
                small = write_small(hr, condition, work / f"{path.stem}_{name}", seed=index)
                if options.keep:
                    write_photo(Photo(hr[0]), work / f"{path.stem}_{name}_truth.png", overwrite=True)
                for choice in missing:
                    made = solvers.setdefault(choice, None) or solver_of(choice, options.photo)  # type: ignore[arg-type]
                    solvers[choice] = made
                    photo = read_photo(small)
                    start = time.process_time()
                    large, solution = upscale_photo(made.solver, photo, made.degradations[0], seed=1)
                    seconds = time.process_time() - start
                    score = LumaProtocol()(large.rgb[None], hr, scale=SCALE)
                    if options.keep:
                        write_photo(large, work / f"{path.stem}_{name}_{choice}.png", overwrite=True)
                    yield {
                        "image": path.name, "condition": name, "choice": choice, "crop": options.crop,
                        "psnr_y": round(score.psnr_y, 4), "cpu": seconds * 1e6 / hr[0, 0].numel(),
                        "assumed": solution.assumed,
                    }  # fmt: skip


def table(rows: Sequence[dict[str, Any]], conditions: Sequence[str], choices: Sequence[str]) -> str:
    """A table in Markdown: means of PSNR, CPU seconds for a megapixel, and the largest loss of any image."""
    by = {(r["image"], r["condition"], r["choice"]): r for r in rows}
    images = sorted({r["image"] for r in rows})
    lines = [f"| condition | {' | '.join(choices)} |", f"| --- |{' ---: |' * len(choices)}"]
    losses: dict[str, list[tuple[float, str]]] = {choice: [] for choice in choices}
    for name in conditions:
        cells = []
        for choice in choices:
            scores = [by[i, name, choice]["psnr_y"] for i in images if (i, name, choice) in by]
            cells.append(f"{sum(scores) / len(scores):.2f}" if scores else "-")
            for i in images:
                if all((i, name, c) in by for c in (*PLAIN, choice)):
                    best = max(by[i, name, plain]["psnr_y"] for plain in PLAIN)
                    losses[choice].append((best - by[i, name, choice]["psnr_y"], f"{i} {name}"))
        highest = max((c for c in cells if c != "-"), default="-", key=float)
        lines.append(f"| {name} | {' | '.join(f'**{c}**' if c == highest else c for c in cells)} |")
    worst = {choice: max(found, default=(float("nan"), "")) for choice, found in losses.items()}
    lines.append(f"| loss | {' | '.join(f'{worst[c][0]:.2f}' for c in choices)} |")
    spent = {c: [r["cpu"] for r in rows if r["choice"] == c] for c in choices}
    cells = [f"{sum(spent[c]) / len(spent[c]):.2f}" if spent[c] else "-" for c in choices]
    lines.append(f"| CPU s a megapixel | {' | '.join(cells)} |")
    return "\n".join(lines)


def known_rows(path: Path, keys: Sequence[str]) -> dict[tuple[str, ...], dict[str, Any]]:
    """What a results file holds, by the texts of some keys; a last line that was cut off is left out."""
    found = {}
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[tuple(str(row[key]) for key in keys)] = row
    return found


def require_known(names: Sequence[str], known: Sequence[str], *, option: str) -> None:
    """Require names that there are."""
    for name in names:
        if name not in known:
            raise InputError(f"{option} {name}: {nearest(name, known)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--crop", type=int, default=192)
    parser.add_argument("--held-out", choices=("choosing", "testing"))
    parser.add_argument("--choices", nargs="+", default=list(CHOICES))
    parser.add_argument("--conditions", nargs="+", default=list(CONDITIONS))
    parser.add_argument("--photo", metavar="FILE", help="weights of the photo network (default: the released ones)")
    parser.add_argument("--results", default="photos.jsonl")
    parser.add_argument("--keep")
    parser.add_argument("--table")
    options = parser.parse_args()
    at_least(options, images=1, crop=96)
    require_known(options.choices, list(CHOICES), option="--choices")
    require_known(options.conditions, list(CONDITIONS), option="--conditions")
    results, paths = Path(options.results), images_of(options)
    known = known_rows(results, ("image", "condition", "choice", "crop"))
    with results.open("a") as file:
        for row in rows_of(options, paths, known):
            known[row["image"], row["condition"], row["choice"], str(options.crop)] = row
            file.write(json.dumps(row) + "\n")
            file.flush()
    named = {path.name for path in paths}
    rows = [row for row in known.values() if row["image"] in named and row["crop"] == options.crop]
    text = table(rows, options.conditions, options.choices)
    print(f"x{SCALE}, {len(paths)} images, crops of {options.crop} pixels\n\n{text}")
    if options.table:
        Path(options.table).write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(status_of(main))
