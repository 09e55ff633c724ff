"""What a model's weight matrices are multiplied with over a text: the sums that an importance matrix is made of.

Memory is bounded by the sums, a row for each matrix (25 MB for Mixtral 8x7B), and by one chunk of a prompt.
"""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from localmix.engine.weights import Weight
from localmix.measure.imatrix import Entry, Imatrix
from localmix.measure.windows import Window, passes

if TYPE_CHECKING:
    from localmix.model import Model

Progress = Callable[[int, int], None]
"""Called with the tokens computed so far and in all."""

# A matrix of an expert, in a merged tensor or on its own; both count for the merged one, which conversion writes.
_MERGED = re.compile(r"(.+_exps\.weight)\[(\d+)\]")
_SINGLE = re.compile(r"(blk\.\d+\.ffn_(?:gate|up|down))\.(\d+)\.weight")


def calibrate(model: "Model", windows: Sequence[Window], dataset: str, progress: Progress | None = None) -> Imatrix:
    """The importance matrix of `model` on `windows`, which come from the text called `dataset`.

    LocalmixError: the model's backend does not tell what it multiplies (mlx).
    """
    collector = _Collector(model.network.experts)
    step = model.engine.decoder(collector)
    cache = model.engine.cache(max(map(len, windows), default=1))
    done, total = 0, sum(map(len, windows))
    for window in windows:
        model.engine.check(window.ids)
    for batch, _ in passes(windows, cache):
        cache.reserve(batch)
        step(batch, cache)
        cache.commit(batch)
        done += len(batch)
        if progress is not None:
            progress(done, total)
    size = max(map(len, windows), default=0)
    return Imatrix(collector.entries(), [dataset], len(windows), size)


class _Collector:
    """Adds up squares, matrix by matrix."""

    def __init__(self, experts: int) -> None:
        self._experts = experts
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._counts: dict[str, NDArray[np.float64]] = {}

    def __call__(self, weights: Sequence[Weight], x: NDArray[np.float32]) -> None:
        squares = np.square(x).sum(axis=0, dtype=np.float64)  # (K,)
        for weight in weights:
            name, expert, matrices = self._place(weight.name)
            if name not in self._sums:
                self._sums[name] = np.zeros((matrices, x.shape[1]))
                self._counts[name] = np.zeros(matrices)
            self._sums[name][expert] += squares
            self._counts[name][expert] += len(x)

    def entries(self) -> dict[str, Entry]:
        return {name: Entry(sums, self._counts[name]) for name, sums in self._sums.items()}

    def _place(self, name: str) -> tuple[str, int, int]:
        """The tensor that conversion writes, which of its matrices this is, and of how many."""
        if merged := _MERGED.fullmatch(name):
            return merged[1], int(merged[2]), self._experts
        if single := _SINGLE.fullmatch(name):
            return f"{single[1]}_exps.weight", int(single[2]), self._experts
        return name, 0, 1
