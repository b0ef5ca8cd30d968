"""Weights from files, run folders and the released set: read without executing anything, checked, and named."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from metasr.checks import check_state
from metasr.degradation.pipeline import Degradation
from metasr.errors import StageError, WeightsError, nearest
from metasr.io.files import file_hash
from metasr.meta.rates import RATE_PREFIXES
from metasr.models.weight_net import WEIGHT_NET_PREFIX
from metasr.paths import program
from metasr.runs.card import CARD_NAME, WEIGHTS_NAME, config_hash, read_card, tensors_hash
from metasr.runs.folder import run_folders
from metasr.runs.hub import HUB_CARD, HUB_WEIGHTS, LIBRARY, fetch, is_hub
from metasr.runs.reading import check_card, read_object
from metasr.runs.renames import renamed_card
from metasr.runs.tensors import read_tensors, unwrapped, without_prefix

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """Tensors with a name.

    Attributes:
        label: what tables call them: ``run``, ``released/<name>``, or the file.
        state: the tensors.
        card: what is known of their making.
        run: the run folder that they are of, where other stages' weights lie too; none for a file.
    """

    label: str
    state: dict[str, Tensor]
    card: dict[str, Any] = field(default_factory=dict)
    run: Path | None = None

    @cached_property
    def digest(self) -> str:
        """Hash of the tensors, with their names."""
        return tensors_hash(self.state)

    @property
    def origin(self) -> str:
        """Where their card came from, for messages."""
        return self.label if self.run is None else str(self.run)

    @property
    def architecture(self) -> dict[str, Any]:
        """The network that they were trained as, as their card tells it; empty where it does not. A stranger's word."""
        config = self.card.get("config", {})
        part = config.get("stages", {}).get(self.card.get("stage"), {}).get("recipe", {})
        return part.get("model") or config.get("model") or {}

    @property
    def network(self) -> dict[str, Tensor]:
        """The network's tensors, without inner rates and what else was learned beside it."""
        return {k: v for k, v in self.state.items() if not k.startswith((*RATE_PREFIXES, WEIGHT_NET_PREFIX))}

    def load_into(self, model: nn.Module) -> nn.Module:
        """Load the network's tensors, every one, into a model, and freeze nothing.

        Raises:
            WeightsError: if they belong to another network.
        """
        tensors = without_prefix(self.network, model.state_dict())
        check_state(model.state_dict(), tensors, origin=self.label)
        model.load_state_dict(tensors)
        return model


def from_file(path: Path) -> Weights:
    """Weights of a file, with the card beside it if there is one."""
    state = read_tensors(path)
    state = next((n for n in unwrapped(state) if any(name.startswith(RATE_PREFIXES) for name in n)), state)
    card_path = path.with_suffix(".json")
    return Weights(label=str(path), state=state, card=_card(card_path) if card_path.is_file() else {})


def from_hub(source: str) -> Weights:
    """Weights of a repository on the Hugging Face hub, ``hf://USER/REPO`` (see ``runs.hub.fetch``).

    Raises:
        InputError: where the extra is not installed.
        WeightsError: if they cannot be had, or are not what ``metasr push`` made.
    """
    folder = fetch(source)
    card = _card(folder / HUB_CARD)
    if card.get("library") != LIBRARY:
        raise WeightsError(f"{source}: its {HUB_CARD} is not of `metasr push`; download its weights and give the file")
    _require_hash(folder / HUB_WEIGHTS, card.get("sha256"))
    return Weights(label=source, state=read_tensors(folder / HUB_WEIGHTS), card=card)


def from_run(folder: Path) -> Weights:
    """Weights of the last finished stage of a run folder.

    Raises:
        StageError: if no stage of it is finished.
        WeightsError: if the file is not the one that its card describes.
    """
    finished = _finished(folder)
    if not finished or not (finished[-1] / WEIGHTS_NAME).is_file():
        raise StageError(f"{folder} has no finished stage: finish it with `{program()} +experiment=... run={folder}`")
    card = read_card(finished[-1])
    _require_hash(finished[-1] / WEIGHTS_NAME, card.get("weights"))
    begun = sorted(path.parent for path in folder.glob(f"*/{CARD_NAME}"))
    if begun[-1] != finished[-1]:
        log.warning("%s: %s is not finished, these are the weights of %s", folder, begun[-1].name, finished[-1].name)
    config = card.get("config", {})
    sampler = config.get("stages", {}).get(card.get("stage"), {}).get("sampler", {})
    scales = sampler.get("degradations", {}).get("scales") or [config.get("scale")]
    card_with_scales = {**card, "scale": config.get("scale"), "scales": scales}
    return Weights(label="run", state=read_tensors(finished[-1] / WEIGHTS_NAME), card=card_with_scales, run=folder)


def from_stage(run: Path, stage: str) -> Weights:
    """Weights of one finished stage of a run folder.

    Raises:
        StageError: if it is not there, or not finished.
        WeightsError: if the file is not the one that its card describes.
    """
    for folder in _finished(run):
        card = read_card(folder)
        if card.get("stage") == stage:
            _require_hash(folder / WEIGHTS_NAME, card.get("weights"))
            return Weights(label="run", state=read_tensors(folder / WEIGHTS_NAME), card=card, run=run)
    raise StageError(f"{run} has no finished stage {stage!r}; finish it with `{program()} +experiment=... run={run}`")


def from_last_run(outputs: Path, name: str | None) -> Weights:
    """Weights of the newest run of an experiment that has a finished stage.

    Raises:
        WeightsError: if there is no such run.
    """
    if name is None:
        raise WeightsError("weights=last is the last run of an experiment: add +experiment=NAME, or give weights=FILE")
    runs = [run for run in run_folders(outputs / name) if _finished(run)]
    if not runs:
        raise WeightsError(
            f"weights=last, but {name} has not been run yet, or no stage of it is finished: "
            f"{program()} +experiment={name}"
        )
    return from_run(runs[-1])


def _finished(run: Path) -> list[Path]:
    cards = sorted(run.glob(f"*/{CARD_NAME}"))
    return [c.parent for c in cards if read_card(c.parent).get("status") == "finished"]


def released(folder: Path) -> dict[str, dict[str, Any]]:
    """The cards of all released weights, by name."""
    return {
        path.stem: _card(path) for path in sorted(folder.glob("*.json")) if path.with_suffix(".safetensors").is_file()
    }


def from_release(folder: Path, name: str) -> Weights:
    """Released weights by name.

    Raises:
        WeightsError: for an unknown name, with the nearest ones, or a damaged file.
    """
    cards = released(folder)
    if name not in cards:
        raise WeightsError(f"no released weights {name!r}: {nearest(name, cards)}")
    path = folder / f"{name}.safetensors"
    _require_hash(path, cards[name].get("sha256"))
    return Weights(f"released/{name}", read_tensors(path), cards[name])


def _card(path: Path) -> dict[str, Any]:
    """A weights card, a JSON object beside a weights file."""
    return renamed_card(check_card(read_object(path, what="weights card"), f"weights card {path}"), config_hash)


def _require_hash(path: Path, wanted: str | None) -> None:
    """Require a file to be the one that its card describes, where the card tells a hash."""
    if wanted is not None and file_hash(path) != wanted:
        raise WeightsError(
            f"{path} is not the file that its card describes (SHA-256 differs: changed, or cut short); fetch it again, "
            "or give it as weights=FILE without its card if the change is meant"
        )


def has_released(folder: Path, *, method: str, scale: float) -> bool:
    """Whether there are released weights of a method at a scale."""
    return any(c.get("method") == method and c.get("scale") == scale for c in released(folder).values())


def released_for(
    folder: Path, degradation: Degradation, *, method: str = "mzsr", experiment: str | None = None
) -> Weights:
    """The released weights trained for a degradation's subsampling and scale, as far as there are any.

    Args:
        folder: of released weights.
        degradation: what they are to be used for.
        method: whose weights.
        experiment: weights that this experiment made come before others.

    Raises:
        WeightsError: if there are none for the subsampling.
    """
    wanted = "direct" if degradation.downsample == "direct" else "bicubic"
    fitting = {
        name: card
        for name, card in released(folder).items()
        if card.get("method") == method
        and card.get("downsample") in (None, wanted)
        and (card.get("default", True) or (experiment is not None and card.get("experiment") == experiment))
    }
    fitting = {n: c for n, c in fitting.items() if c.get("experiment") == experiment} or fitting
    if not fitting:
        raise WeightsError(f"no released weights of {method} for {wanted} subsampling in {folder}; give weights=FILE")
    return from_release(folder, _best_scale(fitting, degradation.scale))


def released_feed_forward(folder: Path, degradation: Degradation, *, method: str = "mzsr") -> Weights:
    """The released weights that are good without any update, for the scale if there are any: the pretrained ones.

    Raises:
        WeightsError: if there are none for the degradation; pretraining knows bicubic downsampling alone.
    """
    fitting = {
        name: card
        for name, card in released(folder).items()
        if card.get("method") == method and card.get("stage") == "pretrain"
    }
    if degradation.kernel is not None or degradation.downsample != "bicubic" or not fitting:
        raise WeightsError(
            f"no released feed-forward weights for degradation {degradation}: they are for bicubic alone; adapt to the "
            "image with solver=adapt, or give weights=FILE"
        )
    return from_release(folder, _best_scale(fitting, degradation.scale))


def _best_scale(cards: dict[str, dict[str, Any]], scale: float) -> str:
    """The weights that know a scale; else those of the next larger one, then those of the largest."""

    def place(name: str) -> tuple[int, float, str]:
        known = trained_scales(cards[name]) or [2.0]
        if min(known) <= scale <= max(known):
            return 0, len(known), name  # made for it alone before made for several
        return (1, min(known), name) if min(known) > scale else (2, -max(known), name)

    return min(cards, key=place)


def trained_scales(card: dict[str, Any]) -> list[float]:
    """The scales that weights were trained for, as their card tells; empty where it does not."""
    scales = card.get("scales") or [card.get("scale")]
    return sorted({float(s) for s in scales if isinstance(s, int | float) and not isinstance(s, bool)})


def best_released(folder: Path, degradation: Degradation, *, estimated: bool = False) -> list[str]:
    """The names of the released weights that were measured on validation images in a degradation's case, best first.

    A card tells that in its table ``validation``, by ``case_of``; weights without one, and with none for the case, have
    no part in it.

    Args:
        folder: of released weights.
        degradation: what is known of the image.
        estimated: whether its kernel is yet to be estimated.
    """
    case = case_of(degradation, estimated=estimated)
    scores = {name: card.get("validation", {}).get(case) for name, card in released(folder).items()}
    measured = {name: float(score) for name, score in scores.items() if isinstance(score, int | float)}
    return sorted(measured, key=lambda name: -measured[name])


def case_of(degradation: Degradation, *, estimated: bool = False) -> str:
    """The case, of those that cards tell scores for, that a degradation is nearest to.

    ``bicubic x4 noisy`` for one that is told, ``bicubic x4 estimated`` for one that is estimated, of any noise.
    """
    grid = "direct" if degradation.downsample == "direct" else "bicubic"
    end = " estimated" if estimated else " noisy" if degradation.noisy else ""
    return f"{grid} x{min(max(round(degradation.scale), 2), 4)}{end}"


def choose(
    source: str | None,
    *,
    degradation: Degradation,
    store: Path,
    outputs: Path,
    name: str | None = None,
    method: str = "mzsr",
    adapts: bool = True,
    steps: int | None = None,
    warn: bool = True,
) -> Weights:
    """The weights that a user asks for, for one degradation.

    Args:
        source: ``released`` (or none), ``released/<name>``, ``last``, a file, a run folder, or ``hf://USER/REPO``.
        degradation: what ``released`` is chosen by.
        store: the folder of released weights.
        outputs: the folder of outputs, where ``last`` is looked for.
        name: the experiment, for ``last``, and whose released weights come first.
        method: whose released weights.
        adapts: whether the solver adapts them to the image; meta-learned weights are of no use without that.
        steps: the number of updates where it is the only one; at 0 the solver runs the weights as they are.
        warn: say where they are used for another scale than they were trained for.

    Raises:
        WeightsError: if there are none, or they cannot be read.
        StageError: for a run folder without a finished stage.
    """
    if source == "last":
        weights = from_last_run(outputs, name)
    elif source is not None and source != "released":
        weights = resolve(source, folder=store)
    elif not adapts or (steps == 0 and degradation.kernel is None and degradation.downsample == "bicubic"):
        weights = released_feed_forward(store, degradation, method=method)
    else:
        weights = released_for(store, degradation, method=method, experiment=name)
        if steps == 0:
            log.warning("%s is meta-learned, and gives poor pictures without updates: take some steps", weights.label)
    trained = trained_scales(weights.card)
    if warn and trained and not min(trained) <= degradation.scale <= max(trained):
        log.warning(
            "%s was trained for scale %s and is used for %g: expect less than its scores", weights.label,
            " to ".join(f"{s:g}" for s in sorted({min(trained), max(trained)})), degradation.scale,
        )  # fmt: skip
    return weights


def resolve(source: str, *, folder: Path) -> Weights:
    """Weights by what a user writes: a file, a run folder, ``released/<name>``, or ``hf://USER/REPO``.

    Raises:
        WeightsError: if it is none of these.
    """
    if source.startswith("released/"):
        return from_release(folder, source.removeprefix("released/"))
    if is_hub(source):
        return from_hub(source)
    path = Path(source).expanduser()
    if path.is_dir():
        return from_run(path)
    return from_file(path)
