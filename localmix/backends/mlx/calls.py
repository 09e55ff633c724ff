"""The one door to MLX's quantized and fast operations: what a GPU would read as other bytes is refused here.

MLX's CPU device converts operands that do not match. GPU kernels are compiled for one type and read every operand
as if it had it: `dequantize` takes biases for numbers of the scales' type, Metal's kernel and CUDA's alike. So types
and shapes are checked on every device, and a mistake is an error on the CPU too. TypeError and ValueError are faults
of this program, never of a user. Nothing else in this folder calls MLX past this module; a test looks.
Shapes: K numbers that are multiplied and added up · N outputs · E matrices of a stack.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import mlx.core as mx

from localmix.backends.mlx.forms import GROUP

_FLOATS = (mx.float32, mx.float16, mx.bfloat16)

# K of a matrix is padded to a multiple of this. MLX 0.31.2's `gather_qmm` of sorted rows is wrong on M5 elsewhere
# (ml-explore/mlx#3887), and CUDA's fast kernels refuse anything else.
ALIGNED = 64


@dataclass(frozen=True, eq=False)
class Packed:
    """Codes in groups of 32: affine, with a scale and a bias a group, or MXFP4, whose scales are powers of two."""

    codes: mx.array  # (…, N, K · bits / 32) uint32
    scales: mx.array  # (…, N, K / 32) floats; MXFP4: uint8
    biases: mx.array | None  # of the scales' shape and type
    bits: int
    mode: str = "affine"

    def __post_init__(self) -> None:
        _same("codes", self.codes, mx.uint32)
        if self.mode == "affine":
            _float("scales", self.scales)
            if self.biases is None:
                raise TypeError("affine codes without biases")
            _same("biases", self.biases, self.scales.dtype, "the scales")
            _shaped("biases", self.biases, self.scales.shape)
        else:
            _same("scales", self.scales, mx.uint8)
            if self.biases is not None:
                raise TypeError(f"biases with {self.mode}, which has none")
        _shaped("codes", self.codes, (*self.scales.shape[:-1], self.width * self.bits // 32))

    @cached_property
    def width(self) -> int:
        return self.scales.shape[-1] * GROUP

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)

    @property
    def arrays(self) -> tuple[mx.array, ...]:
        return tuple(array for array in (self.codes, self.scales, self.biases) if array is not None)

    def __getitem__(self, index: Any) -> "Packed":
        """Some of the matrices, or of the rows."""
        biases = None if self.biases is None else self.biases[index]
        return replace(self, codes=self.codes[index], scales=self.scales[index], biases=biases)

    def scaled_in(self, dtype: mx.Dtype) -> "Packed":
        """With scales and biases of this type, which is then the type of products. MXFP4's stay what they are."""
        if self.biases is None or self.scales.dtype == dtype:
            return self
        return replace(self, scales=self.scales.astype(dtype), biases=self.biases.astype(dtype))


def pack(x: mx.array, bits: int) -> Packed:
    """Numbers (…, N, K) as codes, with scales of their type."""
    _float("x", x)
    return Packed(*mx.quantize(x, group_size=GROUP, bits=bits), bits)


def unpack(packed: Packed) -> mx.array:
    """Float32 numbers (…, N, K)."""
    p = packed.scaled_in(mx.float32)
    return mx.dequantize(p.codes, p.scales, p.biases, GROUP, p.bits, p.mode, dtype=mx.float32)


def multiply(x: mx.array, packed: Packed, transpose: bool = True) -> mx.array:
    """x (…, K) times the transposed matrix (N, K), or times a matrix (K, N): (…, N) in x's type."""
    _product(x, packed, packed.width if transpose else packed.codes.shape[-2])
    p = packed
    return mx.quantized_matmul(x, p.codes, p.scales, p.biases, transpose, GROUP, p.bits, p.mode)


def gather(x: mx.array, packed: Packed, matrices: mx.array, rows: mx.array | None) -> mx.array:
    """Part `rows[n]` of x (parts, rows, K) times the transposed matrix `matrices[n]` of (E, N, K): (n, rows, N).

    `rows` None: the parts of x are in order, one for each of `matrices`, which are sorted.
    """
    _product(x, packed, packed.width)
    _gathered(x, matrices, rows)
    if packed.width % ALIGNED:
        raise ValueError(f"gathered rows of {packed.width}: expected a multiple of {ALIGNED}, pad the matrix")
    p = packed
    return mx.gather_qmm(
        x, p.codes, p.scales, p.biases, rows, matrices, True, GROUP, p.bits, p.mode, sorted_indices=rows is None
    )


def gather_floats(x: mx.array, stack: mx.array, matrices: mx.array, rows: mx.array | None) -> mx.array:
    """The same with matrices of floats (E, N, K)."""
    _float("x", x)
    _same("the matrices", stack, x.dtype, "x")
    _gathered(x, matrices, rows)
    turned = stack.swapaxes(-1, -2)
    return mx.gather_mm(x, turned, lhs_indices=rows, rhs_indices=matrices, sorted_indices=rows is None)


def rms_norm(x: mx.array, weight: mx.array, eps: float) -> mx.array:
    """x (…, D) over its root mean square, times weight (D,)."""
    _float("x", x)
    _same("weight", weight, x.dtype, "x")
    _shaped("weight", weight, x.shape[-1:])
    return mx.fast.rms_norm(x, weight, eps)


def rope(x: mx.array, positions: mx.array, wavelengths: mx.array, halves: bool) -> mx.array:
    """x (T, heads, 1, d) turned by position / wavelength, one position a token: the pairs (i, i + n), or (2i, 2i + 1).

    There are n wavelengths; what lies beyond 2n of a head stays.
    """
    _float("x", x)
    _same("positions", positions, mx.int32)
    _shaped("positions", positions, x.shape[:1])
    _same("wavelengths", wavelengths, mx.float32)
    dims = 2 * wavelengths.size
    return mx.fast.rope(x, dims, traditional=not halves, base=None, scale=1.0, offset=positions, freqs=wavelengths)


def attend(
    q: mx.array, keys: mx.array, values: mx.array, scale: float, mask: str | mx.array | None, sinks: mx.array | None
) -> mx.array:
    """q (1, H, t, d) over keys and values (1, K, n, d): (1, H, t, d).

    `mask`: "causal", or (t, n) what is seen; `sinks` (H,): scores of nothing.
    """
    _float("q", q)
    _same("keys", keys, q.dtype, "q")
    _same("values", values, q.dtype, "q")
    _shaped("values", values, keys.shape)
    if isinstance(mask, mx.array):
        _same("mask", mask, mx.bool_)
        _shaped("mask", mask, (q.shape[2], keys.shape[2]))
    if sinks is not None:
        _same("sinks", sinks, q.dtype, "q")
        _shaped("sinks", sinks, q.shape[1:2])
    return mx.fast.scaled_dot_product_attention(q, keys, values, scale=scale, mask=mask, sinks=sinks)


def _product(x: mx.array, packed: Packed, inner: int) -> None:
    _float("x", x)
    if packed.mode == "affine":
        _same("scales", packed.scales, x.dtype, "x")
    _shaped("x", x, (*x.shape[:-1], inner))


def _gathered(x: mx.array, matrices: mx.array, rows: mx.array | None) -> None:
    _same("matrices", matrices, mx.uint32)
    if rows is None:
        _shaped("matrices", matrices, x.shape[:-2])
    else:
        _same("rows", rows, mx.uint32)
        _shaped("rows", rows, matrices.shape)


def _float(name: str, array: mx.array) -> None:
    if array.dtype not in _FLOATS:
        raise TypeError(f"{name} is {array.dtype}: expected floats of 16 or 32 bits")


def _same(name: str, array: mx.array, dtype: mx.Dtype, like: str = "") -> None:
    if array.dtype != dtype:
        raise TypeError(f"{name} is {array.dtype}: expected {dtype}" + (f", as {like}" if like else ""))


def _shaped(name: str, array: mx.array, shape: tuple[int, ...]) -> None:
    if tuple(array.shape) != tuple(shape):
        raise ValueError(f"{name} is {array.shape}: expected {tuple(shape)}")
