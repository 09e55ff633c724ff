"""Speculative decoding: ids that may come next are checked in one pass, and those that would have come anyway are kept.

Which ids an answer has does not depend on it: each is chosen from the logits that it would be chosen from without,
by the same sampler, and logits of a draft have the bits of decoding. See https://arxiv.org/abs/2211.17192.
"""

from collections.abc import Sequence
from typing import Protocol

from localmix.answer.gate import LENGTHS, Gate
from localmix.answer.lookup import Lookup
from localmix.answer.sampling import Sampler
from localmix.answer.second import CHECK, HOPE, Guesses, Second
from localmix.backends.protocol import Backend
from localmix.errors import LocalmixError
from localmix.network.decoder import Network

KINDS = ("auto", "off", "lookup")
_TINY = 1 << 26  # multiplications of a token: below, a pass takes less than 2 ms, of which looking is more than 1 %


class Source(Protocol):
    """Where ids come from that may be next, of one answer."""

    late: float  # seconds that `agree`, or of the last guess what an answer pays once, took

    def push(self, id: int) -> None: ...  # an id was chosen
    def look(self, most: int) -> tuple[int, int]: ...  # how many there are, up to `most`; for the gate: `same`
    def agree(self, passes: float) -> tuple[int, int, float]: ...  # for `Gate.hear`, in so many passes at most
    def guess(self, count: int) -> list[int]: ...  # that many of them; fewer where there are none after all


class Drafting:
    """How answers of one model are drafted, and what was learned about it: from the text so far, or from a `second`
    model.
    """

    def __init__(self, second: Second | None = None, gate: Gate | None = None) -> None:
        self.second = second
        self._gate = gate or (Gate() if second is None else Gate(HOPE, CHECK + second.share, sure=1, asks=True))

    def anew(self) -> "Drafting":
        """The same, which has learned nothing."""
        return Drafting(self.second)

    def begin(self, ids: Sequence[int], sampler: Sampler) -> "Draft":
        """For an answer to a context of these ids, which `sampler` chooses."""
        return Draft(self._gate, Lookup(ids) if self.second is None else Guesses(self.second, ids, sampler))


class Draft:
    """Of one answer. `ids` are those to be checked in the next pass, after the one that is certain."""

    def __init__(self, gate: Gate, source: Source) -> None:
        self.ids: list[int] = []
        self.taken = 0  # of them, once they are checked
        self._gate, self._source, self._same, self._asks = gate, source, 0, False

    def push(self, id: int) -> None:
        """An id was chosen."""
        self._source.push(id)

    def prepare(self, room: int) -> list[int]:
        """New `ids`, at most `room`; often none."""
        self.ids, self.taken, self._asks = [], 0, False
        most, self._same = self._source.look(max(min(room, LENGTHS[-1]), 0))
        length = self._gate.length(self._same, most) if most else 0
        if length and self._gate.asks:
            self._asks = True
            self._gate.hear(*self._source.agree(self._gate.allowance))
        elif length:
            self.ids = self._source.guess(length)
        return self.ids

    def learn(self, seconds: float) -> None:
        """The pass that checked them, or had none to check, took so long, the time to find them included."""
        late = self._source.late if self.ids or self._asks else 0.0
        self._gate.learn(self._same, len(self.ids), self.taken, seconds, late)


def drafts(kind: str, backend: Backend, network: Network) -> bool:
    """Whether answers are drafted: `kind` is "auto", where the backend can and the model is not tiny, "off", "lookup",
    or names a model.

    LocalmixError: asked for where a text with drafts might be another than without.
    """
    if kind == "auto":
        return backend.repeats(network) and network.work >= _TINY
    if kind == "off" or backend.repeats(network):
        return kind != "off"
    raise LocalmixError(
        f"--draft {kind}: the {backend.name} backend computes several tokens of this file with other last "
        "bits than one, and answers would differ: use --draft off, or numba with a quantized file"
    )
