"""A server for as long as a module's tests run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server.served import Served, served

import localmix


@pytest.fixture(scope="module")
def chatty_model(chatty_path: Path) -> Any:
    return localmix.load(chatty_path, "numba")


@pytest.fixture(scope="module")
def server(chatty_model: Any) -> Iterator[Served]:
    with served(chatty_model, parallel=4, queue=8, gap=None) as running:
        yield running
