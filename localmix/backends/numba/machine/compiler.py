"""From a Python function to object code: Numba is the front end only, LLVM is driven from here.

Numba by itself optimizes and emits every function that a kernel calls, wraps it for Python, and makes code for the
host. Here functions stay as they were lowered until a kernel has all of its own; then they are optimized together,
once, for the instruction set in use. That halves the time, and code for another machine can be made.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core import types
from numba.core.codegen import CPUCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import LoweringPass, register_pass
from numba.core.typed_passes import NativeLowering

from localmix.backends.numba.machine import isa


class _Library(CPUCodeLibrary):
    """A function as it was lowered, with those that it calls."""

    def _optimize_functions(self, ll_module: Any) -> None:
        pass

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True


@register_pass(mutates_CFG=False, analysis_only=True)
class _Register(LoweringPass):
    """What Numba does after emitting code: other functions can now call this one."""

    _name = "localmix_register"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        state.library._ensure_finalized()
        stand_in: Any = [].append  # a builtin equal to no other: Numba looks functions up by their entry point
        state.targetctx.insert_user_function(stand_in, state.cr.fndesc, [state.library])
        state.cr = state.cr._replace(cfunc=stand_in)
        return True


class _FrontEnd(CompilerBase):
    def define_pipelines(self) -> list[Any]:
        self.state.library = _Library(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        self.state.flags.no_compile = True
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_Register, NativeLowering)
        passes.finalize()
        return [passes]


_OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "no_rewrites": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "pipeline_class": _FrontEnd,
}
# A function that kernels are composed of; types are found by Numba where it is called.
inner: Callable[[Any], Any] = numba.njit(**_OPTIONS)


def lower(python: Any, arguments: int) -> tuple[str, Any]:
    """The symbol and the LLVM module, not optimized, of a function of that many int64 arguments."""
    signature = types.void(*[types.int64] * arguments)
    result = numba.njit(signature, **_OPTIONS)(python).overloads[signature.args]
    symbol, module = result.fndesc.llvm_func_name, result.library._final_module
    for part in (*module.functions, *module.global_variables):
        if not part.is_declaration and part.name != symbol:
            part.linkage = "internal"
    return symbol, module


def machine(chosen: isa.Isa, triple: str = "") -> Any:
    """LLVM's target for an instruction set: of this machine, or of the one that the triple names."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = isa.target(chosen)
    where = llvm.Target.from_triple(triple) if triple else llvm.Target.from_default_triple()
    # "large": code and constants are loaded apart, and a mapped model may lie between, too far for 32-bit distances.
    return where.create_target_machine(cpu=cpu, features=features, opt=3, jit=not triple, codemodel="large")


def optimize(module: Any, target: Any) -> None:
    """All of LLVM's passes, in place."""
    module.triple, module.data_layout = target.triple, str(target.target_data)
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.slp_vectorization = True
    builder = llvm.create_pass_builder(target, tuning)
    builder.getModulePassManager().run(module, builder)


def compile_kernel(python: Any, arguments: int) -> tuple[str, bytes]:
    """A kernel's symbol and its object code."""
    symbol, module = lower(python, arguments)
    target = machine(isa.active())
    optimize(module, target)
    return symbol, target.emit_object(module)
