"""A weight matrix, or a stack of them, in MLX's memory, and the products with it.

A GPU multiplies 16-bit activations and adds up in 32 bits. MLX's CPU kernels are slow in 16 bits, so there the
products are computed in 32 bits and what goes in and comes out is rounded: the same numbers.
Shapes: T rows of activations · E experts · n parts of m rows that share an expert.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import mlx.core as mx

from localmix.backends.mlx import calls
from localmix.backends.mlx.calls import Packed
from localmix.backends.mlx.forms import GROUP, Form, blocks_of, form_of
from localmix.backends.mlx.metal.kernels import Kernels
from quant.format import Format

_PEAK = 256.0  # what rows of numbers without a bound are scaled down to, so that sums of products with them have room

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

    def scaled(self, x: mx.array) -> tuple[mx.array, mx.array]:
        """x (…, in) float32 as products take it, and what their results are to be multiplied with (…, 1), float32.

        For what no norm bounds. A number beyond 65504 would become infinite in 16 bits, and everything after it no
        number: rows with large numbers are made smaller before a product and larger after it.
        """
        if not self.half:
            return x, mx.array(1.0)
        scale = mx.maximum(mx.abs(x).max(axis=-1, keepdims=True) / _PEAK, 1)
        return self.enter(x / scale), scale


class Matrix(Protocol):
    """(out, in), or (E, out, in)."""

    @property
    def nbytes(self) -> int: ...

    def multiply(self, x: mx.array) -> mx.array:
        """x (T, in) times the transposed matrix: (T, out)."""
        ...

    def gather(self, x: mx.array, experts: mx.array, rows: mx.array | None) -> mx.array:
        """Part `rows[n]` of x (parts, m, in) times the transposed matrix `experts[n]` of a stack: (n, m, out).

        `rows` None: x has n parts, one for each of `experts`, which are sorted.
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
        return a.leave(calls.gather_floats(a.enter(x), self.values.astype(a.products), experts, rows))

    def rows(self, ids: mx.array) -> mx.array:
        return self.values[ids].astype(mx.float32)


@dataclass(frozen=True, eq=False)
class Affine:
    """Integer codes in groups of 32 with a scale and a bias each, or MXFP4. Rows are padded to what kernels want."""

    arithmetic: Arithmetic
    packed: Packed
    width: int  # in
    spread: bool  # groups of 16: the second half of each group of 32 is padding

    @property
    def nbytes(self) -> int:
        return self.packed.nbytes

    def multiply(self, x: mx.array) -> mx.array:
        a = self.arithmetic
        if a.cpu and len(x) > _FEW:
            return a.leave(a.enter(x) @ self._unpacked(self.packed).T)
        return a.leave(calls.multiply(self._laid_out(a.enter(x)), self._operand))

    def gather(self, x: mx.array, experts: mx.array, rows: mx.array | None) -> mx.array:
        a = self.arithmetic
        return a.leave(calls.gather(self._laid_out(a.enter(x)), self._operand, experts, rows))

    def rows(self, ids: mx.array) -> mx.array:
        return self._unpacked(self.packed[ids])

    @property
    def _operand(self) -> Packed:
        """With scales in the type of products, which differs from theirs on a CPU and in 32-bit mode only."""
        return self.packed.scaled_in(self.arithmetic.products)

    def _laid_out(self, x: mx.array) -> mx.array:
        """Activations (…, in) as the matrix's rows are, with zeros where it has padding."""
        lead = x.shape[:-1]
        if self.spread:
            halves = x.reshape(*lead, -1, GROUP // 2)
            x = mx.concatenate([halves, mx.zeros_like(halves)], axis=-1).reshape(*lead, -1)
        short = self.packed.width - x.shape[-1]
        return mx.pad(x, [*[(0, 0)] * len(lead), (0, short)]) if short else x

    def _unpacked(self, packed: Packed) -> mx.array:
        """Float32 weights (n, in) of some rows."""
        weights = calls.unpack(packed)
        if self.spread:
            weights = weights.reshape(len(weights), -1, GROUP)[..., : GROUP // 2].reshape(len(weights), -1)
        return weights[:, : self.width]
