"""A stage chain that has been run."""

from pathlib import Path

import pytest

from running import SMALL, compose, train


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("chain") / "run"
    train(compose(*SMALL), run)
    return run
