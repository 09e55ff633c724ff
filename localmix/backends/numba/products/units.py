"""Units of codes: what a few tokens are multiplied with at once, in tiles (tiles.py) and without them (strips.py).

A unit is vectors of codes of 16 rows (lane r is row r, four columns a lane), and for each group of columns 16 scales
and 16 minima, if the format has them. It is one group, or all columns of a run of bytes that hold two codes each
(fields.whole_bytes). A zero point costs nothing: sums start at -zero · (sum of x). The activations' scale, a power of
two, is in what sums start at (`from_starts`), or its exponent is added to that of the other scale.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine import isa
from localmix.backends.numba.machine.simd import F32, I8, I16, I32, I64, const, fma, hidden, load, splat, store, vec
from localmix.backends.numba.passes.records import LINE, SECTIONS, TINY, ZEROS
from localmix.backends.numba.products.activations import section
from localmix.backends.numba.products.codes import Codes
from localmix.backends.numba.products.fields import half_of_bytes, whole_bytes
from localmix.backends.numba.products.sums import begin, signed, zero_point

FLOATS, INTS = vec(F32, 16), vec(I32, 16)


@dataclass(frozen=True)
class Unit:
    """What lies where in a unit."""

    columns: int
    vectors: int  # of codes
    groups: int

    @property
    def bytes(self) -> int:
        return self.scales(self.groups)

    def scales(self, group: int) -> int:
        """Minima follow their scales."""
        return LINE * (self.vectors + 2 * group)


def unit_of(codes: Codes) -> Unit:
    """Of codes as they are in memory."""
    if whole_bytes(codes):
        run = codes.parts[0].run
        return Unit(2 * run, run // 4, 2 * run // codes.group)
    return unit_of_group(codes)


def unit_of_group(codes: Codes) -> Unit:
    """Of unpacked codes."""
    return Unit(codes.group, codes.group // 4, 1)


def store_scales(b: ir.IRBuilder, codes: Codes, wide: bool, unit: Unit, rows: Sequence[Any], at: Any) -> None:
    """The scales and minima of one block in each of 16 rows, into the units that begin there."""
    if codes.row_scales:
        scales, minima = codes.row_scales(b, rows)
    else:
        scales, minima = ([one] for one in codes.scales(b, rows))
    for i, (s, m) in enumerate(zip(scales, minima, strict=True)):
        start, group = i // unit.groups * unit.bytes, i % unit.groups
        store(b, _apart(b, s) if from_starts(wide) else _addable(b, s), at, start + unit.scales(group), align=LINE)
        if m is not None:
            store(b, m, at, start + unit.scales(group) + LINE, align=LINE)


def _apart(b: ir.IRBuilder, scales: Any) -> Any:
    """Scales of which none is 0: TINY is added to all, which scales of float16 do not notice; where they are products
    it costs nothing.
    """
    return b.fadd(scales, const(FLOATS, TINY), flags=("contract",))


def _addable(b: ir.IRBuilder, scales: Any) -> Any:
    """Scales as whole numbers: added to the bits of a power of two they are the bits of the product. 0 has no exponent,
    so none may be 0.
    """
    return b.sub(b.bitcast(_apart(b, scales), INTS), const(INTS, 127 << 23))


Pair = tuple[int, Sequence[Any]]  # a column of a unit; of each tile a vector of the codes of four columns from there on


def pairs(b: ir.IRBuilder, codes: Codes, vectors: Iterable[Any], halves: Sequence[int]) -> Iterator[Pair]:
    """The codes in these halves of whole bytes, the vectors of a unit."""
    for i, vector in enumerate(vectors):
        for half in halves:
            yield half * codes.parts[0].run + 4 * i, [half_of_bytes(b, codes, vector, half)]


def multiply(
    b: ir.IRBuilder,
    codes: Codes,
    wide: bool,
    found: Iterable[Pair],
    scales: Sequence[tuple[int, Sequence[Any]]],
    x: "Columns",
    sums: Sequence[Sequence[Any]],
) -> None:
    """Adds to the sums of tiles and some tokens, which are variables, a lane a row, the products with all codes of some
    groups of a unit; `scales` are these groups and, of each tile, the address of their scales, which their minima
    follow. Tiles side by side share what is read of the activations.
    """
    tiles, tokens, group = range(len(sums)), range(len(sums[0])), codes.group
    dots = {
        g: [[begin(b, codes, wide, starts_at(codes, wide, x, t, group * g), many=True) for _ in tiles] for t in tokens]
        for g, _ in scales
    }
    for column, code in found:
        for t, of_token in enumerate(dots[column // group]):
            four = Four(x, t, column)
            for dot, own in zip(of_token, code, strict=True):
                dot.add(own, four)
    for g, at in scales:
        for t in tokens:
            for dot, scale, of_tile in zip(dots[g][t], at, sums, strict=True):
                b.store(added(codes, wide, dot.value(), scale, x, t, group * g, b.load(of_tile[t])), of_tile[t])


def from_starts(wide: bool) -> bool:
    """Whether whole sums start at the bits of BIG times the activations' scale, a power of two. Then they are always
    the bits of a float, from which BIG times the scale has to be taken off, and need neither be converted nor scaled.
    It takes sums below 2^22, and instructions that add to what is there.
    """
    return not wide and not isa.active().pairs


def starts_at(codes: Codes, wide: bool, x: "Columns", token: int, column: int) -> Any:
    """What the whole sum of a group starts at, in every lane; it takes a zero point off."""
    b, zero = x.b, 0 if signed(codes, wide) else codes.zero
    if not from_starts(wide):
        return zeros(codes, x, token, column) if zero else const(INTS, 0)
    if zero == ZEROS[codes.group]:
        return splat(b, x.load(I32, token, f"starts{codes.group}", column), 16)
    starts = splat(b, x.load(I32, token, "starts", column), 16)
    return b.add(starts, zeros(codes, x, token, column)) if zero else starts


def added(
    codes: Codes,
    wide: bool,
    dots: Any,
    scales: Any,
    x: "Columns",
    token: int,
    column: int,
    total: Any,
) -> Any:
    """total + the products with a group of codes, which begins at a column: the whole numbers `dots`, and where its
    scales lie, which its minima follow. Products with powers of two are exact, so both ways give the same bits.
    """
    b = x.b
    if from_starts(wide):
        scale = load(b, FLOATS, scales, align=LINE)
        floats = b.fsub(b.bitcast(dots, FLOATS), splat(b, x.load(F32, token, "starts", column), 16))
    else:
        d = splat(b, x.load(I32, token, "scales", column), 16)
        scale = b.bitcast(b.add(load(b, INTS, scales, align=LINE), d), FLOATS)
        floats = b.sitofp(dots, FLOATS)
    total = fma(b, floats, scale, total)
    if not codes.zero:
        s = x.load(F32, token, f"floats{codes.group}", column)
        total = fma(b, load(b, FLOATS, scales, LINE, align=LINE), splat(b, b.fneg(s), 16), total)
    return total


class Columns:
    """Quantized activations of some tokens from column k on; `rows` are where the tokens' begin.

    Distances from there are the same for all, and LLVM is kept from seeing how they grow: it would have an address for
    each token and section instead, most of them on the stack.
    """

    def __init__(self, b: ir.IRBuilder, rows: Sequence[Any], width: Any, k: Any) -> None:
        self.b, self._rows, self._width, self._k = b, rows, width, k
        self._distances: dict[str, Any] = {}

    def load(self, kind: Any, token: int, name: str, column: int) -> Any:
        """What a section has for a column, counted from k on. Scales are stored for 32 columns, of which either k is a
        multiple or the column.
        """
        b, size = self.b, SECTIONS[name][1]
        of_32 = name in ("scales", "starts")
        if of_32:
            column = column // 32 * 32
        if name not in self._distances:
            k = b.and_(self._k, I64(-32)) if of_32 else self._k
            self._distances[name] = hidden(b, section(b, I64(0), self._width, name, k))
        return load(b, kind, b.add(self._rows[token], self._distances[name]), column * size // 32, align=4)


def zeros(codes: Codes, x: Columns, token: int, column: int) -> Any:
    """What the zero point of the codes of a group takes off, in every lane."""
    stored = x.load(I32, token, f"sums{codes.group}", column)
    return zero_point(x.b, codes, splat(x.b, stored, 16))


class Four:
    """Four activations of a token, from a column on, for 16 rows of codes; what was read serves the next tile, too."""

    def __init__(self, x: Columns, token: int, column: int) -> None:
        self._x, self._token, self._column = x, token, column
        self._read: dict[tuple[str, int], Any] = {}

    def bytes(self, b: ir.IRBuilder, name: str) -> Any:
        return b.bitcast(self._everywhere(b, name, self._column), vec(I8, 64))

    def words(self, b: ir.IRBuilder, odd: int) -> Any:
        """Of each 16 columns the even ones come first."""
        run, inside = divmod(self._column, 16)
        return b.bitcast(self._everywhere(b, "words", 16 * run + 8 * odd + inside // 2), vec(I16, 32))

    def _everywhere(self, b: ir.IRBuilder, name: str, column: int) -> Any:
        """32 bits of a section, repeated."""
        if (name, column) not in self._read:
            self._read[name, column] = splat(b, self._x.load(I32, self._token, name, column), 16)
        return self._read[name, column]
