"""How pairs of a token and an expert are laid out on this device: measured when a GPU is first used, and remembered.

The measure is a prompt's and a small batch's product with a stack of 4-bit matrices. `localmix doctor` tells both.
"""

import sys
import time
from dataclasses import asdict, dataclass, fields

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localmix.backends.mlx import calls, pairs, remembered
from localmix.backends.mlx.forms import GROUP
from localmix.backends.mlx.pairs import Pairs

_FILE = "layouts"
_FEW = 8  # pairs up to which each is a product by itself
_MANY = 64  # pairs from which on they are in the order of experts, or in tiles as a prompt is
_LEAST, _MOST = 16, 64  # rows of a tile: of CUDA's kernels
_EXPERTS, _SIZE = 8, 4096  # of the stack that is measured
_BATCH, _PROMPT = 32, 1024  # pairs that are measured
_REPEATS = 5


@dataclass(frozen=True)
class Layouts:
    """Whether tiles are used, for a batch and for a prompt; and why, for people."""

    batch: bool = False
    prompt: bool = False
    why: str = ""

    def of(self, chosen: mx.array, experts: int) -> Pairs:
        """The layout for experts (T, A), of so many."""
        count = chosen.size
        if count <= _FEW:
            return pairs.single(chosen)
        if self.prompt if count >= _MANY else self.batch:
            return pairs.in_tiles(chosen, experts, _tile(count, experts))
        return pairs.single(chosen) if count < _MANY else pairs.in_order(chosen)

    def of_one(self, tokens: NDArray, count: int) -> Pairs:
        """The layout for some tokens (n,) of one expert, which are a part of `count` pairs."""
        return pairs.of_one(tokens, in_order=count >= _MANY)


def layouts() -> Layouts:
    """Those of this device. On a CPU nothing is measured: there a tile is as many products as it has rows."""
    if mx.default_device() == mx.cpu:
        return Layouts()
    machine, names = remembered.machine(), [field.name for field in fields(Layouts)]
    known = remembered.recall(_FILE, machine)
    if not all(name in known for name in names):
        print("localmix: measuring products with experts on this GPU, once", file=sys.stderr, flush=True)
        known = asdict(measure())
        remembered.keep(_FILE, machine, known)
    return Layouts(**{name: known[name] for name in names})


def measure(size: int = _SIZE) -> Layouts:
    """Time both kinds of layout on this device."""
    faster, why = {}, []
    for name, count in (("batch", _BATCH), ("prompt", _PROMPT)):
        usual, tiled = _times(count, size)
        faster[name] = tiled < usual
        why.append(f"{name} of {count} pairs: {usual * 1e3:.2f} ms, in tiles {tiled * 1e3:.2f} ms")
    return Layouts(faster["batch"], faster["prompt"], "; ".join(why))


def _times(count: int, size: int) -> tuple[float, float]:
    """Seconds of products with a stack of experts, laid out as usual and in tiles."""
    rng = np.random.default_rng(0)
    codes = mx.array(rng.integers(0, 1 << 32, (_EXPERTS, size, size // 8), np.uint32))
    scales = mx.full((_EXPERTS, size, size // GROUP), 1e-2, mx.float16)
    packed, x = calls.Packed(codes, scales, scales, 4), mx.ones((count // 2, size), mx.float16)
    chosen = mx.array(rng.permuted(np.tile(np.arange(_EXPERTS), (count // 2, 1)), axis=1)[:, :2])
    mx.eval(packed.arrays, x, chosen)

    def seconds(layout: Layouts) -> float:
        start = time.perf_counter()
        p = layout.of(chosen, _EXPERTS)
        mx.eval(p.collect(calls.gather(p.spread(x), packed, p.experts, p.rows)))
        return time.perf_counter() - start

    rivals = Layouts(), Layouts(batch=True, prompt=True)
    runs = [[seconds(rival) for rival in rivals] for _ in range(1 + _REPEATS)][1:]  # the first compiles
    usual, tiled = np.median(runs, axis=0).tolist()
    return usual, tiled


def _tile(count: int, experts: int) -> int:
    """Rows of a tile: what an expert has on average, to a power of two, within what kernels are made for."""
    average = max(1, count // experts)
    return min(_MOST, max(_LEAST, 1 << (average - 1).bit_length()))
