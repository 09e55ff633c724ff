"""Keys and values of many sequences, in pages of PAGE positions from one pool.

A sequence is a list of pages and a length. Sequences may share pages (a common prefix costs nothing); a shared
page is copied before it is written. Opaque to `network/`: backends read pages, sessions call the verbs.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from localmix.engine.batch import Batch, Span
from localmix.errors import ContextFullError, LocalmixError
from quant import FORMATS
from quant.format import Floats, Format

PAGE = 64  # positions; 8 MiB of float16 keys and values for Mixtral 8x7B
SLAB = 64 << 20  # bytes allocated at once: from 4 MiB on NumPy asks for huge pages
HUGE = 2 << 20  # bytes of a huge page


class Storage:
    """How the d numbers of one head at one position are kept: as elements of `dtype`."""

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)

    def elements(self, d: int) -> int:
        """How many hold d numbers. LocalmixError: heads of this size cannot be kept so."""
        return d

    def encode(self, x: Floats) -> NDArray:
        """Floats (..., d) as elements (..., n)."""
        return x.astype(self.dtype)

    def decode(self, kept: NDArray) -> Floats:
        """Elements (..., n) as floats (..., d)."""
        return kept.astype(np.float32)


class _Blocks(Storage):
    """As bytes of blocks, quantized as weights are."""

    def __init__(self, format: Format) -> None:
        super().__init__("uint8")
        self._format = format

    def elements(self, d: int) -> int:
        name, block = self._format.name, self._format.block
        if d % block:
            raise LocalmixError(f"keys and values as {name}: head size {d} is not a multiple of {block}: use f16")
        return self._format.row_bytes(d)

    def encode(self, x: Floats) -> NDArray:
        assert self._format.quantize is not None
        blocks = self._format.quantize(np.ascontiguousarray(x).reshape(-1, x.shape[-1]), None)
        return blocks.view(np.uint8).reshape(*x.shape[:-1], -1)

    def decode(self, kept: NDArray) -> Floats:
        return self._format.dequantize(np.ascontiguousarray(kept).view(self._format.dtype))


STORAGES = {"f16": Storage("float16"), "f32": Storage("float32"), "q8_0": _Blocks(FORMATS["q8_0"])}


def storage(kv: str) -> Storage:
    """How keys and values are kept. LocalmixError: no such kind."""
    if kv not in STORAGES:
        raise LocalmixError(f"keys and values as {kv!r}: expected one of {', '.join(STORAGES)}")
    return STORAGES[kv]


def check_room(length: int, context: int) -> None:
    """ContextFullError: a sequence of `length` tokens, in a context that holds fewer."""
    if length > context:
        raise ContextFullError(
            f"{length} tokens do not fit in a context of {context}: shorten the prompt or raise --ctx"
        )


def _zeros(size: int) -> NDArray[np.uint8]:
    """Bytes on whole huge pages: with small ones attention waits for addresses, half of its time at depth 16,384."""
    memory = np.zeros(size + HUGE, np.uint8)
    start = -memory.ctypes.data % HUGE
    return memory[start : start + size]


@dataclass
class _Sequence:
    pages: list[int] = field(default_factory=list)
    length: int = 0


class Cache:
    """The pool. A page is one array (layers, 2, K, PAGE, n): keys then values, n elements a head (see Storage)."""

    def __init__(self, layers: int, kv_heads: int, head_dim: int, context: int, kv: str = "f16") -> None:
        self.context = context  # most positions of one sequence
        self.kv, self._storage = kv, storage(kv)
        self.shape = (layers, 2, kv_heads, PAGE, self._storage.elements(head_dim))
        self.dtype = self._storage.dtype
        self._head_dim = head_dim
        self.pages: list[NDArray] = []
        self._users: list[int] = []  # sequences that hold each page; 0: free
        self._sequences: dict[int, _Sequence] = {}
        self._next = 0

    def new(self) -> int:
        """An empty sequence."""
        return self._add(_Sequence())

    def share(self, sequence: int, length: int) -> int:
        """A new sequence whose first `length` positions are those of another."""
        source = self._sequences[sequence]
        assert length <= source.length, (length, source.length)
        pages = source.pages[: -(-length // PAGE)]
        for page in pages:
            self._users[page] += 1
        return self._add(_Sequence(list(pages), length))

    def length(self, sequence: int) -> int:
        return self._sequences[sequence].length

    def truncate(self, sequence: int, length: int) -> None:
        """Forget the positions from `length` on."""
        one = self._sequences[sequence]
        assert length <= one.length, (length, one.length)
        keep = -(-length // PAGE)
        for page in one.pages[keep:]:
            self._users[page] -= 1
        del one.pages[keep:]
        one.length = length

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
            if first < len(one.pages) and self._users[one.pages[first]] > 1:
                one.pages[first] = self._copy(one.pages[first])
            while len(one.pages) * PAGE < end:
                one.pages.append(self._take())

    def commit(self, batch: Batch) -> None:
        """The batch is computed: its positions count from now on."""
        for span in batch.spans:
            self._sequences[span.sequence].length = span.start + span.count

    def table(self, span: Span) -> list[NDArray]:
        """The pages of a span's sequence, in order."""
        return [self.pages[page] for page in self._sequences[span.sequence].pages]

    def write(self, span: Span, layer: int, k: NDArray, v: NDArray) -> None:
        """Store k and v (count, K, head_dim) of a span's new positions, rounded as the cache keeps them."""
        pages, both = self.table(span), self._storage.encode(np.stack([k, v]))
        for i in range(span.count):
            page, at = divmod(span.start + i, PAGE)
            pages[page][layer, :, :, at] = both[:, i]

    def read(self, span: Span, layer: int) -> tuple[NDArray, NDArray]:
        """Keys and values (K, n, head_dim) in float32 of all n positions up to the end of the span."""
        n = span.start + span.count
        both = np.concatenate([page[layer] for page in self.table(span)], axis=2)[:, :, :n]
        return self._storage.decode(both[0]), self._storage.decode(both[1])

    def fill(self, sequence: int, length: int) -> None:
        """Random keys and values, as if an empty sequence had `length` positions: for measuring at a depth."""
        one = self._sequences[sequence]
        assert one.length == 0, one
        size = (*self.shape[1:4], self._head_dim)
        noise = self._storage.encode(np.random.default_rng(0).standard_normal(size, np.float32))
        for _ in range(-(-length // PAGE)):
            one.pages.append(self._take())
            self.pages[one.pages[-1]][:] = noise
        one.length = length

    def dump(self, sequence: int) -> NDArray:
        """Keys and values (layers, 2, K, n, head_dim) of all n positions, as stored."""
        one = self._sequences[sequence]
        pages = [self.pages[page] for page in one.pages] or [np.empty(self.shape, self.dtype)]
        return np.concatenate(pages, axis=3)[:, :, :, : one.length]

    def restore(self, kv: NDArray) -> int:
        """A new sequence of dumped keys and values. ValueError: of another shape or type, or too long."""
        length, fits = kv.shape[3], (*kv.shape[:3], PAGE, *kv.shape[4:]) == self.shape
        if not fits or kv.dtype != self.dtype or length > self.context:
            raise ValueError(f"{kv.dtype} {kv.shape}, expected {self.dtype} {self.shape}")
        one = _Sequence(length=length)
        for start in range(0, length, PAGE):
            part = kv[:, :, :, start : start + PAGE]
            one.pages.append(self._take())
            self.pages[one.pages[-1]][:, :, :, : part.shape[3]] = part
        return self._add(one)

    @property
    def position_bytes(self) -> int:
        """Bytes of one position's keys and values in all layers."""
        layers, both, heads, _, size = self.shape
        return layers * both * heads * size * self.dtype.itemsize

    @property
    def page_bytes(self) -> int:
        return self.position_bytes * PAGE

    @property
    def nbytes(self) -> int:
        """Of the pages in use."""
        return self.page_bytes * sum(users > 0 for users in self._users)

    def _add(self, sequence: _Sequence) -> int:
        self._next += 1
        self._sequences[self._next] = sequence
        return self._next

    def _take(self) -> int:
        for page, users in enumerate(self._users):
            if users == 0:
                self._users[page] = 1
                return page
        first, count = len(self.pages), min(-(-self.context // PAGE), max(1, SLAB // self.page_bytes))
        self.pages += list(_zeros(count * self.page_bytes).view(self.dtype).reshape(count, *self.shape))
        self._users += [1] + [0] * (count - 1)
        return first

    def _copy(self, page: int) -> int:
        fresh = self._take()
        self.pages[fresh][:] = self.pages[page]
        self._users[page] -= 1
        return fresh
