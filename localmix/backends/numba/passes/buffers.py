"""The working memory of a network: what threads share, what each has to itself, and the record that points to it.

Grown to the largest batch seen. Zeroed when made: kernels keep the padding of rows at zero.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmix.backends.numba.passes.records import (
    ATTEND,
    COUNTER,
    JOB,
    LARGEST,
    LINE,
    PHASES,
    PRIVATE,
    SPLITS,
    STEP,
    TILES,
    attention_scratch,
    block_of_tokens,
    fields_of,
    fours,
    padded,
    quantized_bytes,
    room,
    tile_scratch,
)
from localmix.network.blocks import Layer
from localmix.network.decoder import Network


class Sizes:
    """What the largest layer needs: sizes of its rows, in numbers."""

    def __init__(self, network: Network) -> None:
        attentions, mixtures = ([getattr(x, name) for x in network.layers] for name in ("attention", "mixture"))
        self.layers, self.width = len(network.layers), network.width
        self.q = max(a.heads * a.size for a in attentions)
        self.kv = max(a.kv_heads * a.size for a in attentions)
        self.kv_heads = max(a.kv_heads for a in attentions)
        self.head = max(a.size for a in attentions)
        groups = [a.heads // a.kv_heads for a in attentions]
        self.group = max(groups)
        self.queries = max(block_of_tokens(group) * group for group in groups)
        self.input = max(self.width, self.q)
        self.experts = max(len(m.experts) for m in mixtures)
        self.slots = max(map(slots_of, network.layers))
        self.hidden = max(one.hidden for m in mixtures for one in (m.experts, m.shared) if one is not None)


def slots_of(layer: Layer) -> int:
    """Experts that serve a token."""
    m = layer.mixture
    return (m.router.active if m.router else len(m.experts)) + (len(m.shared) if m.shared else 0)


class Buffers:
    """`step` is the record of a pass, `at` its address, `fields` its numbers; `counters` are zeroed before each."""

    def __init__(self, network: Network, threads: int, wide: bool) -> None:
        self._sizes, self._threads, self._wide = Sizes(network), threads, wide
        self._tokens = 0
        self._memory: dict[str, NDArray[np.uint8]] = {}
        self.step = np.zeros((), STEP)
        self.fields = fields_of(self.step)
        self.at = self.step.ctypes.data
        phases = self._sizes.layers * sum(max(counts) for counts in PHASES.values())
        self.counters = np.zeros(phases * COUNTER // 8 + 8, np.int64)
        self._zeroed, self._zeros = self.counters.data, np.zeros_like(self.counters).data
        self.step["shared"], self.step["threads"] = 1, threads
        self.step["counters"] = -(-self.counters.ctypes.data // LINE) * LINE

    def zero(self) -> None:
        """Set the counters to 0: what fills an array takes longer where nothing of it is in a cache."""
        self._zeroed[:] = self._zeros

    def grow(self, tokens: int) -> None:
        """Room for a batch of `tokens`."""
        if tokens > self._tokens:
            self._tokens = tokens
            self._share(tokens)
            self._privates(tokens)

    @property
    def nbytes(self) -> int:
        return sum(memory.nbytes for memory in self._memory.values())

    def shrink(self) -> None:
        """To what the next batch needs."""
        self._tokens = 0

    def rows(self, name: str, shape: tuple[int, int], dtype: type[np.generic], stride: int | None = None) -> NDArray:
        """A view of what all threads share: rows (n, width), `stride` bytes apart (None: without gaps)."""
        memory, size = self._memory[name], np.dtype(dtype).itemsize
        start = int(self.step[name]) - memory.ctypes.data
        strides = stride or shape[1] * size, size
        return np.ndarray(shape, dtype, memory.data, start, strides)

    def _share(self, tokens: int) -> None:
        c, s = self._sizes, self.step
        slots = tokens * c.slots
        s["xf_bytes"] = s["mixed_bytes"] = 4 * padded(c.input)
        s["xq_bytes"] = quantized_bytes(c.input, self._wide)
        s["hidden_bytes"], s["hidden_floats_bytes"] = quantized_bytes(c.hidden, self._wide), 4 * padded(c.hidden)
        for name, size in {
            "x": (tokens * c.width + padded(1)) * 4,  # an embedding is written in whole steps
            "q": tokens * c.q * 4,
            "k": tokens * c.kv * 4,
            "v": tokens * c.kv * 4,
            "mixed": tokens * int(s["mixed_bytes"]),
            "xf": tokens * int(s["xf_bytes"]),
            "xq": tokens * int(s["xq_bytes"]),
            "scores": tokens * c.experts * 4,
            "chosen": slots * 4,
            "mix": slots * 4,
            "place": slots * 4,
            "order": slots * 4,
            "starts": (c.experts + 2) * 8,
            "used": (c.experts + 2) * 8,
            "gathered": slots * int(s["xq_bytes"]),
            "gathered_floats": slots * int(s["xf_bytes"]),
            "hidden": slots * int(s["hidden_bytes"]),
            "hidden_floats": slots * int(s["hidden_floats_bytes"]),
            "outs": slots * c.width * 4,
            "partials": 4 * c.kv_heads * SPLITS * fours(c.group) * (room(c.head) + 2),
        }.items():
            s[name] = self._make(name, size)

    def _privates(self, tokens: int) -> None:
        c = self._sizes
        head = room(c.head)
        queries = fours(c.queries)
        sizes = {
            "job": JOB.itemsize,
            "attend": ATTEND.itemsize,
            "xf": 4 * padded(c.input),
            "xq": quantized_bytes(c.input, self._wide),
            "hidden": c.slots * quantized_bytes(c.hidden, self._wide),
            "one": 4 * max(LARGEST, c.experts),
            "two": 4 * max(LARGEST, c.experts),
            "chosen": 4 * c.slots,
            "mix": 4 * c.slots,
            "gate": 4 * TILES * tokens,
            "up": 4 * TILES * tokens,
            "key": 4 * head,
            "queries": 4 * queries * head,
            "limits": 8 * queries,
            "results": 4 * queries * (head + 2),
            "scratch": max(attention_scratch(head), tile_scratch()),
        }
        starts, total = {}, padded(PRIVATE.itemsize)
        for name, size in sizes.items():
            starts[name] = total
            total += padded(size) + LINE  # a line between: threads next to each other share none
        base = self._make("private", total * self._threads)
        self.step["private"], self.step["private_bytes"] = base, total
        memory = self._memory["private"]
        offset = base - memory.ctypes.data
        for thread in range(self._threads):
            record: Any = memory[offset + thread * total :][: PRIVATE.itemsize].view(PRIVATE)[0]
            for name, start in starts.items():
                record[name] = base + thread * total + start
            record["hidden_bytes"] = quantized_bytes(c.hidden, self._wide)
            job: Any = memory[offset + thread * total + starts["job"] :][: JOB.itemsize].view(JOB)[0]
            job["scratch"] = record["scratch"]

    def _make(self, name: str, size: int) -> int:
        """The address of `size` zeroed bytes at the start of a cache line."""
        self._memory[name] = np.zeros(size + 2 * LINE, np.uint8)
        return -(-self._memory[name].ctypes.data // LINE) * LINE
