"""The kernels of a quantized format, made from its declaration: gemv, gemm and row; gemv16, gemm16 for int16."""

from typing import Any

from localmix.backends.numba.codes import Codes
from localmix.backends.numba.embedding import unpack_rows
from localmix.backends.numba.rows import row_product
from localmix.backends.numba.tiles import tile_product


def kernels(codes: Codes) -> tuple[Any, Any, Any, Any, Any]:
    """gemv, gemm, row, gemv16 and gemm16."""
    narrow, wide = ((row_product(codes, w), tile_product(codes, w)) for w in (False, True))
    return *narrow, unpack_rows(codes), *wide
