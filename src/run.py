"""Run an experiment: ``python src/run.py +experiment=mzsr_x2`` (``--help`` tells more)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

sys.path.insert(0, str(Path(__file__).resolve().parent))

from metasr.config.command_line import check_choices, further_folders, status_of, sweep_as_run
from metasr.config.help import text, wants_help
from metasr.config.schema import register
from metasr.config.show import config_text, wants_config
from metasr.errors import MetasrError
from metasr.paths import conf_folder
from metasr.runs.folder import register_resolvers

register()
register_resolvers()


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
def main(cfg: DictConfig) -> float | None:
    """Compose, then hand over; what a search maximises comes back."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    folder = Path(HydraConfig.get().runtime.output_dir)
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
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped; the same command with run=last goes on", file=sys.stderr)
        sys.exit(130)


def run() -> int:
    """Everything from the command line to the exit status: errors that a user can mend come without a traceback."""
    if wants_help(sys.argv[1:]):
        print(text(conf_folder(), *further_folders(sys.argv[1:])))
        return 0
    # Hydra would print errors, mostly with a traceback, and exit; so it hands them on.
    shown_whole = os.environ.setdefault("HYDRA_FULL_ERROR", "0") != "0"
    os.environ["HYDRA_FULL_ERROR"] = "1"

    def work() -> None:
        sys.argv[1:] = sweep_as_run(sys.argv[1:])
        check_choices(sys.argv[1:], conf_folder())
        if wants_config(sys.argv[1:]):
            print(config_text(sys.argv[1:], conf_folder()), end="")
        else:
            main()

    return status_of(work, whole=shown_whole)


if __name__ == "__main__":
    sys.exit(run())
