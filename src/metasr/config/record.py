"""What was chosen, written beside what came of it."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from metasr.io.files import write_text


def write_choices(cfg: DictConfig, folder: Path) -> None:
    """Write ``.hydra`` in a job's folder: the composed config, hydra's own part of it, and what was typed.

    Hydra itself would write before anything is checked, so that a refused command changed what stands beside older
    weights. Outside of hydra's programs nothing is written.
    """
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return
    write_text(folder / ".hydra" / "config.yaml", OmegaConf.to_yaml(cfg))
    write_text(folder / ".hydra" / "hydra.yaml", OmegaConf.to_yaml(HydraConfig.instance().cfg))
    write_text(folder / ".hydra" / "overrides.yaml", OmegaConf.to_yaml(HydraConfig.get().overrides.task))
