"""What the console commands about other programs' weights take: ``import``, ``export``, ``push``. Light to import."""

from __future__ import annotations

import argparse
import re
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_import(commands: Commands) -> None:
    """``metasr import``."""
    imp = commands.add_parser(
        "import",
        help="make weights for this program of a file of MZSR's, MRDA's or KDSR's public program",
        description="Read a file of MZSR's, MRDA's or KDSR's public program, and write its tensors for this one.",
    )
    imp.add_argument("path", metavar="FILE", help="a PyTorch file, or a TensorFlow checkpoint's .index")
    imp.add_argument(
        "--as", dest="name", metavar="NAME", required=True,
        help="mrda_x4, kdsr_m_x4, kdsr_l_x4 (and _x2, _x3), mzsr_x2, mzsr_x2_bicubic, mzsr_x2_pretrain, mzsr_x4, "
        "mzsr_multiscale",
    )  # fmt: skip
    imp.add_argument("-o", "--output", metavar="FILE", help="to write (default: NAME.safetensors, and NAME.json)")
    imp.add_argument("--mln", metavar="FILE", help="of MRDA's second stage, for a teacher of MRDA")
    imp.add_argument("--overwrite", action="store_true", help="replace an existing output")


def add_export(commands: Commands) -> None:
    """``metasr export``."""
    exp = commands.add_parser(
        "export",
        help="write a network as an ONNX file",
        description="Write a network that is run once as an ONNX file, from LR image to SR image, of any size. Checked "
        "against torch before it is written. Extra: pip install 'metasr[onnx]'.",
    )
    exp.add_argument(
        "weights", metavar="RUN_FOLDER|NAME", help="a run folder, a released name, a file, or hf://USER/REPO"
    )
    exp.add_argument("path", metavar="FILE.onnx", help="the file to write")
    exp.add_argument("--stage", metavar="NAME", help="of a run folder, another stage than the last")
    exp.add_argument("-s", "--scale", type=factor, help="factor of enlargement (default: the weights')")
    exp.add_argument(
        "--downsample", metavar="{bicubic,direct,area}",
        help="how LR images were sampled; for unfolded networks (default: as the weights were trained)",
    )  # fmt: skip
    exp.add_argument("--overwrite", action="store_true", help="replace an existing file")


def add_push(commands: Commands) -> None:
    """``metasr push``."""
    push = commands.add_parser(
        "push",
        help="publish a run's weights on the Hugging Face hub",
        description="Publish the weights of a run's last stage with their card and a page of results. No paths and no "
        "names of files go along. Extra: pip install 'metasr[hub]'; `hf auth login` first.",
    )
    push.add_argument("run", metavar="RUN_FOLDER", help="a run folder")
    push.add_argument("repository", metavar="USER/REPO", help="the repository; made where there is none")
    push.add_argument(
        "--licence", metavar="NAME", help="of the weights: mit, apache-2.0, cc-by-4.0, ... (else asked for)"
    )
    push.add_argument("-o", "--output", metavar="FOLDER", help="write the files there to be looked at, publish nothing")
    push.add_argument("--private", action="store_true", help="make a new repository for yourself alone")
    push.add_argument("--overwrite", action="store_true", help="replace weights that are there")


def factor(text: str) -> float:
    """A factor of enlargement, for argparse: ``2``, ``1.5``, ``2x``, ``x2``."""
    try:
        return float(re.sub(r"^[x×]|[x×]$", "", text.strip().lower()))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number such as 2 or x2, got {text!r}") from None
