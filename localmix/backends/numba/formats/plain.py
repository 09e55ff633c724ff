"""Formats of 32 weights under a scale of their own, and perhaps a number that is added: all follows from the coding."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

import quant
from localmix.backends.numba.products.codes import Codes, RowScales, Scales, offset
from localmix.backends.numba.products.kernels import Kernels, kernels
from localmix.backends.numba.products.scales import halves, two_halves_of_rows


def kernels_of(name: str) -> Kernels:
    """The kernels of a format that `formats.derived` says has them."""
    return kernels(Codes(name, _scales(name), _row_scales(name)))


def _scales(name: str) -> Scales:
    coding = quant.FORMATS[name].coding
    assert coding is not None, name

    def scales(b: ir.IRBuilder, blocks: Sequence[Any]) -> tuple[Any, Any]:
        scale = halves(b, blocks, name, coding.scale)
        return scale, b.fneg(halves(b, blocks, name, coding.plus)) if coding.plus else None

    return scales


def _row_scales(name: str) -> RowScales | None:
    """Both numbers at once, where they are neighbours."""
    coding = quant.FORMATS[name].coding
    assert coding is not None, name
    if coding.plus is None or offset(name, coding.plus) != offset(name, coding.scale) + 2:
        return None

    def row_scales(b: ir.IRBuilder, rows: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        scale, plus = two_halves_of_rows(b, rows, name, coding.scale)
        return [scale], [b.fneg(plus)]

    return row_scales
