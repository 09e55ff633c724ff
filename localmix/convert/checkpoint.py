"""What every reader of a checkpoint hands over: metadata and named matrices, not a weight read yet."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from localmix.convert.hyper import Hyper, metadata, shapes
from localmix.convert.matrix import Held, Matrix
from localmix.convert.safetensors import Named
from localmix.convert.settings import Settings
from localmix.convert.vocabulary import read_vocabulary
from localmix.errors import FileFormatError
from localmix.gguf.metadata import Writable
from localmix.store.fingerprint import fingerprint
from quant.recipe import Model


@dataclass(frozen=True)
class Source:
    """A tensor of the GGUF to be: `matrix` gives its rows, outer dimensions merged."""

    shape: tuple[int, ...]
    matrix: Matrix


@dataclass(frozen=True)
class Checkpoint:
    """A model that can be converted. `metadata` lacks only what the formats decide; `notes` are for the user."""

    path: Path
    files: tuple[Path, ...]  # that hold the weights
    model: Model
    metadata: dict[str, Writable]
    tensors: dict[str, Source]  # in file order
    notes: list[str] = field(default_factory=list)

    @property
    def context(self) -> int:
        """Tokens that the model was made for."""
        return int(self.metadata.get("llama.context_length", 1 << 31))  # type: ignore[arg-type]

    @property
    def weights(self) -> int:
        """How many there are."""
        return sum(math.prod(source.shape) for source in self.tensors.values())

    def fingerprint(self) -> str:
        """Names the weights. FileFormatError: a file cannot be read."""
        try:
            return fingerprint(self.files)
        except OSError as error:
            raise FileFormatError(f"{error.filename}: cannot be read: {error.strerror}") from None


Lookup = Callable[[str], Matrix]


def assemble(path: Path, h: Hyper, source: Named, lookup: Lookup, config: Settings, notes: list[str]) -> Checkpoint:
    """The checkpoint whose matrix for each GGUF name `lookup` finds in `source`; every shape is checked here."""
    if h.active > h.experts:
        raise FileFormatError(f"{config.path}: {h.active} experts a token are more than the {h.experts} that there are")
    tensors = {}
    for name, shape in shapes(h):
        matrix = lookup(name)
        expected = (int(np.prod(shape[:-1], dtype=np.int64)), shape[-1])
        if (matrix.rows, matrix.width) != expected:
            raise FileFormatError(
                f"{matrix.origin(0)}: {name} would have {matrix.rows} rows of {matrix.width}, "
                f"expected {expected[0]} of {expected[1]}: the configuration contradicts the tensors"
            )
        tensors[name] = Source(shape, matrix)
    if h.rope_factors is not None:
        factors = np.asarray(h.rope_factors, np.float32)
        tensors["rope_freqs.weight"] = Source(factors.shape, Held(factors[None], path))
    vocabulary = read_vocabulary(path, h.vocabulary, config, notes)
    return Checkpoint(path, source.files, Model(h.layers, h.experts), metadata(h) | vocabulary, tensors, notes)
