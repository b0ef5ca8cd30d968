"""Publishes a run's weights on the Hugging Face hub: tensors, card and a page with the results."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metasr import __version__
from metasr.errors import InputError, OutputError, StageError, require_extra
from metasr.evaluation.results import Row
from metasr.io.files import PathLike, check_new_file, write_bytes, write_text
from metasr.report.reading import read_run
from metasr.runs.hub import HUB_CARD, HUB_WEIGHTS, LIBRARY, SCHEME, check_repository
from metasr.runs.weights import Weights, from_run

PAGE = "README.md"
FILES = (HUB_WEIGHTS, HUB_CARD, PAGE)
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_KEPT = ("experiment", "method", "stage", "scale", "scales", "profile", "seed", "steps", "seconds", "hash",
         "git_commit", "written", "versions", "metrics")  # fmt: skip
_KEPT_OF_CONFIG = ("name", "method", "seed", "scale", "profile_name", "model", "mln", "rates", "order")
_KEPT_OF_DATA = ("name", "split", "images", "fingerprint")
_KEPT_OF_STAGE = ("recipe", "sampler", "steps", "patch_size", "parent", "clip")


@dataclass(frozen=True)
class Pushed:
    """What was published, or written to be looked at.

    Attributes:
        repository: ``USER/REPO``.
        place: its address, or the folder.
    """

    repository: str
    place: str

    def __str__(self) -> str:
        return f"{self.place}: {', '.join(FILES)}\nto use it: metasr upscale photo.jpg -w {SCHEME}{self.repository}"


def push(
    run: PathLike,
    repository: str,
    *,
    licence: str,
    private: bool = False,
    overwrite: bool = False,
    output: PathLike | None = None,
) -> Pushed:
    """Publish the weights of a run's last finished stage.

    Nothing of the machine goes along: of the card only what loads the weights and tells how they were made, no paths,
    no names of files.

    Args:
        run: the run folder.
        repository: ``USER/REPO``; it is made where there is none.
        licence: of the weights, as the hub writes it (``mit``, ``apache-2.0``, ``cc-by-4.0``).
        private: whether a new repository is for its owner alone.
        overwrite: whether weights that are there already may be replaced.
        output: a folder to write the files to instead, so that they can be looked at; nothing is published.

    Raises:
        InputError: for a malformed name or licence, or where the extra is not installed or nobody is logged in.
        StageError: for a folder without a finished stage.
        OutputError: where there are weights already, or the hub refuses or cannot be reached.
    """
    check_repository(repository)
    if not _LICENCE.fullmatch(licence):
        raise InputError(f"a licence is written as the hub does, such as mit, apache-2.0 or cc-by-4.0; got {licence!r}")
    folder = Path(run).expanduser()
    if not folder.is_dir():
        raise StageError(f"no run folder {folder}; give one that `metasr run` has made")
    require_extra("hub", "huggingface_hub", asked="metasr push")
    weights, rows = from_run(folder), read_run(folder).rows
    if output is not None:
        target = Path(output).expanduser()
        for name in FILES:
            check_new_file(target / name, overwrite=overwrite, instead="another folder")
        _write(target, weights, rows, repository=repository, licence=licence)
        return Pushed(repository, str(target))
    with tempfile.TemporaryDirectory() as temporary:
        _write(Path(temporary), weights, rows, repository=repository, licence=licence)
        return Pushed(repository, _upload(Path(temporary), repository, private=private, overwrite=overwrite))


def _write(folder: Path, weights: Weights, rows: Sequence[Row], *, repository: str, licence: str) -> None:
    from safetensors.torch import save

    tensors = save({name: tensor.contiguous() for name, tensor in weights.state.items()})
    write_bytes(folder / HUB_WEIGHTS, tensors)
    card = card_of(weights.card, sha256=hashlib.sha256(tensors).hexdigest(), licence=licence)
    write_text(folder / HUB_CARD, json.dumps(card, indent=2, default=str) + "\n")
    write_text(folder / PAGE, page_of(card, rows, repository=repository, licence=licence))


def card_of(card: Mapping[str, Any], *, sha256: str, licence: str) -> dict[str, Any]:
    """What is published of a stage's card."""
    config = card.get("config", {})
    data = {k: v for k, v in card.get("data", {}).items() if k in _KEPT_OF_DATA}
    stages = {
        name: {k: v for k, v in part.items() if k in _KEPT_OF_STAGE} for name, part in config.get("stages", {}).items()
    }
    return {
        "library": LIBRARY,
        "metasr": __version__,
        **{key: card[key] for key in _KEPT if card.get(key) is not None},
        "method": config.get("method", card.get("method")),
        "licence": licence,
        "sha256": sha256,
        "data": data,
        "config": {**{k: config[k] for k in _KEPT_OF_CONFIG if k in config}, "stages": stages},
    }


def page_of(card: Mapping[str, Any], rows: Sequence[Row], *, repository: str, licence: str) -> str:
    """The repository's page: what the hub reads of it, what the weights are, their results, how they are used."""
    from huggingface_hub import EvalResult, ModelCardData

    experiment, scale = str(card.get("experiment")), float(card.get("scale") or 2)
    own = [row for row in rows if row.weights == "run" and row.images]
    last = {(row.testset, row.degradation): row for row in sorted(own, key=lambda row: row.updates)}  # most updates
    results = [
        EvalResult(
            task_type="image-to-image",
            dataset_type=row.testset,
            dataset_config=row.degradation,
            dataset_name=f"{row.testset}, {row.degradation}, x{row.scale:g}",
            metric_type=metric,
            metric_value=round(value, 4),
        )
        for row in last.values()
        for metric, value in (("psnr", row.psnr_y), ("ssim", row.ssim_y))
    ]
    about = ModelCardData(
        license=licence,
        library_name=LIBRARY,
        pipeline_tag="image-to-image",
        tags=["super-resolution", "metasr", str(card.get("method"))],
        model_name=repository.partition("/")[2],
        eval_results=results or None,
    )
    data = card.get("data", {})
    trained = ", ".join(
        filter(
            None,
            (
                f"{data['images']} images of {data['name']}" if {"images", "name"} <= data.keys() else "",
                f"{card['steps']} steps" if "steps" in card else "",
                f"profile {card['profile']}" if "profile" in card else "",
                f"seed {card['seed']}" if "seed" in card else "",
            ),
        )
    )
    lines = [
        "---", about.to_yaml(), "---", "",
        f"# {repository.partition('/')[2]}", "",
        f"Super-resolution by {scale:g}: the stage `{card.get('stage')}` of the experiment `{experiment}` of metasr "
        f"{__version__}. Trained on {trained or 'data that its card does not tell'}. Licence: {licence}.", "",
        "## Use", "",
        "```bash", "pip install 'metasr[hub]'",
        f"metasr upscale photo.jpg -w {SCHEME}{repository}", "```", "",
        "```python", "import metasr", "",
        f'solver = metasr.load("{SCHEME}{repository}")',
        "sr = solver(lr)  # (3, H, W) in [0, 1]", "```", "",
        "## Results", "",
        *_table(rows),
        "",
        f"`{HUB_CARD}` tells how the weights were made.",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _table(rows: Sequence[Row]) -> list[str]:
    if not any(row.images for row in rows):
        return ["This run was not evaluated."]
    lines = [
        "Mean PSNR in dB and SSIM on Y, from 8 bits, borders of the scale's width left out.",
        "",
        "| test set | degradation | solver | weights | updates | images | PSNR | SSIM |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in (row for row in rows if row.images):
        words = (row.testset, row.degradation, row.solver, row.weights, f"{row.updates:g}", str(row.images))
        lines.append(f"| {' | '.join(words)} | {row.psnr_y:.2f} | {row.ssim_y:.4f} |")
    return lines


def _upload(folder: Path, repository: str, *, private: bool, overwrite: bool) -> str:
    """Make the repository where there is none, and put the files into one commit of it."""
    from huggingface_hub import HfApi, constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise OutputError("HF_HUB_OFFLINE is set, so nothing can be pushed: unset it, or write the files by -o FOLDER")
    if get_token() is None:
        raise InputError("nobody is logged in to the hub: run `hf auth login` first, or set HF_TOKEN")
    api = HfApi(library_name=LIBRARY, library_version=__version__)
    try:
        if not overwrite and api.repo_exists(repository) and api.file_exists(repository, HUB_WEIGHTS):
            raise OutputError(
                f"{repository} holds weights already; choose another name, or replace them: --overwrite (earlier ones "
                "stay in its history)"
            )
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=folder, allow_patterns=list(FILES), commit_message="Weights of metasr"
        )
    except OutputError:
        raise
    except Exception as error:  # of the network's own many kinds
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise OutputError(
            f"the hub did not take {repository} ({type(error).__name__}: {first}); check the login, that the name is "
            "yours to write to, and the network, or write the files by -o FOLDER"
        ) from error
    return f"{constants.ENDPOINT}/{repository}"
