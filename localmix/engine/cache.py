"""Keys and values of many sequences, in pages of PAGE positions.

A sequence is lists of pages and a length. Sequences may share pages (a common prefix costs nothing); a shared page is
copied before it is written. Layers that see the same number of positions have a pool of pages to themselves: of those
with a window only the pages are kept that a coming token may see. Opaque to `network/`: backends read pages, sessions
call the verbs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from localmix.engine.batch import Batch, Span
from localmix.engine.kept import SLACK, Kept, held
from localmix.engine.pages import PagePool
from localmix.engine.storage import storage
from localmix.errors import ContextFullError

_STATES = count(1)
PAGE = 64  # positions; 8 MiB of float16 keys and values for Mixtral 8x7B


def check_room(length: int, context: int) -> None:
    """ContextFullError: a sequence of `length` tokens, in a context that holds fewer."""
    if length > context:
        raise ContextFullError(
            f"{length} tokens do not fit in a context of {context}: shorten the prompt or raise --ctx"
        )


@dataclass
class _Pages:
    """Of one sequence in one pool. Those before the window are gone: `first` is the first position that is there."""

    numbers: list[int | None]
    first: int = 0


@dataclass
class _Sequence:
    pools: list[_Pages]
    length: int = 0


class _Layers:
    """The layers that see `window` positions (0: all), and their pool. A page is (layers, 2, K, PAGE, n)."""

    def __init__(self, window: int, layers: list[int], pool: PagePool) -> None:
        self.window, self.layers, self.pool = window, layers, pool

    def seen(self, position: int) -> int:
        """The first position that a token at `position` sees."""
        return max(position + 1 - self.window, 0) if self.window else 0

    def forget(self, pages: _Pages, length: int) -> bool:
        """Give back what no token from `length` on sees, SLACK less; whether there was any."""
        first = max(self.seen(length) - SLACK, 0) // PAGE
        if first <= pages.first // PAGE:
            return False
        for i in range(pages.first // PAGE, first):
            if (number := pages.numbers[i]) is not None:
                self.pool.release(number)
                pages.numbers[i] = None
        pages.first = first * PAGE
        return True


class PagedCache:
    """Keys then values of K heads, n elements a head (see storage.py). `kv`: how they are kept.

    `state` is another number, which no other cache ever has, whenever `addresses` are others for a known sequence.
    `windows`: how many positions each layer sees, its own included; 0: all of them.
    """

    def __init__(
        self,
        layers: int,
        kv_heads: int,
        head_dim: int,
        context: int,
        kv: str = "f16",
        windows: Sequence[int] | None = None,
    ) -> None:
        self.context = context  # most positions of one sequence
        self.kv, self._storage = kv, storage(kv)
        self.dtype, self._head_dim = self._storage.dtype, head_dim
        self._row = (kv_heads, PAGE, self._storage.elements(head_dim))
        seen = [0] * layers if windows is None else [w if w < context else 0 for w in windows]
        self._groups = [self._group(window, seen) for window in sorted(set(seen))]
        where = {layer: (g, i) for g, group in enumerate(self._groups) for i, layer in enumerate(group.layers)}
        self.places = tuple(where[layer] for layer in range(layers))  # of each layer its pool and its place in a page
        self._sequences: dict[int, _Sequence] = {}
        self._next = 0
        self.state = next(_STATES)

    @property
    def pools(self) -> int:
        return len(self._groups)

    def new(self) -> int:
        """An empty sequence."""
        return self._add(_Sequence([_Pages([]) for _ in self._groups]))

    def can_share(self, sequence: int, length: int) -> bool:
        """Whether all is there that tokens after the first `length` positions see."""
        pairs = zip(self._groups, self._sequences[sequence].pools, strict=True)
        return all(pages.first <= group.seen(length) for group, pages in pairs)

    def first(self, sequence: int, layer: int) -> int:
        """The first position whose keys and values a layer still has."""
        return self._sequences[sequence].pools[self.places[layer][0]].first

    def share(self, sequence: int, length: int) -> int:
        """A new sequence whose first `length` positions are those of another, for which `can_share` holds."""
        source = self._sequences[sequence]
        assert length <= source.length, (length, source.length)
        assert self.can_share(sequence, length), (length, [pages.first for pages in source.pools])
        found = []
        for group, pages in zip(self._groups, source.pools, strict=True):
            numbers = pages.numbers[: -(-length // PAGE)]
            for number in numbers:
                if number is not None:
                    group.pool.hold(number)
            found.append(_Pages(numbers, pages.first))
            group.forget(found[-1], length)
        return self._add(_Sequence(found, length))

    def length(self, sequence: int) -> int:
        return self._sequences[sequence].length

    def truncate(self, sequence: int, length: int) -> None:
        """Forget the positions from `length` on: 0, or a length for which `can_share` holds."""
        one = self._sequences[sequence]
        assert length <= one.length, (length, one.length)
        assert length == 0 or self.can_share(sequence, length), (length, [pages.first for pages in one.pools])
        keep = -(-length // PAGE)
        for group, pages in zip(self._groups, one.pools, strict=True):
            for number in pages.numbers[keep:]:
                if number is not None:
                    group.pool.release(number)
            del pages.numbers[keep:]
            pages.first = pages.first if length else 0
        one.length = length
        self.state = next(_STATES)

    def free(self, sequence: int) -> None:
        self.truncate(sequence, 0)
        del self._sequences[sequence]

    def reserve(self, batch: Batch) -> None:
        """Make every position of the batch writable. Nothing is visible before `commit`."""
        for span in batch.spans:
            end = span.start + span.count
            one = self._sequences[span.sequence]
            assert span.start == one.length, (span, one.length)
            check_room(end, self.context)
            first = span.start // PAGE
            for group, pages in zip(self._groups, one.pools, strict=True):
                numbers = pages.numbers
                if first < len(numbers) and (number := numbers[first]) is not None:
                    own = group.pool.owned(number)
                    if own != number:
                        numbers[first], self.state = own, next(_STATES)
                while len(numbers) * PAGE < end:
                    numbers.append(group.pool.take())
                    self.state = next(_STATES)

    def commit(self, batch: Batch) -> None:
        """The batch is computed: its positions count from now on."""
        for span in batch.spans:
            one = self._sequences[span.sequence]
            one.length = span.start + span.count
            for group, pages in zip(self._groups, one.pools, strict=True):
                if group.window and group.forget(pages, one.length):
                    self.state = next(_STATES)

    def addresses(self, span: Span) -> list[list[int]]:
        """Of each pool the addresses of the pages of a span's sequence, in order; 0: it is gone."""
        pairs = zip(self._groups, self._sequences[span.sequence].pools, strict=True)
        return [[0 if i is None else group.pool.addresses[i] for i in pages.numbers] for group, pages in pairs]

    def write(self, span: Span, layer: int, k: NDArray, v: NDArray) -> None:
        """Store k and v (count, K, head_dim) of a span's new positions, rounded as the cache keeps them."""
        (pages, place), both = self._pages(span, layer), self._storage.encode(np.stack([k, v]))
        for i in range(span.count):
            page, at = divmod(span.start + i, PAGE)
            pages[page][place, :, :, at] = both[:, i]

    def read(self, span: Span, layer: int) -> tuple[NDArray, NDArray]:
        """Keys and values (K, n, head_dim) in float32 of all n positions up to the end of the span; zeros where they
        are gone.
        """
        n, (pages, place) = span.start + span.count, self._pages(span, layer)
        both = np.concatenate([page[place] for page in pages], axis=2)[:, :, :n]
        keys, values = self._storage.decode(both)
        return keys, values

    def fill(self, sequence: int, length: int) -> None:
        """Random keys and values, as if an empty sequence had `length` positions: for measuring at a depth."""
        one = self._sequences[sequence]
        assert one.length == 0, one
        heads, positions, _ = self._row
        size = (2, heads, positions, self._head_dim)
        noise = self._storage.encode(np.random.default_rng(0).standard_normal(size, np.float32))
        for group, pages in zip(self._groups, one.pools, strict=True):
            pages.first = group.seen(length) // PAGE * PAGE
            pages.numbers += [None] * (pages.first // PAGE)
            while len(pages.numbers) * PAGE < length:
                pages.numbers.append(number := group.pool.take())
                group.pool.pages[number][:] = noise
        one.length = length

    def dump(self, sequence: int) -> NDArray:
        """Keys and values (layers, 2, K, n, head_dim) of all n positions, as stored; zeros where they are gone."""
        one = self._sequences[sequence]
        heads, _, elements = self._row
        found = np.zeros((len(self.places), 2, heads, one.length, elements), self.dtype)
        for group, pages in zip(self._groups, one.pools, strict=True):
            for i, number in enumerate(pages.numbers):
                if number is not None:
                    part = found[:, :, :, i * PAGE : (i + 1) * PAGE]
                    part[group.layers] = group.pool.pages[number][:, :, :, : part.shape[3]]
        return found

    def restore(self, kv: NDArray) -> int:
        """A new sequence of dumped keys and values, of which those before a window are not looked at.

        ValueError: of another shape or type, or too long.
        """
        heads, _, elements = self._row
        length, shape = kv.shape[3], (len(self.places), 2, heads, kv.shape[3], elements)
        if kv.shape != shape or kv.dtype != self.dtype or length > self.context:
            raise ValueError(f"{kv.dtype} {kv.shape}, expected {self.dtype} {shape}")
        one = _Sequence([_Pages([], group.seen(length)) for group in self._groups], length)
        for group, pages in zip(self._groups, one.pools, strict=True):
            pages.numbers += [None] * (pages.first // PAGE)
            for start in range(len(pages.numbers) * PAGE, length, PAGE):
                part = kv[group.layers, :, :, start : start + PAGE]
                pages.numbers.append(number := group.pool.take())
                group.pool.pages[number][:, :, :, : part.shape[3]] = part
        return self._add(one)

    @property
    def row_bytes(self) -> int:
        """Bytes of a key of one head at one position, and of a value."""
        return self._row[-1] * self.dtype.itemsize

    @property
    def position_bytes(self) -> int:
        """Bytes of one position's keys and values in all layers."""
        return self.page_bytes // PAGE

    @property
    def page_bytes(self) -> int:
        """Bytes that a sequence grows by at a time."""
        return sum(group.pool.page_bytes for group in self._groups)

    def needs(self, length: int) -> int:
        """Bytes of a sequence of `length` positions, at most, while it is computed."""
        groups = self._groups
        return Kept([g.window for g in groups], [g.pool.page_bytes // PAGE for g in groups], PAGE).bytes(length)

    @property
    def nbytes(self) -> int:
        """Of the pages in use."""
        return sum(group.pool.nbytes for group in self._groups)

    def _group(self, window: int, seen: list[int]) -> _Layers:
        layers, (heads, positions, elements) = [i for i, w in enumerate(seen) if w == window], self._row
        shape = (len(layers), 2, heads, positions, elements)
        return _Layers(window, layers, PagePool(shape, self.dtype, held(self.context, window, PAGE) // PAGE))

    def _pages(self, span: Span, layer: int) -> tuple[list[NDArray], int]:
        """The pages of a span's sequence, in order, and the layer's place in each."""
        number, place = self.places[layer]
        pool = self._groups[number].pool
        gone = np.zeros(pool.shape, pool.dtype)
        numbers = self._sequences[span.sequence].pools[number].numbers
        return [gone if i is None else pool.pages[i] for i in numbers], place

    def _add(self, sequence: _Sequence) -> int:
        self._next += 1
        self._sequences[self._next] = sequence
        return self._next
