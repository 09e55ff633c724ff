"""The words that kernels are written in against NumPy: float16, exp and SiLU, activations as int8, routing.

LOCALMIX_ISA decides what is tested: test_isa.py runs this file again for each other instruction set.
"""

from typing import Any

import numpy as np
import pytest
from kernel_calls import compiled, quantized_rows, sections
from llvmlite import ir
from numpy.typing import NDArray

from localmix.backends.numba.attend.fourbits import spread32, store_q4_0
from localmix.backends.numba.blocks import routing
from localmix.backends.numba.machine.simd import I16, I32, half_to_float, load, store, turn, vec
from localmix.backends.numba.machine.words import (
    exp16,
    int64,
    load_f32,
    load_f32x16,
    record,
    store_f16,
    store_f32x16,
    swiglu16,
    void,
    word,
)
from localmix.backends.numba.passes import parts
from localmix.backends.numba.passes.records import MIXTURE, UNTURNED, WIDE, padded, quantized_bytes
from localmix.backends.numba.products.activations import store_q8_0
from localmix.engine import fourbits
from localmix.engine.storage import STORAGES
from quant.format import Floats

HALVES = np.arange(1 << 16, dtype=np.uint16)


@word(void, int64, int64)
def widen_by_integers(b: ir.IRBuilder, source: Any, target: Any) -> None:
    store(b, half_to_float(b, load(b, vec(I16, 16), source), False), target)


def test_every_half_widened_without_hardware() -> None:
    @compiled
    def widen(source: int, target: int, count: int) -> None:
        for i in range(0, count, 16):
            widen_by_integers(source + 2 * i, target + 4 * i)

    out = np.empty(HALVES.size, np.float32)
    widen(HALVES.ctypes.data, out.ctypes.data, HALVES.size)
    expected = HALVES.view(np.float16).astype(np.float32)
    assert np.array_equal(out, expected, equal_nan=True)
    assert np.array_equal(np.signbit(out), np.signbit(expected))


@pytest.mark.parametrize("n", [1, 2, 4, 8, 16])
def test_rows_are_turned(n: int) -> None:
    @word(void, int64, int64)
    def turned(b: ir.IRBuilder, source: Any, target: Any) -> None:
        rows = [load(b, vec(I32, n), source, 4 * n * row) for row in range(16)]
        for i, column in enumerate(turn(b, rows)):
            store(b, column, target, 64 * i)

    @compiled
    def run(source: int, target: int) -> None:
        turned(source, target)

    rows, columns = np.arange(16 * n, dtype=np.int32).reshape(16, n), np.zeros((n, 16), np.int32)
    run(rows.ctypes.data, columns.ctypes.data)
    assert np.array_equal(columns, rows.T)


def test_stored_halves_are_rounded_to_nearest_even() -> None:
    @compiled
    def narrow(source: int, target: int, count: int) -> None:
        for i in range(count):
            store_f16(target + 2 * i, load_f32(source + 4 * i))

    halves = HALVES.view(np.float16).astype(np.float32)
    finite = halves[np.isfinite(halves)]
    finite = np.unique(finite)
    between = (finite[1:] + finite[:-1]) / 2
    near = [np.nextafter(between, np.float32(s * np.inf)) for s in (1, -1)]
    edge = np.array([65519.9, 65520, 1e38, 2.9e-8, 2.99e-8, 1e-40], np.float32)
    numbers = np.concatenate([halves, between, *near, edge, -edge])
    out = np.empty(numbers.size, np.uint16)
    narrow(numbers.ctypes.data, out.ctypes.data, numbers.size)
    with np.errstate(over="ignore"):
        expected = numbers.astype(np.float16)
    assert np.array_equal(out.view(np.float16), expected, equal_nan=True)
    assert np.array_equal(np.signbit(out.view(np.float16)), np.signbit(expected))


@pytest.mark.parametrize(("kv", "store", "size"), [("q8_0", store_q8_0, 34), ("q4_0", store_q4_0, 18)])
def test_keys_and_values_are_kept_as_storage_says(kv: str, store: Any, size: int) -> None:
    """But for numbers that lie between two."""

    @compiled
    def keep(source: int, target: int, count: int) -> None:
        for i in range(count):
            store(source + 128 * i, target + size * i)

    x = np.random.default_rng(0).standard_normal((4000, 32)).astype(np.float32)
    x[:4] = np.array([0, -3, 1e-6, 1e3], np.float32)[:, None]
    x[:32, 5] *= 100  # one far beyond the others
    out = np.empty((len(x), size), np.uint8)
    keep(x.ctypes.data, out.ctypes.data, len(x))
    expected = STORAGES[kv].encode(np.stack([x, x]))[1]  # as values
    assert (out == expected).mean() > 0.999
    one, other = (STORAGES[kv].decode(np.stack([kept, kept]))[1] for kept in (out, expected))
    steps = np.abs(x).max(axis=1, keepdims=True) / (127 if kv == "q8_0" else 5)
    assert (np.abs(one - other) <= 1.01 * steps).all()


def test_keys_are_spread() -> None:
    @compiled
    def spread(at: int) -> None:
        spread32(at)

    x = np.random.default_rng(0).standard_normal(32).astype(np.float32)
    expected, kept = fourbits.spread(x[None])[0], x.copy()
    spread(x.ctypes.data)
    assert np.allclose(x, expected, atol=1e-6)
    assert np.allclose(fourbits.spread(expected[None])[0], kept, atol=1e-6)
    assert np.isclose(expected @ expected, kept @ kept)


def test_exp() -> None:
    @compiled
    def exp(source: int, target: int, count: int) -> None:
        for i in range(0, count, 16):
            store_f32x16(target + 4 * i, exp16(load_f32x16(source + 4 * i)))

    def of(numbers: Floats) -> Floats:
        out = np.empty_like(numbers)
        exp(numbers.ctypes.data, out.ctypes.data, numbers.size)
        return out

    numbers = np.linspace(-87, 88, 16 << 12, dtype=np.float32)
    exact = np.exp(numbers.astype(np.float64))
    assert (np.abs(of(numbers) / exact - 1) < 2.5e-7).all()
    special = np.array([0, -0.0, -87.1, -1e4, -np.inf, -3e38, 89, 1e30, *[1] * 8], np.float32)
    assert of(special)[:6].tolist() == [1, 1, 0, 0, 0, 0]
    assert np.isfinite(of(special)).all()


def test_swiglu() -> None:
    @compiled
    def swiglu(gate: int, up: int, target: int, count: int) -> None:
        for i in range(0, count, 16):
            store_f32x16(target + 4 * i, swiglu16(load_f32x16(gate + 4 * i), load_f32x16(up + 4 * i)))

    gate = np.concatenate([np.linspace(-100, 100, 4093, dtype=np.float32), np.float32([-1e4, 1e30, 0])])
    up = np.random.default_rng(0).standard_normal(gate.size).astype(np.float32)
    out = np.empty_like(gate)
    swiglu(gate.ctypes.data, up.ctypes.data, out.ctypes.data, gate.size)
    wide = gate.astype(np.float64)
    with np.errstate(over="ignore"):
        exact = wide / (1 + np.exp(-wide)) * up
    assert np.allclose(out, exact, rtol=1e-6, atol=1e-34)  # e^x is capped at 88


@pytest.mark.parametrize("unturned", [0, UNTURNED], ids=["", "unturned"])
@pytest.mark.parametrize("wide", [False, True], ids=["int8", "int16"])
def test_activations_equal_their_definition(wide: bool, unturned: int) -> None:
    quantize_kernel = compiled(_quantize)
    rng = np.random.default_rng(0)
    for width in (32, 64, 96, 352, 4096):
        x = (rng.standard_normal((4, width)) * 10.0 ** rng.integers(-3, 4, (4, width))).astype(np.float32)
        x[1] = rng.integers(-127, 128, width)  # among them halves between two values
        x[1, ::32] = 254
        x[2] = 0
        x[3, :32] = -x[3, :32].max()
        room = np.ones((4, padded(width)), np.float32)
        room[:, :width] = x
        rows = np.zeros((4, quantized_bytes(width, wide)), np.uint8)
        for source, row in zip(room, rows, strict=True):
            quantize_kernel(source.ctypes.data, row.ctypes.data, width, WIDE * wide + unturned)
        for name, part in sections(rows, width, wide).items():
            if unturned and name.startswith("turned"):
                assert not part.any()
                continue
            assert np.array_equal(part, sections(quantized_rows(x, wide), width, wide)[name]), (width, name)


def _quantize(x: int, row: int, width: int, activations: int) -> None:
    parts.quantize(x, row, width, activations)


def test_routing() -> None:
    """The largest logits in order, ties to the lower expert, and the softmax over them."""
    route = compiled(_route)

    def routed(logits: list[float], active: int) -> tuple[list[int], Floats]:
        x, gate = np.zeros(40, np.float32), np.zeros((len(logits), 40), np.float32)
        m = np.zeros((), MIXTURE)
        m["router"], m["experts"], m["active"], m["normalized"], m["scale"] = (
            gate.ctypes.data,
            len(logits),
            active,
            1,
            1,
        )
        x[[0, 39]], gate[:, 0], gate[:, 39] = 1, np.float32(logits) * 0.25, np.float32(logits) * 0.75
        chosen, mix = np.zeros(active, np.int32), np.zeros(active, np.float32)
        scores, keys = np.zeros((2, len(logits)), np.float32)
        route(*_addresses(x, m), 40, *_addresses(chosen, mix, scores, keys))
        return chosen.tolist(), mix

    def softmax(values: list[float]) -> NDArray[np.float64]:
        e = np.exp(np.array(values) - max(values))
        return e / e.sum()

    for logits, active, chosen in [
        ([1, 3, 2, 0], 2, [1, 2]),
        ([1, 1, 1, 1], 2, [0, 1]),
        ([-2, 5, 5, 5, -2], 2, [1, 2]),
        ([-7, -9, -7], 3, [0, 2, 1]),
        ([100, -100], 2, [0, 1]),
        ([-5, -4], 1, [1]),
    ]:
        found, mix = routed([float(v) for v in logits], active)
        assert found == chosen
        assert np.allclose(mix, softmax([logits[e] for e in chosen]), atol=1e-6)


def _route(x: int, mixture: int, width: int, chosen: int, mix: int, scores: int, keys: int) -> None:
    m = record(mixture, parts.MIXTURE_T)
    routing.logits(x, m, width, 0, m.experts, scores)
    routing.choose(x, m, width, scores, keys, chosen, mix)


def _addresses(*arrays: NDArray[Any]) -> list[int]:
    return [array.ctypes.data for array in arrays]
