"""The kernels of each weight format: `formats.q4_k.gemv` is one's name.

A module here has what does not follow from the format's declaration in `quant`: how scales of groups are read. A format
of 32 weights under one scale needs none. What neither holds for is refused by name. Nothing is compiled or imported
here before a kernel is asked for.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from localmix.errors import UnsupportedError
from quant import FORMATS
from quant.coding import Bits, Coding
from quant.format import Format

if TYPE_CHECKING:
    from localmix.backends.numba.products.kernels import Kernels

_WORD = 16  # bytes that are read where a field of single bits begins


def __getattr__(name: str) -> "Kernels":
    """The kernels of a format without a module of its own."""
    if name not in FORMATS or not derived(FORMATS[name]):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from localmix.backends.numba.formats.plain import kernels_of

    return kernels_of(name)


def need(format: Format) -> None:
    """UnsupportedError: there are no kernels of this format."""
    if find_spec(f"{__name__}.{format.name}") is None and not derived(format):
        raise UnsupportedError(f"numba has no kernels for {format.name.upper()}: use --backend reference")


def derived(format: Format) -> bool:
    """Whether kernels follow from what the format declares."""
    c = format.coding
    if c is None or c.of_groups is not None or c.minus is not None or not c.group == format.block == 32:
        return False
    codes = c.zero & (c.zero - 1) == 0 and c.has_minima == (c.zero == 0) and (c.zero == 128 or not c.signed)
    table = c.levels is None or (len(c.levels) == 16 and c.bits == 4 and min(c.levels) + c.zero >= 0 and c.most < 256)
    numbers = [field for field in (c.scale, c.plus) if field is not None]
    halves = format.dtype.itemsize % 2 == 0 and all(_is_half(format, field) for field in numbers)
    return codes and table and halves and _fields(format, c)


def _is_half(format: Format, field: str) -> bool:
    return format.dtype[field].str == "<f2" and _offset(format, field) % 2 == 0


def _fields(format: Format, coding: Coding) -> bool:
    """Whether the bits lie as the products read them: nibbles or bytes, and single bits above them."""
    first, *more = coding.parts
    single = [Bits(part.field, bits=1, run=1, at=first.bits + i) for i, part in enumerate(more)]
    whole = first in (Bits(first.field, bits=4, run=16), Bits(first.field, bits=8, run=32))
    inside = all(_offset(format, part.field) + _WORD <= format.dtype.itemsize for part in more)
    return whole and inside and more == single and coding.bits <= 8


def _offset(format: Format, field: str) -> int:
    fields = format.dtype.fields
    assert fields is not None, format.name
    return int(fields[field][1])
