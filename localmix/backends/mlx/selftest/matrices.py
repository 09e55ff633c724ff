"""Matrices of every format: their rows, products with one token, few and many, and gathered products."""

from collections.abc import Callable, Iterator
from functools import partial

import mlx.core as mx
import numpy as np

from localmix.backends.mlx import pairs
from localmix.backends.mlx.matrix import Matrix
from localmix.backends.mlx.metal import trial
from localmix.backends.mlx.pairs import Pairs
from localmix.backends.mlx.repack import repack
from localmix.backends.mlx.selftest.check import Check, arithmetic, bound, compare
from localmix.engine.weights import Weight
from quant import FORMATS, Format
from quant.format import Floats

_OUT, _WIDTH, _EXPERTS, _ACTIVE = 256, 512, 4, 2
_ODD = 96, 40  # a width that has to be padded, and an `out` that fills no tile
_TOKENS = (1, 3, 40)  # kernels for one row, for few, and for tiles
_LAYOUTS: dict[str, Callable[[mx.array], Pairs]] = {
    "singly": pairs.single,
    "in order": pairs.in_order,
    "in tiles": lambda chosen: pairs.in_tiles(chosen, _EXPERTS, 16),
}


def checks(half: bool) -> Iterator[Check]:
    for format in FORMATS.values():
        yield from _matrix(format, half, _OUT, _WIDTH)
        if format.block <= 32:
            width, out = _ODD
            yield from _matrix(format, half, out, width)
        yield from _stack(format, half)


def _matrix(format: Format, half: bool, out: int, width: int) -> Iterator[Check]:
    matrix, (weights,) = _made(format, half, out, width)
    name, limit, ids = f"{format.name} {out}×{width}", _limit(format, half), np.array([3, 0, out - 1])
    yield compare(f"{name} rows", lambda: matrix.rows(mx.array(ids)), weights[ids], limit)
    for tokens in _TOKENS:
        x = _numbers(tokens, width)
        yield compare(f"{name} · {tokens}", partial(matrix.multiply, mx.array(x)), x @ weights.T, limit)


def _stack(format: Format, half: bool) -> Iterator[Check]:
    """Products with experts for one token and for many, however pairs are laid out."""
    matrix, weights = _made(format, half, _OUT, _WIDTH, _EXPERTS)
    for tokens in (1, 80):
        x, rng = _numbers(tokens, _WIDTH), np.random.default_rng(tokens)
        chosen = rng.permuted(np.tile(np.arange(_EXPERTS), (tokens, 1)), axis=1)[:, :_ACTIVE]
        expected = np.stack([[weights[e] @ row for e in some] for row, some in zip(x, chosen, strict=True)])
        for name, layout in _LAYOUTS.items():
            compute = partial(_gathered, matrix, layout, mx.array(x), mx.array(chosen))
            yield compare(f"{format.name} experts {name} · {tokens}", compute, expected, _limit(format, half))


def _gathered(matrix: Matrix, layout: Callable[[mx.array], Pairs], x: mx.array, chosen: mx.array) -> mx.array:
    pairs = layout(chosen)
    return pairs.collect(matrix.gather(pairs.spread(x), pairs.experts, pairs.rows))


def _made(format: Format, half: bool, out: int, width: int, count: int = 0) -> tuple[Matrix, list[Floats]]:
    """A matrix, or a stack of `count`, on the device, and the weights of each."""
    blocks = trial.random_blocks(format.name, max(1, count) * out, width).reshape(max(1, count), out, -1)
    parts = tuple(Weight(format.name, format, (out, width), one) for one in blocks)
    matrix = repack(parts if count else parts[0], arithmetic(half))
    return matrix, [part.rows(slice(None)) for part in parts]


def _limit(format: Format, half: bool) -> float:
    return bound(half) + 2 * arithmetic(half).form(format).error


def _numbers(*shape: int) -> Floats:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
