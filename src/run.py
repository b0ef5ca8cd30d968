"""Run an experiment: ``python src/run.py +experiment=mzsr_x2`` (``--help`` tells more)."""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

sys.path.insert(0, str(Path(__file__).resolve().parent))

from metasr.errors import MetasrError
from metasr.experiment.cli_checks import check_choices
from metasr.experiment.run_folder import register_resolvers
from metasr.experiment.schema import register
from metasr.project import conf_folder

register()
register_resolvers()


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
def main(cfg: DictConfig) -> None:
    """Compose, then hand over."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    try:
        from metasr.experiment.job import execute

        execute(cfg, Path(HydraConfig.get().runtime.output_dir))
    except MetasrError as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; go on with the same command and run=last", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    try:
        check_choices(sys.argv[1:], conf_folder())
    except MetasrError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    main()
