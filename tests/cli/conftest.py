"""Terminals for the tests of commands."""

from collections.abc import Callable, Iterator

import pytest
from command_line import Terminal


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Starts commands in terminals, and ends them."""
    opened: list[Terminal] = []

    def start(*arguments: object, **changes: str) -> Terminal:
        opened.append(Terminal(*arguments, **changes))
        return opened[-1]

    yield start
    for one in opened:
        one.close()
