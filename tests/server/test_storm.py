"""Random requests at once, more than there are places and than may wait: see tests/peers/storm.py for a thousand."""

from collections.abc import Iterator
from typing import Any

import pytest
from server.random_requests import Storm, wrong
from server.served import Served, served


@pytest.fixture(scope="module")
def narrow(chatty_model: Any) -> Iterator[Served]:
    """Two places, and three that may wait."""
    with served(chatty_model, parallel=2, queue=3, memory=8 << 20) as running:
        yield running


def test_a_storm_leaves_nothing_behind(narrow: Served, chatty_model: Any, caplog: pytest.LogCaptureFixture) -> None:
    storm = Storm(narrow.port)
    storm.blow(0, 50, 12)
    assert set(storm.statuses) <= {200, 400, 429, 503, "left", "died"}, storm.statuses
    assert storm.statuses[200] > 5
    assert narrow.idle(), "a place is lost"
    assert not caplog.records  # nobody's leaving is a failure
    assert wrong(chatty_model, storm.found) == 0
