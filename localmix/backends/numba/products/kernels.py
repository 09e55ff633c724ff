"""The kernels of a quantized format, made from its declaration: gemv, gemm and rows; gemv16, gemm16 for int16."""

from typing import Any, NamedTuple

from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.words import record
from localmix.backends.numba.passes.records import LINE, ROWS
from localmix.backends.numba.products.choice import by_strips
from localmix.backends.numba.products.codes import Codes
from localmix.backends.numba.products.embedding import unpack_rows
from localmix.backends.numba.products.rows import JOB_T, row_product
from localmix.backends.numba.products.strips import strips_product
from localmix.backends.numba.products.tables import table_product
from localmix.backends.numba.products.tiles import tile_product


class Kernels(NamedTuple):
    """Products with one token and with several, rows as floats, and the products for activations of 16 bits."""

    gemv: Any
    gemm: Any
    rows: Any
    gemv16: Any
    gemm16: Any


def kernels(codes: Codes) -> Kernels:
    """All that a format needs."""
    narrow, wide = ((_one_token(codes, w), tile_product(codes, w)) for w in (False, True))
    return Kernels(*narrow, unpack_rows(codes), *wide)


def _one_token(codes: Codes, wide: bool) -> Any:
    """The kernel y[r] = w[r] · x, which gives what tiles give wherever there are 16 rows."""
    by_rows = inner(row_product(codes, wide))
    if by_strips(codes.coding):
        strips = strips_product(codes, wide, 1)

        @native(1)
        def gemv(job: int) -> None:
            j = record(job, JOB_T)
            if j.rows < ROWS:
                by_rows(job)
            else:
                strips(job, 1, (j.scratch + LINE - 1) // LINE * LINE)

        return gemv
    by_table = table_product(codes, wide)

    @native(1)
    def gemv_by_table(job: int) -> None:
        if record(job, JOB_T).rows < ROWS:
            by_rows(job)
        else:
            by_table(job)

    return gemv_by_table
