"""Installed size of each extra: what it and all that it needs take on disk beside what the core needs.

    python benchmarks/extras.py [--write docs/extras.md]

Sizes are those of the files of the installed packages, in decimal megabytes. An extra of which something is not
installed is told so; install it and run again. `--write` puts the sizes into the table of a page, extra by extra.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from metasr.config.command_line import status_of
from metasr.errors import InputError

PROJECT = Path(__file__).resolve().parents[1]
FOR_DEVELOPERS = ("dev", "docs", "notebooks", "sweeps")
"""Extras that are left out: no command needs them, or they are several others."""


def extras() -> dict[str, list[str]]:
    """The extras that commands may ask for, and the requirements of each."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {name: needs for name, needs in project["optional-dependencies"].items() if name not in FOR_DEVELOPERS}


def core() -> list[str]:
    """The requirements of the package without extras."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["dependencies"])


def closure(requirements: list[str]) -> dict[str, Distribution]:
    """All packages that some requirements lead to, by name.

    Raises:
        PackageNotFoundError: for one that is not installed.
    """
    found: dict[str, Distribution] = {}
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        wanted = {"", *requirement.extras}
        if name in found and wanted == {""}:
            continue
        package = distribution(requirement.name)
        found[name] = package
        waiting += [(Requirement(text), one) for text in package.requires or [] for one in wanted]
    return found


def size(package: Distribution) -> int:
    """Bytes of a package's files; those that are gone count nothing."""
    paths = [Path(str(file.locate())) for file in package.files or []]
    return sum(path.stat().st_size for path in paths if path.is_file())


def measure() -> dict[str, str]:
    """Each extra's size, or what of it is missing."""
    known = closure(core())
    sizes = {"(the core)": f"{sum(map(size, known.values())) / 1e6:.0f} MB"}
    for name, requirements in extras().items():
        try:
            added = {key: package for key, package in closure(requirements).items() if key not in known}
        except PackageNotFoundError as error:
            sizes[name] = f"not installed: {error.name or error}"
            continue
        sizes[name] = f"{sum(map(size, added.values())) / 1e6:.0f} MB"
    return sizes


def write(page: Path, sizes: dict[str, str]) -> None:
    """Put the sizes that could be measured into the second column of a page's table.

    Raises:
        InputError: for a page that lacks an extra's row.
    """
    text = page.read_text(encoding="utf-8")
    for name, told in sizes.items():
        row = re.compile(rf"^(\| `{re.escape(name)}` \|)[^|]*\|", re.MULTILINE)
        if name.startswith("(") or not told.endswith("MB"):
            continue
        if not row.search(text):
            raise InputError(f"{page} has no row `{name}`; add it to the table")
        text = row.sub(lambda found, told=told: f"{found[1]} {told} |", text)  # type: ignore[misc]
    page.write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", metavar="PAGE", help="a page with a table of extras")
    options = parser.parse_args(arguments)
    sizes = measure()
    for name, told in sizes.items():
        print(f"{name:<12} {told}")
    if options.write:
        write(Path(options.write), sizes)


if __name__ == "__main__":
    sys.exit(status_of(main))
