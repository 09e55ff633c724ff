"""A network as the records that the kernels read: addresses into the mapped file, sizes, kernels. Copies no weights."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmix.arch.decoder import Network
from localmix.arch.llama import DenseFeedForward
from localmix.arch.mixtral import SparseFeedForward
from localmix.backends.numba.machine import isa, native
from localmix.backends.numba.passes.layout import JOB, KINDS, LARGEST, LAYER, NETWORK, ROUNDED, WEIGHT, padded, room
from localmix.engine.cache import Cache
from localmix.engine.weights import Experts, Weight
from localmix.errors import LocalmixError
from quant.format import Format

SMALL = 2048  # widths up to this have activations of 16 bits
FLOATS = ("f32", "f16", "bf16")
PIECE = 128 << 10  # bytes of weights that make one piece of work, at most


class Program:
    """The records of one network; keeps alive what they point to."""

    def __init__(self, network: Network, threads: int) -> None:
        c = network.config
        self.network, self.threads = network, threads
        self.wide = wide(c.width)
        native.prepare(self._kernels())
        self._alive: list[Any] = []
        self._weights: list[tuple[Any, Format]] = []
        self.layers = np.zeros(c.layers, LAYER)
        self.record = np.zeros((), NETWORK)
        for i, layer in enumerate(network.layers):
            row = self.layers[i]
            row["attn_norm"], row["ffn_norm"] = self._keep(layer.attn_norm), self._keep(layer.ffn_norm)
            for name in ("q", "k", "v", "output"):
                self._weight(row[name], getattr(layer, f"attn_{name}"))
            experts = experts_of(layer.ffn)
            for name in ("gate", "up", "down"):
                row[name] = self._table(getattr(experts, name))
            if isinstance(layer.ffn, SparseFeedForward):
                row["gate_inp"] = self._keep(np.ascontiguousarray(layer.ffn.ffn_gate_inp))
        n = self.record
        n["layers"], n["width"], n["hidden"] = self.layers.ctypes.data, c.width, c.hidden
        n["heads"], n["kv_heads"], n["head_dim"], n["head_room"] = c.heads, c.kv_heads, c.head_dim, room(c.head_dim)
        n["experts"], n["active"] = max(c.experts, 1), max(c.active, 1)
        n["wide"] = self.wide
        n["rotated"], n["eps"] = network.rope_inverse.size, c.eps
        n["output_norm"] = self._keep(network.output_norm)
        self._weight(n["output"], network.output)
        self._without_tiles = True

    def bind(self, cache: Cache) -> int:
        """The network's address, with the kernel for this cache's type of keys and values."""
        self.record["kv"] = KINDS.index(cache.kv)
        self.record["kv_row"] = cache.shape[-1] * cache.dtype.itemsize
        rounded = not self.wide and isa.active().rounds and self.network.config.head_dim <= ROUNDED
        self.record["attend"] = native.address(f"attend.kernel.{cache.kv}{'_rounded' if rounded else ''}")
        return self.record.ctypes.data

    def need_tiles(self) -> None:
        """Load the kernels for prompts, which decoding does not need."""
        if self._without_tiles:
            for row, format in self._weights:
                row["gemm"] = self._kernel(format, "gemm")
            self._without_tiles = False

    def unpack(self) -> Callable[[int], NDArray[np.float32]]:
        """The function that gives a row of the embedding as floats."""
        weight = self.network.token_embd
        run = native.function(f"formats.{weight.format.name}.row", 1)
        job = np.zeros((), JOB)
        job["row_bytes"], job["width"] = weight.format.row_bytes(weight.shape[1]), weight.shape[1]
        base = weight.data.ctypes.data

        def row(token: int) -> NDArray[np.float32]:
            out = np.empty(padded(weight.shape[1]) + 256, np.float32)
            job["w"], job["y"] = base + token * int(job["row_bytes"]), out.ctypes.data
            run(job.ctypes.data)
            return out[: weight.shape[1]]

        return row

    def _kernels(self) -> Iterator[str]:
        """The names of those that this network will need, the largest first."""
        yield from ("passes.prompt.prompt", "passes.decode.decode")
        formats = {weight.format.name: weight.format for weight in _weights(self.network)}
        for name in ("gemm", "gemv"):
            yield from (self._kernel_name(format, name) for format in formats.values())

    def _kernel_name(self, format: Format, name: str) -> str:
        wide = self.wide and format.name not in FLOATS
        return f"formats.{format.name}.{name}{'16' if wide else ''}"

    def _kernel(self, format: Format, name: str) -> int:
        return native.address(self._kernel_name(format, name))

    def _keep(self, array: NDArray) -> int:
        self._alive.append(array)
        return array.ctypes.data

    def _table(self, weights: tuple[Weight, ...]) -> int:
        table = np.zeros(len(weights), WEIGHT)
        for row, weight in zip(table, weights, strict=True):
            self._weight(row, weight)
        return self._keep(table)

    def _weight(self, row: Any, w: Weight) -> None:
        rows, width = w.shape
        row_bytes = w.format.row_bytes(width)
        self._alive.append(w.data)
        row["data"], row["row_bytes"], row["rows"], row["width"] = w.data.ctypes.data, row_bytes, rows, width
        self._weights.append((row, w.format))
        row["gemv"] = self._kernel(w.format, "gemv")
        row["floats"] = w.format.name in FLOATS
        row["chunk"] = chunk(rows, row_bytes, self.threads)


def _weights(network: Network) -> Iterator[Weight]:
    """Every matrix that is multiplied with."""
    yield network.output
    for layer in network.layers:
        yield from (layer.attn_q, layer.attn_k, layer.attn_v, layer.attn_output)
        experts = experts_of(layer.ffn)
        yield from (*experts.gate, *experts.up, *experts.down)


def wide(width: int) -> bool:
    """Whether activations have 16 bits: LOCALMIX_ACTIVATIONS=int8 or int16, else small networks do.

    Eight bits cost SmolLM2 (width 576) 0.9 % of perplexity, sixteen nothing; they take time where the vector units
    are the limit, which a small network can spare.
    """
    chosen = os.environ.get("LOCALMIX_ACTIVATIONS")
    if chosen not in (None, "int8", "int16"):
        raise LocalmixError(f"LOCALMIX_ACTIVATIONS={chosen}: expected int8 or int16")
    return chosen == "int16" if chosen else width <= SMALL


def chunk(rows: int, row_bytes: int, threads: int) -> int:
    """Rows of one piece of work: whole tiles of 64, small enough that threads of uneven speed end together."""
    by_bytes = PIECE // row_bytes
    by_balance = rows // (8 * threads)
    return max(16, min(LARGEST, by_bytes, by_balance) // 16 * 16)


def experts_of(ffn: Any) -> Experts:
    """The experts of a layer; a dense layer is one."""
    if isinstance(ffn, SparseFeedForward):
        return ffn.experts
    assert isinstance(ffn, DenseFeedForward), type(ffn)
    return Experts(gate=(ffn.ffn_gate,), up=(ffn.ffn_up,), down=(ffn.ffn_down,))
