"""Fills llama.cpp's cache to a depth in a moment: the keys and values of a few positions, again and again.

Reading a prompt that long would take minutes, and the time that attention takes does not depend on what it finds. The
state of a sequence, as llama_state_seq_get_data gives it: magic, sequence, streams, cells; of each cell its position
and sequences; whether values are turned, layers; of each layer the type and size of a row and the rows, first of all
keys, then of all values.
"""

import ctypes
import struct
from typing import Any

import llama_cpp
import numpy as np

HEAD, CELL, MIDDLE, ROW = struct.Struct("<IiII"), struct.Struct("<iIi"), struct.Struct("<II"), struct.Struct("<iQ")


def fill(context: Any, filled: int, depth: int) -> None:
    """Sequence 0, which has the positions 0 to `filled`, gets those up to `depth`. Needs flash attention."""
    size = llama_cpp.llama_state_seq_get_size(context, 0)
    state = (ctypes.c_uint8 * size)()
    assert llama_cpp.llama_state_seq_get_data(context, state, size, 0) == size
    found = memoryview(state).cast("B")
    magic, sequence, streams, cells = HEAD.unpack_from(found)
    at = HEAD.size + cells * CELL.size
    turned, layers = MIDDLE.unpack_from(found, at)
    assert (streams, cells, turned) == (1, filled, 0), "another version's format, or no flash attention"
    parts = [HEAD.pack(magic, sequence, streams, depth)]
    parts += [CELL.pack(position, 1, 0) for position in range(depth)]
    parts.append(bytes(found[at : at + MIDDLE.size]))
    at += MIDDLE.size
    for _ in range(2 * layers):
        _, row = ROW.unpack_from(found, at)
        parts.append(bytes(found[at : at + ROW.size]))
        at += ROW.size
        rows = np.frombuffer(found, np.uint8, filled * row, at).reshape(filled, row)
        parts.append(np.resize(rows, (depth, row)).tobytes())
        at += filled * row
    assert at == size, "another version's format"
    whole = b"".join(parts)
    data = (ctypes.c_uint8 * len(whole)).from_buffer_copy(whole)
    assert llama_cpp.llama_state_seq_set_data(context, data, len(whole), 0) == len(whole)
