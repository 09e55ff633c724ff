"""PyTorch checkpoints (.pt, .pth, .bin) as named slices, without PyTorch and without running their code.

Such a file is a zip archive, uncompressed: a pickle that describes tensors, and their bytes. A pickle is a
program; this one may call what rebuilds a tensor and nothing else, and whatever else it names is an error.
"""

import math
import pickle
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from localmix.convert.foreign import F64
from localmix.convert.matrix import OpenFile, Stored
from localmix.convert.safetensors import NO_WEIGHTS, Slice
from localmix.errors import FileFormatError, UnsupportedError
from quant import FORMATS

KINDS = {
    "FloatStorage": FORMATS["f32"],
    "HalfStorage": FORMATS["f16"],
    "BFloat16Storage": FORMATS["bf16"],
    "DoubleStorage": F64,
}
MAX_PICKLE = 100 << 20  # bytes; a description of tensors takes some kB
# What the two readers raise on damaged files, found by damaging many. NotImplementedError: a version of the format
# that does not exist; RuntimeError: a password.
BAD_ZIP = (zipfile.BadZipFile, KeyError, EOFError, OSError, zlib.error, NotImplementedError, RuntimeError)
BAD_PICKLE = (
    pickle.UnpicklingError, ValueError, TypeError, AttributeError, IndexError, KeyError, EOFError, OverflowError
)  # fmt: skip
LOCAL_HEADER = 30  # bytes before the name in front of an archive's entry


@dataclass(frozen=True)
class Storage:
    """Where a storage lies: its kind as PyTorch calls it, and the archive's entry."""

    kind: str
    key: str


@dataclass(frozen=True)
class Described:
    """A tensor as the pickle describes it; offset and strides in weights."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


MISTRAL = ("consolidated.*.pt", "consolidated.*.pth")
TRANSFORMERS = ("pytorch_model*.bin",)


def read_folder(folder: Path, patterns: Sequence[str] = MISTRAL) -> dict[str, Slice]:
    """Every tensor of the files whose names match."""
    found: dict[str, Slice] = {}
    for path in sorted(path for pattern in patterns for path in folder.glob(pattern)):
        for name, piece in read(path).items():
            if NO_WEIGHTS.search(name):
                continue
            if name in found:
                raise UnsupportedError(f"{path}: tensor {name} is also in an earlier file: slices are not supported")
            found[name] = piece
    return found


def read(path: Path) -> dict[str, Slice]:
    """The tensors of one file. FileFormatError: damaged, or it asks for code to be run."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {info.filename.partition("/")[2]: info for info in archive.infolist()}
            if entries["data.pkl"].file_size > MAX_PICKLE:
                raise FileFormatError(f"{path}: data.pkl is {entries['data.pkl'].file_size} bytes, far too many")
            raw = archive.read(entries["data.pkl"])
    except BAD_ZIP as error:
        raise FileFormatError(f"{path}: not a PyTorch checkpoint (a zip archive with data.pkl): {error}") from None
    try:
        described = _Unpickler(BytesIO(raw), path).load()
    except BAD_PICKLE as error:
        raise FileFormatError(f"{path}: its pickle is not one of plain tensors: {error or 'it is damaged'}") from None
    if not isinstance(described, Mapping) or not all(isinstance(tensor, Described) for tensor in described.values()):
        raise FileFormatError(f"{path}: holds something other than named tensors")
    source = OpenFile(path)
    return {name: _slice(source, name, tensor, entries) for name, tensor in described.items()}


def _slice(source: OpenFile, name: str, tensor: Described, entries: Mapping[str, zipfile.ZipInfo]) -> Slice:
    where = f"{source.path}: tensor {name}"
    entry = entries.get(f"data/{tensor.storage.key}")
    if entry is None or entry.compress_type != zipfile.ZIP_STORED:
        raise FileFormatError(f"{where}: its bytes are missing or compressed")
    if tensor.storage.kind not in KINDS:
        raise UnsupportedError(f"{where}: is {tensor.storage.kind}, expected one of {', '.join(KINDS)}")
    row = KINDS[tensor.storage.kind]
    contiguous = tuple(math.prod(tensor.shape[i + 1 :]) for i in range(len(tensor.shape)))
    start, size = tensor.offset * row.dtype.itemsize, math.prod(tensor.shape) * row.dtype.itemsize
    if tensor.strides != contiguous or start < 0 or start + size > entry.file_size:
        raise FileFormatError(f"{where}: shape {tensor.shape} with strides {tensor.strides} is not in row order")
    header = source.read(entry.header_offset, LOCAL_HEADER)
    name_length, extra_length = (int.from_bytes(header[at : at + 2].tobytes(), "little") for at in (26, 28))
    data = entry.header_offset + LOCAL_HEADER + name_length + extra_length
    width = tensor.shape[-1] if tensor.shape else 1
    return Slice(tensor.shape, Stored(source, name, data + start, row, math.prod(tensor.shape[:-1]), width))


class _Unpickler(pickle._Unpickler):
    """Knows tensors, storages and dictionaries. Python's: C's takes 64 GB for an object numbered 2^32."""

    def __init__(self, file: BytesIO, path: Path) -> None:
        super().__init__(file, encoding="utf-8")
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name.endswith("Storage"):
            return name
        raise FileFormatError(
            f"{self.path}: asks to run {module}.{name}, which weights never need: do not trust this file"
        )

    def persistent_load(self, identity: Any) -> Storage:
        tag, kind, key, *_ = identity
        if tag != "storage" or not isinstance(kind, str) or not isinstance(key, str):
            raise FileFormatError(f"{self.path}: found the reference {str(identity)[:80]}, expected a storage")
        return Storage(kind, key)


def _rebuild(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> Described:
    """What torch._utils._rebuild_tensor_v2 is called with."""
    if not isinstance(storage, Storage) or not all(isinstance(n, int) for n in (offset, *shape, *strides)):
        raise ValueError("a tensor is described by something other than numbers")
    return Described(storage, offset, tuple(shape), tuple(strides))
