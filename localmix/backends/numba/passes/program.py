"""A network as the records that the kernels read: addresses into the mapped file, sizes, kernels. Copies no weights.

Records are filled from the fields of the blocks; what a record has no place for must be neutral, or is refused by name.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, Field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmix.backends.numba import formats
from localmix.backends.numba.machine import isa, native
from localmix.backends.numba.passes.records import (
    ACTIVATIONS,
    ATTENTION,
    BLOCK,
    JOB,
    KINDS,
    LARGEST,
    MIXTURE,
    NETWORK,
    PHASES,
    ROUNDED,
    ROWS,
    SCORES,
    UNTURNED,
    WEIGHT,
    WIDE,
    address_of,
    block_of_tokens,
    fields_of,
    offset,
    room,
)
from localmix.backends.numba.products.choice import by_strips
from localmix.engine.cache import PagedCache
from localmix.engine.weights import Weight
from localmix.errors import LocalmixError, UnsupportedError
from localmix.network import decoder
from localmix.network.blocks import Attention, Experts, Linear, Mixture, Norm
from localmix.network.decoder import Network
from quant.format import Format

SMALL = 1536  # widths up to this have activations of 16 bits
PIECE = 128 << 10  # bytes of weights that make one piece of work, at most
# The blocks that a layer is computed as, and the modules of their kernels for one token (_one) and for many (_many).
WHOLE = (("attention", "attention"), ("mixture", "mixture"))
STREAMED = (("attention", "attention"), *(("streamed", part) for part in ("route", "gate_up", "down", "add")))
PRODUCTS = {"one": "gemv", "many": "gemm"}  # kernels of matrices for one token and for many
_OTHERS = "blocks.output.output", "passes.forward.forward"


class Program:
    """The records of one network; keeps alive what they point to.

    `pooled`: experts that a router chooses are not in memory; where they are is said with `place`, and until then
    their addresses are 0. `starts`: the number of the first block of each layer, and how many there are.
    """

    def __init__(self, network: Network, threads: int, pooled: bool = False) -> None:
        self.network, self.threads = network, threads
        self.streamed = [pooled and layer.mixture.router is not None for layer in network.layers]
        self._kinds = [kind for streamed in self.streamed for kind in (STREAMED if streamed else WHOLE)]
        lengths = [len(STREAMED if streamed else WHOLE) for streamed in self.streamed]
        self.starts = [0, *itertools.accumulate(lengths)]
        self.wide = wide(network.width)
        for weight in (network.token_embd, *matrices(network)):
            formats.need(weight.format)
        self._for_one = list(self._kernels("one"))
        native.prepare(self._kernels("many"), self._for_one)
        self._alive: list[Any] = []
        self._weights: list[tuple[Any, Format]] = []
        self.ropes = list(dict.fromkeys(layer.attention.rope for layer in network.layers if layer.attention.rope))
        self._attention = np.zeros(len(network.layers), ATTENTION)
        self._mixture = np.zeros(len(network.layers), MIXTURE)
        self._blocks = np.zeros(len(self._kinds), BLOCK)
        self._tables: list[list[NDArray]] = []
        for i, layer in enumerate(network.layers):
            self._fill_attention(self._attention[i], layer.attention)
            self._fill_mixture(self._mixture[i], layer.mixture, self.streamed[i])
            self._attention[i]["residual"] = self._mixture[i]["residual"] = layer.scale
            for b in range(self.starts[i], self.starts[i + 1]):
                _, kind = self._kinds[b]
                row: Any = self._blocks[b]
                row["at"] = (self._attention if kind == "attention" else self._mixture)[i : i + 1].ctypes.data
                row["phases_one"], row["phases_many"] = PHASES[kind]
        self.record = np.zeros((), NETWORK)
        n = self.record
        n["blocks"], n["width"] = self._blocks.ctypes.data, network.width
        n["activations"] = WIDE * self.wide + UNTURNED * all(map(_by_strips, matrices(network)))
        n["output_kernel"] = native.address("blocks.output.output")
        self._norm(n["norm"], network.output_norm)
        self._linear(n["output"], network.output)
        self._without = {"one", "many"}
        self._kv = ""  # of the cache that is bound
        self._places: tuple[tuple[int, int], ...] = ()
        self._at = self.record.ctypes.data

    def bind(self, cache: PagedCache) -> int:
        """The network's address, with this cache's places for keys and values, and the kernels for their type."""
        if self._kv != cache.kv or self._places is not cache.places:
            self._kv, self._places = cache.kv, cache.places
            self.record["kv"] = KINDS.index(cache.kv)
            for row, (row["pool"], row["place"]) in zip(self._attention, cache.places, strict=True):
                rounded = not self.wide and isa.active().rounds and row["size"] <= ROUNDED
                row["kv_row"], row["spread"] = cache.row_bytes, cache.kv == "q4_0"
                row["attend"] = native.address(f"attend.kernel.{cache.kv}{'_rounded' if rounded else ''}")
        return self._at

    def need(self, count: str) -> None:
        """Load the kernels for "one" token or for "many": on a machine's first start the former are compiled while a
        prompt is read with the latter.
        """
        if count not in self._without:
            return
        if count == "one":
            native.finish(self._for_one)
        for row, format in self._weights:
            row[PRODUCTS[count]] = native.address(self._kernel_name(format, PRODUCTS[count]))
        for row, (module, kind) in zip(self._blocks, self._kinds, strict=True):
            row[count] = native.address(f"blocks.{module}_{count}.{kind}")
        self._without.remove(count)

    def place(self, layer: int, e: int, roles: Iterable[int], addresses: Iterable[int]) -> None:
        """Say where matrices of a streamed expert are: 0 gate, 1 up, 2 down. Address 0: nowhere."""
        tables = self._tables[layer]
        for role, address in zip(roles, addresses, strict=True):
            tables[role]["data"][e] = address

    def embedding(self) -> Callable[[NDArray[np.int32], int], None]:
        """The function that puts the embedding's rows of some ids at an address, one after another: floats, not scaled.

        There must be room for whole steps of the last one: padded(width).
        """
        weight = self.network.token_embd
        run = native.function(f"formats.{weight.format.name}.rows", 1)
        job = np.zeros((), JOB)
        job["w"], job["row_bytes"] = weight.data.ctypes.data, weight.format.row_bytes(weight.shape[1])
        job["width"], job["y_stride"] = weight.shape[1], 4 * weight.shape[1]
        rows, tokens, out = (offset(JOB, name) // 8 for name in ("x", "tokens", "y"))
        job_fields, at = fields_of(job), job.ctypes.data

        def embed(ids: NDArray[np.int32], x: int) -> None:
            job_fields[rows], job_fields[tokens], job_fields[out] = address_of(ids), len(ids), x
            run(at)

        return embed

    def _fill_attention(self, row: Any, a: Attention) -> None:
        filled(a, row, {"rope", "scale"})
        row["room"], row["block"] = room(a.size), block_of_tokens(a.heads // a.kv_heads)
        row["scale"] = 1 / np.sqrt(a.size) if a.scale is None else a.scale
        if a.rope is not None:
            filled(a.rope, row, {"inverse", "pairs", "scale"})  # its scale is in the cosines and sines
            row["rope"], row["rotated"] = self.ropes.index(a.rope), a.rope.inverse.size
            row["halves"] = a.rope.pairs == "halves"
        row["sinks"] = self._address(a.sinks)
        for name in ("norm", "q_norm", "k_norm"):
            self._norm(row[name], getattr(a, name))
        for name in ("q", "k", "v", "output"):
            self._linear(row[name], getattr(a, name))

    def _fill_mixture(self, row: Any, m: Mixture, streamed: bool) -> None:
        filled(m, row, {"experts", "router", "shared", "shared_gate"})
        self._norm(row["norm"], m.norm)
        row["experts"], row["active"], row["shared"] = len(m.experts), 1, m.shared is not None
        if m.router is not None:
            filled(m.router, row, {"gate", "scores"})
            row["router"], row["scores"] = self._address(m.router.gate), SCORES.index(m.router.scores)
            row["bias"], row["logits_bias"] = self._address(m.router.bias), self._address(m.router.logits_bias)
        elif len(m.experts) > 1:
            raise UnsupportedError("numba does not compute a mixture without a router: use --backend reference")
        if m.shared is not None and (len(m.shared) > 1 or m.shared.activation != m.experts.activation):
            raise UnsupportedError("numba does not compute such shared experts: use --backend reference")
        row["slots"] = int(row["active"]) + int(row["shared"])
        row["shared_gate"] = self._address(m.shared_gate)
        filled(m.experts, row, {"activation", "gate_bias", "up_bias", "down_bias"})
        filled(m.experts.activation, row, {"kind"})
        row["kind"] = ACTIVATIONS.index(m.experts.activation.kind)
        parts = [m.experts] if m.shared is None else [m.experts, m.shared]
        tables = [self._table(parts, name) for name in ("gate", "up", "down")]
        for e in tables[2]:  # one piece is of all slots: half as much of each, or the others wait for the last one
            e["chunk"] = chunk(int(e["rows"]), int(e["row_bytes"]) * -(-int(row["slots"]) // 2), self.threads)
        self._tables.append(tables)
        row["gate"], row["up"], row["down"] = (table.ctypes.data for table in tables)
        if streamed:
            for table in tables:
                table["data"][: len(m.experts)] = 0

    def _kernels(self, count: str) -> Iterator[str]:
        """The names of those that this network will need for "one" token or "many", the largest first."""
        yield from (f"blocks.{module}_{count}.{kind}" for module, kind in dict.fromkeys(self._kinds))
        used = {one.format.name: one.format for one in matrices(self.network)}
        yield from (self._kernel_name(format, PRODUCTS[count]) for format in used.values())
        yield from _OTHERS

    def _kernel_name(self, format: Format, name: str) -> str:
        wide = self.wide and format.block > 1
        return f"formats.{format.name}.{name}{'16' if wide else ''}"

    def _address(self, array: NDArray | None) -> int:
        """Of an array that stays; 0: there is none."""
        if array is None:
            return 0
        own = np.ascontiguousarray(array, np.float32)
        self._alive.append(own)
        return own.ctypes.data

    def _norm(self, row: Any, norm: Norm | None) -> None:
        if norm is not None:
            row["weight"], row["width"], row["eps"] = self._address(norm.weight), norm.weight.size, norm.eps

    def _linear(self, row: Any, linear: Linear) -> None:
        self._weight(row, linear.weight)
        row["bias"] = self._address(linear.bias)

    def _table(self, parts: list[Experts], role: str) -> NDArray:
        """The matrices of one role of all experts, one after another."""
        table = np.zeros(sum(map(len, parts)), WEIGHT)
        rows = iter(table)
        for part in parts:
            biases = getattr(part, f"{role}_bias")
            for e, weight in enumerate(getattr(part, role)):
                row: Any = next(rows)
                self._weight(row, weight)
                row["bias"] = self._address(None if biases is None else biases[e])
        return table

    def _weight(self, row: Any, w: Weight) -> None:
        rows, width = w.shape
        row_bytes = w.format.row_bytes(width)
        self._alive.append(w.data)
        row["data"], row["row_bytes"], row["rows"], row["width"] = w.data.ctypes.data, row_bytes, rows, width
        self._weights.append((row, w.format))
        row["floats"] = w.format.block == 1
        row["chunk"] = chunk(rows, row_bytes, self.threads)


def filled(block: Any, row: Any, elsewhere: set[str]) -> None:
    """The numbers of a block into a record's fields of the same names; what is no number, and the fields `elsewhere`,
    the caller sees to.

    UnsupportedError: a field that the record has no place for has a value that changes something.
    """
    for field in fields(block):
        value = getattr(block, field.name)
        if field.name in elsewhere or (field.name not in row.dtype.names and _neutral(value, field)):
            continue
        if field.name not in row.dtype.names:
            name = f"{type(block).__name__}.{field.name}"
            raise UnsupportedError(f"numba does not compute {name}: use --backend reference")
        if isinstance(value, bool | int | float):
            row[field.name] = value


def _neutral(value: Any, field: "Field[Any]") -> bool:
    """Whether a field has its default, which changes nothing."""
    return field.default is not MISSING and (value is field.default or value == field.default)


def matrices(network: Network) -> Iterator[Weight]:
    """Every matrix that is multiplied with, an expert at a time; the embedding only as the output."""
    for block in (network.output, *network.layers):
        yield from decoder.matrices(block)


def _by_strips(weight: Weight) -> bool:
    """Whether no product of it reads activations as row products do."""
    coding = weight.format.coding
    return coding is None or (weight.shape[0] % ROWS == 0 and by_strips(coding))


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
