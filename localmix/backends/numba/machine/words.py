"""Vector registers as Numba values, and the words that work on them.

A Numba type whose data model is an LLVM vector; LLVM keeps it in registers. Each word is a few lines of LLVM IR.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.datamodel.models import PrimitiveModel
from numba.extending import intrinsic, register_model

from localmix.backends.numba.machine.simd import (
    F32,
    I8,
    I32,
    I64,
    ask,
    call,
    const,
    exp_vector,
    float_to_half,
    fma,
    load,
    splat,
    store,
    sum_lanes,
    vec,
)


class Vector(types.Type):
    """n lanes of one LLVM type."""

    def __init__(self, element: ir.Type, lanes: int) -> None:
        self.element, self.lanes = element, lanes
        super().__init__(name=f"vector<{element} x {lanes}>")


@register_model(Vector)
class _VectorModel(PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, ir.VectorType(vector.element, vector.lanes))


i8x64, i32x16, f32x16 = Vector(I8, 64), Vector(I32, 16), Vector(F32, 16)
int64, int32, float32, void = types.int64, types.int32, types.float32, types.void


def word(result: Any, *arguments: Any) -> Callable[[Callable], Any]:
    """Turns `emit(builder, *values)`, which builds IR, into a function that kernels can call."""

    def wrap(emit: Callable) -> Any:
        signature = result(*arguments)

        def codegen(context: Any, builder: Any, _: Any, values: Sequence[Any]) -> Any:
            value = emit(builder, *values)
            return context.get_dummy_value() if result is void else value

        typers: list[Callable] = [  # Numba reads the number of arguments from the function's own signature
            lambda ctx: (signature, codegen),
            lambda ctx, a: (signature, codegen),
            lambda ctx, a, b: (signature, codegen),
            lambda ctx, a, b, c: (signature, codegen),
            lambda ctx, a, b, c, d: (signature, codegen),
            lambda ctx, a, b, c, d, e: (signature, codegen),
            lambda ctx, a, b, c, d, e, f: (signature, codegen),
            lambda ctx, a, b, c, d, e, f, g: (signature, codegen),
            lambda ctx, a, b, c, d, e, f, g, h: (signature, codegen),
            lambda ctx, a, b, c, d, e, f, g, h, i: (signature, codegen),
            lambda ctx, a, b, c, d, e, f, g, h, i, j: (signature, codegen),
        ]
        typer = typers[len(arguments)]
        typer.__name__ = emit.__name__
        return intrinsic(typer)

    return wrap


@intrinsic
def record(ctx: Any, address: Any, kind: Any) -> Any:
    """The record of type `kind` at an address: fields are read and written in place."""
    result = kind.instance_type

    def codegen(context: Any, builder: Any, _: Any, values: Sequence[Any]) -> Any:
        return builder.inttoptr(values[0], context.get_value_type(result))

    return result(int64, kind), codegen


@word(f32x16, int64)
def load_f32x16(b: ir.IRBuilder, address: Any) -> Any:
    return load(b, vec(F32, 16), address)


@word(i8x64, int64)
def load_i8x64(b: ir.IRBuilder, address: Any) -> Any:
    return load(b, vec(I8, 64), address)


@word(i8x64, i8x64, i8x64)
def or64(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    return b.or_(x, y)


@word(int64, i8x64)
def any64(b: ir.IRBuilder, x: Any) -> Any:
    """Something that depends on every lane, so that nothing is optimised away."""
    return b.zext(call(b, "llvm.vector.reduce.or.v64i8", I8, x), I64)


@word(void, int64, f32x16)
def store_f32x16(b: ir.IRBuilder, address: Any, value: Any) -> None:
    store(b, value, address)


@word(f32x16, float32)
def splat_f32x16(b: ir.IRBuilder, value: Any) -> Any:
    return splat(b, value, 16)


@word(f32x16, f32x16, f32x16, f32x16)
def fma16(b: ir.IRBuilder, x: Any, y: Any, z: Any) -> Any:
    return fma(b, x, y, z)


@word(f32x16, f32x16, f32x16)
def mul16(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    return b.fmul(x, y)


@word(f32x16, f32x16, f32x16)
def div16(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    return b.fdiv(x, y)


@word(float32, f32x16)
def sum16(b: ir.IRBuilder, x: Any) -> Any:
    return sum_lanes(b, x)


@word(float32, int64)
def load_f32(b: ir.IRBuilder, address: Any) -> Any:
    return load(b, F32, address, align=4)


@word(void, int64, float32)
def store_f32(b: ir.IRBuilder, address: Any, value: Any) -> None:
    store(b, value, address, align=4)


@word(void, int64, float32)
def store_f16(b: ir.IRBuilder, address: Any, value: Any) -> None:
    store(b, float_to_half(b, value), address)


@word(void, int64, f32x16)
def store_f16x16(b: ir.IRBuilder, address: Any, value: Any) -> None:
    store(b, float_to_half(b, value), address)


@word(int64, int64)
def load_i32(b: ir.IRBuilder, address: Any) -> Any:
    return b.sext(load(b, I32, address, align=4), I64)


@word(void, int64, int64)
def store_i32(b: ir.IRBuilder, address: Any, value: Any) -> None:
    store(b, b.trunc(value, I32), address, align=4)


@word(int64, int64)
def load_i64(b: ir.IRBuilder, address: Any) -> Any:
    return load(b, I64, address, align=8)


@word(void, int64, int64)
def store_i64(b: ir.IRBuilder, address: Any, value: Any) -> None:
    store(b, value, address, align=8)


@word(void, int64)
def prefetch(b: ir.IRBuilder, address: Any) -> None:
    ask(b, address, 1)


@word(void, int64, int64, int64)
def copy(b: ir.IRBuilder, target: Any, source: Any, count: Any) -> None:
    """`count` bytes."""
    pointers = [b.inttoptr(a, I8.as_pointer()) for a in (target, source)]
    call(b, "llvm.memcpy.p0.p0.i64", ir.VoidType(), *pointers, count, ir.Constant(ir.IntType(1), 0))


@word(f32x16, f32x16)
def exp16(b: ir.IRBuilder, x: Any) -> Any:
    return exp_vector(b, x)


@word(float32, float32)
def exp_f32(b: ir.IRBuilder, x: Any) -> Any:
    return b.extract_element(exp_vector(b, splat(b, x, 1)), I32(0))


@word(f32x16, f32x16, f32x16)
def swiglu16(b: ir.IRBuilder, gate: Any, up: Any) -> Any:
    """SiLU(gate) · up."""
    one = const(gate.type, 1.0)
    decay = exp_vector(b, b.fsub(const(gate.type, 0.0), gate))
    return b.fmul(b.fdiv(gate, b.fadd(one, decay)), up)
