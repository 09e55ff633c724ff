"""Speculative decoding: ids that may come next are checked in one pass, and those that would have come anyway are kept.

Which ids an answer has does not depend on it: each is chosen from the logits that it would be chosen from without,
by the same sampler, and logits of a draft have the bits of decoding. See https://arxiv.org/abs/2211.17192.
"""

from collections.abc import Sequence

from localmix.answer.gate import LENGTHS, Gate
from localmix.answer.lookup import Lookup
from localmix.engine.engine import Engine
from localmix.errors import LocalmixError

KINDS = ("auto", "off", "lookup")


class Drafting:
    """How answers of one model are drafted, and what was learned about it."""

    def __init__(self, gate: Gate | None = None) -> None:
        self._gate = gate or Gate()

    def begin(self, ids: Sequence[int]) -> "Draft":
        """For an answer to a context of these ids."""
        return Draft(self._gate, Lookup(ids))


class Draft:
    """Of one answer. `ids` are those to be checked in the next pass, after the one that is certain."""

    def __init__(self, gate: Gate, lookup: Lookup) -> None:
        self.ids: list[int] = []
        self.taken = 0  # of them, once they are checked
        self._gate, self._lookup, self._same = gate, lookup, 0

    def push(self, id: int) -> None:
        """An id was chosen."""
        self._lookup.push(id)

    def prepare(self, room: int) -> list[int]:
        """New `ids`, at most `room`; often none."""
        ids, self._same = self._lookup.guess(max(min(room, LENGTHS[-1]), 0))
        self.ids = ids[: self._gate.length(self._same, len(ids))] if ids else []
        self.taken = 0
        return self.ids

    def learn(self, seconds: float) -> None:
        """The pass that checked them, or had none to check, took so long."""
        self._gate.learn(self._same, len(self.ids), self.taken, seconds)


def drafting(kind: str, engine: Engine) -> Drafting | None:
    """What is asked for: "lookup" in the text so far, "auto" the same where the backend can, "off".

    LocalmixError: another kind, or lookup where a text with drafts might be another than without.
    """
    if kind not in KINDS:
        raise LocalmixError(f"draft = {kind!r}: expected one of {', '.join(KINDS)}")
    if kind == "off":
        return None
    if engine.backend.repeats(engine.network):
        return Drafting()
    if kind == "lookup":
        raise LocalmixError(
            f"--draft lookup: the {engine.backend.name} backend computes several tokens of this file with other last "
            "bits than one, and answers would differ: use --draft off, or numba with a quantized file"
        )
    return None
