"""Puts a kernel's object code into memory, on Linux on x86-64: without LLVM, which takes 50 milliseconds to load.

Kernels need little of what an object file can have: sections of code and constants, and in them absolute addresses of
64 bits, of one another or of C functions. Whatever has more is left to LLVM. The code has been found whole before:
nothing here guards against a damaged file.
"""

import ctypes
import mmap
import platform
import struct
import sys
from typing import NamedTuple

_HEAD = b"\x7fELF\x02\x01\x01"  # 64 bits, lowest byte first
_KIND = struct.pack("<HH", 1, 62)  # object code of x86-64
_CONTENT, _SYMBOLS, _RELOCATIONS, _OTHER_RELOCATIONS = 1, 2, 4, 9  # types of sections
_IN_MEMORY = 2  # a flag of sections
_ADDRESS = 1  # the type of relocations that are an absolute address of 64 bits


class _Section(NamedTuple):
    """As the file has it."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry: int


class _MoreThanKernelsNeedError(Exception):
    """Something that is not known here."""


def load(symbol: str, code: bytes) -> int | None:
    """The address of a function of object code, which is made executable and stays; None: use LLVM."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or code[:7] != _HEAD or code[16:20] != _KIND:
        return None
    try:
        return _load(symbol, code)
    except _MoreThanKernelsNeedError:
        return None


def _load(symbol: str, code: bytes) -> int:
    (start,), (count,) = struct.unpack_from("<Q", code, 0x28), struct.unpack_from("<H", code, 0x3C)
    sections = [_Section(*row) for row in struct.iter_unpack("<IIQQQQIIQQ", code[start : start + 64 * count])]
    content = [code[s.offset : s.offset + s.size] for s in sections]
    places, size = dict[int, int](), 0
    for i, s in enumerate(sections):
        if s.type == _CONTENT and s.flags & _IN_MEMORY:  # tables for unwinding are of another type
            places[i] = -(-size // s.align) * s.align
            size = places[i] + s.size
    memory = mmap.mmap(-1, size)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for i, at in places.items():
        memory[at : at + sections[i].size] = content[i]
    table = next(i for i, s in enumerate(sections) if s.type == _SYMBOLS)
    symbols = _symbols(content[table], content[sections[table].link], {i: base + at for i, at in places.items()})
    for i, s in enumerate(sections):
        if s.info not in places or s.type not in (_RELOCATIONS, _OTHER_RELOCATIONS):
            continue
        if s.type == _OTHER_RELOCATIONS:
            raise _MoreThanKernelsNeedError
        for offset, type, number, plus in struct.iter_unpack("<QIIq", content[i]):
            if type != _ADDRESS:
                raise _MoreThanKernelsNeedError
            struct.pack_into("<Q", memory, places[s.info] + offset, _address(*symbols[number]) + plus)
    if ctypes.CDLL(None).mprotect(ctypes.c_void_p(base), ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_EXEC):
        raise _MoreThanKernelsNeedError
    # A reference for good: a worker may still wait in a kernel while Python, as it ends, lets go of all that it has.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))
    return _address(*next(one for one in symbols if one[0] == symbol))


def _symbols(table: bytes, names: bytes, places: dict[int, int]) -> list[tuple[str, int | None]]:
    """Names and addresses; None: it is elsewhere. `places`: the addresses of sections."""
    found = list[tuple[str, int | None]]()
    for name, _, _, section, value, _ in struct.iter_unpack("<IBBHQQ", table):
        at = places[section] + value if section in places else None
        found.append((names[name : names.index(b"\0", name)].decode(), at))
    return found


def _address(name: str, at: int | None) -> int:
    """Of a symbol that is here, or of a C function."""
    if at is None:
        try:
            at = ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value
        except AttributeError:
            raise _MoreThanKernelsNeedError from None
    assert at is not None, name
    return at
