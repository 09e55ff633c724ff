"""Safetensors files, one or many with an index, as named slices. Only headers are read here.

Format: https://github.com/huggingface/safetensors#format. The header is checked against the file before any
weight is read, so that a damaged download is found at once.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localmix.convert import foreign, schemes
from localmix.convert.matrix import OpenFile, Scaled, Stored
from localmix.errors import FileFormatError, UnsupportedError
from quant import FORMATS

KINDS = {
    "F32": FORMATS["f32"],
    "F16": FORMATS["f16"],
    "BF16": FORMATS["bf16"],
    "F64": foreign.F64,
    "F8_E4M3": foreign.F8_E4M3,
    "F8_E5M2": foreign.F8_E5M2,
    "U8": foreign.U8,  # of blocks
}
WEIGHTS = [kind for kind in KINDS if kind != "U8"]
# Buffers that old versions of transformers saved: they follow from the configuration, and hold no weights.
NO_WEIGHTS = re.compile(
    r"(^|\.)(position_ids|masked_bias|inv_freq|original_inv_freq|cos_cached|sin_cached|causal_mask|attn\.bias)$"
    r"|\brotary_emb\.|\._extra_state$"
)
MAX_HEADER = 100 << 20  # bytes; the format's own limit


@dataclass(frozen=True)
class Slice:
    """A tensor in a file."""

    shape: tuple[int, ...]
    matrix: Stored | Scaled  # all its rows: (prod(shape[:-1]), shape[-1])


class Named:
    """The tensors of a checkpoint, each to be taken by name; what nobody took is found at the end."""

    def __init__(self, folder: Path, slices: dict[str, Slice]) -> None:
        self.folder, self.slices = folder, slices
        self._left = set(slices)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file, each once, in order of their names."""
        return tuple(sorted({piece.matrix.file.path for piece in self.slices.values()}))

    def __contains__(self, name: str) -> bool:
        return name in self.slices

    def take(self, name: str) -> Stored | Scaled:
        if name not in self.slices:
            raise FileFormatError(f"{self.folder}: tensor {name} is missing; is the download complete?")
        self._left.discard(name)
        matrix = self.slices[name].matrix
        if isinstance(matrix, Stored) and matrix.format is foreign.U8:
            raise UnsupportedError(f"{matrix.origin(0)}: weights are U8, expected one of {', '.join(WEIGHTS)}")
        return matrix

    def bytes(self, name: str) -> Stored:
        """A tensor of bytes that are no numbers. FileFormatError: it is missing, or of numbers."""
        if name in self.slices:
            matrix = self.slices[name].matrix
            if isinstance(matrix, Stored) and matrix.format is foreign.U8:
                self._left.discard(name)
                return matrix
            raise FileFormatError(f"{matrix.origin(0)}: expected bytes (U8)")
        raise FileFormatError(f"{self.folder}: tensor {name} is missing; is the download complete?")

    def finish(self, needless: str) -> None:
        """A tensor that nothing reads, but those that match `needless`, makes the model another than it says."""
        left = sorted(name for name in self._left if not re.search(needless, name))
        if left:
            raise UnsupportedError(
                f"{self.folder}: {len(left)} tensors have no place in the model that the configuration describes, "
                f"the first is {left[0]}"
            )


def read_folder(folder: Path, prefix: str = "model") -> dict[str, Slice]:
    """Every tensor of a checkpoint: `prefix`.safetensors, or the shards that its index names, or all there are."""
    index = folder / f"{prefix}.safetensors.index.json"
    single = folder / f"{prefix}.safetensors"
    if index.is_file():
        return read_indexed(folder, read_json(index).get("weight_map"), index)
    paths = [single] if single.is_file() else sorted(folder.glob(f"{prefix}*.safetensors"))
    found: dict[str, Slice] = {}
    for path in paths:
        for name, piece in read_header(path).items():
            if name in found:
                raise FileFormatError(f"{path}: tensor {name} is in two files")
            found[name] = piece
    return found


def read_indexed(folder: Path, weight_map: Any, index: Path) -> dict[str, Slice]:
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise FileFormatError(f"{index}: weight_map: expected an object that names a file for each tensor")
    missing = sorted({name for name in weight_map.values() if not os.path.isfile(folder / name)})
    if missing:
        raise FileFormatError(
            f"{index}: {len(missing)} of its files are missing, the first is {missing[0]}; finish the download"
        )
    shards = {name: read_header(folder / name) for name in sorted(set(weight_map.values()))}
    named = {name: file for name, file in weight_map.items() if not NO_WEIGHTS.search(name)}
    for name, file in named.items():
        if name not in shards[file]:
            raise FileFormatError(f"{index}: names tensor {name} in {file}, which does not hold it")
    return {name: shards[file][name] for name, file in named.items()}


def read_header(path: Path) -> dict[str, Slice]:
    """The tensors of one file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, MAX_HEADER):
                found = f"header of {length} bytes in a file of {size}"
                raise FileFormatError(f"{path}: {found}: truncated, or not safetensors")
            raw = file.read(length)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror}; is the download complete?") from None
    entries = parse_json(raw, path)
    source = OpenFile(path)
    start = 8 + length
    schemes.refuse_tensors(entries, path)
    return {
        name: read_entry(source, name, entry, start, size)
        for name, entry in entries.items()
        if name != "__metadata__" and not NO_WEIGHTS.search(name)
    }


def read_entry(source: OpenFile, name: str, entry: Any, start: int, size: int) -> Slice:
    where = f"{source.path}: tensor {name}"
    try:
        kind, shape, (first, last) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        sound = isinstance(kind, str) and all(isinstance(n, int) and n >= 0 for n in (*shape, first, last))
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise FileFormatError(f"{where}: found {str(entry)[:80]}, expected dtype, shape and data_offsets")
    if kind not in KINDS:
        raise UnsupportedError(f"{where}: weights are {kind}, expected one of {', '.join(WEIGHTS)}")
    row = KINDS[kind]
    expected = math.prod(shape) * row.dtype.itemsize
    if last - first != expected or start + last > size:
        raise FileFormatError(
            f"{where}: bytes {first} to {last} of a file of {size}, expected {expected} bytes for {kind} {shape}"
        )
    width = shape[-1] if shape else 1
    return Slice(shape, Stored(source, name, start + first, row, math.prod(shape[:-1]), width))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object in a file."""
    try:
        return parse_json(path.read_bytes(), path)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror}") from None


def parse_json(raw: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, Mapping):
        raise FileFormatError(f"{path}: found {type(value).__name__}, expected a JSON object")
    return dict(value)
