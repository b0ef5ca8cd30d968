"""The program that hydra composes a config for: ``metasr run``, ``sweep``, ``evaluate`` and ``report``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from metasr.config.command_line import check_choices, further_folders, options_first, plain, status_of, sweep_as_run
from metasr.config.help import text, wants_help
from metasr.config.schema import register
from metasr.config.show import config_text, wants_config
from metasr.errors import MetasrError
from metasr.paths import conf_folder, program
from metasr.report.benchmarks import SUFFIXES
from metasr.runs.folder import quoted, register_resolvers

_shown_whole = False  # whether errors of hydra's are to come with their traceback

register()  # here, so that processes which a launcher starts have them too
register_resolvers()


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
def compose_and_execute(cfg: DictConfig) -> float | None:
    """Do the job of a composed config; what a search maximises comes back."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    folder = Path(HydraConfig.get().runtime.output_dir)
    os.chdir(HydraConfig.get().runtime.cwd)  # paths are meant as they were typed, whatever hydra.job.chdir
    try:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            from metasr.jobs.sweep import run_job

            return run_job(cfg, folder)
        else:
            from metasr.jobs.run import execute

            return execute(cfg, folder)
    except MetasrError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except (HydraException, OmegaConfBaseException) as error:  # hydra would put a line of its own before it
        if _shown_whole:
            raise
        print(f"error: {plain(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped; the same command with run=last goes on", file=sys.stderr)
        sys.exit(130)


def run_program(choices: Sequence[str]) -> int:
    """Run the program, and give its exit status; errors that a user can mend come without a traceback.

    Args:
        choices: what hydra is to take for the command line. It is left in ``sys.argv``, from where the processes of a
            training on several devices are started.
    """
    if wants_help(choices):
        _show(text(conf_folder(), *further_folders(choices)).replace("python src/run.py", program()) + "\n")
        return 0
    # Hydra would print errors, mostly with a traceback, and exit; so it hands them on.
    global _shown_whole
    shown_whole = _shown_whole = os.environ.setdefault("HYDRA_FULL_ERROR", "0") != "0"
    os.environ["HYDRA_FULL_ERROR"] = "1"

    def work() -> None:
        sys.argv[1:] = options_first(sweep_as_run(choices))
        check_choices(sys.argv[1:], conf_folder())
        if wants_config(sys.argv[1:]):
            _show(config_text(sys.argv[1:], conf_folder()))
        else:
            compose_and_execute()

    return status_of(work, whole=shown_whole)


def _show(answer: str) -> None:
    """Print a text of many lines, of which a reader such as ``head`` may take the first few."""
    try:
        sys.stdout.write(answer)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def with_runs(choices: Sequence[str]) -> list[str]:
    """A report's choices: what was typed by itself as ``runs=[FOLDER,...]``, files as ``benchmarks=[FILE,...]``."""
    typed = [choice for choice in choices if "=" not in choice and not choice.startswith("-")]
    others = [choice for choice in choices if choice not in typed]
    files = [choice for choice in typed if Path(choice).suffix.lower() in SUFFIXES and not Path(choice).is_dir()]
    lists = {"runs": [choice for choice in typed if choice not in files], "benchmarks": files}
    return [*others, *(f"{key}=[{','.join(map(quoted, some))}]" for key, some in lists.items() if some)]
