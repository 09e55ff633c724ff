"""Whether a model fits is arithmetic."""

import pytest

from localmix.stream import fit
from localmix.stream.fit import LEAST, PROGRAM, RUNNING, WORKING, Sizes

GIB = 1 << 30
POSITION = 128 << 10
MIXTRAL = Sizes(25 * GIB, GIB, 24 * GIB, 6 * GIB, cache=lambda tokens: tokens * POSITION, context=32768)


def test_fits() -> None:
    assert fit.fit(MIXTRAL, 32 * GIB) == "resident"
    assert fit.fit(MIXTRAL, 16 * GIB) == "streamed"
    assert fit.fit(MIXTRAL, GIB) == "no"
    dense = Sizes(weights=25 * GIB, shared=25 * GIB, experts=0, experts_read=0, cache=int, context=100)
    assert [fit.fit(dense, n * GIB) for n in (26, 16)] == ["resident", "no"]


def test_context_that_has_room() -> None:
    assert fit.context(MIXTRAL, 64 * GIB) == 32768
    assert fit.context(MIXTRAL, PROGRAM + 26 * GIB) == 8192  # 1 GiB is 8,192 positions
    assert fit.context(MIXTRAL, 16 * GIB) == LEAST


def test_misses_are_the_share_of_experts_without_room() -> None:
    fixed = WORKING + MIXTRAL.shared
    assert fit.missing(MIXTRAL, fixed) == 1
    assert fit.missing(MIXTRAL, fixed + 12 * GIB) == pytest.approx(0.5)
    assert fit.missing(MIXTRAL, fixed + 24 * GIB) == 0


def test_what_may_be_used() -> None:
    """What is said, or what the program has and what is free less a margin."""
    assert (fit.usable(None, 16 * GIB), fit.usable(5 * GIB, 16 * GIB)) == (15.75 * GIB + RUNNING, 5 * GIB)
    assert fit.usable(None, GIB) == GIB - (48 << 20) + RUNNING
