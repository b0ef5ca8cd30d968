"""Published numbers, from the data files beside this module (each tells its origin at its head)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from torch import nn

from metasr.io.csv import parse_csv
from metasr.models.blind import BlindSR
from metasr.models.kdsr import KDSRBody
from metasr.models.rdan import RDAN
from metasr.solvers.interpolate import InterpolateSolver
from metasr.solvers.mzsr.solver import MZSRSolver
from metasr.solvers.network import NetworkSolver
from metasr.solvers.zssr.solver import ZSSRSolver

_FOLDER = Path(__file__).parent / "published_csv"
_WIDTH_OF_KDSR_L = 128


class Published(NamedTuple):
    """One published number; SSIM is none where only PSNR was given."""

    psnr_y: float
    ssim_y: float | None


@lru_cache
def _table() -> dict[tuple[str, str, str, float], Published]:
    rows: dict[tuple[str, str, str, float], Published] = {}
    for path in sorted(_FOLDER.glob("*.csv")):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        for row in parse_csv("".join(line for line in lines if not line.startswith("#"))):
            key = (row["method"], row["testset"], row["degradation"], float(row["scale"]))
            rows[key] = Published(float(row["psnr_y"]), float(row["ssim_y"]) if row["ssim_y"] else None)
    return rows


def published(method: str, *, testset: str, degradation: str, scale: float) -> Published | None:
    """A method's published number, or none.

    Args:
        method: as in the data files: ``Bicubic``, ``ZSSR``, ``MZSR(1)``, ``MZSR(10)``, ...
        testset: the catalog's name.
        degradation: short name.
        scale: factor between LR and HR.
    """
    return _table().get((method, testset, degradation, float(scale)))


def published_as(solver: object, *, updates: int, method: str = "") -> str:
    """The published method that a solver of ours is, or nothing.

    Args:
        solver: the solver.
        updates: their number.
        method: whose experiment it is of (``mrda``, ``kdsr``), where the network does not tell.
    """
    if isinstance(solver, MZSRSolver):
        return f"MZSR({updates})"
    if isinstance(solver, NetworkSolver):
        return _network_as(solver.network) or {"mrda": "MRDA", "kdsr": "KDSR-M"}.get(method, "")
    if isinstance(solver, InterpolateSolver):
        return "" if solver.aligned else "Bicubic"
    return "ZSSR" if isinstance(solver, ZSSRSolver) else ""


def _network_as(network: nn.Module) -> str:
    """The published method whose network it is, by what it is made of or called; nothing where it is none."""
    if isinstance(network, BlindSR):
        wide = isinstance(network.body, KDSRBody) and network.body.compress.out_features >= _WIDTH_OF_KDSR_L
        return "MRDA" if isinstance(network.body, RDAN) else "KDSR-L" if wide else "KDSR-M"
    name = str(getattr(network, "architecture", type(network).__name__))
    return name if name in {method for method, *_ in _table()} else ""
