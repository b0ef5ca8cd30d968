"""The console command: ``metasr upscale PATH``, ``metasr run +experiment=NAME`` and the like. Light to import.

``upscale``, ``prepare`` and ``offset`` take paths as they are, whatever signs they contain; ``run``, ``sweep``,
``evaluate`` and ``report`` take hydra's choices, ``KEY=VALUE``.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from metasr import __version__
from metasr.config.console import add_export, add_import, add_push, factor
from metasr.config.help import solver_names
from metasr.errors import InputError, MetasrError
from metasr.paths import conf_folder
from metasr.text import make_output_encodable

_EXAMPLES = """examples:
  metasr upscale photo.jpg                             bicubically shrunk photo, to photo_x2.png beside it
  metasr upscale photo.jpg -o large.png -k g2.0d       blurred by a Gaussian of variance 2.0, every second pixel kept
  metasr upscale photo.jpg -k kernel.mat --steps 20    a kernel of your own (.mat, .npy, .png)
  metasr upscale scans/ -o enlarged/ --son-noise 5     a folder of noisy images
  metasr upscale *.jpg -o enlarged/ --skip-existing    several photos, going on where it was stopped
  metasr upscale *.jpg -o web/ --max-side 2000 --format webp --quality 85
  metasr upscale - < small.png > large.png             from standard input to standard output
"""

_OF_SOLVER = ("rates", "son_noise", "back_projection", "ensemble", "tile", "mask", "gain", "budget_seconds")

_PIPE = "-"

PROGRAMS = {
    "run": ("train an experiment and print its table", ()),
    "sweep": ("run an experiment several times, with varied choices", ("--multirun",)),
    "evaluate": ("measure weights on a test set", ("task=evaluate",)),
    "report": ("runs and sweeps side by side in one HTML file", ("task=report",)),
}
"""The commands that take hydra's choices: what each is for, and what it adds to them."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="metasr", description="Super-resolution that adapts to the image in front of it."
    )
    top.add_argument("--version", action="version", version=f"metasr {__version__}")
    commands = top.add_subparsers(dest="command", required=True)
    _add_upscale(commands)
    _add_prepare(commands)
    _add_offset(commands)
    add_import(commands)
    add_export(commands)
    add_push(commands)
    for name, (what, _) in PROGRAMS.items():
        commands.add_parser(name, help=f"{what}: metasr {name} [+experiment=NAME] [KEY=VALUE ...]", add_help=False)
    commands.add_parser("kernels", help="list the kernels that have names, for -k")
    commands.add_parser("weights", help="list the released weights, for -w")
    page = commands.add_parser("page", help="show a page in the browser, on this machine alone, to try all of it")
    page.add_argument("--port", type=int, default=7860, help="of 127.0.0.1 (default: 7860)")
    info = commands.add_parser("info", help="tell what upscale would do with a photo, and why")
    info.add_argument("path", metavar="FILE", help="an image file")
    _add_size(info)
    return top


def _add_upscale(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    up = commands.add_parser(
        "upscale",
        help="enlarge photos, or folders of them",
        description="Enlarge photos, or each photo of a folder, by a network that first adapts to it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    up.add_argument("paths", nargs="+", metavar="PATH", help="image files, folders of them, or - for standard input")
    up.add_argument(
        "-o", "--output", metavar="PATH",
        help="file or folder to write, or - for standard output (default: NAME_x2.png beside each photo)",
    )  # fmt: skip
    up.add_argument(
        "-k", "--kernel", metavar="NAME|FILE|FOLDER",
        help="how the photo came to be small: bicubic, estimate (blur and noise, from each photo; estimate_d "
        "where every second pixel was kept), g2.0d, iso_1.5_b, aniso_4_1_0.5_d, a kernel file, or a folder of kernels "
        "of the photos' names; `metasr kernels` lists more",
    )  # fmt: skip
    up.add_argument("--kernel-index", type=int, metavar="N", help="which kernel of a file of several, from 0")
    up.add_argument(
        "--flip-kernel", action="store_true",
        help="turn the kernel of a file by half a turn: it comes from a program that convolves (conv2)",
    )  # fmt: skip
    up.add_argument("--estimator", choices=_choices("estimator"), help="of -k estimate (default: parametric)")
    up.add_argument(
        "--save-kernel", action="store_true",
        help="write the kernel of -k estimate, or of --solver ddsr, beside the output, as .npy",
    )  # fmt: skip
    solvers = ",".join(solver_names())
    _add_size(up)
    up.add_argument("-n", "--steps", type=int, help="gradient steps on the photo (0 for none)")
    up.add_argument(
        "--solver",
        metavar=f"{{{solvers}}}",
        help="how (default: by what is seen; with -k or -n what the best weights are for, else adapt)",
    )
    up.add_argument(
        "-w", "--weights", metavar="NAME|FILE|FOLDER",
        help="a released name, a file (ESRGAN's and others' too), or a run folder (default: those that fit)",
    )  # fmt: skip
    up.add_argument("--rates", choices=("learned", "published"), help="step sizes (default: learned)")
    up.add_argument("--son-noise", type=float, metavar="STD", help="for noisy photos, 0-255 scale (default: 0)")
    up.add_argument("--back-projection", type=int, metavar="N", help="rounds of back-projection (default: 0)")
    up.add_argument("--ensemble", action="store_true", default=None, help="average over turns and flips (slower)")
    up.add_argument("--tile", type=int, help="side of the parts worked on, which bounds memory (default: 256)")
    up.add_argument("--mask", metavar="FILE", help="what is seen of the photo, in white; for --solver ddsr")
    up.add_argument("--gain", type=float, help="known brightness of a dark photo, in (0, 1]; for --solver ddsr")
    up.add_argument("--budget-seconds", type=float, metavar="S", help="time for one photo; for --solver zssr and ddsr")
    up.add_argument("--frame", type=int, metavar="N", help="which frame or page of a photo of several, from 0")
    up.add_argument("--max-pixels", type=int, metavar="N", help="that a photo may have (default: 200 million)")
    up.add_argument(
        "--format", metavar="{png,jpg,webp}", help="of results (default: what the output's name says, else png)"
    )  # fmt: skip
    up.add_argument("--quality", type=int, metavar="N", help="of jpg (default: 95) and webp (default: lossless)")
    up.add_argument(
        "--no-metadata", dest="metadata", action="store_false", help="leave EXIF data out: date, camera, place"
    )  # fmt: skip
    up.add_argument("--side-by-side", action="store_true", help="also write a picture beside plain bicubic enlargement")
    up.add_argument("-r", "--recursive", action="store_true", help="take the photos of sub-folders too")
    up.add_argument("--skip-existing", action="store_true", help="leave out photos that are enlarged already")
    up.add_argument("--overwrite", action="store_true", help="replace an existing output (never the input)")
    up.add_argument("--device", default="auto", help="auto (default), cpu, cuda")
    up.add_argument("--seed", type=int, default=1, help="of the random draws (default: 1)")
    loudness = up.add_mutually_exclusive_group()
    loudness.add_argument("-q", "--quiet", action="store_true", help="print errors alone")
    loudness.add_argument("-v", "--verbose", action="store_true", help="print what was assumed and done for each photo")


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
    prep.add_argument("-s", "--scale", type=factor, help="factor (default: 2, or the name's)")
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
    off.add_argument("-s", "--scale", type=factor, help="factor (default: told from the sizes)")


def _add_size(command: argparse.ArgumentParser) -> None:
    command.add_argument("-s", "--scale", type=factor, help="factor of enlargement (default: the weights', else 2)")
    command.add_argument(
        "--width", type=int, metavar="N", help="of the result, instead of a factor; with --height: fit both"
    )
    command.add_argument("--height", type=int, metavar="N", help="of the result, in pixels")
    command.add_argument("--max-side", type=int, metavar="N", help="of the result's longer side, in pixels")
    command.add_argument("--megapixels", type=float, metavar="M", help="of the result")


def _choices(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; errors that a user can mend come as one line, with exit status 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    make_output_encodable()
    if words and ("=" in words[0] or words[0].startswith("-")) and words[0] not in ("-h", "--help", "--version"):
        words = ["run", *words]  # as processes that train together are started
    if words and words[0] in PROGRAMS:
        from metasr.jobs.program import run_program, with_runs

        choices = with_runs(words[1:]) if words[0] == "report" else words[1:]
        return run_program([*PROGRAMS[words[0]][1], *choices])
    options = parser().parse_args(words)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    quiet, verbose = getattr(options, "quiet", False), getattr(options, "verbose", False)
    logging.getLogger("metasr").setLevel(logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING)
    if options.command == "upscale" and options.paths == [_PIPE] and options.output is None:
        options.output = _PIPE
    shown = sys.stderr if getattr(options, "output", None) == _PIPE else sys.stdout
    try:
        for result in _COMMANDS[options.command](options):
            if not quiet:
                print(result, file=shown, flush=True)
    except MetasrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


def _upscale(options: argparse.Namespace) -> Iterator[object]:
    from metasr.config.photo_plan import plan_of
    from metasr.config.photos import photo_config
    from metasr.jobs.progress_bar import with_bar
    from metasr.jobs.upscale import upscale_files

    plan = plan_of(
        photo_config(
            solver=options.solver, weights=options.weights, scale=options.scale, kernel=options.kernel,
            estimator=options.estimator, steps=options.steps, device=options.device, seed=options.seed,
            save_kernel=options.save_kernel, side_by_side=options.side_by_side, overwrite=options.overwrite,
            kernel_index=options.kernel_index, flip_kernel=options.flip_kernel, frame=options.frame,
            max_pixels=options.max_pixels, width=options.width, height=options.height, max_side=options.max_side,
            megapixels=options.megapixels, format=options.format, quality=options.quality, metadata=options.metadata,
            options={key: getattr(options, key) for key in _OF_SOLVER if getattr(options, key) is not None},
        )
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        sources, output = options.paths, options.output
        if _PIPE in sources:
            sources = [_standard_input(sources, Path(folder))]
        target = Path(folder) / f"out.{options.format or 'png'}" if output == _PIPE else output
        if output == _PIPE and (len(sources) > 1 or Path(sources[0]).is_dir()):
            raise InputError("standard output takes one photo; give a folder as -o FOLDER/")
        if output == _PIPE and sys.stdout.isatty():
            raise InputError("standard output is a terminal, where no picture can go; redirect it, or give -o FILE")
        chosen = {"recursive": options.recursive, "skip_existing": options.skip_existing}
        for result in with_bar(partial(upscale_files, plan, sources, target, **chosen), quiet=options.quiet):
            yield replace(result, output=Path("standard output")) if output == _PIPE else result
        if output == _PIPE:
            sys.stdout.buffer.write(Path(target).read_bytes())
            sys.stdout.buffer.flush()


def _standard_input(sources: Sequence[str], folder: Path) -> Path:
    """A file of what comes in on standard input.

    Raises:
        InputError: if there are other sources beside it.
    """
    if len(sources) > 1:
        raise InputError("standard input (-) is one photo alone; leave the others out, or write ./- for a file")
    path = folder / "standard_input"
    path.write_bytes(sys.stdin.buffer.read())
    return path


def _prepare(options: argparse.Namespace) -> Iterator[object]:
    from metasr.jobs.prepare import PrepareOptions, prepare

    keys = ("seed", "shift", "hr", "multiple", "mask", "mask_side", "gain", "overwrite")
    chosen = PrepareOptions(**{key: getattr(options, key) for key in keys})
    yield from prepare(options.path, options.output, options.degradation, scale=options.scale, options=chosen)


def _offset(options: argparse.Namespace) -> Iterator[object]:
    from metasr.jobs.offset import offsets

    yield from offsets(options.path, options.reference, kernel=options.kernel, scale=options.scale)


def _import(options: argparse.Namespace) -> Iterator[object]:
    from metasr.jobs.import_weights import import_weights

    yield from import_weights(options.path, options.name, options.output, mln=options.mln, overwrite=options.overwrite)


def _kernels(options: argparse.Namespace) -> Iterator[object]:
    from metasr.jobs.lists import kernel_names

    yield from kernel_names()


def _weights(options: argparse.Namespace) -> Iterator[object]:
    from metasr.jobs.lists import released_weights

    yield from released_weights()


def _info(options: argparse.Namespace) -> Iterator[object]:
    from metasr.jobs.plan import photo_info

    sizes = ("scale", "width", "height", "max_side", "megapixels")
    yield from photo_info(options.path, {key: getattr(options, key) for key in sizes})


def _export(options: argparse.Namespace) -> Iterator[object]:
    from metasr.jobs.export import export

    chosen = {key: getattr(options, key) for key in ("stage", "scale", "downsample", "overwrite")}
    yield export(options.weights, options.path, **chosen)


def _push(options: argparse.Namespace) -> Iterator[object]:
    from metasr.jobs.push import push

    licence = options.licence
    if licence is None:
        if not sys.stdin.isatty():
            raise InputError("weights are published under a licence: add --licence mit, apache-2.0, cc-by-4.0, ...")
        licence = input("licence of the weights (mit, apache-2.0, cc-by-4.0, ...): ").strip()
    chosen = {key: getattr(options, key) for key in ("private", "overwrite", "output")}
    yield push(options.run, options.repository, licence=licence, **chosen)


def _page(options: argparse.Namespace) -> Iterator[object]:
    from metasr.page.serve import serve

    yield from serve(port=options.port)


_COMMANDS: dict[str, Callable[[argparse.Namespace], Iterator[object]]] = {
    "upscale": _upscale, "prepare": _prepare, "offset": _offset, "kernels": _kernels, "weights": _weights,
    "info": _info, "import": _import, "export": _export, "push": _push, "page": _page,
}  # fmt: skip
