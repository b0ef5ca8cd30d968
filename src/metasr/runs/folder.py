"""Names of run folders, and the resolvers by which the configs ask for them. Light to import."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shlex
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, flag_override

from metasr.errors import StageError
from metasr.io.files import require_permission
from metasr.paths import outputs_folder, program

log = logging.getLogger(__name__)

_sweep = ("", "")  # folder, and keys of what is varied, of the sweep that this process has begun
_STAMP = "%Y-%m-%d_%H-%M-%S-%f"


def stamp() -> str:
    """The time to the microsecond, as a folder name: two runs never share one."""
    return datetime.now().strftime(_STAMP)


def _newest_stamp(base: Path) -> str:
    """The time as a folder name that comes after those of all earlier runs, even where the clock was set back."""
    earlier = [datetime.strptime(path.name, _STAMP) for path in run_folders(base)[-1:]]
    return max([datetime.now(), *(time + timedelta(microseconds=1) for time in earlier)]).strftime(_STAMP)


def is_stamp(name: str) -> bool:
    """Whether a folder's name is one that ``stamp`` made."""
    try:
        datetime.strptime(name, _STAMP)
    except ValueError:
        return False
    return True


def link_latest(folder: Path) -> None:
    """Point ``latest`` beside a folder at it; file systems without links do without, and other files are left alone."""
    link = folder.parent / "latest"
    if link.exists() and not link.is_symlink():
        return
    temporary = folder.parent / f".latest.{os.getpid()}"
    try:
        temporary.symlink_to(folder.name, target_is_directory=True)
        os.replace(temporary, link)
    except OSError as error:
        log.debug("no link %s: %s", link, error)


def run_folders(experiment: Path) -> list[Path]:
    """The runs of an experiment's folder in which a stage was begun, oldest first.

    Hydra makes a folder before anything is checked, so that a mistyped command leaves one without any stage.
    """
    if not experiment.is_dir():
        return []
    stamped = (p for p in experiment.iterdir() if p.is_dir() and is_stamp(p.name) and not p.is_symlink())
    return sorted(p for p in stamped if any(p.glob("*/card.json")))


def run_folder(run: str | None, name: str | None, task: str, outputs: str) -> str:
    """The folder a job writes to.

    Args:
        run: ``last`` (the newest run of the experiment, or a new one if there is none), a folder, or none for a new
            one.
        name: the experiment.
        task: jobs other than ``run`` get folders of their own, below the task's name; all reports share one.
        outputs: the project's folder of outputs.

    Raises:
        StageError: if ``run`` is a file.
        OutputError: if the folder cannot be made or written.
    """
    base = Path(outputs) / (name or "unnamed")
    if task == "report":
        folder = Path(outputs) / "reports"
    elif task != "run":
        folder = base / task / stamp()
    elif run is None:
        folder = base / _newest_stamp(base)
    elif run == "last":
        earlier = run_folders(base)
        folder = earlier[-1] if earlier else base / stamp()
    else:
        folder = Path(run).expanduser().absolute()
        if folder.exists() and not folder.is_dir():
            raise StageError(f"run={run} is a file; give a folder, 'last', or leave it out for a new run")
    require_permission(folder, instead="set METASR_OUTPUTS, or run=FOLDER, elsewhere")
    return str(folder)


def sweep_folder(overrides: Sequence[str], name: str | None, sweep: str | None, outputs: str) -> str:
    """The folder of a sweep: the same for the same choices, so that a rerun finds what is finished.

    What is swept does not count: a sweep over seeds 1 to 3 goes on where one over 1 and 2 ended.

    Args:
        overrides: the sweep's choices as typed.
        name: the experiment.
        sweep: name of the sweep's config, if it has one.
        outputs: the project's folder of outputs.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    fixed = sorted(str(p.input_line) for p in parsed if not p.is_sweep_override())
    digest = hashlib.sha256("\n".join(fixed).encode()).hexdigest()[:8]
    return str(Path(outputs) / (name or "unnamed") / "sweeps" / f"{sweep or 'sweep'}-{digest}")


def begin_sweep(config: DictConfig) -> None:
    """Settle a sweep's folder and what it varies, from its whole config, before Hydra asks for them.

    What the sweep's configuration varies is put behind what was typed: hydra would put it in front, where an experiment
    wins over the ablations that are to change it. What was typed of the same key wins.
    """
    global _sweep
    typed = as_typed(config.hydra.overrides.task)
    folder = sweep_folder(typed, config.name, config.sweep_name, config.paths.outputs)
    params = config.hydra.sweeper.get("params") or {}
    if config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        keys_typed = {choice.lstrip("+~").partition("=")[0] for choice in typed}
        added = [f"{key}={value}" for key, value in params.items() if key.lstrip("+~") not in keys_typed]
        with flag_override(config, ["readonly", "struct"], False):
            config.hydra.overrides.task = [*typed, *added]
            config.hydra.sweeper.params = None
        typed, params = [*typed, *added], {}
    _sweep = (folder, swept_keys(typed, list(params)))


def swept_keys(overrides: Sequence[str], params: Sequence[str] = ()) -> str:
    """What a sweep varies, as its choices' keys with commas between.

    Args:
        overrides: the sweep's choices.
        params: keys that a sweeper varies beside them.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    keys = [p.get_key_element().lstrip("+") for p in parsed if p.is_sweep_override()]
    return ",".join(sorted({*keys, *(key.lstrip("+") for key in params)}))


def job_folder(overrides: Sequence[str], swept: str) -> str:
    """The name of a job's folder in its sweep: its values of what is swept, in short, and a hash of all its choices."""
    words = []
    for choice in overrides:
        key, _, value = choice.lstrip("+~").partition("=")
        if key in swept.split(","):
            words.append(f"{re.split(r'[./@]', key)[-1]}_{value}")
    digest = hashlib.sha256("\n".join(sorted(overrides)).encode()).hexdigest()[:8]
    return "-".join(filter(None, (re.sub(r"[^0-9A-Za-z_.-]+", "_", "-".join(words))[:80], digest)))


def command(name: str | None, run: str | Path, *, without: Sequence[str] = ()) -> str:
    """What to type to go on with a run: the present command line's choices, or outside of one the experiment alone.

    Args:
        name: the experiment.
        run: the run folder.
        without: keys of choices to leave out.
    """
    kept = [choice for choice in typed_choices(name) if key_of(choice) not in ("run", *without)]
    return f"{program()} {shlex.join([*_own_folders(), *kept, f'run={quoted(str(run))}'])}"


def evaluate_command(name: str | None, run: str | Path) -> str:
    """What to type to measure a run's weights on a test set of one's own, with the choices that made them."""
    training = (
        "run", "stages_to_run", "init", "max_minutes", "task",
        "testset", "testset_root", "max_images", "table", "overwrite",
    )  # fmt: skip
    kept = [c for c in typed_choices(name) if key_of(c) not in (*training, "profile", "logger", "data", "trainer")]
    these = shlex.join([*_own_folders(), *kept, "task=evaluate", f"weights={quoted(str(run))}"])
    return f"{program()} {these} testset=set5 testset_root=FOLDER"


def typed_choices(name: str | None) -> list[str]:
    """The present command line's choices, or outside of one the experiment alone."""
    from hydra.core.hydra_config import HydraConfig

    return as_typed(HydraConfig.get().overrides.task) if HydraConfig.initialized() else [f"+experiment={name}"]


def as_typed(choices: Sequence[str]) -> list[str]:
    """Hydra's record of a command line, with ``${...}`` in it left open: each job of a sweep has a value of its own."""
    plain = OmegaConf.to_container(choices, resolve=False) if OmegaConf.is_config(choices) else choices
    assert isinstance(plain, Sequence)
    return [str(choice) for choice in plain]


def _own_folders() -> list[str]:
    """What names the user's own folders of configs on the present command line; options come before choices."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return []
    typed = HydraConfig.get()
    config_folders = [source.path for source in typed.runtime.config_sources if source.provider == "command-line"]
    searched = [choice for choice in typed.overrides.hydra if choice.startswith("hydra.searchpath=")]
    return [*(word for path in config_folders for word in ("--config-dir", path)), *searched]


def key_of(choice: str) -> str:
    """The first part of a choice's key: ``solver`` of ``+solver.tile=3``."""
    return re.split(r"[.=@]", choice.lstrip("+~"))[0]


def quoted(value: str) -> str:
    """A text as hydra's grammar of overrides takes it: as it is where it may be, else in quotation marks."""
    if re.fullmatch(r"[\w/.+@%*?:-]+", value, re.ASCII):
        return value
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)  # backslashes count before a quotation mark only
    tail = re.search(r"\\*$", escaped)
    return f"'{escaped}{tail.group() if tail else ''}'"


def register_resolvers() -> None:
    """Make ``${metasr.run_folder:...}``, ``${metasr.outputs:}`` and the like known to omegaconf."""

    def folder(run: str | None, name: str | None, task: object, outputs: str) -> str:
        return run_folder(run, name, getattr(task, "name", str(task)), outputs)

    # Cached: processes that train together are told the folder by asking again.
    OmegaConf.register_new_resolver("metasr.run_folder", folder, replace=True, use_cache=True)

    # Cached: a job, whose choices are no sweep any more, gets what the sweep as a whole was given.
    OmegaConf.register_new_resolver("metasr.sweep_folder", lambda: _sweep[0], replace=True, use_cache=True)
    OmegaConf.register_new_resolver("metasr.swept", lambda: _sweep[1], replace=True, use_cache=True)
    OmegaConf.register_new_resolver("metasr.job_folder", job_folder, replace=True)
    OmegaConf.register_new_resolver("metasr.outputs", lambda: str(outputs_folder()), replace=True)
    OmegaConf.register_new_resolver("metasr.times", lambda a, b: a * b, replace=True)
    OmegaConf.register_new_resolver("metasr.plus", lambda a, b: a + b, replace=True)
    OmegaConf.register_new_resolver("metasr.enlarged", lambda pixels, scale: int(pixels * scale), replace=True)
    OmegaConf.register_new_resolver(
        "metasr.at_scale", lambda scale, at, given, otherwise: given if scale == at else otherwise, replace=True
    )
    OmegaConf.register_new_resolver("metasr.pair_channels", lambda scale: 3 + 3 * int(scale) ** 2, replace=True)
