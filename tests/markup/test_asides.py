"""Stop strings end an answer in what is for the user, however its text is cut, and never in a thought or a header."""

import pytest

from localmix.answer.stops import Asides, Stops
from localmix.markup.asides import Between, Messages

HARMONY = (
    "<|channel|>analysis<|message|>I could say stop or final.<|end|><|start|>assistant<|channel|>final<|message|>"
    "One, two, stop, three.<|return|>"
)
THINKING = "<think>Shall I stop? No.\n</think>\n\nOne, two, stop, three."


def through(asides: Asides | None, text: str, size: int, *stops: str) -> tuple[str, str | None]:
    """What comes through, and the string that ended it."""
    found = Stops(stops, asides)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    written = ""
    for piece in pieces:
        written += found.push(piece)
        if found.found is not None:
            return written, found.found
    return written + found.flush(), found.found


@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_thoughts_do_not_end_an_answer(size: int) -> None:
    think = Between("<think>", "</think>", False)
    assert through(think, THINKING, size, "stop") == (THINKING[: THINKING.index("stop, three")], "stop")
    opened = Between("<think>", "</think>", True)
    assert through(opened, THINKING[7:], size, "stop") == (THINKING[7 : THINKING.index("stop, three")], "stop")
    assert through(Messages(), HARMONY, size, "stop") == (HARMONY[: HARMONY.index("stop, three")], "stop")
    assert through(Messages(), HARMONY, size, "final", "assistant", "could") == (HARMONY, None)
    assert through(None, THINKING, size, "stop") == ("<think>Shall I ", "stop")


@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_text_goes_through_whole(size: int) -> None:
    """Cut off anywhere, also in a marker, and with a beginning of a stop string that is none."""
    for text, asides in ((THINKING, lambda: Between("<think>", "</think>", False)), (HARMONY, Messages)):
        for end in range(len(text) + 1):
            assert through(asides(), text[:end], size, "three!") == (text[:end], None)


@pytest.mark.parametrize("size", [1, 10_000])
def test_nothing_spans_a_marker_and_a_marker_may_be_one(size: int) -> None:
    text = "a</x>b<x>c</x>d"
    assert through(Between("<x>", "</x>", False), "a<x>c</x>d", size, "ad") == ("a<x>c</x>d", None)
    assert through(Between("<x>", "</x>", False), text, size, "bc") == (text, None)
    assert through(Between("<x>", "</x>", True), text, size, "</x>") == ("a", "</x>")
    assert through(Between("<x>", "</x>", False), text, size, "<x>") == ("a</x>b", "<x>")
