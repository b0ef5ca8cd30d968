"""Seeds that depend on what is drawn, never on when: order and parallelism change nothing."""

from __future__ import annotations

import hashlib

import torch


def seed_from(*parts: int | str) -> int:
    """A seed made of everything that identifies a draw, for instance (run seed, file name) or (run seed, stage, step).

    Returns:
        63 bits of the SHA-256 of the parts.
    """
    text = "\x1f".join(f"{type(p).__name__}:{p}" for p in parts)
    # Names of files may hold bytes that are no text, which Python keeps as lone surrogates.
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1


def generator_from(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded by ``seed_from``."""
    return torch.Generator().manual_seed(seed_from(*parts))
