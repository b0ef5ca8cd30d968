"""What is chosen on the page, as the arguments of ``metasr.upscale`` and as a command line."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metasr.degradation import names
from metasr.errors import InputError

AUTOMATIC = "automatic"
GAUSSIAN, DISC, FILE = "Gaussian, by sliders", "out of focus, by a slider", "a kernel file"
SHRUNK = "the one it was shrunk by"
ESTIMATES = ("estimate", "estimate_d")
NAMED = ("bicubic", "direct", "area", "g0.2d", "g2.0d", "g1.3b", "gani_d", "gani_b")
FORMS = (AUTOMATIC, *ESTIMATES, GAUSSIAN, DISC, FILE, *NAMED)
"""What the field for the kernel offers; for an original that is shrunk first, ``SHRUNK`` too."""

BICUBICALLY, DIRECTLY = "bicubically", "every s-th pixel kept"
SAMPLINGS = {BICUBICALLY: "b", DIRECTLY: "d"}


@dataclass(frozen=True)
class KernelChoice:
    """The fields for the kernel.

    Attributes:
        form: one of ``FORMS``, or ``SHRUNK``.
        sampling: one of ``SAMPLINGS``, for forms that leave it open.
        along: standard deviation of the Gaussian in HR pixels, along the angle.
        across: and across it.
        degrees: the angle.
        radius: of the disc in HR pixels.
        file: the kernel file.
    """

    form: str = AUTOMATIC
    sampling: str = BICUBICALLY
    along: float = 1.6
    across: float = 1.6
    degrees: float = 0.0
    radius: float = 2.0
    file: Path | None = None

    def name(self, *, shrunk: str = "") -> str | None:
        """The kernel as ``kernel=`` and ``-k`` take it; none where the program decides.

        Args:
            shrunk: by what the photo was shrunk, where it was.

        Raises:
            InputError: for a kernel file that is not there yet.
        """
        end = SAMPLINGS[self.sampling]
        if self.form == AUTOMATIC:
            return None
        if self.form == SHRUNK:
            return shrunk
        if self.form == GAUSSIAN:
            along, across, degrees = (f"{number:g}" for number in (self.along, self.across, self.degrees))
            return f"sig_{along}_{end}" if along == across else f"sigani_{along}_{across}_{degrees}_{end}"
        if self.form == DISC:
            return f"disc_{self.radius:g}_{end}"
        if self.form == FILE:
            if self.file is None:
                raise InputError("no kernel file yet: choose one below, or another kernel")
            return f"{self.file}_{end}"
        return self.form


@dataclass(frozen=True)
class Choices:
    """How a photo is to be enlarged; what is none is left to the program.

    Attributes:
        scale: the factor.
        kernel: as ``metasr.upscale`` takes it.
        solver: a name of ``conf/solver``.
        weights: a name of released weights.
        updates: gradient steps on the photo.
    """

    scale: float
    kernel: str | None = None
    solver: str | None = None
    weights: str | None = None
    updates: int | None = None

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of ``metasr.upscale`` and ``metasr.plan``, with what was chosen alone."""
        given = {"kernel": self.kernel, "solver": self.solver, "weights": self.weights, "steps": self.updates}
        return {"scale": self.scale, **{key: value for key, value in given.items() if value is not None}}

    def command(self, photos: list[str], *, output: str | None = None) -> str:
        """The command line that does the same.

        Args:
            photos: names of the photos.
            output: where the result goes; by default beside each photo.
        """
        paths = [f"./{photo}" if photo.startswith("-") else photo for photo in photos]
        words = ["metasr", "upscale", *paths, *(["-o", output] if output else [])]
        kernel = self.kernel
        if kernel is not None and names.is_file(kernel):
            kernel = Path(kernel).name  # the photo's and the kernel's folders are the user's own
        options = {
            "-s": None if self.scale == 2 else f"{self.scale:g}", "-k": kernel, "--solver": self.solver,
            "-w": self.weights, "-n": None if self.updates is None else str(self.updates),
        }  # fmt: skip
        words += [word for key, value in options.items() if value is not None for word in (key, value)]
        return shlex.join(words)

    def prepare_command(self, original: str, folder: str, degradation: str) -> str:
        """The command line that makes a small photo of an original."""
        scale = ["-s", f"{self.scale:g}"] if self.scale != 2 else []
        return shlex.join(["metasr", "prepare", original, "-o", folder, "-d", degradation, "--hr", *scale])
