"""Attention of one kv head against NumPy: each kind of keys and values, few queries and many, limits, splits, pages."""

import itertools
from typing import Any

import numpy as np
import pytest
from kernel_calls import aligned
from numpy.typing import NDArray

from localmix.backends.numba.machine import isa, native
from localmix.backends.numba.passes.records import ATTEND, FEW, attention_scratch, fours, room
from localmix.engine.cache import PAGE
from localmix.engine.fourbits import spread
from localmix.engine.storage import STORAGES
from quant.format import Floats

HEADS, HEAD = 3, 1  # kv heads in a page, and the one that is asked


def pages_of(kv: str, size: int, depth: int) -> list[NDArray[Any]]:
    """Pages (2, K, PAGE, a row); what lies beyond the depth is what another text left there."""
    rng = np.random.default_rng(depth)
    pages = []
    for _ in range(-(-depth // PAGE)):
        page = np.zeros((2, HEADS, PAGE, room(size)), np.float32)
        page[..., :size] = rng.standard_normal((2, HEADS, PAGE, size))
        pages.append(page)
    pages[-1][:, :, (depth - 1) % PAGE + 1 :, :size] = 1000
    return [STORAGES[kv].encode(page) for page in pages]


def attend(
    kernel: str,
    pages: list[NDArray[Any]],
    q: Floats,
    limits: list[int],
    p0: int,
    p1: int,
    few: bool | None = None,
    window: int = 0,
) -> tuple[Floats, Floats, Floats]:
    """The kernel's o (n, room), m (n,), l (n,) for queries (n, room) over positions p0 to p1."""
    n, width = q.shape
    q = spread(q) if kernel.startswith("q4_0") else q
    table = np.array([page.ctypes.data for page in pages], np.int64)
    queries = aligned(np.concatenate([q, np.zeros((fours(n) - n, width), np.float32)]))
    bounds = np.array([*limits, *[limits[-1]] * (fours(n) - n)], np.int64)
    o, m, l = (np.full((fours(n), k), np.nan, np.float32) for k in (width, 1, 1))  # noqa: E741
    scratch = np.zeros(attention_scratch(width) + 64, np.uint8)
    job = np.zeros((), ATTEND)
    for name, array in {"q": queries, "limits": bounds, "pages": table, "o": o, "m": m, "l": l}.items():
        job[name] = array.ctypes.data
    job["window"] = window
    job["few"] = n <= 4 if few is None else few
    job["queries"], job["p0"], job["p1"], job["room"], job["scratch"] = n, p0, p1, width, scratch.ctypes.data
    stored = pages[0]
    job["row"] = stored.strides[2]
    job["keys"], job["values"] = HEAD * stored.strides[1], stored.strides[0] + HEAD * stored.strides[1]
    native.function(f"attend.kernel.{kernel}", 1)(job.ctypes.data)
    return o[:n], m[:n, 0], l[:n, 0]


def merged(parts: list[tuple[Floats, Floats, Floats]]) -> NDArray[np.float64]:
    """Attention from the unnormalised results of splits."""
    top = np.max([m for _, m, _ in parts], axis=0).astype(np.float64)
    shares = [np.exp(m - top) for _, m, _ in parts]
    total = sum(share * weight for share, (_, _, weight) in zip(shares, parts, strict=True))
    return sum(share[:, None] * o for share, (o, _, _) in zip(shares, parts, strict=True)) / total[:, None]


def expected(kv: str, pages: list[NDArray[Any]], q: Floats, limits: list[int], window: int = 0) -> NDArray[np.float64]:
    both = STORAGES[kv].decode(np.concatenate([page[:, HEAD] for page in pages], axis=1)).astype(np.float64)
    scores = q @ both[0].T
    behind = np.array(limits)[:, None] - np.arange(scores.shape[1])
    scores[(behind < 0) | (behind >= (window or 1 << 30))] = -np.inf
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True) @ both[1]


KINDS = [(kv, size) for kv in STORAGES for size in (8, 64, 80, 128) if kv[0] != "q" or size % 32 == 0]
ROUNDS = pytest.mark.skipif(not isa.active().rounds, reason="this instruction set has no rounded kernels")


@pytest.mark.parametrize(("kv", "size"), KINDS)
def test_equals_numpy(kv: str, size: int) -> None:
    check(kv, kv, size, atol=2e-6)


@ROUNDS
@pytest.mark.parametrize(("kv", "size"), KINDS)
def test_rounded_is_as_exact_as_float16(kv: str, size: int) -> None:
    """Numbers up to 4 kept as float16 are up to 1e-3 off; so are these results."""
    check(f"{kv}_rounded", kv, size, atol=1e-3)


def check(kernel: str, kv: str, size: int, atol: float) -> None:
    rng = np.random.default_rng(size)
    for depth, count in [(1, 1), (15, 2), (16, 3), (17, 4), (PAGE, 5), (PAGE + 1, 8), (5 * PAGE + 3, 15)]:
        pages = pages_of(kv, size, depth)
        q = np.zeros((count, room(size)), np.float32)
        q[:, :size] = rng.standard_normal((count, size)) / np.sqrt(size)
        limits = [*sorted(rng.integers(max(0, depth - 20), depth, count - 1).tolist()), depth - 1]
        wanted = expected(kv, pages, q, limits)
        whole = merged([attend(kernel, pages, q, limits, 0, depth)])
        assert np.allclose(whole, wanted, rtol=0, atol=atol), (depth, count)
        edges = [*range(0, depth, 2 * PAGE), depth]
        split = merged([attend(kernel, pages, q, limits, *ends) for ends in itertools.pairwise(edges)])
        assert np.allclose(split, wanted, rtol=0, atol=atol), (depth, count)
        if count <= FEW:
            where_they_lie = merged([attend(kernel, pages, q, limits, 0, depth, few=True)])
            assert np.allclose(where_they_lie, wanted, rtol=0, atol=atol), (depth, count)


@ROUNDS
def test_rounded_values_of_all_sizes() -> None:
    """Each is as exact as it counts: a value a thousand times larger but hardly looked at takes nothing from others."""
    pages, rng = pages_of("f32", 64, 48), np.random.default_rng(0)
    q = (rng.standard_normal((8, 64)) / 8).astype(np.float32)
    keys, values = pages[0][0, HEAD], pages[0][1, HEAD]
    values[5], values[7], values[9] = 1000 * values[5], values[7] / 1000, 0
    keys[5] = -40 * q[0] / (q[0] @ q[0])  # e^-40 of the first query's attention
    keys[7] = 12 * q[1] / (q[1] @ q[1])  # most of the second one's
    limits = [47] * 8
    wanted = expected("f32", pages, q, limits)
    error = np.abs(merged([attend("f32_rounded", pages, q, limits, 0, 48)]) - wanted).max(axis=1)
    assert error[0] < 1e-3
    assert (error < 2e-3 * np.abs(wanted).max(axis=1)).all()


def test_scores_far_apart() -> None:
    """The first positions matter most, then the last: what was summed before is scaled down to nothing, or kept."""
    pages = pages_of("f32", 64, 200)
    q = np.zeros((2, 64), np.float32)
    for at, sign in ((3, 1), (190, -1)):
        pages[at // PAGE][0, HEAD, at % PAGE, 0] = sign * 100
    q[0, 0], q[1, 0] = 10, -10
    out = merged([attend("f32", pages, q, [199, 199], 0, 200)])
    assert np.allclose(out[0], pages[0][1, HEAD, 3], atol=1e-6)
    assert np.allclose(out[1], pages[190 // PAGE][1, HEAD, 190 % PAGE], atol=1e-6)


KERNELS = ["f16", pytest.param("f16_rounded", marks=ROUNDS)]


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_window_and_what_others_see(kernel: str) -> None:
    """Each query sees its last positions only, and has the bits it has alone, whatever is read for others."""
    depth, window, rng = 300, 70, np.random.default_rng(0)
    pages, limits = pages_of("f16", 80, depth), [3, 64, 130, 131, 199, 290, 299]
    q = (rng.standard_normal((len(limits), 80)) / np.sqrt(80)).astype(np.float32)
    o, m, l = attend(kernel, pages, q, limits, 0, depth, few=False, window=window)  # noqa: E741
    assert np.allclose(o / l[:, None], expected("f16", pages, q, limits, window), rtol=0, atol=1e-3)
    for i, limit in enumerate(limits):
        start = max(limit + 1 - window, 0) // 16 * 16
        alone = attend(kernel, pages, q[i : i + 1], [limit], start, limit + 1, few=False, window=window)
        assert all(np.array_equal(one[0], all_[i]) for one, all_ in zip(alone, (o, m, l), strict=True)), limit


def test_a_block_that_a_query_does_not_see_adds_nothing() -> None:
    pages = pages_of("f16", 64, 300)
    q = np.ones((2, 64), np.float32) / 8
    limits = [5, 299]
    alone = attend("f16", pages, q[:1], [5], 0, 6)
    both = attend("f16", pages, q, limits, 0, 300)
    assert np.allclose(both[0][0], alone[0][0], rtol=1e-6)
    assert both[2][0] == alone[2][0]
