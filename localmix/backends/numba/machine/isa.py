"""Which vector instructions the kernels use: found on the host, or set by LOCALMIX_ISA.

A kernel works on logical vectors of 512 bits everywhere; LLVM splits them where registers are smaller. What an
instruction set changes is the few words in `dots.py`, how `sums.py` adds up what they give, and the number of tokens
that a tile kernel keeps in registers.
"""

import os
import platform
from dataclasses import dataclass

from localmix.backends.numba.machine import host
from localmix.errors import LocalmixError


@dataclass(frozen=True)
class Isa:
    """One instruction set. `needs` are LLVM's names of the host features, also what the compiler may use."""

    name: str
    needs: tuple[str, ...]
    tokens: int  # of a tile kernel: limited by the number of registers

    @property
    def pairs(self) -> bool:
        """Whether products of bytes are summed in pairs, in 16 bits: x86 without a dot product of bytes."""
        return "avx2" in self.needs and "vnni" not in self.name

    @property
    def rounds(self) -> bool:
        """Whether prompts of large networks attend in whole numbers: with 16 registers floats are faster."""
        return "avx512bw" in self.needs


_AVX2 = ("avx2", "fma", "f16c", "bmi2")
_AVX512 = (*_AVX2, "avx512f", "avx512bw", "avx512dq", "avx512vl")
# Best first. "plain" has no words of its own: any processor that LLVM knows runs it.
ALL = (
    Isa("avx512-vnni", (*_AVX512, "avx512vnni"), 8),
    Isa("avx512", _AVX512, 8),
    Isa("avx-vnni", (*_AVX2, "avxvnni"), 4),
    Isa("avx2", _AVX2, 4),
    Isa("neon-dotprod", ("neon", "dotprod"), 4),
    Isa("plain", (), 4),
)
_elsewhere: list[Isa] = []  # at most one: see `aim`


def runnable() -> list[Isa]:
    """The instruction sets that this machine has, best first."""
    return [isa for isa in ALL if host.features().issuperset(isa.needs)]


def aim(chosen: Isa) -> None:
    """From now on compile for any machine that has this set, which the host need not have. Kernels, which ask for
    the set while they are imported, must not have been.
    """
    _elsewhere[:] = [chosen]


def active() -> Isa:
    """The one in use: LOCALMIX_ISA, else the best that the host has."""
    if _elsewhere:
        return _elsewhere[0]
    wanted, have = os.environ.get("LOCALMIX_ISA"), runnable()
    if not wanted:
        return have[0]
    for isa in have:
        if isa.name == wanted:
            return isa
    names = ", ".join(isa.name for isa in have)
    raise LocalmixError(f"LOCALMIX_ISA={wanted}: this machine has {names}")


def fused() -> bool:
    """Whether a product and its addition are one instruction: everywhere but on x86 before AVX2."""
    return active().name != "plain" or platform.machine() not in ("x86_64", "AMD64", "i386", "i686", "x86")


def target(isa: Isa) -> tuple[str, str]:
    """Processor name and features for the compiler: the host's own, or no more than the set has if it is not the
    host's best or is for other machines, too.
    """
    if not _elsewhere and isa == runnable()[0]:
        return host.target()
    return "generic", ",".join(f"+{f}" for f in isa.needs)
