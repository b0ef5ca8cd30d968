"""A stage chain that has been run."""

from pathlib import Path

import pytest

from metasr.training.chain import run_chain
from running import SMALL, compose


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("chain") / "run"
    run_chain(compose(*SMALL), run)
    return run
