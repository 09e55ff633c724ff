"""Trees of what sequences share."""

import numpy as np
import pytest

from localmix.measure import prefixes
from localmix.measure.prefixes import Stretch

LONG = list(range(100, 120))


def path(stretch: Stretch | None) -> list[int]:
    return [] if stretch is None else [*path(stretch.parent), *stretch.ids[stretch.first - stretch.start :]]


def test_a_question_with_choices() -> None:
    """The context is one stretch, and so is the beginning that two choices share."""
    sequences = [[*LONG, 1, 2, 3], [*LONG, 1, 2, 4], [*LONG, 5], LONG]
    found, ends = prefixes.tree(sequences)
    assert [list(stretch.ids) for stretch in found] == [LONG, [1, 2], [2, 3], [2, 4], [119, 5]]  # never one alone
    assert [stretch.start for stretch in found] == [0, 20, 21, 21, 19]
    assert [path(end) for end in ends] == sequences


def test_a_bos_alone_is_not_worth_it() -> None:
    found, _ = prefixes.tree([[1, 7, 8], [1, 7, 9], [1]])
    assert [list(stretch.ids) for stretch in found] == [[1], [1, 7, 8], [1, 7, 9]]
    assert all(stretch.parent is None for stretch in found)


@pytest.mark.parametrize("seed", range(5))
def test_any_sequences(seed: int) -> None:
    """Every one is the way to its end, no two children begin alike, and parents come first."""
    random = np.random.RandomState(seed)
    sequences = [random.randint(0, 2, random.randint(1, 30)).tolist() for _ in range(60)]
    sequences += sequences[:9]
    found, ends = prefixes.tree(sequences)
    assert [path(end) for end in ends] == sequences
    for number, stretch in enumerate(found):
        assert len(stretch.ids) > (stretch.parent is not None)
        assert len({child.ids[child.first - child.start] for child in stretch.children}) == len(stretch.children)
        assert stretch.parent is None or found.index(stretch.parent) < number
    distinct = {tuple(path(s))[:i] for s in found for i in range(prefixes.WORTH, s.end + 1)}
    shared = [i for s in found for i in range(s.first, s.end) if i >= prefixes.WORTH - 1]
    assert len(shared) == len(distinct)  # nothing beyond the first few ids is computed twice
