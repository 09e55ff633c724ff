"""The best scales for w = d * scale * q, with signed codes q and small signed integers for scales.

As in affine.py: each group on its own finds a real-valued scale, the block's d comes from the largest of them,
then scales, codes and d are improved in turn. Codes are integers from -bottom to bottom - 1, or the uneven levels
of IQ4_NL. A block of one group has no integer scale: its scale is d.
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

# First scales tried a sign: how many, from which share of the one that just holds the largest value, in what steps.
FEW = 5, np.float32(0.8), np.float32(0.15)
COARSE = 8, np.float32(0.75), np.float32(0.1)
FINE = 24, np.float32(0.8), np.float32(0.025)
# For codes of so many a sign: few steps cost Q3_K 0.4 % of error, Q4_0 2 %; coarse ones Q6_K 11 %, IQ4 under 0.5 %.
FEW_TO, FINE_FROM = 4, 16
POLISH = 2  # rounds of codes and least squares for a group on its own
ROUNDS = 1  # rounds of integers and d for a block; more bring under 0.1 % (measured on normal rows)

# Rows of the per-lane work array.
LARGEST, WXX = 0, 1  # the value of largest magnitude; sum of w x x
WQQ, WXQ, INVERSE = 2, 3, 4  # sums of w q q and w x q for the codes last tried, round(x * inverse)
SCALE, ERROR = 5, 6  # the best so far
D, S, TRY_S = 7, 8, 9  # the block's scale; the group's as an integer, and the one being tried
WORK_ROWS = 10

# IQ4_NL's levels as where the first lies, and how far above its neighbour each next one does, from which point on.
UNEVEN = 0  # in place of the lowest code
LEVELS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], dtype=np.float32)
FIRST_LEVEL = LEVELS[0]
LEVEL_STEPS = LEVELS[1:] - LEVELS[:-1]
LEVEL_BOUNDS = (LEVELS[1:] + LEVELS[:-1]) / np.float32(2)


class Grid(NamedTuple):
    """What a format can say: groups a block, weights a group, lowest code, and integer scales a sign."""

    groups: int
    size: int
    bottom: int  # codes are -bottom .. bottom - 1; UNEVEN: IQ4_NL's levels
    levels: int  # scales are -levels .. levels - 1; 1: the group's scale is d itself


class Fit(NamedTuple):
    """N fitted blocks: w = d * scale * q."""

    d: NDArray[np.float16]  # (N,)
    scales: NDArray[np.int8]  # (N, groups)
    codes: NDArray[np.uint8]  # (N, groups * size), q + bottom or the index of the level


def fit(rows: Floats, importance: Floats | None, grid: Grid) -> Fit:
    """Fit rows (R, K) under an importance (K,) or None; N = R * K / (groups * size) blocks in order."""
    weights = group_weights(importance, rows.shape[1], grid.size)
    d, scales, codes = fit_groups(rows.reshape(-1, grid.size), weights, *grid)
    d = d.reshape(-1, grid.groups)[:, 0].astype(np.float16)
    return Fit(d, scales.reshape(-1, grid.groups), codes.reshape(-1, grid.groups * grid.size))


def fit_single(rows: Floats, importance: Floats | None, grid: Grid) -> tuple[Floats, NDArray[np.uint8]]:
    """The same for a grid of one group a block: d (N,) and codes (N, size)."""
    result = fit(rows, importance, grid)
    return result.d.astype(np.float32) * result.scales[:, 0], result.codes


@kernel
def fit_groups(
    groups: Floats, weights: Floats, in_block: int, size: int, bottom: int, levels: int
) -> tuple[Floats, NDArray, NDArray]:
    """Fit groups (N, size) under weights (n, size), again and again: d and scales (N,), codes (N, size)."""
    n = groups.shape[0]
    d, scales, codes = np.empty(n, np.float32), np.empty(n, np.int8), np.empty((n, size), np.uint8)
    x = np.empty((size, LANES), np.float32)
    w, base = np.empty_like(x), np.empty_like(x)
    q, k = np.empty((size, LANES), np.uint8), np.zeros((WORK_ROWS, LANES), np.float32)
    for first in range(0, n, LANES):
        load_tile(groups, first, x)
        if not (first and same_for_all_tiles(weights)):
            load_tile(weights, first, base)
        emphasize(x, base, k[0], w)
        search_groups(x, w, k, bottom)
        first_integers(k, in_block, levels)
        for _ in range(ROUNDS):
            improve_integers(x, w, k, bottom, levels)
            improve_d(x, w, k, in_block, bottom)
        improve_integers(x, w, k, bottom, levels)
        inverse_from_integers(k, S)
        write_codes(x, k, q, bottom)
        store_tile(q, first, codes)
        for lane in range(min(LANES, n - first)):
            d[first + lane], scales[first + lane] = k[D, lane], np.int8(k[S, lane])
    return d, scales, codes


@kernel
def integer_code(t: float, bottom: float) -> np.float32:
    """round(t) between -bottom and bottom - 1."""
    shifted = min(max(t + bottom + HALF, ZERO), bottom + bottom - HALF)
    return np.float32(np.int32(shifted)) - bottom


@kernel
def level_code(t: float) -> np.float32:
    """The level nearest to t."""
    level = FIRST_LEVEL
    for i in range(15):
        level += LEVEL_STEPS[i] if t > LEVEL_BOUNDS[i] else ZERO
    return level


@kernel
def code_sums(x: Floats, w: Floats, k: Floats, bottom: int) -> None:
    """Fill WQQ and WXQ for the codes that INVERSE gives."""
    lowest = np.float32(bottom)
    for lane in range(LANES):
        k[WQQ, lane] = k[WXQ, lane] = ZERO
    for j in range(x.shape[0]):
        if bottom != UNEVEN:
            for lane in range(LANES):
                v = x[j, lane]
                q = integer_code(v * k[INVERSE, lane], lowest)
                wq = w[j, lane] * q
                k[WQQ, lane] += wq * q
                k[WXQ, lane] += wq * v
        else:
            for lane in range(LANES):
                v = x[j, lane]
                q = level_code(v * k[INVERSE, lane])
                wq = w[j, lane] * q
                k[WQQ, lane] += wq * q
                k[WXQ, lane] += wq * v


@kernel
def write_codes(x: Floats, k: Floats, codes: NDArray, bottom: int) -> None:
    """The codes that INVERSE gives, as they are stored."""
    for j in range(x.shape[0]):
        for lane in range(LANES):
            t = x[j, lane] * k[INVERSE, lane]
            if bottom != UNEVEN:
                codes[j, lane] = np.int32(integer_code(t, np.float32(bottom))) + bottom
            else:
                index = 0
                for i in range(15):
                    index += t > LEVEL_BOUNDS[i]
                codes[j, lane] = index


@kernel
def keep_better(k: Floats) -> None:
    """Where least squares on the codes last tried beats the best so far, take its scale."""
    for lane in range(LANES):
        wqq, wxq, least, best = k[WQQ, lane], k[WXQ, lane], k[ERROR, lane], k[SCALE, lane]
        scale = wxq / wqq if wqq > ZERO else ZERO
        error = k[WXX, lane] - scale * wxq
        k[ERROR, lane] = error if error < least else least
        k[SCALE, lane] = scale if error < least else best


@kernel
def search_groups(x: Floats, w: Floats, k: Floats, bottom: int) -> None:
    """The best real-valued SCALE of every lane."""
    for lane in range(LANES):
        k[LARGEST, lane] = k[WXX, lane] = k[SCALE, lane] = ZERO
    for j in range(x.shape[0]):
        for lane in range(LANES):
            v = x[j, lane]
            k[LARGEST, lane] = v if abs(v) > abs(k[LARGEST, lane]) else k[LARGEST, lane]
            k[WXX, lane] += w[j, lane] * v * v
    for lane in range(LANES):
        k[ERROR, lane] = k[WXX, lane]
    holds = np.float32(bottom) if bottom != UNEVEN else -FIRST_LEVEL
    steps, narrowest, distance = COARSE
    if bottom >= FINE_FROM:
        steps, narrowest, distance = FINE
    elif bottom != UNEVEN and bottom <= FEW_TO:
        steps, narrowest, distance = FEW
    for step in range(2 * steps):
        width = holds * (narrowest + np.float32(step >> 1) * distance)
        width = -width if step & 1 else width
        for lane in range(LANES):
            largest = k[LARGEST, lane]
            k[INVERSE, lane] = width / largest if largest != ZERO else ZERO
        code_sums(x, w, k, bottom)
        keep_better(k)
    for _ in range(POLISH):
        for lane in range(LANES):
            scale = k[SCALE, lane]
            k[INVERSE, lane] = ONE / scale if scale != ZERO else ZERO
        code_sums(x, w, k, bottom)
        keep_better(k)


@kernel
def first_integers(k: Floats, groups: int, levels: int) -> None:
    """D of every block from its scale of largest magnitude, and the integers it gives."""
    for block in range(0, LANES, groups):
        largest = ZERO
        for lane in range(block, block + groups):
            largest = k[SCALE, lane] if abs(k[SCALE, lane]) > abs(largest) else largest
        d = to_half(-largest / np.float32(levels))  # the negative side reaches one step further
        for lane in range(block, block + groups):
            k[D, lane] = d
            k[S, lane] = np.rint(k[SCALE, lane] / d) if d != ZERO else ZERO


@kernel
def inverse_from_integers(k: Floats, row: int) -> None:
    """INVERSE for the integer scales in a row of the work array, under the present D."""
    for lane in range(LANES):
        scale = k[D, lane] * k[row, lane]
        k[INVERSE, lane] = ONE / scale if scale != ZERO else ZERO


@kernel
def squared_error(k: Floats, lane: int, scale: float) -> float:
    """The weighted error of scale * q for the codes last tried."""
    return k[WXX, lane] + scale * (scale * k[WQQ, lane] - TWO * k[WXQ, lane])


@kernel
def improve_integers(x: Floats, w: Floats, k: Floats, bottom: int, levels: int) -> None:
    """Try the scales beside the present S with their own codes; leave the best in S and ERROR."""
    lowest, highest = -np.float32(levels), np.float32(levels - 1)
    for lane in range(LANES):
        k[SCALE, lane], k[ERROR, lane] = k[S, lane], INFINITY
    for step in range(-1, 2):
        for lane in range(LANES):
            k[TRY_S, lane] = min(max(k[SCALE, lane] + np.float32(step), lowest), highest)
        inverse_from_integers(k, TRY_S)
        code_sums(x, w, k, bottom)
        for lane in range(LANES):
            tried, least, best = k[TRY_S, lane], k[ERROR, lane], k[S, lane]
            error = squared_error(k, lane, k[D, lane] * tried)
            k[ERROR, lane] = error if error < least else least
            k[S, lane] = tried if error < least else best


@kernel
def improve_d(x: Floats, w: Floats, k: Floats, groups: int, bottom: int) -> None:
    """D by least squares on the present integers and codes, where that lowers the block's error."""
    inverse_from_integers(k, S)
    code_sums(x, w, k, bottom)
    for block in range(0, LANES, groups):
        ss = sx = 0.0
        for lane in range(block, block + groups):
            ss += k[S, lane] * k[S, lane] * k[WQQ, lane]
            sx += k[S, lane] * k[WXQ, lane]
        d = to_half(sx / ss if ss > 0 else 0.0)
        before = after = 0.0
        for lane in range(block, block + groups):
            before += squared_error(k, lane, k[D, lane] * k[S, lane])
            after += squared_error(k, lane, d * k[S, lane])
        if after < before:
            for lane in range(block, block + groups):
                k[D, lane] = d
