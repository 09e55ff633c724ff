"""The working memory of a network: what threads share, what each has to itself, and the record that points to it.

Grown to the largest batch seen. Zeroed when made: kernels keep the padding of rows at zero.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmix.arch.config import Config
from localmix.backends.numba.passes.layout import (
    ATTEND,
    BLOCK,
    JOB,
    LARGEST,
    LINE,
    PRIVATE,
    SPLITS,
    STEP,
    TILES,
    attention_scratch,
    fours,
    padded,
    quantized_bytes,
    room,
    tile_scratch,
)

COUNTER = 128  # bytes of one phase's counter
PHASES = 12  # of a layer, at most; the final norm and output have two more


class Buffers:
    """`step` is the record of the pass; `counters` are to be zeroed before each."""

    def __init__(self, config: Config, threads: int, wide: bool) -> None:
        self._config, self._threads, self._wide = config, threads, wide
        self._tokens = 0
        self._memory: dict[str, NDArray[np.uint8]] = {}
        self.step = np.zeros((), STEP)
        self.counters = np.zeros((config.layers * PHASES + 2) * COUNTER // 8 + 8, np.int64)
        self.step["counters"] = -(-self.counters.ctypes.data // LINE) * LINE

    def grow(self, tokens: int) -> None:
        """Room for a batch of `tokens`."""
        if tokens > self._tokens:
            self._tokens = tokens
            self._share(tokens)
            self._privates(tokens)

    def rows(self, name: str, shape: tuple[int, int], dtype: type[np.generic], stride: int | None = None) -> NDArray:
        """A view of what all threads share: rows (n, width), `stride` bytes apart (None: without gaps)."""
        memory, size = self._memory[name], np.dtype(dtype).itemsize
        start = int(self.step[name]) - memory.ctypes.data
        strides = stride or shape[1] * size, size
        return np.ndarray(shape, dtype, memory.data, start, strides)

    def _share(self, tokens: int) -> None:
        c, s = self._config, self.step
        wide = max(c.width, c.heads * c.head_dim)
        active = max(c.active, 1)
        slots = tokens * active
        s["xf_bytes"] = s["mixed_bytes"] = 4 * padded(wide)
        s["xq_bytes"] = quantized_bytes(wide, self._wide)
        s["hidden_bytes"], s["hidden_floats_bytes"] = quantized_bytes(c.hidden, self._wide), 4 * padded(c.hidden)
        for name, size in {
            "x": tokens * c.width * 4,
            "q": tokens * c.heads * c.head_dim * 4,
            "k": tokens * c.kv_heads * c.head_dim * 4,
            "v": tokens * c.kv_heads * c.head_dim * 4,
            "mixed": tokens * int(s["mixed_bytes"]),
            "xf": tokens * int(s["xf_bytes"]),
            "xq": tokens * int(s["xq_bytes"]),
            "chosen": slots * 4,
            "mix": slots * 4,
            "place": slots * 4,
            "order": slots * 4,
            "starts": (max(c.experts, 1) + 1) * 8,
            "used": (max(c.experts, 1) + 1) * 8,
            "gathered": slots * int(s["xq_bytes"]),
            "gathered_floats": slots * int(s["xf_bytes"]),
            "hidden": slots * int(s["hidden_bytes"]),
            "hidden_floats": slots * int(s["hidden_floats_bytes"]),
            "outs": slots * c.width * 4,
            "partials": 4 * c.kv_heads * SPLITS * fours(c.heads // c.kv_heads) * (room(c.head_dim) + 2),
        }.items():
            s[name] = self._make(name, size)

    def _privates(self, tokens: int) -> None:
        c = self._config
        wide = max(c.width, c.heads * c.head_dim)
        active, heads = max(c.active, 1), room(c.head_dim)
        queries = fours(BLOCK * (c.heads // c.kv_heads))
        sizes = {
            "job": JOB.itemsize,
            "attend": ATTEND.itemsize,
            "xf": 4 * padded(wide),
            "xq": quantized_bytes(wide, self._wide),
            "hidden": active * quantized_bytes(c.hidden, self._wide),
            "one": 4 * max(LARGEST, c.experts),
            "two": 4 * LARGEST,
            "chosen": 4 * active,
            "mix": 4 * active,
            "gate": 4 * TILES * tokens,
            "up": 4 * TILES * tokens,
            "queries": 4 * queries * heads,
            "limits": 8 * queries,
            "results": 4 * queries * (heads + 2),
            "scratch": max(attention_scratch(heads), tile_scratch()),
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
