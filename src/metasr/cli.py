"""The console command: ``metasr upscale PATH``. Paths are taken as they are, whatever signs they contain."""

from __future__ import annotations

import argparse
import io
import logging
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metasr import __version__
from metasr.errors import InputError, MetasrError, WeightsError, nearest
from metasr.project import conf_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from metasr.experiment.upscale import Upscaled

_OF_EXPERIMENTS = ("metric_constrained",)
"""Solvers that need more of a network than the one here has."""

_EXAMPLES = """examples:
  metasr upscale photo.jpg                             bicubically shrunk photo, to photo_x2.png beside it
  metasr upscale photo.jpg -o large.png -k g2.0d       blurred by a Gaussian of variance 2.0, every second pixel kept
  metasr upscale photo.jpg -k kernel.mat --steps 20    a kernel of your own (.mat, .npy, .png)
  metasr upscale scans/ -o enlarged/ --son-noise 5     a folder of noisy images
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="metasr", description="Super-resolution that adapts to the image in front of it."
    )
    top.add_argument("--version", action="version", version=f"metasr {__version__}")
    commands = top.add_subparsers(dest="command", required=True)
    up = commands.add_parser(
        "upscale",
        help="enlarge a photo, or a folder of photos",
        description="Enlarge a photo, or each photo of a folder, by a network that first adapts to it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    up.add_argument("path", metavar="PATH", help="an image file, or a folder of them")
    up.add_argument("-o", "--output", metavar="PATH", help="file or folder to write (default: NAME_x2.png beside it)")
    up.add_argument(
        "-k", "--kernel", default="bicubic", metavar="NAME|FILE",
        help="how the photo came to be small: bicubic (default), g2.0d, iso_1.5_b, aniso_4_1_0.5_d, or a kernel file",
    )  # fmt: skip
    up.add_argument("-s", "--scale", type=float, default=2.0, help="factor of enlargement (default: 2)")
    up.add_argument("-n", "--steps", type=int, help="gradient steps on the photo (default: 10; 0 for none)")
    up.add_argument(
        "--solver", default="adapt", type=_solver, metavar=f"{{{','.join(_solvers())}}}", help="how (default: adapt)",
    )  # fmt: skip
    up.add_argument("-w", "--weights", help="released (default), a file, or a run folder")
    up.add_argument("--rates", choices=("learned", "published"), help="step sizes (default: learned)")
    up.add_argument("--son-noise", type=float, metavar="STD", help="for noisy photos, 0-255 scale (default: 0)")
    up.add_argument("--back-projection", type=int, metavar="N", help="rounds of back-projection (default: 0)")
    up.add_argument("--ensemble", action="store_true", default=None, help="average over turns and flips (slower)")
    up.add_argument("--tile", type=int, help="side of the parts worked on, which bounds memory (default: 256)")
    up.add_argument("--side-by-side", action="store_true", help="also write a picture beside plain bicubic enlargement")
    up.add_argument("--overwrite", action="store_true", help="replace an existing output (never the input)")
    up.add_argument("--device", default="auto", help="auto (default), cpu, cuda")
    up.add_argument("--seed", type=int, default=1, help="of the random draws (default: 1)")
    return top


def _solvers() -> list[str]:
    return sorted({path.stem for path in (conf_folder() / "solver").glob("*.yaml")} - {*_OF_EXPERIMENTS})


def _solver(name: str) -> str:
    """A solver's name, for argparse."""
    if name in _OF_EXPERIMENTS:
        raise argparse.ArgumentTypeError(
            f"{name} is for the networks of an experiment, with which it comes: python src/run.py "
            "+experiment=maml_sr_x2 task=upscale weights=RUN_FOLDER input=PATH"
        )
    if name not in _solvers():
        raise argparse.ArgumentTypeError(f"no solver {name!r}: {nearest(name, _solvers())}")
    return name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; errors that a user can mend come as one line, with exit status 2."""
    options = parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot show must not stop anything
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        for result in _upscale(options):
            print(result, flush=True)
    except MetasrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def _upscale(options: argparse.Namespace) -> Iterator[Upscaled]:
    if not Path(options.path).exists():
        raise InputError(f"no file or folder {options.path}; give an existing image or a folder of images")
    from hydra import compose, initialize_config_dir
    from omegaconf import open_dict

    from metasr.experiment.run_folder import register_resolvers
    from metasr.experiment.schema import register
    from metasr.experiment.upscale import upscale

    register()
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("config", overrides=["task=upscale", f"solver={options.solver}", "logger=none"])
    # Set on the composed config, past hydra's grammar of overrides: any path is fine.
    with open_dict(cfg):
        for key in ("output", "kernel", "weights", "device"):
            cfg[key] = _verbatim(getattr(options, key))
        cfg.input, cfg.scale, cfg.seed = _verbatim(options.path), options.scale, options.seed
        cfg.side_by_side, cfg.overwrite = options.side_by_side, options.overwrite
        cfg.adapt_steps = options.steps
        for key in ("steps", "rates", "son_noise", "back_projection", "ensemble", "tile"):
            value = getattr(options, key)
            if value is None:  # not given: the solver's own
                continue
            if key not in cfg.solver:
                raise InputError(f"--{key.replace('_', '-')} is no option of --solver {options.solver}; leave it out")
            if key != "steps":
                cfg.solver[key] = value
    if cfg.solver.needs_network:
        _require_mzsr(cfg)
    yield from upscale(cfg)


def _require_mzsr(cfg: DictConfig) -> None:
    """Require weights of the method whose network and solver are the ones here.

    Raises:
        WeightsError: naming the command that takes them.
    """
    from metasr.experiment import build
    from metasr.experiment.run_folder import interpreter, quoted
    from metasr.experiment.weights import resolve
    from metasr.project import weights_folder

    if cfg.weights in (None, "released"):
        return
    source, card = str(cfg.weights), {}
    if source == "last":
        told = "--weights last is an experiment's last run; to name the experiment"
    else:
        found = resolve(source, folder=weights_folder())
        card = found.card
        method = card.get("method") or card.get("config", {}).get("method", "mzsr")
        if method == "mzsr":
            try:
                found.load_into(build.model(build.as_trained(cfg, found)))
                return
            except WeightsError as error:
                told = f"{error}; to name an experiment or a model"
        else:
            told = f"{source} holds weights of {method}; for its experiment's network and solver"
    config = card.get("config", {})
    profile = config.get("profile_name", "quick")
    choices = [
        f"+experiment={card.get('experiment') or config.get('name') or 'NAME'}",
        *([] if profile == "quick" else [f"profile={profile}"]),
        *["task=upscale", f"weights={quoted(source)}", f"input={quoted(str(cfg.input))}"],
        *([] if cfg.output is None else [f"output={quoted(str(cfg.output))}"]),
        *([] if cfg.kernel == "bicubic" else [f"kernel={quoted(cfg.kernel)}"]),
    ]
    raise WeightsError(f"{told}: {interpreter()} {shlex.join(['src/run.py', *choices])}")


def _verbatim(text: str | None) -> str | None:
    """A text as omegaconf reads it back unchanged: ``${`` is escaped, and backslashes before it doubled."""
    if text == "???":  # omegaconf's word for a missing value
        return "./???"
    return text if text is None else re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


if __name__ == "__main__":
    sys.exit(main())
