"""Keys and values in MLX's memory: for each sequence and layer arrays that grow in steps.

MLX's arrays are values: a shared prefix is two names of one array, and whoever writes first gets a copy. An array
that only one sequence names is written in place. A layer with a window drops, whenever it grows, what no coming token
sees. Opaque to `network/`; sessions call the verbs of `localmix.backends.protocol.Cache`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localmix.amounts import amount
from localmix.backends.mlx import calls
from localmix.backends.mlx.forms import GROUP
from localmix.backends.mlx.memory import UNLIMITED, Budget
from localmix.engine.batch import Batch, Span
from localmix.engine.cache import check_room
from localmix.engine.kept import SLACK, Kept
from localmix.errors import LocalmixError

STEP = 256  # positions that a sequence grows by
Arrays = tuple[mx.array, ...]  # each (K, room, n): numbers, or codes with their scales and biases


@dataclass(frozen=True)
class Storage:
    """How a number is kept: as `dtype`, or with `bits` in groups of 32."""

    dtype: mx.Dtype
    bits: int | None = None

    def encode(self, x: mx.array) -> Arrays:
        """What is stored of (K, t, head_dim)."""
        if self.bits is None:
            return (x.astype(self.dtype),)
        return calls.pack(x.astype(self.dtype), self.bits).arrays


STORAGES = {
    "f16": Storage(mx.float16),
    "f32": Storage(mx.float32),
    "q8_0": Storage(mx.float16, 8),
    "q4_0": Storage(mx.float16, 4),
}


@dataclass
class _Sequence:
    starts: list[int]  # the first position that each layer has
    length: int = 0
    room: int = 0  # the arrays of a layer have the positions from its start up to here
    layers: list[tuple[Arrays, Arrays]] = field(default_factory=list)  # keys and values


class Cache:
    """The sequences of one model. `budget`: what they and all else on the device may take. `windows`: how many
    positions each layer sees, its own included; 0: all of them.
    """

    def __init__(
        self,
        layers: int,
        kv_heads: int,
        head_dim: int,
        context: int,
        kv: str,
        budget: Budget = UNLIMITED,
        windows: Sequence[int] | None = None,
    ) -> None:
        if kv not in STORAGES:
            raise LocalmixError(f"keys and values as {kv!r}: expected one of {', '.join(STORAGES)}")
        if STORAGES[kv].bits is not None and head_dim % GROUP:
            raise LocalmixError(f"keys and values as {kv}: head size {head_dim} is not a multiple of {GROUP}: use f16")
        self.context = context  # most positions of one sequence
        self.storage = STORAGES[kv]
        self._layers, self._kv_heads, self._head_dim = layers, kv_heads, head_dim
        self._windows = [0] * layers if windows is None else list(windows)
        self._budget = budget
        self._sequences: dict[int, _Sequence] = {}
        self._next = 0

    def new(self) -> int:
        """An empty sequence."""
        return self._add(_Sequence([0] * self._layers))

    def can_share(self, sequence: int, length: int) -> bool:
        """Whether all is there that tokens after the first `length` positions see."""
        pairs = zip(self._sequences[sequence].starts, self._seen(length), strict=True)
        return all(start <= seen for start, seen in pairs)

    def first(self, sequence: int, layer: int) -> int:
        """The first position whose keys and values a layer still has."""
        return self._sequences[sequence].starts[layer]

    def share(self, sequence: int, length: int) -> int:
        """A new sequence whose first `length` positions are those of another, for which `can_share` holds."""
        source = self._sequences[sequence]
        assert length <= source.length, (length, source.length)
        assert self.can_share(sequence, length), (length, source.starts)
        self._check_memory(source.room, self._size(source))  # whoever writes first gets a copy
        return self._add(replace(source, length=length, layers=list(source.layers), starts=list(source.starts)))

    def length(self, sequence: int) -> int:
        return self._sequences[sequence].length

    def truncate(self, sequence: int, length: int) -> None:
        """Forget the positions from `length` on: 0, or a length for which `can_share` holds."""
        one = self._sequences[sequence]
        assert length <= one.length, (length, one.length)
        assert length == 0 or self.can_share(sequence, length), (length, one.starts)
        one.length = length
        if length == 0:
            one.room, one.layers, one.starts = 0, [], [0] * self._layers

    def free(self, sequence: int) -> None:
        del self._sequences[sequence]

    def reserve(self, batch: Batch) -> None:
        """Make every position of the batch writable. Nothing is visible before `commit`."""
        for span in batch.spans:
            one, end = self._sequences[span.sequence], span.start + span.count
            assert span.start == one.length, (span, one.length)
            check_room(end, self.context)
            if end > one.room:
                self._grow(one, min(-(-end // STEP) * STEP, self.context))

    def commit(self, batch: Batch) -> None:
        """The batch is computed: its positions count from now on."""
        for span in batch.spans:
            self._sequences[span.sequence].length = span.start + span.count

    def append(self, span: Span, layer: int, k: mx.array, v: mx.array) -> tuple[Arrays, Arrays]:
        """Store k and v (K, count, head_dim) of a span's new positions: all keys and values (K, r, n) from the
        layer's first on.
        """
        one = self._sequences[span.sequence]
        start = mx.array([span.start - one.starts[layer]])

        def written(arrays: Arrays, x: mx.array) -> Arrays:
            pairs = zip(arrays, self.storage.encode(x), strict=True)
            return tuple(mx.slice_update(old, new, start, (1,)) for old, new in pairs)

        old_keys, old_values = one.layers[layer]
        one.layers[layer] = written(old_keys, k), written(old_values, v)
        return one.layers[layer]

    def stored(self, batch: Batch, layer: int) -> list[mx.array]:
        """What holds the keys and values of a batch's sequences."""
        pairs = [self._sequences[span.sequence].layers[layer] for span in batch.spans]
        return [array for keys, values in pairs for array in (*keys, *values)]

    def fill(self, sequence: int, length: int) -> None:
        """Random keys and values, as if an empty sequence had `length` positions: for measuring at a depth."""
        one = self._sequences[sequence]
        assert one.length == 0, one.length
        one.starts = self._seen(length)
        self._check_memory(length, self._size(replace(one, room=length)))
        key = mx.random.key(0)
        noise = self.storage.encode(mx.random.normal((self._kv_heads, length, self._head_dim), key=key))
        parts = [tuple(array[:, start:] for array in noise) for start in one.starts]
        one.layers = [(part, part) for part in parts]
        one.room = one.length = length

    def dump(self, sequence: int) -> NDArray:
        """Keys and values (layers, 2, K, n, ·) of all n positions as stored: numbers, or the bytes of packed ones;
        zeros where they are gone.
        """
        one = self._sequences[sequence]
        layers = one.layers or [(self._empty(0), self._empty(0))] * self._layers
        pairs = zip(layers, one.starts, strict=True)
        return np.stack([[_to_numpy(arrays, start, one.length) for arrays in pair] for pair, start in pairs])

    def restore(self, kv: NDArray) -> int:
        """A new sequence of dumped keys and values, of which those before a window are not looked at.

        ValueError: of another shape or type, or too long.
        """
        pattern, length = self._empty(1), kv.shape[3]
        like = _to_numpy(pattern, 0, 1)
        if kv.dtype != like.dtype or length > self.context or (
            (*kv.shape[:3], *kv.shape[4:]) != (self._layers, 2, len(like), like.shape[2])
        ):  # fmt: skip
            raise ValueError(f"{kv.dtype} {kv.shape}, expected {like.dtype} ({self._layers}, 2, {like.shape})")
        one = _Sequence(self._seen(length), length, length)
        self._check_memory(length, self._size(one))
        for (keys, values), start in zip(kv, one.starts, strict=True):
            one.layers.append((_from_numpy(keys[:, start:], pattern), _from_numpy(values[:, start:], pattern)))
        return self._add(one)

    @property
    def position_bytes(self) -> int:
        """Bytes of one position's keys and values in all layers."""
        bits = 8 * self.storage.dtype.size
        if self.storage.bits is not None:
            bits = self.storage.bits + 2 * bits // GROUP  # a scale and a bias a group
        return self._layers * 2 * self._kv_heads * self._head_dim * bits // 8

    @property
    def page_bytes(self) -> int:
        """Bytes that a sequence grows by at a time."""
        return STEP * self.position_bytes

    def needs(self, length: int) -> int:
        """Bytes of a sequence of `length` positions, at most, while it is computed."""
        one = self.position_bytes // self._layers
        return Kept(self._windows, [one] * self._layers, STEP).bytes(length)

    @property
    def nbytes(self) -> int:
        """Bytes held; what sequences share counts once."""
        return sum({id(array): array.nbytes for array in self._arrays()}.values())

    @property
    def reserved(self) -> int:
        """Bytes that are held once every sequence has written."""
        return sum(map(self._size, self._sequences.values()))

    def _arrays(self) -> Iterator[mx.array]:
        for one in self._sequences.values():
            for keys, values in one.layers:
                yield from (*keys, *values)

    def _add(self, sequence: _Sequence) -> int:
        self._next += 1
        self._sequences[self._next] = sequence
        return self._next

    def _empty(self, room: int) -> Arrays:
        return self.storage.encode(mx.zeros((self._kv_heads, room, self._head_dim)))

    def _seen(self, length: int) -> list[int]:
        """The first position that a token at `length` sees in each layer."""
        return [max(length + 1 - window, 0) if window else 0 for window in self._windows]

    def _size(self, one: _Sequence) -> int:
        """Bytes of a sequence by itself."""
        return sum(one.room - start for start in one.starts) * self.position_bytes // self._layers

    def _grow(self, one: _Sequence, room: int) -> None:
        """Make room for `room` positions, one layer at a time: no more than one is there twice. What is dropped: all
        that lies SLACK positions before what coming tokens see, as a sequence may be cut a little.
        """
        more, old = room - one.room, one.starts
        starts = [max(start, seen - SLACK) for start, seen in zip(old, self._seen(one.length), strict=True)]
        self._check_memory(more, self._size(replace(one, room=room, starts=starts)) - self._size(one))
        empty = self._empty(more)
        one.layers = one.layers or [((), ())] * self._layers
        for layer, pair in enumerate(one.layers):
            keys, values = (_longer(arrays, starts[layer] - old[layer], empty) for arrays in pair)
            mx.eval(keys, values)
            one.layers[layer] = keys, values
        one.room, one.starts = room, starts

    def _check_memory(self, more: int, size: int) -> None:
        """LocalmixError: no memory for so many further positions, of so many bytes."""
        left = self._budget.left
        if left is not None and size > left:
            raise LocalmixError(
                f"{more} more tokens of context take {amount(size, 'B')}, {amount(left, 'B')} is left on this GPU: "
                "use a shorter context (--ctx), or keep keys and values in fewer bits (kv q8_0, q4_0)"
            )


def _longer(arrays: Arrays, gone: int, empty: Arrays) -> Arrays:
    """Without the first `gone` positions."""
    if not arrays:
        return empty  # the same for all, until they are written
    return tuple(mx.concatenate([a[:, gone:], e], axis=1) for a, e in zip(arrays, empty, strict=True))


def _to_numpy(arrays: Arrays, start: int, length: int) -> NDArray:
    """The positions up to `length` of arrays that begin at `start` (K, length, n), zeros before: a number each, or of
    packed ones all bytes.
    """
    parts = [np.array(array[:, : length - start]) for array in arrays]
    found = parts[0] if len(parts) == 1 else np.concatenate([part.view(np.uint8) for part in parts], axis=-1)
    return np.pad(found, ((0, 0), (start, 0), (0, 0)))


def _from_numpy(stored: NDArray, pattern: Arrays) -> Arrays:
    """The inverse; `pattern` has the number and the types of the arrays."""
    types = [np.array(array).dtype for array in pattern]
    if len(pattern) == 1:
        return (mx.array(stored),)
    ends = np.cumsum([array.shape[-1] * type.itemsize for array, type in zip(pattern, types, strict=True)])
    parts = np.split(stored, ends[:-1], axis=-1)
    return tuple(mx.array(np.ascontiguousarray(p).view(t)) for p, t in zip(parts, types, strict=True))
