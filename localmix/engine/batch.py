"""The tokens of one forward pass: ragged rows, each with its position and its sequence.

One sequence or many, a prompt or a single token, it is the same batch: a second forward pass is never needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHUNK = 512  # most tokens of a prompt computed at once
FEW = 16  # tokens that are decoded rather than read
# Most multiplications in one layer at once, between two looks at an interrupt: 0.7 s on two cores with AVX2.
LAYER = 1 << 37


def chunk(products: int) -> int:
    """Tokens of a prompt computed at once, by the multiplications that one takes in one layer: a power of two,
    and no fewer than `cut` needs to go on.
    """
    return min(CHUNK, 1 << max(LAYER // products, 4).bit_length() - 1)


def cut(left: int, room: int) -> int:
    """How many of the `left` tokens of a prompt to compute where there is room for some: never one of several, which
    would be computed as decoding does, so that the last bits would tell how a prompt was cut.
    """
    count = min(left, room)
    count -= left - count == 1
    return count if count > 1 or left == 1 else 0


@dataclass(frozen=True, eq=False)
class Span:
    """`count` new tokens of one sequence, in consecutive rows from `row` on; the first has position `start`."""

    sequence: int
    row: int
    start: int
    count: int


@dataclass(frozen=True, eq=False)
class Batch:
    """T tokens. `wanted` names the rows whose logits are asked for, in their order.

    `apart`: each token attends as one that is decoded does, by itself: where a backend `repeats`, its logits have the
    bits that they have when the tokens are decoded one after the other.
    """

    ids: NDArray[np.int32]  # (T,)
    positions: NDArray[np.int32]  # (T,)
    spans: tuple[Span, ...]
    wanted: NDArray[np.int32]  # (W,)
    apart: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(
        cls,
        parts: Sequence[tuple[int, int, Sequence[int]]],
        *,
        every: bool | Sequence[bool] = False,
        apart: bool = False,
    ) -> "Batch":
        """A batch of (sequence, first position, ids) parts. Logits of the last token of each part, or of every one:
        of all parts, or of those for which `every` says so.
        """
        if len(parts) == 1 and len(parts[0][2]) == 1:  # a token that is decoded, for which every microsecond counts
            sequence, start, ids = parts[0]
            position, span = np.array([start], np.int32), Span(sequence, 0, start, 1)
            return cls(np.array(ids, np.int32), position, (span,), np.zeros(1, np.int32), apart)
        spans, row = [], 0
        for sequence, start, ids in parts:
            spans.append(Span(sequence, row, start, len(ids)))
            row += len(ids)
        rows = np.concatenate([np.asarray(ids, np.int32) for _, _, ids in parts])
        positions = np.concatenate([np.arange(s.start, s.start + s.count, dtype=np.int32) for s in spans])
        all_of = [every] * len(spans) if isinstance(every, bool) else every
        wanted = [
            row
            for s, whole in zip(spans, all_of, strict=True)
            for row in range(s.row if whole else s.row + s.count - 1, s.row + s.count)
        ]
        return cls(rows, positions, tuple(spans), np.array(wanted, np.int32), apart)

    def only_wanted(self) -> "Batch":
        """The wanted rows alone; those that follow each other in a sequence are one span."""
        spans: list[Span] = []
        for span in self.spans:
            rows = self.wanted[(self.wanted >= span.row) & (self.wanted < span.row + span.count)]
            for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
                if len(run):
                    row, start = int(np.searchsorted(self.wanted, run[0])), span.start + int(run[0]) - span.row
                    spans.append(Span(span.sequence, row, start, len(run)))
        wanted = np.arange(len(self.wanted), dtype=np.int32)
        return Batch(self.ids[self.wanted], self.positions[self.wanted], tuple(spans), wanted, self.apart)
