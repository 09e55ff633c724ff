"""Spares page faults: enters what is in memory of a mapped file into the process's page tables before it is read.

Else the first read of each 2 MB, or 64 KB where pages are small, stops its thread for a page fault, and as a token has
few experts of many, a hundred tokens pass before all were read: these took 4 to 6 % longer. Entered one after another,
a gigabyte takes some 5 ms.
"""

import ctypes
import os
import sys
import threading
from collections.abc import Collection
from pathlib import Path

import numpy as np

from localmix.gguf.tensors import Tensor

_PIECE = 2 << 20  # bytes: a large page
_POPULATE_READ = 22  # MADV_POPULATE_READ of Linux 5.14


def spare(tensors: Collection[Tensor]) -> threading.Thread | None:
    """Begin, beside the caller, to enter those tensors that are in memory; nothing is read from the disk.

    None: not on this system.
    """
    if not sys.platform.startswith("linux"):
        return None
    thread = threading.Thread(target=_enter, args=(tensors,), name="localmix-faults", daemon=True)
    thread.start()
    return thread


def _enter(tensors: Collection[Tensor]) -> None:
    system = ctypes.CDLL(None)  # its calls let other threads run, those of `mmap` do not
    present = np.zeros(_PIECE // os.sysconf("SC_PAGE_SIZE"), np.uint8)  # of each page: whether it is in memory
    for start, end in _maps(tensors):
        for at in range(-(-start // _PIECE) * _PIECE, end - _PIECE + 1, _PIECE):
            piece = ctypes.c_void_p(at), ctypes.c_size_t(_PIECE)
            if system.mincore(*piece, ctypes.c_void_p(present.ctypes.data)):
                return
            if np.all(present & 1) and system.madvise(*piece, _POPULATE_READ):
                return


def _maps(tensors: Collection[Tensor]) -> list[tuple[int, int]]:
    """Addresses from the first to behind the last tensor of each file of which the system tells what is in memory."""
    found = dict[Path, tuple[int, int]]()
    for tensor in tensors:
        path, at = tensor.extent.path, tensor.data.ctypes.data
        start, end = found.get(path, (at, at))
        found[path] = min(start, at), max(end, at + tensor.nbytes)
    return [addresses for path, addresses in found.items() if _tells(path)]


def _tells(path: Path) -> bool:
    """Of files that a user neither owns nor may write to, Linux says that all is in memory."""
    try:
        return os.stat(path).st_uid == os.geteuid() or os.access(path, os.W_OK)
    except OSError:
        return False
