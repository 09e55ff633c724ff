"""What will be written, before anything is: each tensor's format and the size of the file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from localmix.convert.checkpoint import Checkpoint, Source
from localmix.gguf import TensorInfo
from localmix.gguf.metadata import Writable
from quant.recipe import Choice, Recipe, Row, choose

QUANTIZATION_VERSION = 2  # of the block layouts, as GGML counts


@dataclass(frozen=True)
class Output:
    """A tensor to be written."""

    info: TensorInfo
    source: Source
    choice: Choice


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


def make_plan(
    checkpoint: Checkpoint,
    recipe: Recipe,
    overrides: Sequence[Row] = (),
    extra: Mapping[str, Writable] | None = None,
) -> Plan:
    """The plan for `recipe`; `overrides` go before its rows, `extra` metadata over the checkpoint's."""
    outputs = []
    for name, source in checkpoint.tensors.items():
        choice = choose(recipe, checkpoint.model, name, source.shape, overrides)
        outputs.append(Output(TensorInfo(name, source.shape, choice.format), source, choice))
    metadata = checkpoint.metadata | {
        "general.file_type": recipe.file_type,
        "general.quantization_version": QUANTIZATION_VERSION,
        **(extra or {}),
    }
    return Plan(checkpoint, metadata, outputs)
