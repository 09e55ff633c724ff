"""Signals, collected until somebody asks."""

import os
import signal
from collections.abc import Iterator

import pytest

from localmix.cli.terminal.modes import Interrupts


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    made = Interrupts()
    old = {number: signal.signal(number, made) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield made
    for number, handler in old.items():
        signal.signal(number, handler)


def come(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


def test_they_wait_until_asked_for(interrupts: Interrupts) -> None:
    interrupts.check()
    come()
    with pytest.raises(KeyboardInterrupt):
        interrupts.check()
    interrupts.check()  # it was told
    come(signal.SIGTERM)
    with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
        interrupts.check()


def test_a_deaf_program_dies_of_the_third(interrupts: Interrupts) -> None:
    come()
    come()
    with pytest.raises(KeyboardInterrupt):
        come()


def test_told_at_once_or_of_one_that_waits(interrupts: Interrupts) -> None:
    heard: list[int] = []
    come()
    with interrupts.told(lambda: heard.append(1)):
        assert heard == [1]
        come()
        assert heard == [1, 1]
    with pytest.raises(KeyboardInterrupt):
        interrupts.check()


def test_a_callback_may_raise(interrupts: Interrupts) -> None:
    with pytest.raises(SystemExit), interrupts.told(interrupts.check):
        come(signal.SIGHUP)
    interrupts.check()
