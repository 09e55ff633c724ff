"""The processor that this runs on: what it has, and what tells it from others.

Where Linux tells, LLVM is not asked: to load it takes 50 milliseconds.
"""

import platform
from functools import lru_cache
from pathlib import Path

_TOLD = Path("/proc/cpuinfo")
_KEPT = ("vendor_id", "cpu family", "model", "stepping", "flags")


@lru_cache(1)
def features() -> frozenset[str]:
    """LLVM's names of what the processor has."""
    if told := _told():
        return frozenset(flag.replace("_", "") for flag in told["flags"].split())
    import llvmlite.binding as llvm

    return frozenset(name for name, has in llvm.get_host_cpu_features().items() if has)


@lru_cache(1)
def name() -> str:
    """The same for all processors that LLVM makes the same code for."""
    if told := _told():
        return repr(told)
    return repr(target())


def target() -> tuple[str, str]:
    """LLVM's name of the processor and its features, for the compiler."""
    import llvmlite.binding as llvm

    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def _told() -> dict[str, str]:
    """What Linux says of the first x86-64 processor; nothing elsewhere. An operating system that does not keep the
    registers of an extension leaves out its flags.
    """
    if platform.machine() != "x86_64":
        return {}
    try:
        with _TOLD.open() as file:
            first = file.read(1 << 14).partition("\n\n")[0]
    except OSError:
        return {}
    rows = {name.strip(): value for name, _, value in (line.partition(":") for line in first.splitlines())}
    return {name: rows.get(name, "") for name in _KEPT} if "flags" in rows else {}
