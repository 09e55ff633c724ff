"""Takes a file's tensors by name, checks their shapes, and at the end refuses what nobody asked for: a tensor
that is ignored would be arithmetic that is ignored.

`Wanted` is the same without a file: it notes what a family asks for, and so tells what a file of it must hold.
Shapes: E experts · F hidden · D width.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from localmix import gguf
from localmix.engine.weights import Weight, vector
from localmix.errors import FileFormatError, UnsupportedError
from quant import FORMATS
from quant.format import Floats

_WEIGHT, _BIAS, _EXPERTS = ".weight", ".bias", "_exps"


class Stack(NamedTuple):
    """The gate, up and down matrices of E experts."""

    gate: tuple[Weight, ...]  # (F, D) each
    up: tuple[Weight, ...]  # (F, D) each
    down: tuple[Weight, ...]  # (D, F) each


class Tensors(Protocol):
    """Where a family finds its tensors, each to be taken once, by their whole names."""

    def __contains__(self, name: str) -> bool: ...
    def matrix(self, name: str, shape: tuple[int, int]) -> Weight: ...
    def small(self, name: str, shape: tuple[int, ...]) -> Floats: ...  # as float32
    def optional(self, name: str, shape: tuple[int, ...]) -> Floats | None: ...  # the same, if it is there
    def experts(self, stem: str, count: int, hidden: int, width: int) -> Stack: ...  # merged, or one tensor each


class Found:
    """The tensors of one file."""

    def __init__(self, file: gguf.File) -> None:
        self.path = str(file.path)
        self._all = dict(file.tensors)
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._all

    def take(self, name: str, shape: tuple[int, ...]) -> gguf.Tensor:
        """The tensor called `name`, which must have this shape (-1: any size)."""
        tensor = self._all.get(name)
        if tensor is None:
            raise FileFormatError(f"{self.path}: tensor {name} is missing: expected one of shape {shape}")
        same = len(shape) == len(tensor.shape) and all(s in (-1, t) for s, t in zip(shape, tensor.shape, strict=True))
        if not same:
            raise FileFormatError(f"{self.path}: tensor {name} has shape {tensor.shape}: expected {shape}")
        self._taken.add(name)
        return tensor

    def matrix(self, name: str, shape: tuple[int, int]) -> Weight:
        t = self.take(name, shape)
        return _part(t, name, t.data)

    def small(self, name: str, shape: tuple[int, ...]) -> Floats:
        t = self.take(name, shape)
        return vector(t.data, t.format).reshape(t.shape)

    def optional(self, name: str, shape: tuple[int, ...]) -> Floats | None:
        return self.small(name, shape) if name in self else None

    def experts(self, stem: str, count: int, hidden: int, width: int) -> Stack:
        """Of `stem_gate_exps.weight` and so on, of `stem_gate_up_exps.weight`, or of `stem_gate.E.weight`."""
        down = self._stacked(f"{stem}_down", count, width, hidden)
        fused = f"{stem}_gate_up{_EXPERTS}{_WEIGHT}"
        if fused not in self:
            gate, up = (self._stacked(f"{stem}_{one}", count, hidden, width) for one in ("gate", "up"))
            return Stack(gate, up, down)
        t = self.take(fused, (count, 2 * hidden, width))  # an expert's gate first
        gate, up = (
            tuple(_part(t, f"{fused}[{e}]", t.data[e, rows]) for e in range(count))
            for rows in (slice(hidden), slice(hidden, None))
        )
        return Stack(gate, up, down)

    def _stacked(self, stem: str, count: int, rows: int, width: int) -> tuple[Weight, ...]:
        name = stem + _EXPERTS + _WEIGHT
        if name in self:
            t = self.take(name, (count, rows, width))
            return tuple(_part(t, f"{name}[{e}]", t.data[e]) for e in range(count))
        return tuple(self.matrix(f"{stem}.{e}{_WEIGHT}", (rows, width)) for e in range(count))

    def finish(self) -> None:
        """Every tensor must have been taken."""
        rest = sorted(set(self._all) - self._taken)
        if rest:
            raise UnsupportedError(
                f"{self.path}: {len(rest)} tensors are not part of this architecture, such as {rest[0]}: not supported"
            )


class Wanted:
    """Tensors that are not there yet: `shapes` has what was asked for, in order. What they hold is nothing.

    `has` says of each tensor that a family can do without whether there will be one.
    """

    def __init__(self, has: Callable[[str], bool]) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._has = has

    def __contains__(self, name: str) -> bool:
        return self._has(name)

    def matrix(self, name: str, shape: tuple[int, int]) -> Weight:
        self.shapes[name] = shape
        return _nothing(name, shape)

    def small(self, name: str, shape: tuple[int, ...]) -> Floats:
        self.shapes[name] = shape
        return np.broadcast_to(np.ones((), np.float32), shape)

    def optional(self, name: str, shape: tuple[int, ...]) -> Floats | None:
        return self.small(name, shape) if name in self else None

    def experts(self, stem: str, count: int, hidden: int, width: int) -> Stack:
        roles = {"gate": (hidden, width), "up": (hidden, width), "down": (width, hidden)}
        for role, shape in roles.items():
            self.shapes[f"{stem}_{role}{_EXPERTS}{_WEIGHT}"] = (count, *shape)
        return Stack(*((_nothing(stem, shape),) * count for shape in roles.values()))


def _part(t: gguf.Tensor, name: str, blocks: NDArray) -> Weight:
    """A matrix that is all of a tensor, or consecutive rows of it: `blocks` (out, in // block)."""
    return Weight(name, t.format, (len(blocks), t.shape[-1]), blocks, t.extent_of(blocks))


def _nothing(name: str, shape: tuple[int, int]) -> Weight:
    return Weight(name, FORMATS["f32"], shape, np.broadcast_to(np.zeros((), np.float32), shape))
