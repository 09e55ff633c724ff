"""The three kernels of a quantized format, made from its emitter: gemv, gemm and row."""

from typing import Any

from localmix.backends.numba.codes import Codes
from localmix.backends.numba.rows import row_product, unpack_rows
from localmix.backends.numba.tiles import tile_product


def kernels(codes: Codes) -> tuple[Any, Any, Any]:
    return row_product(codes), tile_product(codes), unpack_rows(codes)
