"""GGUF blocks into MLX arrays, at load or as they come: written straight into MLX's memory, a chunk of rows at a time.

At the peak there are the finished arrays and the chunks in work, whatever the size of a tensor. Which form a
format takes, and what it costs, is `forms`.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localmix.backends.mlx import cuda
from localmix.backends.mlx.calls import ALIGNED, Packed
from localmix.backends.mlx.forms import GROUP, Form
from localmix.backends.mlx.groups import Groups, split
from localmix.backends.mlx.matrix import Affine, Arithmetic, Dense, Matrix
from localmix.backends.mlx.straight import Blocks
from localmix.engine.weights import Weight
from localmix.errors import UnsupportedError
from quant.coding import Coding
from quant.format import Floats, Format
from quant.layout import pack

_CHUNK = 1 << 19  # weights repacked at a time: small enough for a core's cache
_MOST_HALF = float(np.finfo(np.float16).max)

Fill = Callable[[NDArray, slice], None]  # blocks of some rows, and which rows of the arrays they become


@dataclass(frozen=True, eq=False)
class Blank:
    """Memory for a matrix or a stack: `fill` writes rows, as often as there is something new, into what `matrix` gives.

    On a GPU with memory of its own `matrix` is a copy of what was written before.
    """

    fill: Fill
    matrix: Callable[[], Matrix]


def repack(source: Weight | tuple[Weight, ...], arithmetic: Arithmetic) -> Matrix:
    """A matrix (out, in), or of several of one shape the stack (E, out, in).

    UnsupportedError: they differ in format, or hold numbers beyond the range of 16-bit floats in 16-bit mode.
    """
    weights = source if isinstance(source, tuple) else (source,)
    first = weights[0]
    for other in weights:
        if other.format is not first.format:
            raise UnsupportedError(
                f"{other.name} is {other.format.name}, {first.name} {first.format.name}: the mlx backend needs all "
                "experts of a layer in one format: use --backend numba"
            )
    made = blank(first.format, (len(weights), *first.shape) if isinstance(source, tuple) else first.shape, arithmetic)
    _fill(weights, made.fill)
    return made.matrix()


def blank(format: Format, shape: tuple[int, ...], arithmetic: Arithmetic) -> Blank:
    """Of a matrix (out, in) or a stack (E, out, in) of a format."""
    form = arithmetic.form(format)
    build = {"affine": _affine, "mxfp4": _mxfp4, "dense": _dense, "blocks": _blocks}[form.kind]
    return build(format, form, shape, arithmetic)


def put(weight: Weight, blocks: NDArray, first: int, fill: Fill) -> None:
    """Give `fill` blocks of a matrix, which are its rows from `first` on, in chunks. UnsupportedError: see `repack`."""
    step = _step(weight)
    for at in range(0, len(blocks), step):
        part = blocks[at : at + step]
        try:
            fill(part, slice(first + at, first + at + len(part)))
        except FloatingPointError:
            raise UnsupportedError(
                f"{weight.name} holds numbers beyond {_MOST_HALF:.0f}, the most of a 16-bit float, which the mlx "
                "backend computes in on this device: use --backend numba"
            ) from None


def _affine(format: Format, form: Form, shape: tuple[int, ...], arithmetic: Arithmetic) -> Blank:
    *lead, width = shape
    padded, bits = _aligned(2 * width if form.spread else width), int(form.code_bits)
    dtype = mx.float16 if form.half else mx.float32
    codes = _allocate((*lead, padded * bits // 32), mx.uint32)
    scales = _allocate((*lead, padded // GROUP), dtype)
    biases = _allocate((*lead, padded // GROUP), dtype)
    views = _rows(codes).view(np.uint8), _rows(scales), _rows(biases)
    coding = _coding(format)

    def fill(blocks: NDArray, rows: slice) -> None:
        groups = split(coding, blocks)
        if form.refit:
            groups = refit(groups)
        stored, scale, bias = _stored(groups, views[1].dtype)
        for view, part in zip(views, (_bitstream(_widened(stored), bits), scale, bias), strict=True):
            view[rows, : part.shape[1]] = part  # beyond it zeros

    def matrix() -> Matrix:
        packed = Packed(cuda.placed(codes), cuda.placed(scales), cuda.placed(biases), bits)
        return Affine(arithmetic, packed, width, form.spread)

    return Blank(fill, matrix)


def _mxfp4(format: Format, form: Form, shape: tuple[int, ...], arithmetic: Arithmetic) -> Blank:
    *lead, width = shape
    padded = _aligned(width)
    codes = _allocate((*lead, padded // 8), mx.uint32)
    scales = _allocate((*lead, padded // GROUP), mx.uint8)
    coding = _coding(format)
    to_codes, to_scales = _rows(codes).view(np.uint8), _rows(scales)

    def fill(blocks: NDArray, rows: slice) -> None:
        to_codes[rows, : width // 2] = _bitstream(coding.patterns(blocks), 4)
        to_scales[rows, : width // GROUP] = blocks[coding.scale]

    def matrix() -> Matrix:
        packed = Packed(cuda.placed(codes), cuda.placed(scales), None, 4, "mxfp4")
        return Affine(arithmetic, packed, width, spread=False)

    return Blank(fill, matrix)


def _dense(format: Format, form: Form, shape: tuple[int, ...], arithmetic: Arithmetic) -> Blank:
    own = {"f32": mx.float32, "bf16": mx.bfloat16, "f16": mx.float16}.get(format.name)
    target = mx.float16 if arithmetic.half else own or mx.float32
    as_stored = own is not None and target == own
    type_ = np.float16 if arithmetic.half else np.float32
    values = _allocate(shape, mx.uint16 if form.code_bits == 16 else mx.uint32)  # NumPy has no bfloat16
    view = _rows(values)

    def fill(blocks: NDArray, rows: slice) -> None:
        numbers = blocks if as_stored else _rounded(format.dequantize(blocks), type_)
        view[rows] = numbers.view(view.dtype).reshape(view[rows].shape)

    return Blank(fill, lambda: Dense(arithmetic, cuda.placed(values).view(target)))


def _blocks(format: Format, form: Form, shape: tuple[int, ...], arithmetic: Arithmetic) -> Blank:
    blocks = _allocate((*shape[:-1], format.row_bytes(shape[-1])), mx.uint8)
    view = _rows(blocks)

    def fill(rows_of_blocks: NDArray, rows: slice) -> None:
        view[rows] = np.ascontiguousarray(rows_of_blocks).view(np.uint8).reshape(len(rows_of_blocks), -1)

    return Blank(fill, lambda: Blocks(arithmetic, arithmetic.kernels[format.name], blocks))


def _coding(format: Format) -> Coding:
    coding = format.coding
    assert coding is not None, "only a format with codes has such a form"
    return coding


def refit(groups: Groups) -> Groups:
    """Groups of 16 fitted anew as groups of 32 with codes of 8 bits and 16-bit scales."""
    assert isinstance(groups.bias, int), "a format with minima needs another fit"
    weights = groups.scales[..., None] * (groups.codes.astype(np.float32) - groups.bias)
    weights = weights.reshape(*weights.shape[:-2], -1, GROUP)
    bias = _rounded(weights.min(axis=-1), np.float16).astype(np.float32)
    exact = (weights.max(axis=-1) - bias) / 255
    scale = _rounded(exact, np.float16)
    scale = np.where(scale < exact, np.nextafter(scale, np.float16(np.inf)), scale).astype(np.float32)
    steps = (weights - bias[..., None]) / np.where(scale > 0, scale, 1)[..., None]
    return Groups(np.clip(np.rint(steps), 0, 255).astype(np.uint8), scale, bias)


def _fill(weights: Sequence[Weight], fill: Fill) -> None:
    """Give `fill` all rows in chunks, on all cores: NumPy lets other threads run while it computes."""
    out, step = weights[0].shape[0], _step(weights[0])
    chunks = [(weight, e * out, at) for e, weight in enumerate(weights) for at in range(0, out, step)]

    def one(chunk: tuple[Weight, int, int]) -> None:
        weight, first, at = chunk
        put(weight, weight.data[at : at + step], first + at, fill)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(one, chunks):
            pass


def _step(weight: Weight) -> int:
    """Rows of a chunk."""
    return max(1, _CHUNK // weight.shape[1])


def _stored(groups: Groups, dtype: np.dtype) -> tuple[NDArray[np.uint8], NDArray, NDArray]:
    """Codes, scales and biases in the arrays' types."""
    scale = _rounded(groups.scales, dtype)
    if isinstance(groups.bias, int):  # from the rounded scale: a zero stays a zero
        return groups.codes, scale, _rounded(scale.astype(np.float32) * np.float32(-groups.bias), dtype)
    return groups.codes, scale, _rounded(groups.bias, dtype)


def _rounded(numbers: Floats, dtype: np.dtype | type[np.floating]) -> NDArray:
    """FloatingPointError: beyond the type's range."""
    with np.errstate(over="raise"):
        return numbers.astype(dtype)


def _widened(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Codes in groups of 32: those of 16 are followed by zeros, which meet zeros of the activations."""
    if codes.shape[-1] == GROUP:
        return codes
    return np.concatenate([codes, np.zeros_like(codes)], axis=-1)


def _bitstream(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Codes (R, groups, 32) as MLX packs them, the lowest bits first: bytes (R, groups · 4 · bits).

    Where they do not share bytes evenly, eight codes are a word of 64 bits, and neighbours move together: bytes,
    then pairs, then fours.
    """
    if 8 % bits == 0:
        return pack(codes, bits=bits, run=1).reshape(len(codes), -1)
    words = np.ascontiguousarray(codes).view("<u8")
    for lane in (8, 16, 32):
        width = bits * lane // 8  # bits in use of each lane
        keep = _repeated((1 << width) - 1, 2 * lane)
        words = words & np.uint64(keep) | words >> np.uint64(lane - width) & np.uint64(keep << width)
    return words.view(np.uint8).reshape(-1, 8)[:, :bits].reshape(len(codes), -1)


def _repeated(pattern: int, every: int) -> int:
    """A 64-bit word with `pattern` at every `every` bits."""
    return sum(pattern << at for at in range(0, 64, every))


def _aligned(width: int) -> int:
    return -(-width // ALIGNED) * ALIGNED


def _allocate(shape: tuple[int, ...], dtype: mx.Dtype) -> mx.array:
    """Memory of MLX's own, to be written through `_rows`: there is never a second copy."""
    array = mx.zeros(shape, dtype)
    mx.eval(array)
    return array


def _rows(array: mx.array) -> NDArray:
    """The same memory as a NumPy array (rows, n)."""
    view = np.array(array, copy=False)
    return view.reshape(-1, view.shape[-1])
