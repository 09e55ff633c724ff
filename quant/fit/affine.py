"""The best scales and minima for w = d * scale * q - dmin * minimum, with small integers for scales and minima.

Three steps a tile (lanes.py says what that is): each group on its own finds a real-valued scale and minimum; the
block's d and dmin come from the largest of them; then integers, codes, d and dmin are improved in turn, by trying
neighbours or by least squares, so that the error never grows. A block of one group has no integers: its scale is
d and its minimum dmin, of any sign.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quant.fit.half import to_half
from quant.fit.lanes import LANES, emphasize, group_weights, load_tile, same_for_all_tiles, store_tile
from quant.format import Floats
from quant.jit import kernel

ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
INFINITY = np.float32(np.inf)

LOWS, LOW_STEP = 4, np.float32(0.08)  # first minima tried: the lowest value and this much less of it each
STEPS = 14  # first scales tried for each, from NARROWEST of the one that just holds the highest value
NARROWEST, STEP = np.float32(0.9), np.float32(0.02)
POLISH = 4  # rounds of codes and least squares for a group on its own
ROUNDS = 2  # rounds of integers, d and dmin for a block; more bring under 0.3 % (measured on normal rows)

# Rows of the per-lane work array.
LOW, HIGH, W, WX, WXX = 0, 1, 2, 3, 4  # lowest and highest value; sums of w, w x and w x x
WQ, WQQ, WXQ = 5, 6, 7  # sums of w q, w q q and w x q for the codes last tried
INVERSE, OFFSET = 8, 9  # those codes are trunc(clip(x * INVERSE + OFFSET))
SCALE, MINIMUM, ERROR = 10, 11, 12  # the best so far
D, DMIN = 13, 14  # of the lane's block
S, M, TRY_S, TRY_M = 15, 16, 17, 18  # scale and minimum as integers, and those being tried
WORK_ROWS = 19


class Grid(NamedTuple):
    """What a format can say: groups a block, weights a group, highest code, highest integer scale and minimum."""

    groups: int
    size: int
    top: int
    levels: int  # 1: the group's scale and minimum are d and dmin themselves


class Fit(NamedTuple):
    """N fitted blocks: w = d * scale * q - dmin * minimum."""

    d: NDArray[np.float16]  # (N,)
    dmin: NDArray[np.float16]  # (N,)
    scales: NDArray[np.uint8]  # (N, groups)
    minima: NDArray[np.uint8]  # (N, groups)
    codes: NDArray[np.uint8]  # (N, groups * size)


def fit(rows: Floats, importance: Floats | None, grid: Grid) -> Fit:
    """Fit rows (R, K) under an importance (K,) or None; N = R * K / (groups * size) blocks in order."""
    weights = group_weights(importance, rows.shape[1], grid.size)
    factors, integers, codes = fit_groups(rows.reshape(-1, grid.size), weights, *grid)
    d, dmin = factors.reshape(2, -1, grid.groups)[:, :, 0].astype(np.float16)
    scales, minima = integers.reshape(2, -1, grid.groups)
    return Fit(d, dmin, scales, minima, codes.reshape(-1, grid.groups * grid.size))


def fit_single(rows: Floats, importance: Floats | None, grid: Grid) -> tuple[NDArray, NDArray, NDArray[np.uint8]]:
    """The same for a grid of one group a block, w = d * q + m: d (N,), m (N,) and codes (N, size)."""
    result = fit(rows, importance, grid)
    return result.d, -result.dmin * result.minima[:, 0], result.codes


@kernel
def fit_groups(
    groups: Floats, weights: Floats, in_block: int, size: int, top: int, levels: int
) -> tuple[Floats, NDArray, NDArray]:
    """Fit groups (N, size) under weights (n, size), again and again.

    d and dmin, scales and minima (2, N), codes (N, size).
    """
    n = groups.shape[0]
    factors, integers = np.empty((2, n), np.float32), np.empty((2, n), np.uint8)
    codes = np.empty((n, size), np.uint8)
    x = np.empty((size, LANES), np.float32)
    w, base = np.empty_like(x), np.empty_like(x)
    q, k = np.empty((size, LANES), np.uint8), np.zeros((WORK_ROWS, LANES), np.float32)
    for first in range(0, n, LANES):
        load_tile(groups, first, x)
        if not (first and same_for_all_tiles(weights)):
            load_tile(weights, first, base)
        emphasize(x, base, k[0], w)
        search_groups(x, w, k, top, levels)
        first_integers(k, in_block, levels)
        for _ in range(ROUNDS):
            improve_integers(x, w, k, top, levels)
            improve_factors(x, w, k, in_block, top)
        improve_integers(x, w, k, top, levels)
        codes_from_integers(k, S, M)
        write_codes(x, k, q, top)
        store_tile(q, first, codes)
        for lane in range(min(LANES, n - first)):
            factors[0, first + lane], factors[1, first + lane] = k[D, lane], k[DMIN, lane]
            integers[0, first + lane], integers[1, first + lane] = np.uint8(k[S, lane]), np.uint8(k[M, lane])
    return factors, integers, codes


@kernel
def code_of(x: float, inverse: float, offset: float, top: int) -> np.int32:
    highest = np.float32(top) + HALF
    return np.int32(min(max(np.float32(x * inverse + offset), ZERO), highest))


@kernel
def code_sums(x: Floats, w: Floats, k: Floats, top: int) -> None:
    """Fill WQ, WQQ and WXQ for the codes that INVERSE and OFFSET give."""
    for lane in range(LANES):
        k[WQ, lane] = k[WQQ, lane] = k[WXQ, lane] = ZERO
    for j in range(x.shape[0]):
        for lane in range(LANES):
            v = x[j, lane]
            q = np.float32(code_of(v, k[INVERSE, lane], k[OFFSET, lane], top))
            wq = w[j, lane] * q
            k[WQ, lane] += wq
            k[WQQ, lane] += wq * q
            k[WXQ, lane] += wq * v


@kernel
def write_codes(x: Floats, k: Floats, codes: NDArray, top: int) -> None:
    """The codes that INVERSE and OFFSET give."""
    for j in range(x.shape[0]):
        for lane in range(LANES):
            codes[j, lane] = code_of(x[j, lane], k[INVERSE, lane], k[OFFSET, lane], top)


@kernel
def moments(x: Floats, w: Floats, k: Floats, levels: int) -> None:
    """Fill LOW (at most 0 where minima are integers), HIGH, W, WX and WXX; nothing is found yet."""
    for lane in range(LANES):
        k[LOW, lane] = ZERO if levels > 1 else x[0, lane]
        k[HIGH, lane] = x[0, lane]
        k[W, lane] = k[WX, lane] = k[WXX, lane] = ZERO
    for j in range(x.shape[0]):
        for lane in range(LANES):
            v, weight = x[j, lane], w[j, lane]
            k[LOW, lane] = min(k[LOW, lane], v)
            k[HIGH, lane] = max(k[HIGH, lane], v)
            k[W, lane] += weight
            k[WX, lane] += weight * v
            k[WXX, lane] += weight * v * v
    for lane in range(LANES):
        k[SCALE, lane], k[MINIMUM, lane], k[ERROR, lane] = ZERO, -k[LOW, lane], INFINITY


@kernel
def keep_better(k: Floats, levels: int) -> None:
    """Where least squares on the codes last tried beats the best so far, take its scale and minimum."""
    for lane in range(LANES):
        w, wx, wq, wqq, wxq = k[W, lane], k[WX, lane], k[WQ, lane], k[WQQ, lane], k[WXQ, lane]
        determinant = w * wqq - wq * wq
        scale = (w * wxq - wx * wq) / determinant if determinant > ZERO else ZERO
        minimum = (wq * wxq - wqq * wx) / determinant if determinant > ZERO else ZERO
        if levels > 1 and (minimum < ZERO or determinant <= ZERO):  # a minimum cannot be above zero there
            minimum = ZERO
            scale = wxq / wqq if wqq > ZERO else ZERO
        error = k[WXX, lane] - scale * wxq + minimum * wx
        least, best, beside = k[ERROR, lane], k[SCALE, lane], k[MINIMUM, lane]
        better = scale > ZERO and error < least
        k[ERROR, lane] = error if better else least
        k[SCALE, lane] = scale if better else best
        k[MINIMUM, lane] = minimum if better else beside


@kernel
def search_groups(x: Floats, w: Floats, k: Floats, top: int, levels: int) -> None:
    """The best real-valued SCALE and MINIMUM of every lane."""
    moments(x, w, k, levels)
    for step in range(LOWS * STEPS):
        shrink = ONE - np.float32(step // STEPS) * LOW_STEP
        width = np.float32(top) * (NARROWEST + np.float32(step % STEPS) * STEP)
        for lane in range(LANES):
            low = k[LOW, lane] * shrink
            span = k[HIGH, lane] - low
            inverse = width / span if span > ZERO else ZERO
            k[INVERSE, lane], k[OFFSET, lane] = inverse, HALF - low * inverse
        code_sums(x, w, k, top)
        keep_better(k, levels)
    for _ in range(POLISH):
        for lane in range(LANES):
            inverse = ONE / k[SCALE, lane] if k[SCALE, lane] > ZERO else ZERO
            k[INVERSE, lane], k[OFFSET, lane] = inverse, HALF + k[MINIMUM, lane] * inverse
        code_sums(x, w, k, top)
        keep_better(k, levels)


@kernel
def first_integers(k: Floats, groups: int, levels: int) -> None:
    """D and DMIN of every block from its largest scale and minimum, and the integers they give."""
    for block in range(0, LANES, groups):
        scale, minimum = k[SCALE, block], k[MINIMUM, block]
        for lane in range(block + 1, block + groups):
            scale, minimum = max(scale, k[SCALE, lane]), max(minimum, k[MINIMUM, lane])
        d, dmin = to_half(scale / np.float32(levels)), to_half(minimum / np.float32(levels))
        underflow = d == ZERO and scale > ZERO  # too small for half precision: all zero is nearer than minima alone
        dmin = ZERO if underflow else dmin
        for lane in range(block, block + groups):
            k[D, lane], k[DMIN, lane] = d, dmin
            k[S, lane] = np.rint(k[SCALE, lane] / d) if d > ZERO else ZERO
            k[M, lane] = np.rint(k[MINIMUM, lane] / dmin) if dmin != ZERO else ZERO


@kernel
def codes_from_integers(k: Floats, s: int, m: int) -> None:
    """INVERSE and OFFSET for the integers in rows s and m of the work array, under the present D and DMIN."""
    for lane in range(LANES):
        scale = k[D, lane] * k[s, lane]
        inverse = ONE / scale if scale > ZERO else ZERO
        k[INVERSE, lane], k[OFFSET, lane] = inverse, HALF + k[DMIN, lane] * k[m, lane] * inverse


@kernel
def squared_error(k: Floats, lane: int, scale: float, minimum: float) -> float:
    """The weighted error of scale * q - minimum for the codes last tried."""
    from_scale = scale * (scale * k[WQQ, lane] - TWO * (k[WXQ, lane] + minimum * k[WQ, lane]))
    return k[WXX, lane] + from_scale + minimum * (minimum * k[W, lane] + TWO * k[WX, lane])


@kernel
def improve_integers(x: Floats, w: Floats, k: Floats, top: int, levels: int) -> None:
    """Try the integers beside the present S and M with their own codes; leave the best in S, M and ERROR."""
    if levels == 1:
        return
    highest = np.float32(levels)
    for lane in range(LANES):
        k[SCALE, lane], k[MINIMUM, lane], k[ERROR, lane] = k[S, lane], k[M, lane], INFINITY
    for step in range(9):
        for lane in range(LANES):
            k[TRY_S, lane] = min(max(k[SCALE, lane] + np.float32(step // 3 - 1), ZERO), highest)
            k[TRY_M, lane] = min(max(k[MINIMUM, lane] + np.float32(step % 3 - 1), ZERO), highest)
        codes_from_integers(k, TRY_S, TRY_M)
        code_sums(x, w, k, top)
        for lane in range(LANES):
            s, m, least, best, beside = k[TRY_S, lane], k[TRY_M, lane], k[ERROR, lane], k[S, lane], k[M, lane]
            error = squared_error(k, lane, k[D, lane] * s, k[DMIN, lane] * m)
            k[ERROR, lane] = error if error < least else least
            k[S, lane] = s if error < least else best
            k[M, lane] = m if error < least else beside


@kernel
def improve_factors(x: Floats, w: Floats, k: Floats, groups: int, top: int) -> None:
    """D and DMIN by least squares on the present integers and codes, where that lowers the block's error."""
    codes_from_integers(k, S, M)
    code_sums(x, w, k, top)
    for block in range(0, LANES, groups):
        ss = sm = mm = sx = mx = 0.0
        for lane in range(block, block + groups):
            s, m = k[S, lane], k[M, lane]
            ss += s * s * k[WQQ, lane]
            sm += s * m * k[WQ, lane]
            mm += m * m * k[W, lane]
            sx += s * k[WXQ, lane]
            mx += m * k[WX, lane]
        determinant = ss * mm - sm * sm
        d = (sx * mm - sm * mx) / determinant if determinant > 0 else (sx / ss if ss > 0 else 0.0)
        dmin = (sx * sm - ss * mx) / determinant if determinant > 0 else 0.0
        keep_better_factors(k, block, groups, to_half(d), to_half(dmin))


@kernel
def keep_better_factors(k: Floats, block: int, groups: int, d: float, dmin: float) -> None:
    before = after = 0.0
    for lane in range(block, block + groups):
        before += squared_error(k, lane, k[D, lane] * k[S, lane], k[DMIN, lane] * k[M, lane])
        after += squared_error(k, lane, d * k[S, lane], dmin * k[M, lane])
    if after < before and d > ZERO:
        for lane in range(block, block + groups):
            k[D, lane], k[DMIN, lane] = d, dmin
