"""The header of one GGUF file: metadata and the table of tensors, each field checked, no weight touched.

Shapes are reversed here, once: the file counts dimensions from the innermost, the program from the outermost.
Shards, maps and views are `reader`'s business.
"""

import itertools
import math
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

import numpy as np

from localmix.errors import FileFormatError, UnsupportedError
from localmix.gguf import kinds
from localmix.gguf.cursor import Cursor, shown
from localmix.gguf.metadata import Value, read_value
from localmix.gguf.tensors import TensorInfo
from quant import BY_ID

VERSIONS = (2, 3)
ALIGNMENT_KEY = "general.alignment"
DEFAULT_ALIGNMENT = 32
ALIGNMENTS = "a power of two from 8 to 1048576"
MAX_DIMENSIONS = 4
MAX_DIMENSION = 1 << 31

# Numbers of types that exist, or did, and that this version does not read, so that the message can name them.
UNREAD = {
    4: "Q4_2",
    5: "Q4_3",
    9: "Q8_1",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    21: "IQ3_S",
    22: "IQ2_S",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    29: "IQ1_M",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    34: "TQ1_0",
    35: "TQ2_0",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
    40: "NVFP4",
    41: "Q1_0",
    42: "Q2_0",
}


@dataclass(frozen=True)
class Placed:
    """A tensor and where it lies: `start` counts bytes from the beginning of the file."""

    info: TensorInfo
    start: int

    @property
    def end(self) -> int:
        return self.start + self.info.nbytes


@dataclass(frozen=True)
class Header:
    """All that a file says before its weights."""

    path: Path
    size: int  # of the file, bytes
    metadata: dict[str, Value]
    spans: dict[str, tuple[int, int]]  # where each value's bytes are: start and end, after its type
    tensors: list[Placed]


def read_header(path: Path, data: mmap) -> Header:
    """Read and check the header of the mapped file. FileFormatError or UnsupportedError in one line."""
    if data[:4] != kinds.MAGIC:
        kinds.refuse(path, data[:64])
    cursor = Cursor(path, data)
    cursor.take(4, "magic")
    _check_version(cursor)
    tensor_count, key_count = cursor.u64("tensor count"), cursor.u64("metadata count")
    metadata, spans = _read_metadata(cursor, key_count)
    infos = _read_infos(cursor, tensor_count)
    alignment = _alignment(cursor, metadata)
    first = cursor.at + -cursor.at % alignment
    tensors = [Placed(info, first + offset) for info, offset in infos]
    _check_layout(cursor, tensors, first, alignment, len(data))
    return Header(path, len(data), metadata, spans, tensors)


def is_alignment(number: int) -> bool:
    """Whether tensors may be aligned to `number` bytes. The GGUF specification asks for a multiple of 8."""
    return 8 <= number <= 1 << 20 and number & (number - 1) == 0


def _check_version(cursor: Cursor) -> None:
    version = cursor.u32("version")
    if version in VERSIONS:
        return
    if version & 0xFFFF == 0 and version:
        raise UnsupportedError(f"{cursor.path}: found a big-endian GGUF, expected a little-endian one; convert it")
    if version > max(VERSIONS):
        raise UnsupportedError(f"{cursor.path}: version: found {version}, expected 2 or 3; is localmix up to date?")
    raise UnsupportedError(f"{cursor.path}: version: found {version}, expected 2 or 3; get a newer file")


def _read_metadata(cursor: Cursor, count: int) -> tuple[dict[str, Value], dict[str, tuple[int, int]]]:
    cursor.require(count, 8 + 4 + 1, "metadata count")
    metadata: dict[str, Value] = {}
    spans: dict[str, tuple[int, int]] = {}
    for index in range(count):
        key = cursor.string(f"metadata key {index}")
        if not key:
            cursor.fail(f"metadata key {index}: length", 0, "1 or more")
        if key in metadata:
            cursor.fail(f"metadata key {index}", f"{shown(key)} a second time", "each key once")
        field = key if key.isprintable() and len(key) <= 60 else shown(key)
        kind = cursor.u32(f"{field}: type")
        start = cursor.at
        metadata[key] = read_value(cursor, kind, field)
        spans[key] = (start, cursor.at)
    return metadata, spans


def _alignment(cursor: Cursor, metadata: dict[str, Value]) -> int:
    """Bytes to which tensors are aligned."""
    value = metadata.get(ALIGNMENT_KEY, DEFAULT_ALIGNMENT)
    if not isinstance(value, int | np.integer):
        cursor.fail(ALIGNMENT_KEY, type(value).__name__, "an integer")
    if not is_alignment(int(value)):
        cursor.fail(ALIGNMENT_KEY, int(value), ALIGNMENTS)
    return int(value)


def _read_infos(cursor: Cursor, count: int) -> list[tuple[TensorInfo, int]]:
    """The tensors with their offsets from the start of the data."""
    cursor.require(count, 8 + 4 + 8 + 4 + 8, "tensor count")
    infos: dict[str, tuple[TensorInfo, int]] = {}
    for index in range(count):
        name = cursor.string(f"tensor {index}: name")
        field = f"tensor {shown(name)}"
        if name in infos:
            cursor.fail(f"tensor {index}: name", f"{shown(name)} a second time", "each name once")
        shape = _read_shape(cursor, field)
        infos[name] = (
            _info(cursor, field, name, shape, cursor.u32(f"{field}: type")),
            cursor.u64(f"{field}: offset"),
        )
    return list(infos.values())


def _read_shape(cursor: Cursor, field: str) -> tuple[int, ...]:
    """The dimensions, outermost first."""
    count = cursor.u32(f"{field}: number of dimensions")
    if not 1 <= count <= MAX_DIMENSIONS:
        cursor.fail(f"{field}: number of dimensions", count, f"1 to {MAX_DIMENSIONS}")
    shape = tuple(reversed([cursor.u64(f"{field}: dimension {axis}") for axis in range(count)]))
    too_large = [size for size in shape if size > MAX_DIMENSION]
    if too_large or math.prod(size or 1 for size in shape) > 1 << 56:
        cursor.fail(f"{field}: dimensions", list(shape), f"at most {MAX_DIMENSION} each, and fewer weights in all")
    return shape


def _info(cursor: Cursor, field: str, name: str, shape: tuple[int, ...], kind: int) -> TensorInfo:
    if kind not in BY_ID:
        expected = "expected one of " + ", ".join(row.name for row in BY_ID.values())
        if kind in UNREAD:
            raise UnsupportedError(f"{cursor.path}: {field}: type: {UNREAD[kind]} is not supported; {expected}")
        raise FileFormatError(f"{cursor.path}: {field}: type: found number {kind}, {expected}")
    row = BY_ID[kind]
    if shape[-1] % row.block:
        cursor.fail(f"{field}: dimension 0", shape[-1], f"a multiple of {row.block}, the block of {row.name}")
    return TensorInfo(name, shape, row)


def _check_layout(cursor: Cursor, tensors: list[Placed], first: int, alignment: int, size: int) -> None:
    """Offsets aligned, no tensor beyond the end of the file, none over another."""
    for placed in tensors:
        field = f"tensor {shown(placed.info.name)}"
        if (placed.start - first) % alignment:
            cursor.fail(f"{field}: offset", placed.start - first, f"a multiple of the alignment, {alignment}")
        if placed.end > size:
            found = f"bytes {placed.start} to {placed.end}"
            cursor.fail(field, found, f"an end within the file's {size} bytes; it is truncated, download it again")
    ordered = sorted((placed for placed in tensors if placed.info.nbytes), key=lambda placed: placed.start)
    for before, after in itertools.pairwise(ordered):
        if after.start < before.end:
            found = f"a start at byte {after.start}, inside tensor {shown(before.info.name)}"
            cursor.fail(f"tensor {shown(after.info.name)}: offset", found, f"{before.end} or more")
