"""Takes a file's tensors by name, checks their shapes, and at the end refuses what nobody asked for: a tensor
that is ignored would be arithmetic that is ignored.
"""

from localmix import gguf
from localmix.engine.weights import Weight, vector
from localmix.errors import FileFormatError, UnsupportedError
from quant.format import Floats

_MERGED = "_exps.weight"


class Tensors:
    """The tensors of one file, each to be taken once."""

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
        return Weight(name, t.format, (t.shape[0], t.shape[1]), t.data)

    def small(self, name: str, shape: tuple[int, ...]) -> Floats:
        """A small tensor as float32."""
        t = self.take(name, shape)
        return vector(t.data, t.format).reshape(t.shape)

    def experts(self, stem: str, shape: tuple[int, int, int]) -> tuple[Weight, ...]:
        """E matrices (out, in): slices of the merged tensor `stem_exps.weight`, or the tensors `stem.E.weight`."""
        name = stem + _MERGED
        if name in self:
            t = self.take(name, shape)
            return tuple(Weight(f"{name}[{e}]", t.format, (shape[1], shape[2]), t.data[e]) for e in range(shape[0]))
        return tuple(self.matrix(f"{stem}.{e}.weight", (shape[1], shape[2])) for e in range(shape[0]))

    def finish(self) -> None:
        """Every tensor must have been taken."""
        rest = sorted(set(self._all) - self._taken)
        if rest:
            raise UnsupportedError(
                f"{self.path}: {len(rest)} tensors are not part of this architecture, first {rest[0]}: not supported"
            )
