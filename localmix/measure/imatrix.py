"""Importance matrices: how large the inputs of each weight matrix are over a text, for each expert by itself.

Files are llama.cpp's: GGUF with the sums of squares `<tensor>.in_sum2` (M, K) and the tokens seen `<tensor>.counts`
(M, 1), written and read, and the older .dat, read. M matrices of a tensor, one for each expert · K inputs.
https://github.com/ggml-org/llama.cpp/tree/master/tools/imatrix
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localmix import gguf
from localmix.errors import FileFormatError, LocalmixError
from localmix.gguf.kinds import MAGIC
from quant import FORMATS
from quant.format import Floats

FEW = 64  # tokens; with fewer, the mean square of an input is off by more than a sixth
_SUMS, _COUNTS = ".in_sum2", ".counts"
_DAT_CHUNK = 512  # tokens of a chunk, which a .dat does not say: llama.cpp's default


@dataclass(frozen=True)
class Entry:
    """What a tensor's inputs were."""

    sums: NDArray[np.float64]  # (M, K) of squares
    counts: NDArray[np.float64]  # (M,) tokens


@dataclass(frozen=True)
class Imatrix:
    """The entries by the tensor's name; on what texts, in how many chunks of how many tokens."""

    entries: dict[str, Entry]
    datasets: list[str] = field(default_factory=list)
    chunks: int = 0
    chunk_size: int = 0

    def importance(self, shapes: Mapping[str, tuple[int, ...]], path: Path) -> dict[str, Floats]:
        """The mean square of each input, (K,) or (E, K), of the tensors in `shapes` that were seen.

        An expert that saw fewer than FEW tokens gets the average of its layer, `rare` names them; one that saw none
        has zeros, nothing is known of it. LocalmixError: the sizes are another model's; `path` is this file's.
        """
        found = {}
        for name, shape in shapes.items():
            entry = self.entries.get(name)
            if entry is None or not entry.counts.any() or not entry.sums.any():
                continue
            matrices, width = shape[0] if len(shape) == 3 else 1, shape[-1]
            if entry.sums.size != matrices * width:
                expected = f"{matrices} x {width}" if matrices > 1 else f"{width}"
                raise LocalmixError(
                    f"{path}: {name} has {entry.sums.size} values, expected {expected}: it was made for another model"
                )
            sums = entry.sums.reshape(matrices, width)
            counts = np.broadcast_to(entry.counts, matrices)[:, None]  # a .dat has one count for all
            average = sums.sum(axis=0) / counts.sum()
            means = np.where(counts < FEW, average, sums / np.maximum(counts, 1)).astype(np.float32)
            means[~sums.any(axis=1)] = 0
            found[name] = means if len(shape) == 3 else means[0]
        return found

    def rare(self) -> dict[str, dict[int, int]]:
        """For each tensor the experts that saw fewer than FEW tokens, and how many those were; perhaps none."""
        found = {}
        for name, entry in self.entries.items():
            few = {e: int(count) for e, count in enumerate(entry.counts) if count < FEW}
            if few and len(entry.counts) > 1:
                found[name] = few
        return found

    @property
    def tokens(self) -> int:
        return self.chunks * self.chunk_size


def write(path: Path, imatrix: Imatrix) -> None:
    """Write the GGUF file. LocalmixError: the disk."""
    f32 = FORMATS["f32"]
    metadata: dict[str, gguf.Value | int] = {
        "general.type": "imatrix",
        "imatrix.datasets": list(imatrix.datasets),
        "imatrix.chunk_count": np.uint32(imatrix.chunks),
        "imatrix.chunk_size": np.uint32(imatrix.chunk_size),
    }
    tensors = {}
    for name, entry in sorted(imatrix.entries.items()):
        tensors[name + _SUMS] = entry.sums
        tensors[name + _COUNTS] = entry.counts[:, None]
    infos = [gguf.TensorInfo(name, values.shape, f32) for name, values in tensors.items()]
    with gguf.Writer(path, metadata, infos) as out:
        for name, values in tensors.items():
            out.write(name, values.astype(np.float32))


def read(path: Path) -> Imatrix:
    """Read a file of either kind. FileFormatError: it is damaged, or something else."""
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror}; expected an importance matrix") from None
    found = _read_gguf(path) if head == MAGIC else _read_dat(path, path.read_bytes())
    for name, entry in found.entries.items():
        values = np.concatenate([entry.sums.reshape(-1), entry.counts])
        if not np.isfinite(values).all() or values.min() < 0:
            raise FileFormatError(f"{path}: {name} has values that cannot be sums of squares: the file is damaged")
    return found


def _read_gguf(path: Path) -> Imatrix:
    file = gguf.open(path)
    kind = file.metadata.get("general.type")
    stems = [name.removesuffix(_SUMS) for name in file.tensors if name.endswith(_SUMS)]
    if kind != "imatrix" or not stems:
        raise FileFormatError(
            f"{path}: not an importance matrix (general.type is {kind!r}): expected a file from localmix calibrate"
        )
    entries = {}
    for name in stems:
        sums, counts = file.tensors[name + _SUMS], file.tensors.get(name + _COUNTS)
        wrong = counts is None or {sums.format.name, counts.format.name} != {"f32"}
        if wrong or counts is None or sums.shape[:-1] not in ((counts.data.size,), (1, counts.data.size)):
            raise FileFormatError(f"{path}: {name} has sums without their counts: the file is damaged")
        flat = np.array(sums.data, np.float64).reshape(counts.data.size, -1)
        entries[name] = Entry(flat, np.array(counts.data, np.float64).reshape(-1))
    numbers = [int(file.metadata.get(f"imatrix.{key}", 0)) for key in ("chunk_count", "chunk_size")]
    return Imatrix(entries, list(file.metadata.get("imatrix.datasets", ())), numbers[0], numbers[1])


def _read_dat(path: Path, raw: bytes) -> Imatrix:
    """Entries of (name, chunks seen, values), each value a mean square times the chunks; then chunks and the text."""
    entries: dict[str, Entry] = {}
    try:
        (count,), at = struct.unpack_from("<i", raw), 4
        for _ in range(count):
            (length,) = struct.unpack_from("<i", raw, at)
            name = raw[at + 4 : at + 4 + length].decode()
            seen, size = struct.unpack_from("<ii", raw, at + 4 + length)
            at += 12 + length
            values = np.frombuffer(raw, "<f4", size, at).astype(np.float64)
            entries[name] = Entry(values[None] * _DAT_CHUNK, np.array([seen * _DAT_CHUNK], np.float64))
            at += 4 * size
        chunks = struct.unpack_from("<i", raw, at)[0] if at < len(raw) else 0
    except (struct.error, ValueError):
        entries = {}
    if not entries:
        raise FileFormatError(f"{path}: not an importance matrix: expected a file from localmix calibrate")
    return Imatrix(entries, [], chunks, _DAT_CHUNK)
