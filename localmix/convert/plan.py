"""What will be written, before anything is: each tensor's format and the size of the file."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from localmix import __version__
from localmix.convert.checkpoint import Checkpoint, Source
from localmix.gguf import TensorInfo
from localmix.gguf.metadata import Writable
from quant import FORMATS
from quant.format import Floats
from quant.recipe import Choice, Recipe, Row, choose

TRAINED = FORMATS["mxfp4"]
QUANTIZATION_VERSION = 2  # of the block layouts, as GGML counts


@dataclass(frozen=True)
class Output:
    """A tensor to be written. `importance`: the mean square of each of its inputs, (K,) or (E, K) for experts.

    Where all of a matrix's are 0 nothing is known, and it is quantized as without.
    """

    info: TensorInfo
    source: Source
    choice: Choice
    importance: Floats | None = None

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in the file."""
        return self.info.format.row_bytes(self.info.shape[-1])

    @property
    def expert_rows(self) -> int:
        """Rows of one expert; of the whole tensor where there are none."""
        return self.info.shape[-2] if len(self.info.shape) == 3 else self.source.matrix.rows

    def importance_of(self, row: int) -> Floats | None:
        """The importance (K,) of the inputs of a row."""
        if self.importance is None:
            return None
        own = self.importance if self.importance.ndim == 1 else self.importance[row // self.expert_rows]
        return own if own.any() else None


@dataclass(frozen=True)
class Plan:
    """A whole conversion. `written` is the file's metadata."""

    checkpoint: Checkpoint
    written: dict[str, Writable]
    outputs: list[Output]

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata as a reader of the file will see it: plain values."""
        return {key: value.item() if isinstance(value, np.generic) else value for key, value in self.written.items()}

    @property
    def tensors(self) -> dict[str, TensorInfo]:
        """The tensors in file order."""
        return {output.info.name: output.info for output in self.outputs}

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors, without the header."""
        return sum(info.nbytes for info in self.tensors.values())

    def identity(self) -> str:
        """Names all that the weights to be written come from, but not the header: only the same is resumed.

        LocalmixError: a file of the source is gone.
        """
        digest = hashlib.sha256(f"{__version__} {self.checkpoint.fingerprint()}".encode())
        for path in self.checkpoint.files:
            digest.update(str(path.stat().st_mtime_ns).encode())
        for output in self.outputs:
            if output.importance is not None:
                digest.update(output.info.name.encode() + output.importance.tobytes())
        return digest.hexdigest()


def keeps(source: Source, recipe: Recipe) -> bool:
    """Whether weights that were trained in MXFP4 stay so: another format of few bits would only lose, or be larger."""
    return source.matrix.holds is TRAINED and FORMATS[recipe.base].block > 1


def make_plan(
    checkpoint: Checkpoint,
    recipe: Recipe,
    overrides: Sequence[Row] = (),
    extra: Mapping[str, Writable] | None = None,
    importance: Mapping[str, Floats] | None = None,
) -> Plan:
    """The plan for `recipe`; `overrides` go before its rows, `extra` metadata over the checkpoint's.

    `importance` by the tensor's name, see `Output`; tensors that it does not name are quantized without.
    """
    outputs = []
    for name, source in checkpoint.tensors.items():
        kept = (Row(rf"^{re.escape(name)}$", TRAINED.name),) if keeps(source, recipe) else ()
        choice = choose(recipe, checkpoint.model, name, source.shape, (*overrides, *kept))
        info = TensorInfo(name, source.shape, choice.format)
        outputs.append(Output(info, source, choice, (importance or {}).get(name)))
    metadata = checkpoint.metadata | {
        "general.file_type": recipe.file_type,
        "general.quantization_version": QUANTIZATION_VERSION,
        **(extra or {}),
    }
    return Plan(checkpoint, metadata, outputs)
