"""Words for what is between threads and between kernels: atomic counters, spin loops, calls. Addresses are int64."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from localmix.backends.numba.machine.simd import I32, I64, call
from localmix.backends.numba.machine.words import int64, void, word


@word(int64, int64, int64)
def atomic_add(b: ir.IRBuilder, address: Any, value: Any) -> Any:
    """Adds, and returns what was there before."""
    return b.atomic_rmw("add", b.inttoptr(address, I64.as_pointer()), value, "seq_cst")


@word(int64, int64)
def atomic_load(b: ir.IRBuilder, address: Any) -> Any:
    return b.load_atomic(b.inttoptr(address, I64.as_pointer()), "seq_cst", 8)


@word(void)
def pause(b: ir.IRBuilder) -> None:
    """Tell the core that this is a spin loop."""
    machine = b.module.triple.split("-")[0]
    if machine == "x86_64":
        call(b, "llvm.x86.sse2.pause", ir.VoidType())
    elif machine in ("aarch64", "arm64"):
        call(b, "llvm.aarch64.hint", ir.VoidType(), I32(1))  # yield


@word(void, int64)
def call_c(b: ir.IRBuilder, address: Any) -> None:
    """Call a C function of no arguments, such as sched_yield."""
    b.call(b.inttoptr(address, ir.FunctionType(I32, []).as_pointer()), [])


def _call_kernel(b: ir.IRBuilder, address: Any, *arguments: Any) -> None:
    kind = ir.FunctionType(I32, [I64.as_pointer()] * 2 + [I64] * len(arguments))
    unused = cgutils.alloca_once(b, I64)
    b.call(b.inttoptr(address, kind.as_pointer()), [unused, unused, *arguments])


@word(void, int64, int64)
def call1(b: ir.IRBuilder, address: Any, argument: Any) -> None:
    """Call the kernel at an address."""
    _call_kernel(b, address, argument)


@word(void, int64, int64, int64)
def call2(b: ir.IRBuilder, address: Any, one: Any, two: Any) -> None:
    _call_kernel(b, address, one, two)


@word(void, int64, int64, int64, int64)
def call3(b: ir.IRBuilder, address: Any, one: Any, two: Any, three: Any) -> None:
    _call_kernel(b, address, one, two, three)


@word(void, int64, int64, int64, int64, int64)
def call4(b: ir.IRBuilder, address: Any, one: Any, two: Any, three: Any, four: Any) -> None:
    _call_kernel(b, address, one, two, three, four)
