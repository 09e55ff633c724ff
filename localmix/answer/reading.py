"""Who reads how much of a prompt, and prompts that are read layer after layer while answers go on between layers: the
weights are read once for hundreds of tokens, and yet nobody waits for longer than a layer takes.
"""

from collections.abc import Sequence
from time import perf_counter

from localmix.answer.ticket import Ticket
from localmix.engine.batch import cut
from localmix.engine.context import advance_in_parts
from quant.format import Floats

_FEW = 2  # prompts, for the last token of each of which all of the last layer is computed


class Reading:
    """`taking`: who reads how many tokens. They must stay where they are until it has ended or is closed."""

    def __init__(self, taking: Sequence[tuple[Ticket, int]]) -> None:
        self.taking = list(taking)
        self.every = [ticket.scored for ticket, _ in taking]
        self.tokens = sum(count for _, count in taking)
        self.began = perf_counter()
        parts = [(ticket.context, ticket.todo[:count]) for ticket, count in taking if ticket.context is not None]
        self._left = parts[0][0].engine.parts
        self._running = advance_in_parts(parts, every=self.every)

    def __contains__(self, ticket: Ticket) -> bool:
        return any(ticket is one for one, _ in self.taking)

    @property
    def ending(self) -> bool:
        """Whether only little of the last layer is left to compute: what the last tokens need."""
        return self._left == 1 and len(self.taking) <= _FEW and not any(self.every)

    @property
    def ended(self) -> bool:
        """Whether nobody wants it any more."""
        return all(ticket.ended for ticket, _ in self.taking)

    def layer(self) -> Floats | None:
        """Compute another layer: the logits of all if it was the last."""
        self._left -= 1
        try:
            next(self._running)
        except StopIteration as end:
            logits: Floats = end.value
            return logits
        return None

    def close(self) -> None:
        """Give it up; it leaves no trace."""
        self._running.close()


def shared(reading: Sequence[Ticket], room: int, *, fair: bool = True) -> list[tuple[Ticket, int]]:
    """Who reads how much: the shortest first, so that a question does not wait for a book, but half of it all is the
    one's who came first, if it is to be `fair`, so that a book does not wait for ever.
    """
    if not reading:
        return []
    shortest = sorted(reading, key=lambda ticket: len(ticket.todo))
    shares, first = dict.fromkeys(map(id, reading), 0), reading[0]
    if fair and len(reading) > 1:
        shares[id(first)] = cut(len(first.todo), room // 2)
        room -= shares[id(first)]
    for ticket in shortest:
        if count := cut(len(ticket.todo) - shares[id(ticket)], room):
            shares[id(ticket)] += count
            room -= count
    return [(ticket, _to_branch(ticket, shares[id(ticket)])) for ticket in shortest if shares[id(ticket)]]


def _to_branch(ticket: Ticket, count: int) -> int:
    """How much of the next `count` tokens of a prompt to read: not beyond where other prompts go another way."""
    left = ticket.context.branch - len(ticket.context.ids) if ticket.context is not None else 0
    return min(count, left) if left > 1 else count  # one alone would be computed as decoding does
