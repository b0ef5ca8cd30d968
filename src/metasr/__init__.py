"""metasr: super-resolution that adapts to the image in front of it.

::

    import metasr

    metasr.upscale("photo.jpg", "large.png", scale=2, kernel="bicubic")  # files
    print(metasr.plan("photo.jpg"))  # what would be done with it, and why
    solver = metasr.load("mzsr_x2")  # released weights, a weights file, or a run folder
    sr = solver(lr, degradation="g2.0d")  # tensors, (3, H, W) in [0, 1]
    lr = metasr.degrade(hr, "g2.0d", scale=2)
    table = metasr.evaluate(solver, "photos/", ["g2.0d", "bicubic"])

What is used is loaded when it is first asked for, torch with it: importing this package alone is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metasr.api import degrade, evaluate, load, upscale
    from metasr.degradation.pipeline import Degradation
    from metasr.errors import Cancelled
    from metasr.jobs.plan import Plan, plan
    from metasr.solvers.loaded import LoadedSolver
    from metasr.solvers.progress import Progress

__version__ = "0.1.0"
__all__ = [
    "Cancelled", "Degradation", "LoadedSolver", "Plan", "Progress", "__version__", "degrade", "evaluate", "load",
    "plan", "upscale",
]  # fmt: skip

_HOMES = {
    "Cancelled": "metasr.errors",
    "Degradation": "metasr.degradation.pipeline",
    "LoadedSolver": "metasr.solvers.loaded",
    "Plan": "metasr.jobs.plan",
    "Progress": "metasr.solvers.progress",
    "plan": "metasr.jobs.plan",
}
"""Where public names lie that are not in ``api``."""


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    value = getattr(import_module(_HOMES.get(name, "metasr.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
