"""What every reader of a checkpoint hands over: metadata and named matrices, not a weight read yet."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from localmix import network
from localmix.convert import sampling
from localmix.convert.arrange import Lookup
from localmix.convert.matrix import Held, Matrix
from localmix.convert.safetensors import Named
from localmix.convert.settings import Settings
from localmix.convert.vocabulary import read_vocabulary
from localmix.errors import FileFormatError
from localmix.gguf.metadata import Writable
from localmix.network.layout import Layout
from localmix.network.rope import FACTORS
from localmix.store.fingerprint import fingerprint
from quant.format import Floats
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
        key = f"{self.metadata.get('general.architecture')}.context_length"
        return int(self.metadata.get(key, 1 << 31))  # type: ignore[arg-type]

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


def assemble(
    config: Settings,
    kin: Layout,
    metadata: dict[str, Writable],
    source: Named,
    notes: list[str],
    *,
    tied: bool = False,
    factors: Floats | None = None,
) -> Checkpoint:
    """The checkpoint that `metadata` describe, out of `source`; every shape is checked here.

    `tied`: the output is the embedding. `factors` divide each frequency of the rotation.
    """

    def number(key: str, default: int = 0) -> int:
        return int(metadata.get(f"{kin.architecture}.{key}", default))  # type: ignore[arg-type]

    def heads(key: str) -> int:
        return number(key, number("attention.head_count"))

    layers, experts, vocabulary = number("block_count"), number("expert_count"), number("vocab_size")
    lookup = Lookup(kin, source, experts, heads, number("rope.dimension_count"))

    def has(name: str) -> bool:
        switch = kin.flag(name)
        if name in ("output.weight", FACTORS):
            return factors is not None if name == FACTORS else not tied
        return config.flag(*switch) if switch else name in lookup and not name.endswith(".bias")

    counted(lookup, layers, experts)
    tensors = {}
    for name, shape in network.shapes(str(config.path), metadata, vocabulary, has).items():
        matrix = Held(np.asarray(factors, np.float32)[None], config.path) if name == FACTORS else lookup(name, shape)
        fits(matrix, name, shape)
        tensors[name] = Source(shape, matrix)
    folder = config.path.parent
    keys = metadata | sampling.recommended(folder, notes) | read_vocabulary(folder, vocabulary, config, notes)
    return Checkpoint(folder, source.files, Model(layers, experts), keys, tensors, notes)


def counted(lookup: Lookup, layers: int, experts: int) -> None:
    """As many layers and experts as there are: a damaged number would ask for millions of tensors."""
    for i in range(layers):
        name = f"blk.{i}.attn_norm.weight"
        if name not in lookup:
            lookup(name, ())  # raises
    if experts:
        router = lookup("blk.0.ffn_gate_inp.weight", ())
        fits(router, "blk.0.ffn_gate_inp.weight", (experts, router.width))


def fits(matrix: Matrix, name: str, shape: tuple[int, ...]) -> None:
    """FileFormatError: it has another shape."""
    expected = (int(np.prod(shape[:-1], dtype=np.int64)), shape[-1])
    if (matrix.rows, matrix.width) != expected:
        raise FileFormatError(
            f"{matrix.origin(0)}: {name} would have {matrix.rows} rows of {matrix.width}, "
            f"expected {expected[0]} of {expected[1]}: the configuration contradicts the tensors"
        )
