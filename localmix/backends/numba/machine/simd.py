"""LLVM IR, built: vectors of lanes, and the operations on them that several kernels share.

These functions are called while a kernel is compiled, from the words that stand for instructions in it (words.py);
addresses are int64.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from localmix.backends.numba.machine import isa

I8, I16, I32, I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
F16, F32 = ir.HalfType(), ir.FloatType()
# (builder, address, lanes) -> that many stored numbers as float32, one of them as a scalar for 0 lanes.
Widen = Callable[[ir.IRBuilder, Any, int], Any]


def vec(element: ir.Type, lanes: int) -> ir.VectorType:
    return ir.VectorType(element, lanes)


def const(kind: ir.Type, value: Any) -> ir.Constant:
    """A constant; for a vector one value for all lanes or a list."""
    if isinstance(kind, ir.VectorType) and not isinstance(value, list):
        value = [value] * kind.count
    return ir.Constant(kind, value)


def load(b: ir.IRBuilder, kind: ir.Type, address: Any, offset: int = 0, align: int = 1) -> Any:
    at = b.add(address, I64(offset)) if offset else address
    return b.load(b.inttoptr(at, kind.as_pointer()), align=align)


def store(b: ir.IRBuilder, value: Any, address: Any, offset: int = 0, align: int = 1) -> None:
    at = b.add(address, I64(offset)) if offset else address
    b.store(value, b.inttoptr(at, value.type.as_pointer()), align=align)


def shuffle(b: ir.IRBuilder, x: Any, lanes: Sequence[int], y: Any = None) -> Any:
    """Lanes of x, or of x and y, in the given order."""
    other = ir.Constant(x.type, ir.Undefined) if y is None else y
    return b.shuffle_vector(x, other, ir.Constant(vec(I32, len(lanes)), list(lanes)))


def concat(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    return shuffle(b, x, range(2 * x.type.count), y)


def splat(b: ir.IRBuilder, value: Any, lanes: int) -> Any:
    undefined = ir.Constant(vec(value.type, lanes), ir.Undefined)
    return shuffle(b, b.insert_element(undefined, value, I32(0)), [0] * lanes)


def fence(b: ir.IRBuilder) -> None:
    """LLVM moves no load and no store from one side to the other; the processor may."""
    b.call(ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", side_effect=True), [])


def hidden(b: ir.IRBuilder, x: Any) -> Any:
    """An integer as something that LLVM knows nothing of."""
    nothing = ir.InlineAsm(ir.FunctionType(x.type, [x.type]), "", "=r,0", side_effect=True)
    return b.call(nothing, [x])


def with_each(b: ir.IRBuilder, x: Any, values: Iterable[int], emit: Callable[[int], None]) -> None:
    """Code of its own for each of these values of an integer, made by `emit`; for others there is none."""
    end = b.append_basic_block()
    switch = b.switch(x, end)
    for value in values:
        block = b.append_basic_block()
        switch.add_case(ir.Constant(x.type, value), block)
        b.position_at_end(block)
        emit(value)
        b.branch(end)
    b.position_at_end(end)


def call(b: ir.IRBuilder, name: str, result: ir.Type, *values: Any, flags: Sequence[str] = ()) -> Any:
    """An LLVM intrinsic or a C function."""
    kind = ir.FunctionType(result, [v.type for v in values])
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), values, fastmath=tuple(flags))


def _suffix(kind: ir.Type) -> str:
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{_suffix(kind.element)}"
    return {I32: "i32", F32: "f32", I8: "i8", I16: "i16"}[kind]


def fma(b: ir.IRBuilder, x: Any, y: Any, z: Any) -> Any:
    """x · y + z, rounded once where the processor can: elsewhere LLVM would call a function for each lane."""
    if not isa.fused():
        return b.fadd(b.fmul(x, y), z)
    return call(b, f"llvm.fma.{_suffix(x.type)}", x.type, x, y, z)


def rounded(b: ir.IRBuilder, x: Any) -> Any:
    """To the nearest whole number, ties to even, below 2^22: not every processor has an instruction for it."""
    big = const(x.type, 1.5 * 2**23)
    return b.fsub(b.fadd(x, big), big)


def whole(b: ir.IRBuilder, x: Any) -> Any:
    """The same as int32."""
    return b.fptosi(rounded(b, x), vec(I32, x.type.count))


def inverse_scale(b: ir.IRBuilder, largest: Any, most: float) -> Any:
    """What makes the largest number `most`: 0 for 0."""
    nothing = const(largest.type, 0.0)
    return b.select(b.fcmp_ordered("==", largest, nothing), nothing, b.fdiv(const(largest.type, most), largest))


def power_of_two(b: ir.IRBuilder, x: Any, least: float) -> tuple[Any, Any]:
    """The bits of the least power of two that is not below x nor below `least`, one itself; and its inverse."""
    kind = x.type
    ints = vec(I32, kind.count) if isinstance(kind, ir.VectorType) else I32
    bits = b.bitcast(larger(b, const(kind, least), x), ints)
    bits = b.and_(b.add(bits, const(ints, (1 << 23) - 1)), const(ints, 0xFF << 23))
    return bits, b.bitcast(b.sub(const(ints, 2 * 127 << 23), bits), kind)


def larger(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    return b.select(b.fcmp_ordered(">", x, y), x, y)


def smaller(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    return b.select(b.fcmp_ordered("<", x, y), x, y)


def sum_lanes(b: ir.IRBuilder, x: Any) -> Any:
    """The sum of all lanes as a fixed tree: halves are added until one lane is left."""
    while x.type.count > 1:
        half = x.type.count // 2
        x = b.fadd(shuffle(b, x, range(half)), shuffle(b, x, range(half, 2 * half)))
    return b.extract_element(x, I32(0))


def join(b: ir.IRBuilder, parts: Sequence[Any]) -> Any:
    """Vectors of one type, a power of two of them, end to end."""
    parts = list(parts)
    while len(parts) > 1:
        parts = [concat(b, parts[i], parts[i + 1]) for i in range(0, len(parts), 2)]
    return parts[0]


def turn(b: ir.IRBuilder, rows: Sequence[Any]) -> list[Any]:
    """16 rows of n lanes, n up to 16, as n columns of 16 lanes."""
    n = rows[0].type.count
    if n == 1:
        return [join(b, rows)]
    if n == 2:
        x, y = join(b, rows[::2]), join(b, rows[1::2])
        even = [i if i % 2 == 0 else 15 + i for i in range(16)]
        return [shuffle(b, x, even, y), shuffle(b, x, [i + 1 for i in even], y)]
    # Squares of 4 by 4 within quarters of vectors, which is cheapest, then quarters. Rows of a vector are four apart.
    vectors = [join(b, rows[row : row + 64 // n : 4]) for row in range(16) if row % (64 // n) < 4]
    squares = [_turn_squares(b, vectors[i : i + 4]) for i in range(0, n, 4)]
    return [
        column
        for columns in zip(*(_sort(b, of) for of in zip(*squares, strict=True)), strict=True)
        for column in columns
    ]


def _turn_squares(b: ir.IRBuilder, x: Sequence[Any]) -> list[Any]:
    """Four vectors, in each quarter the 4 by 4 lanes turned: x86's unpack instructions."""
    ones = [[i // 4 * 4 + at + i % 4 // 2 + 16 * (i % 2) for i in range(16)] for at in (0, 2)]
    twos = [[i // 4 * 4 + at + i % 2 + 16 * (i % 4 // 2) for i in range(16)] for at in (0, 2)]
    pairs = [[shuffle(b, x[i], lanes, x[i + 1]) for i in (0, 2)] for lanes in ones]
    return [shuffle(b, one, lanes, other) for one, other in pairs for lanes in twos]


def _sort(b: ir.IRBuilder, x: Sequence[Any]) -> list[Any]:
    """Vectors whose quarters belong to as many columns in turn: a vector a column."""
    if len(x) == 1:
        return list(x)
    lanes = [8 * (i // 4 % 2) + i % 4 + 16 * (i // 8) for i in range(16)]  # quarters 0 and 2 of two vectors
    even, odd = (
        _sort(
            b, [shuffle(b, one, [lane + at for lane in lanes], two) for one, two in zip(x[::2], x[1::2], strict=True)]
        )
        for at in (0, 4)
    )
    return [column for both in zip(even, odd, strict=True) for column in both]


def fold(b: ir.IRBuilder, parts: Sequence[Any], block: int, combine: Callable[[Any, Any], Any]) -> Any:
    """Vectors of 16 lanes of which each `block` lanes are to become one number: joined to one vector, in this order.

    Two vectors become one by combining the halves of their blocks; what is left are blocks of `block / len(parts)`.
    """
    while len(parts) > 1:
        low = [at + i for at in range(0, 32, block) for i in range(block // 2)]
        high = [at + block // 2 for at in low]
        parts = [
            combine(shuffle(b, x, low, y), shuffle(b, x, high, y)) for x, y in zip(parts[::2], parts[1::2], strict=True)
        ]
        block //= 2
    return parts[0]


def half_to_float(b: ir.IRBuilder, bits: Any, hardware: bool) -> Any:
    """float16 bits (integer vector or scalar of 16 bits) to float32.

    Without conversion instructions LLVM would call a function that is not there: shift the exponent and let a
    multiplication by 2^112 rebias it, subnormals included.
    """
    lanes = bits.type.count if isinstance(bits.type, ir.VectorType) else 0
    kind = (lambda e: vec(e, lanes)) if lanes else (lambda e: e)
    if hardware:
        return b.fpext(b.bitcast(bits, kind(F16)), kind(F32))
    wide = b.zext(bits, kind(I32))
    magnitude = b.shl(b.and_(wide, const(kind(I32), 0x7FFF)), const(kind(I32), 13))
    scaled = b.fmul(b.bitcast(magnitude, kind(F32)), const(kind(F32), 2.0**112))
    infinite = b.icmp_unsigned(">=", magnitude, const(kind(I32), 0x7C00 << 13))
    special = b.or_(magnitude, const(kind(I32), 0x7F800000))
    body = b.select(infinite, special, b.bitcast(scaled, kind(I32)))
    sign = b.shl(b.and_(wide, const(kind(I32), 0x8000)), const(kind(I32), 16))
    return b.bitcast(b.or_(body, sign), kind(F32))


def float_to_half(b: ir.IRBuilder, value: Any) -> Any:
    """The bits of a scalar or a vector as float16, to nearest, ties to even; what float16 cannot hold becomes infinite.

    Written with integers: without conversion instructions LLVM would call a function that is not there.
    """
    lanes = value.type.count if isinstance(value.type, ir.VectorType) else 0
    ints, halves = (vec(kind, lanes) if lanes else kind for kind in (I32, I16))

    def number(n: int) -> ir.Constant:
        return const(ints, n)

    bits = b.bitcast(value, ints)
    sign = b.and_(b.lshr(bits, number(16)), number(0x8000))
    magnitude = b.and_(bits, number(0x7FFFFFFF))
    odd = b.and_(b.lshr(magnitude, number(13)), number(1))
    normal = b.lshr(b.add(b.sub(magnitude, number(112 << 23)), b.add(odd, number(0xFFF))), number(13))
    # A subnormal: adding 0.5 leaves the rounded result in the low bits of the sum.
    sum_ = b.bitcast(b.fadd(b.bitcast(magnitude, value.type), const(value.type, 0.5)), ints)
    body = b.select(b.icmp_unsigned("<", magnitude, number(113 << 23)), b.sub(sum_, number(0x3F000000)), normal)
    body = b.select(b.icmp_unsigned(">=", magnitude, number(0x477FF000)), number(0x7C00), body)
    body = b.select(b.icmp_unsigned(">", magnitude, number(0x7F800000)), number(0x7E00), body)
    return b.trunc(b.or_(sign, body), halves)


def ask(b: ir.IRBuilder, address: Any, level: int) -> None:
    """Ask for a cache line in the first or second level. Any address is allowed, also one past the end of the map."""
    pointer = b.inttoptr(address, I8.as_pointer())
    call(b, "llvm.prefetch.p0", ir.VoidType(), pointer, I32(0), I32(4 - level), I32(1))


def exp_vector(b: ir.IRBuilder, x: Any) -> Any:
    """e^x to about 2 ulp on each lane, 0 below -87 (and for -inf), no infinities: x is capped at 88.

    LLVM's own vector exp becomes one library call a lane. 2^n by the exponent bits, the rest by Cephes' polynomial.
    """
    kind, n = x.type, x.type.count
    f = lambda v: const(kind, v)  # noqa: E731
    low = b.fcmp_ordered("<", x, f(-87.0))
    x = call(b, f"llvm.minnum.v{n}f32", kind, x, f(88.0))
    k = rounded(b, b.fmul(x, f(1.4426950408889634)))
    r = fma(b, k, f(-0.693359375), x)
    r = fma(b, k, f(2.12194440e-4), r)
    p = f(1.9875691500e-4)
    for c in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        p = fma(b, p, r, f(c))
    y = b.fadd(fma(b, p, b.fmul(r, r), r), f(1.0))
    ints = vec(I32, n)
    power = b.shl(b.add(b.fptosi(b.select(low, f(0.0), k), ints), const(ints, 127)), const(ints, 23))
    return b.select(low, f(0.0), b.fmul(y, b.bitcast(power, kind)))
