import random

from localmix.answer.stops import Stops


def through(strings: list[str], pieces: list[str]) -> tuple[str, bool]:
    stops, out = Stops(strings), ""
    for piece in pieces:
        out += stops.push(piece)
        if stops.found:
            return out, True
    return out + stops.flush(), False


def test_without_strings_text_passes_at_once() -> None:
    assert Stops(()).push("abc") == "abc"


def test_holds_back_only_what_may_become_a_stop() -> None:
    stops = Stops(["STOP"])
    assert stops.push("a ST") == "a "
    assert stops.push("A") == "STA"
    assert stops.push("ST") == ""
    assert stops.push("OP tail") == ""
    assert stops.found


def test_the_earliest_of_several_counts() -> None:
    assert through(["cd", "b"], ["abcd"]) == ("a", True)


def test_any_cut_into_pieces_gives_the_same_text() -> None:
    rng = random.Random(0)
    for _ in range(3000):
        text = "".join(rng.choices("ab", k=rng.randrange(12)))
        strings = ["".join(rng.choices("ab", k=rng.randrange(1, 5))) for _ in range(rng.randrange(1, 3))]
        cuts = sorted(rng.choices(range(len(text) + 1), k=4))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        # One character at a time: the first moment at which a stop string is complete ends the text.
        ends = [n for n in range(len(text) + 1) if text[:n].endswith(tuple(strings))]
        out, found = through(strings, pieces)
        assert found == bool(ends)
        if found:
            assert not any(s in out for s in strings)
            assert text.startswith(out)
        else:
            assert out == text
