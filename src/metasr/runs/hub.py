"""Weights on the Hugging Face hub: two files of a repository, tensors and their card, fetched and kept by its library.

Nothing else of a repository is fetched, and nothing of it is executed: tensors are safetensors, the card is data.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from metasr.errors import InputError, WeightsError, require_extra

SCHEME = "hf://"
HUB_WEIGHTS = "weights.safetensors"
HUB_CARD = "config.json"
LIBRARY = "metasr"
"""What the card of a repository of this package's names as ``library``."""
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def is_hub(source: str) -> bool:
    """Whether weights are asked for that lie on the hub: ``hf://USER/REPO`` or ``hf://USER/REPO@REVISION``."""
    return source.startswith(SCHEME)


def check_repository(name: str) -> str:
    """Require a repository's name, ``USER/REPO``.

    Raises:
        InputError: telling the form.
    """
    if not _REPOSITORY.fullmatch(name):
        raise InputError(f"a repository of the hub is USER/REPO, in letters, digits and .-_, got {name!r}")
    return name


@lru_cache(maxsize=32)
def fetch(source: str) -> Path:
    """The folder with the two files of a repository, fetched now or kept from an earlier time.

    Without a network, or with HF_HUB_OFFLINE=1, what was fetched before is taken.

    Args:
        source: ``hf://USER/REPO``, or with ``@REVISION``: a branch, tag or commit.

    Raises:
        InputError: for a malformed name, or where the extra is not installed.
        WeightsError: if there is no such repository, it holds no weights of this package's, it is not public and
            nobody is logged in, or it cannot be reached and was not fetched before.
    """
    name, _, revision = source.removeprefix(SCHEME).partition("@")
    check_repository(name)
    require_extra("hub", "huggingface_hub", asked=source)
    from huggingface_hub import hf_hub_download

    try:
        card, weights = (
            Path(hf_hub_download(name, file, revision=revision or None, library_name=LIBRARY))
            for file in (HUB_CARD, HUB_WEIGHTS)
        )
    except Exception as error:  # of the network's own many kinds
        raise WeightsError(f"{source} cannot be had: {_reason(error, revision)}") from error
    if card.parent != weights.parent:
        raise WeightsError(f"{source} was changed while it was fetched: run again")
    return card.parent


def _reason(error: Exception, revision: str) -> str:
    """What is the matter, and what to do."""
    from huggingface_hub import errors

    unreached = (
        "it was not fetched before, and the hub cannot be reached, or is not to be (HF_HUB_OFFLINE): go online once, "
        "or give weights=FILE"
    )
    known: tuple[tuple[type[Exception], str], ...] = (  # the special ones first
        (errors.GatedRepoError, "its owner lets in whom he has accepted: ask on its page, then `hf auth login`"),
        (errors.RepositoryNotFoundError, "there is none of that name, or it is private: check it, or `hf auth login`"),
        (errors.RevisionNotFoundError, f"it has no branch, tag or commit {revision!r}"),
        (errors.LocalEntryNotFoundError, unreached),
        (errors.OfflineModeIsEnabled, unreached),
        (errors.EntryNotFoundError,
         f"it lacks {HUB_CARD} or {HUB_WEIGHTS}, so it is not of `metasr push`; download its weights, give the file"),
    )  # fmt: skip
    for kind, told in known:
        if isinstance(error, kind):
            return told
    first = (str(error).strip().splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {first}; try again later"
