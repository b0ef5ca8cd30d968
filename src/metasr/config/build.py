"""From config to objects. Every call of hydra's ``instantiate`` is here.

Lightning and torchmetrics are imported where they are used: upscaling a photo needs neither, and they take two seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, flag_override
from torch import nn

from metasr.checks import check_seed
from metasr.data.catalog import ImageSet, image_set
from metasr.data.hf_dataset import HFDataset, laid_down
from metasr.data.pairs import with_lr
from metasr.errors import InputError, MetasrError, nearest
from metasr.meta.rates import FixedRates, Rates, rates_from_state
from metasr.models.kernel_regressor import KernelRegressor
from metasr.models.spandrel_network import SpandrelNetwork
from metasr.paths import weights_folder
from metasr.runs.architecture import is_known, make_network, make_recipe, network_choices
from metasr.runs.other_programs import load
from metasr.runs.weights import Weights, released, resolve
from metasr.solvers.auto.solver import Method
from metasr.solvers.base import Solver
from metasr.solvers.blind.base import Estimator, blind
from metasr.solvers.network import NetworkSolver
from metasr.solvers.oracle import ORACLE, OracleMaker
from metasr.solvers.tiles import check_tiling
from metasr.training.loggers import Logging, WandbOptions

if TYPE_CHECKING:
    from metasr.data.datamodule import PatchData
    from metasr.metrics.protocol import LumaProtocol
    from metasr.recipes.base import Recipe

log = getLogger(__name__)

HF_DATASET = "hf_dataset"
"""The data set that is no set of the catalog: ``data.path`` says where it lies."""

_OWN_MODEL = (
    "for a network of your own write model=own model._target_=package.Class, and its arguments as +model.NAME=VALUE"
)


def _instantiate(config: Any, /, **kwargs: Any) -> Any:
    """Hydra's instantiate, with our own errors coming through as they are.

    Objects made elsewhere are handed over after hydra is done, so that it neither copies nor converts them.
    """
    try:
        if kwargs:
            return instantiate(config, _convert_="all", _partial_=True)(**kwargs)
        return instantiate(config, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, MetasrError):
            raise error.__cause__ from error
        raise


def model(cfg: DictConfig) -> nn.Module:
    """The network, freshly initialised from the run's seed."""
    if OmegaConf.is_missing(cfg.model, "_target_"):
        raise InputError(f"model=own needs a class: {_OWN_MODEL}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(check_seed(cfg.seed))
        try:
            network = _instantiate(cfg.model)
        except InstantiationException as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise InputError(f"model._target_={cfg.model._target_} cannot be made: {reason}; {_OWN_MODEL}") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"model._target_ must make a torch.nn.Module, got {type(network).__name__}")
    return network


def recipe(cfg: DictConfig, stage: str) -> Recipe:
    """A stage's recipe with a fresh network, initialised from the run's seed."""
    from metasr.recipes.base import Recipe

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(check_seed(cfg.seed))
        recipe = _instantiate(cfg.stages[stage].recipe)
    if not isinstance(recipe, Recipe):
        raise InputError(f"stages.{stage}.recipe must make a metasr Recipe, got {type(recipe).__name__}")
    recipe.require_rates()
    return recipe


def images(cfg: DictConfig, split: Any) -> ImageSet:
    """Training or validation images of the run."""
    data, name, root = cfg.data, cfg.data.name, cfg.data.root
    if name == HF_DATASET:
        name, root = "image_folder", _laid_down(cfg)
    elif data.path is not None:
        raise InputError(
            f"data.path={data.path} is of data=hf_dataset, got data={name}; a folder is given as data.root"
        )
    images = image_set(name, split=split, root=root, download=data.download, val_fraction=data.val_fraction)
    images = images.subset(data.max_images)
    return with_lr(images, data.lr_root) if data.lr_root and split == "train" else images


def _laid_down(cfg: DictConfig) -> Path:
    """The folder of a Hugging Face dataset's images."""
    data = cfg.data
    if data.path is None:
        raise InputError(
            "data=hf_dataset needs to know which: data.path=USER/NAME of the hub, a .parquet file or a folder of such"
        )
    if data.root is not None:
        raise InputError(f"data.root={data.root}: data=hf_dataset takes data.path=..., a folder is data=image_folder")
    chosen = {key: data[key] for key in ("path", "column", "subset", "split", "max_images")}
    return laid_down(HFDataset(**chosen), Path(cfg.paths.outputs) / "datasets")


def sampler(cfg: DictConfig, stage: str) -> Any:
    """What draws a stage's batches."""
    return _instantiate(cfg.stages[stage].sampler)


def as_trained(cfg: DictConfig, weights: Weights) -> DictConfig:
    """A config with the network that weights were trained as, where their card tells one of this package's.

    Options that change no tensor's shape would otherwise make another network of them without a word.
    """
    architecture = weights.architecture
    if not architecture or not (
        is_known(architecture) or is_known(cfg.model)
    ):  # the latter is what the user typed, not the card
        return cfg
    trained = network_choices(architecture, origin=f"the card of {weights.origin}", state=weights.network)
    present = OmegaConf.to_container(cfg.model, resolve=True, throw_on_missing=False)
    assert isinstance(present, dict)
    differing = sorted(k for k in {*trained, *present} if trained.get(k) != present.get(k) and k != "last_gain")
    if not differing:
        return cfg
    log.info("%s is run as its card tells: %s", weights.label, ", ".join(f"{k}={trained.get(k)}" for k in differing))
    changed = cfg.copy()
    with flag_override(changed, ["readonly", "struct"], False):
        changed.model = trained
    return changed


def stage_data(cfg: DictConfig, stage: str) -> PatchData:
    """A stage's batches."""
    from metasr.data.datamodule import PatchData

    part = cfg.stages[stage]
    return PatchData(
        images(cfg, "train"),
        sampler=sampler(cfg, stage),
        patch_size=part.patch_size,
        steps=part.steps,
        seed=cfg.seed,
        stage=stage,
        unreadable=cfg.data.unreadable,
        too_small=cfg.data.too_small,
        memory_gb=cfg.data.memory_gb,
    )


def accelerator(cfg: DictConfig) -> dict[str, Any]:
    """Lightning's ``accelerator`` and ``devices`` from ``device``, as far as the trainer's own are as configured.

    Lightning's own ``auto`` is not asked: it takes Apple's MPS, which has no float64.

    Raises:
        InputError: for a device that is not there, or that nothing can be trained on.
    """
    if cfg.trainer.accelerator != "auto":
        return {}
    chosen = device(cfg.device)
    if chosen.type not in ("cuda", "cpu"):
        raise InputError(f"device {cfg.device!r} cannot be trained on; use device=auto, cuda or cpu")
    settings: dict[str, Any] = {"accelerator": "gpu" if chosen.type == "cuda" else "cpu"}
    if chosen.type == "cuda" and chosen.index is not None and cfg.trainer.devices == 1:
        settings["devices"] = [chosen.index]
    return settings


def logging(cfg: DictConfig) -> Logging:
    """Where an experiment's metrics go."""
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True, enum_to_str=True))
    return Logging(
        cfg.name, cfg.logger.csv, wandb_options(cfg), config, tensorboard=bool(cfg.logger.get("tensorboard", False))
    )


def wandb_options(cfg: DictConfig) -> WandbOptions | None:
    """What goes to Weights & Biases; none for nothing.

    Raises:
        InputError: for an option that there is not.
    """
    if cfg.logger.wandb is None:
        return None
    options = cast(dict[str, Any], OmegaConf.to_container(cfg.logger.wandb, resolve=True))
    known = {f.name for f in fields(WandbOptions)}
    for name in options:
        if name not in known:
            raise InputError(f"no key logger.wandb.{name}: {nearest(name, known)}")
    return WandbOptions(**options)


def protocol(cfg: DictConfig) -> LumaProtocol:
    """How numbers are made."""
    return _instantiate(cfg.evaluation.protocol)


def device(name: str) -> torch.device:
    """A device by name; ``auto`` takes a GPU if there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(name)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} is not available: {error}; use device=auto or device=cpu") from error
    return chosen


def solver(
    cfg: DictConfig, *, weights: Weights | None, steps: int | None = None, node: DictConfig | None = None
) -> Solver:
    """A configured solver with some weights.

    Args:
        cfg: the run's config.
        weights: what its network is loaded from; none for solvers without one.
        steps: gradient steps for solvers that take them, instead of the configured number.
        node: the solver's node; ``cfg.solver`` by default.
    """
    if weights is not None:
        cfg = as_trained(cfg, weights)
    choices = OmegaConf.to_container(cfg.solver if node is None else node, resolve=True)
    assert isinstance(choices, dict)
    name = choices.pop("name")
    choices.pop("snapshots", None)  # what tables show of it
    if "stage" in choices:
        raise InputError(
            f"solver {name} looks at the HR image, so it can only stand beside one: compare_with.oracle={name}"
        )
    kind = choices.pop("rates", None)
    is_blind = choices.pop("blind", False)
    extra: dict[str, Any] = {}
    if "methods" in choices:
        extra = {"methods": methods(cfg, cast(dict[str, Any], choices)), "estimator": estimator(cfg)}
    if choices.pop("needs_network", False):
        network = model(cfg)
        if weights is not None:
            network = load(network, weights, replaceable=is_known(cfg.model))
        if isinstance(network, SpandrelNetwork):
            if "enlarge_first" not in choices:
                raise InputError(
                    f"solver {name} does not run networks such as {network.architecture}, of which {cfg.weights} is; "
                    "take solver=network"
                )
            choices["enlarge_first"] = False
        extra["network"] = network.to(device(cfg.device)).eval()
    if kind is not None:
        updates = choices.get("steps") if steps is None else steps
        chosen = _rates(kind, weights if updates != 0 else None)  # without updates nobody asks for them
        extra["rates"] = None if chosen is None else chosen.to(device(cfg.device))
    if steps is not None:
        extra["steps"] = steps
    instance = _instantiate(choices, **extra)
    if not isinstance(instance, Solver):
        raise InputError(f"solver._target_ must make a metasr Solver, got {type(instance).__name__}")
    return blind(instance, estimator(cfg)) if is_blind else instance


def methods(cfg: DictConfig, choices: dict[str, Any]) -> list[Method]:
    """The networks of ``choices`` (taken out of them) that are there; released ones may not be."""
    tiling = {key: choices.pop(key) for key in ("tile", "ensemble")}
    check_tiling(tiling["tile"])
    there = {f"released/{name}" for name in released(weights_folder())}
    found = []
    for node in choices.pop("methods").values():
        source = str(node["weights"])
        if source.startswith("released/") and source not in there:
            log.info("no weights %s: the choice is among the others", source)
            continue
        found.append(Method(node["name"], source, float(node["scale"]), partial(_method, cfg, node, tiling)))
    return found


def _method(cfg: DictConfig, node: dict[str, Any], tiling: dict[str, Any]) -> Solver:
    weights = resolve(str(node["weights"]), folder=weights_folder())
    return NetworkSolver(_loaded(cfg, weights, node["network"]), enlarge_first=node["enlarge_first"], **tiling)


def _loaded(cfg: DictConfig, weights: Weights, node: Any, *, kind: type[nn.Module] = nn.Module) -> nn.Module:
    """A network with its weights: as their card tells it, else as configured."""
    if weights.architecture:
        origin = f"the card of {weights.origin}"
        network = make_network(weights.architecture, origin=origin, state=weights.network, kind=kind)
    else:
        network = _instantiate(node)
    return weights.load_into(network).to(device(cfg.device)).eval()


def estimator(cfg: DictConfig) -> Estimator:
    """What tells blur and noise from an LR image, with its own weights where it has any."""
    choices = OmegaConf.to_container(cfg.estimator, resolve=True)
    assert isinstance(choices, dict)
    extra: dict[str, Any] = {}
    source = choices.pop("weights", None)
    if source is not None:
        weights_found = resolve(source, folder=weights_folder())
        extra["network"] = _loaded(cfg, weights_found, choices.pop("network", None), kind=KernelRegressor)
        extra["scales"] = weights_found.card.get("scales") or [weights_found.card.get("scale", 2.0)]
    choices.pop("network", None)
    return cast(Estimator, _instantiate(choices, **extra))


def oracle(cfg: DictConfig, node: DictConfig, *, weights: Weights | None = None) -> OracleMaker:
    """A solver that looks at the HR image: the teacher of a stage.

    Args:
        cfg: the run's config.
        node: the solver's node; its ``stage`` names the stage.
        weights: of that stage; none for fresh ones. Where their card tells the recipe that made them, it is made again.

    Raises:
        InputError: if the stage is none of the experiment's or has no teacher, or the name hides what it is.
    """
    from metasr.recipes.teacher import Teacher

    choices = OmegaConf.to_container(node, resolve=True)
    assert isinstance(choices, dict)
    name, stage, _ = choices.pop("name"), choices.pop("stage"), choices.pop("needs_network", None)
    if not name.endswith(ORACLE):
        raise InputError(f"solver {name!r} looks at the HR image, so its name must end in {ORACLE!r}")
    if stage not in cfg.stages:
        raise InputError(f"solver {name} is to run stage {stage!r}: {nearest(stage, map(str, cfg.stages))}")
    trained = {} if weights is None else weights.card.get("config", {}).get("stages", {}).get(stage, {}).get("recipe")
    if weights is not None and trained and is_known(cfg.model):
        teacher: Any = make_recipe(trained, origin=f"the card of {weights.origin}", seed=cfg.seed)
    else:
        teacher = recipe(cfg, stage)
    if not isinstance(teacher, Teacher):
        raise InputError(f"solver {name} runs a teacher, but stage {stage!r} makes a {type(teacher).__name__}")
    if weights is not None:
        teacher.restore(weights.state, origin=f"{weights.label}, stage {stage}")
    oracle_solver = _instantiate(choices, network=teacher.oracle().to(device(cfg.device)).eval())
    if not isinstance(oracle_solver, OracleMaker):
        raise InputError(f"solver {name}: _target_ must make a metasr OracleMaker, got {type(oracle_solver).__name__}")
    return oracle_solver


def update_counts(value: Any) -> tuple[int, ...]:
    """Numbers of updates, sorted, from what ``adapt_steps`` was given: one number or a list of them.

    Raises:
        InputError: if it is neither.
    """
    counts = list(value) if isinstance(value, Sequence) else [value]
    if not counts or not all(isinstance(n, int) and n >= 0 for n in counts):
        raise InputError(f"adapt_steps must be a number of at least 0, or a list of them, got {value}")
    return tuple(sorted(set(counts)))


def _rates(kind: Any, weights: Weights | None) -> Rates | None:
    """Test-time rates: ``learned`` with the weights, ``published`` (the solver knows them), or a list of numbers."""
    if kind == "published":
        return None
    if isinstance(kind, list):
        return FixedRates(kind)
    if kind != "learned":
        raise InputError(f"solver.rates must be 'learned', 'published' or a list of numbers, got {kind!r}")
    learned = rates_from_state(weights.state) if weights is not None else None
    if learned is None and weights is not None:
        log.warning("%s has no learned rates: the solver's own are used", weights.label)
    return learned
