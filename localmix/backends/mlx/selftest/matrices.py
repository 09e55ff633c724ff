"""Matrices of every format: their rows, products with one token, few and many, and gathered products."""

from collections.abc import Callable, Iterator
from functools import partial

import mlx.core as mx
import numpy as np

from localmix.backends.mlx import pairs
from localmix.backends.mlx.matrix import Arithmetic, Matrix
from localmix.backends.mlx.metal import trial
from localmix.backends.mlx.pairs import Pairs
from localmix.backends.mlx.repack import repack
from localmix.backends.mlx.selftest.check import Check, compare, device
from localmix.engine.weights import Weight
from quant import FORMATS, Format
from quant.format import Floats

_OUT, _WIDTH, _EXPERTS, _ACTIVE = 256, 512, 4, 2
_ODD = 96, 40  # a width that has to be padded, and an `out` that fills no tile
_TOKENS = (1, 3, 40)  # kernels for one row, for few, and for tiles
Made = Callable[[Arithmetic], Matrix]
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
    made, (weights,) = _made(format, out, width)
    name, more, ids = f"{format.name} {out}×{width}", _cost(format, half), np.array([3, 0, out - 1])
    yield compare(f"{name} rows", lambda a: made(a).rows(mx.array(ids)), weights[ids], half, more)
    for tokens in _TOKENS:
        x = _numbers(tokens, width)
        compute = partial(_multiplied, made, mx.array(x))
        yield compare(f"{name} · {tokens}", compute, x @ weights.T, half, more)


def _stack(format: Format, half: bool) -> Iterator[Check]:
    """Products with experts for one token and for many, however pairs are laid out."""
    made, weights = _made(format, _OUT, _WIDTH, _EXPERTS)
    for tokens in (1, 80):
        x, rng = _numbers(tokens, _WIDTH), np.random.default_rng(tokens)
        chosen = rng.permuted(np.tile(np.arange(_EXPERTS), (tokens, 1)), axis=1)[:, :_ACTIVE]
        expected = np.stack([[weights[e] @ row for e in some] for row, some in zip(x, chosen, strict=True)])
        for name, layout in _LAYOUTS.items():
            compute = partial(_gathered, made, layout, mx.array(x), mx.array(chosen))
            yield compare(f"{format.name} experts {name} · {tokens}", compute, expected, half, _cost(format, half))


def _multiplied(made: Made, x: mx.array, arithmetic: Arithmetic) -> mx.array:
    return made(arithmetic).multiply(x)


def _gathered(
    made: Made, layout: Callable[[mx.array], Pairs], x: mx.array, chosen: mx.array, arithmetic: Arithmetic
) -> mx.array:
    pairs = layout(chosen)
    return pairs.collect(made(arithmetic).gather(pairs.spread(x), pairs.experts, pairs.rows))


def _made(format: Format, out: int, width: int, count: int = 0) -> tuple[Made, list[Floats]]:
    """What makes a matrix, or a stack of `count`, and the weights of each."""
    blocks = trial.random_blocks(format.name, max(1, count) * out, width).reshape(max(1, count), out, -1)
    parts = tuple(Weight(format.name, format, (out, width), one) for one in blocks)
    known: dict[bool, Matrix] = {}

    def made(arithmetic: Arithmetic) -> Matrix:
        if arithmetic.cpu not in known:
            known[arithmetic.cpu] = repack(parts if count else parts[0], arithmetic)
        return known[arithmetic.cpu]

    return made, [part.rows(slice(None)) for part in parts]


def _cost(format: Format, half: bool) -> float:
    """Of a format's form on this device."""
    return 2 * device(half).form(format).error


def _numbers(*shape: int) -> Floats:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
