"""A fixture that listens to the engine."""

import logging
from collections.abc import Callable

import pytest


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, "metasr.meta.cuda_graph")
    return lambda: [f"{r.levelname} {r.getMessage()}" for r in caplog.records]
