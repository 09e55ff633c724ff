"""A weight matrix, or a stack of them, in MLX's memory, and the products with it.

A GPU multiplies 16-bit activations and adds up in 32 bits. MLX's CPU kernels are slow in 16 bits, so there the
products are computed in 32 bits and what goes in and comes out is rounded: the same numbers.
Shapes: T rows of activations · N pairs of a row and an expert · E experts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import mlx.core as mx

from localmix.backends.mlx.forms import GROUP, Form, blocks_of, form_of
from localmix.backends.mlx.metal.kernels import Kernels
from quant.format import Format

_FEW = 8  # rows up to which MLX's CPU kernel, that reads the weights once a row, beats unpacking them


@dataclass(frozen=True)
class Arithmetic:
    """Which numbers are used: 16-bit (`half`) or 32-bit activations, on the CPU or a GPU.

    `kernels`: of the formats that are multiplied straight from the file's blocks.
    """

    half: bool
    cpu: bool
    kernels: Mapping[str, Kernels] = field(default_factory=dict)

    def form(self, format: Format) -> Form:
        """What a matrix of this format becomes."""
        return blocks_of(format) if format.name in self.kernels else form_of(format, self.half)

    @property
    def type(self) -> mx.Dtype:
        """Of activations between operations."""
        return mx.float16 if self.half else mx.float32

    @property
    def products(self) -> mx.Dtype:
        """Of activations inside a product."""
        return mx.float32 if self.cpu else self.type

    def enter(self, x: mx.array) -> mx.array:
        return x.astype(self.type).astype(self.products)

    def leave(self, y: mx.array) -> mx.array:
        return y.astype(self.type)


class Matrix(Protocol):
    """(out, in), or (E, out, in)."""

    @property
    def nbytes(self) -> int: ...

    def multiply(self, x: mx.array) -> mx.array:
        """x (T, in) times the transposed matrix: (T, out)."""
        ...

    def gather(self, x: mx.array, experts: mx.array, rows: mx.array | None) -> mx.array:
        """Row `rows[n]` of x (T, in) times the transposed matrix `experts[n]` of a stack: (N, out).

        `rows` None: x has N rows, one for each pair, and `experts` is sorted.
        """
        ...

    def rows(self, ids: mx.array) -> mx.array:
        """Rows of the matrix as float32 (n, in)."""
        ...


@dataclass(frozen=True, eq=False)
class Dense:
    """Floats."""

    arithmetic: Arithmetic
    values: mx.array

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    def multiply(self, x: mx.array) -> mx.array:
        a = self.arithmetic
        return a.leave(a.enter(x) @ self.values.astype(a.products).T)

    def gather(self, x: mx.array, experts: mx.array, rows: mx.array | None) -> mx.array:
        a = self.arithmetic
        stack = self.values.astype(a.products).swapaxes(-1, -2)
        x = a.enter(x)[:, None]
        y = mx.gather_mm(x, stack, lhs_indices=rows, rhs_indices=experts, sorted_indices=rows is None)
        return a.leave(y[:, 0])

    def rows(self, ids: mx.array) -> mx.array:
        return self.values[ids].astype(mx.float32)


@dataclass(frozen=True, eq=False)
class Affine:
    """Integer codes in groups of 32 with a scale and a bias each, or MXFP4, which has no bias."""

    arithmetic: Arithmetic
    codes: mx.array  # (…, out, in · bits / 32) uint32
    scales: mx.array  # (…, out, groups)
    biases: mx.array | None
    bits: int
    mode: str
    spread: bool  # groups of 16: the second half of each group of 32 is padding

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.scales.nbytes + (0 if self.biases is None else self.biases.nbytes)

    def multiply(self, x: mx.array) -> mx.array:
        a = self.arithmetic
        if a.cpu and len(x) > _FEW:
            return a.leave(a.enter(x) @ self._unpacked(self.codes, self.scales, self.biases).T)
        x = self._spread(a.enter(x))
        return a.leave(mx.quantized_matmul(x, self.codes, self.scales, self.biases, **self._packing))

    def gather(self, x: mx.array, experts: mx.array, rows: mx.array | None) -> mx.array:
        a = self.arithmetic
        y = mx.gather_qmm(
            self._spread(a.enter(x))[:, None],
            self.codes,
            self.scales,
            self.biases,
            lhs_indices=rows,
            rhs_indices=experts,
            sorted_indices=rows is None,
            **self._packing,
        )
        return a.leave(y[:, 0])

    def rows(self, ids: mx.array) -> mx.array:
        biases = None if self.biases is None else self.biases[ids]
        return self._unpacked(self.codes[ids], self.scales[ids], biases)

    @property
    def _packing(self) -> dict[str, Any]:
        return {"group_size": GROUP, "bits": self.bits, "mode": self.mode}

    def _spread(self, x: mx.array) -> mx.array:
        """Activations (T, in), with zeros where the matrix has padding."""
        if not self.spread:
            return x
        halves = x.reshape(len(x), -1, GROUP // 2)
        return mx.concatenate([halves, mx.zeros_like(halves)], axis=-1).reshape(len(x), -1)

    def _unpacked(self, codes: mx.array, scales: mx.array, biases: mx.array | None) -> mx.array:
        """Float32 weights (n, in) of some rows."""
        if self.mode == "affine":  # the result has the type of the scales
            scales = scales.astype(mx.float32)
        weights = mx.dequantize(codes, scales, biases, dtype=mx.float32, **self._packing)
        if not self.spread:
            return weights
        return weights.reshape(len(weights), -1, GROUP)[..., : GROUP // 2].reshape(len(weights), -1)
