"""The console command: ``metasr upscale PATH``. Paths are taken as they are, whatever signs they contain."""

from __future__ import annotations

import argparse
import io
import logging
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metasr import __version__
from metasr.errors import InputError, MetasrError, WeightsError, nearest
from metasr.paths import conf_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from metasr.jobs.offset import Summary, Told
    from metasr.jobs.prepare import Prepared
    from metasr.jobs.upscale import Upscaled

_OF_EXPERIMENTS = {"metric_constrained": "maml_sr_x2", "blind_back_project": "kernel_regressor"}
"""Solvers that need more of a network than the one here has, and the experiment that makes it."""

_WITH_EXPERIMENT = ("unfolded",)
"""Solvers with a network and released weights of their own, which come with the experiment of the same name."""

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
        help="how the photo came to be small: bicubic (default), estimate (blur and noise, from each photo; estimate_d "
        "where every second pixel was kept), g2.0d, iso_1.5_b, aniso_4_1_0.5_d, or a kernel file",
    )  # fmt: skip
    up.add_argument("--estimator", choices=_choices("estimator"), help="of -k estimate (default: parametric)")
    up.add_argument(
        "--save-kernel", action="store_true",
        help="write the kernel of -k estimate, or of --solver ddsr, beside the output, as .npy",
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
    up.add_argument("--mask", metavar="FILE", help="what is seen of the photo, in white; for --solver ddsr")
    up.add_argument("--gain", type=float, help="known brightness of a dark photo, in (0, 1]; for --solver ddsr")
    up.add_argument("--budget-seconds", type=float, metavar="S", help="time for one photo; for --solver zssr and ddsr")
    up.add_argument("--side-by-side", action="store_true", help="also write a picture beside plain bicubic enlargement")
    up.add_argument("--overwrite", action="store_true", help="replace an existing output (never the input)")
    up.add_argument("--device", default="auto", help="auto (default), cpu, cuda")
    up.add_argument("--seed", type=int, default=1, help="of the random draws (default: 1)")
    _add_prepare(commands)
    _add_offset(commands)
    return top


def _add_prepare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    prep = commands.add_parser(
        "prepare",
        help="make LR images, kernels and a manifest of HR images",
        description="Degrade the images of a folder: LR images, their kernels, and a manifest of how they were made.",
    )
    prep.add_argument("path", metavar="HR_FOLDER", help="a folder of HR images, or one image")
    prep.add_argument("-o", "--output", metavar="FOLDER", required=True, help="folder to write")
    prep.add_argument(
        "-d", "--degradation", metavar="NAME", required=True,
        help="bicubic, g2.0d, sig_1.6_b_n10, disc_3_d, a kernel file, a set (gaussian8), or published draws (ddsr_x4)",
    )  # fmt: skip
    prep.add_argument("-s", "--scale", type=float, help="factor (default: 2, or the name's)")
    prep.add_argument("--shift", default="published", help="of ddsr_...: published (default, displaced), or centre")
    prep.add_argument("--hr", action="store_true", help="also write the HR images, cut to a multiple of the scale")
    prep.add_argument("--multiple", type=int, metavar="N", help="cut HR sides to multiples of N")
    prep.add_argument("--mask", default="none", help="cover a square: none (default), square, or published")
    prep.add_argument("--mask-side", type=int, default=40, metavar="N", help="its side in LR pixels (default: 40)")
    prep.add_argument("--gain", type=float, default=1.0, help="darken to this share of the brightness (default: 1)")
    prep.add_argument("--overwrite", action="store_true", help="replace existing outputs (never the input)")
    prep.add_argument("--seed", type=int, default=1, help="of the random draws (default: 1)")


def _add_offset(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    off = commands.add_parser(
        "offset",
        help="tell by how many pixels an LR image is displaced against its HR image",
        description="Tell how far LR images lie from bicubic alignment with their HR images, and how to undo it.",
    )
    off.add_argument("path", metavar="LR", help="an image file, or a folder of them")
    off.add_argument("reference", metavar="HR", help="its HR image, or a folder with the same names")
    off.add_argument(
        "-k", "--kernel", default="bicubic", metavar="NAME|FILE|FOLDER",
        help="degradation to try whether it explains the LR image (default: bicubic)",
    )  # fmt: skip
    off.add_argument("-s", "--scale", type=float, help="factor (default: told from the sizes)")


def _choices(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


def _solvers() -> list[str]:
    known = (name for name in _choices("solver") if name not in _OF_EXPERIMENTS)
    return [name for name in known if not name.endswith("oracle")]  # which look at the HR image


def _solver(name: str) -> str:
    """A solver's name, for argparse."""
    if name in _OF_EXPERIMENTS:
        raise argparse.ArgumentTypeError(
            f"{name} is for the networks of an experiment, with which it comes: python src/run.py "
            f"+experiment={_OF_EXPERIMENTS[name]} task=upscale weights=RUN_FOLDER input=PATH"
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
        for result in _COMMANDS[options.command](options):
            print(result, flush=True)
    except MetasrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def _compose(*choices: str) -> DictConfig:
    from hydra import compose, initialize_config_dir

    from metasr.config.schema import register
    from metasr.runs.folder import register_resolvers

    register()
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("config", overrides=[*choices, "logger=none"])


def _prepare(options: argparse.Namespace) -> Iterator[Prepared]:
    from metasr.jobs.prepare import prepare

    cfg = _compose("task=prepare")
    cfg.input, cfg.output, cfg.degradation = map(_verbatim, (options.path, options.output, options.degradation))
    cfg.seed, cfg.shift, cfg.overwrite = options.seed, options.shift, options.overwrite
    for key in ("hr", "multiple", "mask", "mask_side", "gain"):
        cfg.prepare[key] = getattr(options, key)
    yield from prepare(cfg, scale=options.scale)


def _offset(options: argparse.Namespace) -> Iterator[Told | Summary]:
    from metasr.jobs.offset import offsets

    cfg = _compose("task=offset")
    cfg.input, cfg.reference, cfg.kernel = map(_verbatim, (options.path, options.reference, options.kernel))
    yield from offsets(cfg, scale=options.scale)


def _upscale(options: argparse.Namespace) -> Iterator[Upscaled]:
    if not Path(options.path).exists():
        raise InputError(f"no file or folder {options.path}; give an existing image or a folder of images")
    from omegaconf import open_dict

    from metasr.jobs.upscale import upscale

    own = [f"+experiment={options.solver}"] if options.solver in _WITH_EXPERIMENT else [f"solver={options.solver}"]
    cfg = _compose("task=upscale", *own, f"estimator={options.estimator or 'parametric'}")
    # Set on the composed config, past hydra's grammar of overrides: any path is fine.
    with open_dict(cfg):
        for key in ("output", "kernel", "weights", "device"):
            cfg[key] = _verbatim(getattr(options, key))
        cfg.input, cfg.scale, cfg.seed = _verbatim(options.path), options.scale, options.seed
        cfg.side_by_side, cfg.overwrite = options.side_by_side, options.overwrite
        cfg.save_kernel = options.save_kernel
        cfg.adapt_steps = options.steps
        of_solver = ("rates", "son_noise", "back_projection", "ensemble", "tile", "mask", "gain", "budget_seconds")
        for key in ("steps", *of_solver):
            value = getattr(options, key)
            if value is None:  # not given: the solver's own
                continue
            if key not in cfg.solver:
                raise InputError(f"--{key.replace('_', '-')} is no option of --solver {options.solver}; leave it out")
            if key != "steps":
                cfg.solver[key] = _verbatim(value) if isinstance(value, str) else value
    if options.estimator is not None:
        _require_estimate(cfg, options.estimator)
    if cfg.solver.needs_network and options.solver not in _WITH_EXPERIMENT:
        _require_mzsr(cfg)
    yield from upscale(cfg)


def _require_estimate(cfg: DictConfig, estimator: str) -> None:
    """Require that a kernel is estimated, and not by the solver itself, where an estimator was chosen.

    Raises:
        InputError: telling which of the two to leave out.
    """
    from hydra.utils import get_class

    from metasr.jobs.estimate import is_estimated
    from metasr.solvers.blind.base import finds_kernel

    if finds_kernel(get_class(cfg.solver._target_)):
        raise InputError(f"--estimator {estimator}: {cfg.solver.name} finds the kernel itself; leave it out")
    if not is_estimated(cfg):
        raise InputError(f"--estimator {estimator} is for -k estimate, got -k {cfg.kernel}; leave one of them out")


def _require_mzsr(cfg: DictConfig) -> None:
    """Require weights of the method whose network and solver are the ones here.

    Raises:
        WeightsError: naming the command that takes them.
    """
    from metasr.config import build
    from metasr.paths import weights_folder
    from metasr.runs.folder import interpreter, quoted
    from metasr.runs.weights import resolve

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


_COMMANDS: dict[str, Callable[[argparse.Namespace], Iterator[object]]] = {
    "upscale": _upscale, "prepare": _prepare, "offset": _offset,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
