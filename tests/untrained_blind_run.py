"""Run folders of MRDA and its controls as their stages leave them, with weights that nothing was trained for."""

from pathlib import Path

from omegaconf import OmegaConf
from safetensors.torch import save_file

from metasr.config import build
from metasr.runs.card import CARD_NAME, WEIGHTS_NAME, write_card
from running import compose

SMALL = ("profile=smoke", "logger=none")


def untrained_run(folder: Path, *choices: str, experiment: str = "mrda_x4_iso") -> Path:
    """Every stage's folder with a card and the weights that its recipe begins with."""
    cfg = compose(f"+experiment={experiment}", *SMALL, *choices)
    config = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    for number, stage in enumerate(cfg.stages_to_run or cfg.stages, start=1):
        place = folder / f"{number:02d}_{stage}"
        place.mkdir(parents=True)
        save_file(build.recipe(cfg, stage).export(), place / WEIGHTS_NAME)
        write_card(place, {"stage": stage, "status": "finished", "config": config})
    assert (folder / f"01_{stage}" / CARD_NAME).is_file() or number > 1
    return folder
