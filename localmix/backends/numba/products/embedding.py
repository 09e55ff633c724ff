"""Rows of a quantized weight as floats: what embeddings are."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.simd import F32, I64, const, shuffle, store, vec
from localmix.backends.numba.machine.words import int64, load_i32, record, void, word
from localmix.backends.numba.products.codes import Codes
from localmix.backends.numba.products.fields import row_codes, row_order
from localmix.backends.numba.products.rows import JOB_T, STEP


def unpack_rows(codes: Codes) -> Any:
    """The kernel that turns rows of job.w, those of the ids (int32) at job.x, into floats at job.y."""
    size, block = codes.bytes, codes.block
    n = max(block, STEP // 2)
    per, order = n // block, row_order(codes, n)

    @word(void, int64, int64, int64)
    def unpack(b: ir.IRBuilder, p: Any, last: Any, y: Any) -> None:
        """n weights; beyond the last block whatever may come."""
        blocks = [p]
        for i in range(1, per):
            at = b.add(p, I64(size * i))
            blocks.append(b.select(b.icmp_signed("<", at, last), at, last))
        s, m = codes.scales(b, blocks)
        for columns, code in zip(order, row_codes(b, codes, blocks), strict=True):
            groups = [c // codes.group for c in columns for _ in range(16)]
            floats = b.fsub(b.uitofp(code, vec(F32, 64)), const(vec(F32, 64), float(codes.zero)))
            floats = b.fmul(floats, shuffle(b, s, groups))
            if m is not None:
                floats = b.fsub(floats, shuffle(b, m, groups))
            for i, column in enumerate(columns):
                store(b, shuffle(b, floats, range(16 * i, 16 * i + 16)), y, 4 * column, align=4)

    @native(1)
    def rows(job: int) -> None:
        """The last row at job.y must have room for whole steps: padded(width) floats."""
        j = record(job, JOB_T)
        blocks = j.width // block
        for t in range(j.tokens):
            w, y = j.w + load_i32(j.x + 4 * t) * j.row_bytes, j.y + t * j.y_stride
            for i in range(0, blocks, per):
                unpack(w + i * size, w + (blocks - 1) * size, y + 4 * block * i)

    return rows
