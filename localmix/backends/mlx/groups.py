"""GGUF blocks as scaled groups of integer codes: w = scale · code + bias. NumPy only.

A format is a short function and a row of SPLITS; each takes blocks (..., n). That they say what the format's
`dequantize` says is tested, bit for bit.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant import q5_0
from quant.format import Floats
from quant.iq4_nl import LEVELS
from quant.layout import single, unpack
from quant.q4_k import unpack_scales

_SIGN = np.uint8(128)  # flipping it maps -128 … 127 to 0 … 255
_LEVEL_CODES = LEVELS.view(np.uint8) ^ _SIGN


@dataclass(frozen=True)
class Groups:
    """`bias` is an array (..., groups), or the integer z of w = scale · (code - z)."""

    codes: NDArray[np.uint8]  # (..., groups, weights of a group)
    scales: Floats  # (..., groups)
    bias: Floats | int


def _q4_0(b: NDArray) -> Groups:
    return Groups(unpack(b["qs"], bits=4, run=16), _wide(b["d"]), 8)


def _q4_1(b: NDArray) -> Groups:
    return Groups(unpack(b["qs"], bits=4, run=16), _wide(b["d"]), _wide(b["m"]))


def _q5_0(b: NDArray) -> Groups:
    return Groups(q5_0.codes(b), _wide(b["d"]), 16)


def _q5_1(b: NDArray) -> Groups:
    return Groups(q5_0.codes(b), _wide(b["d"]), _wide(b["m"]))


def _q8_0(b: NDArray) -> Groups:
    return Groups(b["qs"].view(np.uint8) ^ _SIGN, _wide(b["d"]), 128)


def _iq4_nl(b: NDArray) -> Groups:
    return Groups(_LEVEL_CODES[unpack(b["qs"], bits=4, run=16)], _wide(b["d"]), 128)


def _iq4_xs(b: NDArray) -> Groups:
    low, high = unpack(b["scales_l"], bits=4, run=1), unpack(b["scales_h"], bits=2, run=1)
    scales = (low | high << np.uint8(4)).astype(np.float32) - 32
    codes = _LEVEL_CODES[unpack(b["qs"], bits=4, run=16)]
    return _super(b, codes, 32, single(b["d"]) * scales, 128)


def _q4_k(b: NDArray) -> Groups:
    return _with_minima(b, unpack(b["qs"], bits=4, run=32), 32, *unpack_scales(b["scales"]))


def _q5_k(b: NDArray) -> Groups:
    fifth = unpack(b["qh"], bits=1, run=32) << np.uint8(4)
    return _with_minima(b, unpack(b["qs"], bits=4, run=32) | fifth, 32, *unpack_scales(b["scales"]))


def _q2_k(b: NDArray) -> Groups:
    scales, minima = b["scales"] & np.uint8(15), b["scales"] >> np.uint8(4)
    return _with_minima(b, unpack(b["qs"], bits=2, run=32), 16, scales, minima)


def _q3_k(b: NDArray) -> Groups:
    low, high = unpack(b["scales"][..., :8], bits=4, run=8), unpack(b["scales"][..., 8:], bits=2, run=4)
    scales = (low | high << np.uint8(4)).astype(np.float32) - 32
    codes = unpack(b["qs"], bits=2, run=32) | unpack(b["hmask"], bits=1, run=32) << np.uint8(2)
    return _super(b, codes, 16, single(b["d"]) * scales, 4)


def _q6_k(b: NDArray) -> Groups:
    codes = unpack(b["ql"], bits=4, run=64) | unpack(b["qh"], bits=2, run=32) << np.uint8(4)
    return _super(b, codes, 16, single(b["d"]) * b["scales"], 32)


SPLITS: dict[str, Callable[[NDArray], Groups]] = {
    "q4_0": _q4_0,
    "q4_1": _q4_1,
    "q5_0": _q5_0,
    "q5_1": _q5_1,
    "q8_0": _q8_0,
    "iq4_nl": _iq4_nl,
    "iq4_xs": _iq4_xs,
    "q4_k": _q4_k,
    "q5_k": _q5_k,
    "q2_k": _q2_k,
    "q3_k": _q3_k,
    "q6_k": _q6_k,
}


def _wide(scale: NDArray[np.float16]) -> Floats:
    return scale.astype(np.float32)


def _with_minima(
    b: NDArray, codes: NDArray[np.uint8], size: int, scales: NDArray[np.uint8], minima: NDArray[np.uint8]
) -> Groups:
    return _super(b, codes, size, single(b["d"]) * scales, -(single(b["dmin"]) * minima))


def _super(b: NDArray, codes: NDArray[np.uint8], size: int, scales: Floats, bias: Floats | int) -> Groups:
    """Groups of `size` from blocks (..., n) of several: codes (..., n, 256), scales (..., n, 256 / size)."""
    groups = (*b.shape[:-1], -1)
    flat = bias if isinstance(bias, int) else bias.reshape(groups)
    return Groups(codes.reshape(*groups, size), scales.reshape(groups), flat)
