"""The rotation of a file: its base, what stretches it (linear, YaRN), and factors of single frequencies."""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from localmix.errors import FileFormatError
from localmix.network.blocks import Rope
from localmix.network.keys import Keys
from localmix.network.numbers import Numbers
from localmix.network.tensors import Tensors
from quant.format import Floats

FACTORS = "rope_freqs.weight"


def read(k: Keys, n: Numbers, t: Tensors, pairs: Literal["neighbours", "halves"], default: str = "none") -> Rope:
    """The rotation that all layers share; `default`: how positions are stretched where the file does not say.

    FileFormatError, UnsupportedError: numbers that cannot be, or other ways.
    """
    dims, base = k.whole("rope.dimension_count", n.size), k.real("rope.freq_base", 10000.0)
    if not (0 < dims <= n.size and dims % 2 == 0):
        raise k.wrong("rope.dimension_count", f"an even number up to {n.size}")
    if not base > 0:
        raise k.wrong("rope.freq_base", "more than 0")
    inverse = base ** (-np.arange(0, dims, 2, dtype=np.float64) / dims)
    kind = k.text("rope.scaling.type", "linear" if "rope.scale_linear" in k else default, ("none", "linear", "yarn"))
    if kind == "yarn":
        inverse, scale = _yarn(k, n, inverse, base)
        return Rope(inverse, pairs, scale)
    if kind == "linear":
        old = k.real("rope.scale_linear", 1.0)
        inverse = inverse / (k.real("rope.scaling.factor", old) or 1.0)  # some files write 0 for "not scaled"
    elif "rope.scaling.factor" in k:
        k.real("rope.scaling.factor")  # without a type it is not applied
    factors = t.optional(FACTORS, (dims // 2,))
    if factors is not None:
        if not (np.isfinite(factors).all() and (factors > 0).all()):
            raise FileFormatError(f"{k.path}: tensor {FACTORS}: expected finite numbers above 0: it is damaged")
        inverse = inverse / factors
    return Rope(inverse, pairs)


def turned(x: Floats, rope: Rope, angle: NDArray[np.float64], scale: float) -> Floats:
    """x (..., d) with its pairs rotated by `angle` (..., n), to be broadcast, and multiplied by `scale`."""
    n = rope.inverse.size
    cos, sin = (np.cos(angle) * scale).astype(np.float32), (np.sin(angle) * scale).astype(np.float32)
    places = {"neighbours": (slice(0, 2 * n, 2), slice(1, 2 * n, 2)), "halves": (slice(0, n), slice(n, 2 * n))}
    first, second = places[rope.pairs]
    a, b = x[..., first], x[..., second]
    out = x.copy()
    out[..., first] = a * cos - b * sin
    out[..., second] = a * sin + b * cos
    return out


def _yarn(k: Keys, n: Numbers, inverse: NDArray[np.float64], base: float) -> tuple[NDArray[np.float64], float]:
    """YaRN (arXiv:2309.00071): frequencies, and what cos and sin are multiplied by.

    Those that turn more than `beta_fast` times within the trained context stay, those of less than `beta_slow` turns
    are divided by the factor, with a ramp between; the ends of the ramp are whole numbers unless the file says
    otherwise, as in llama.cpp.
    """
    factor = k.real("rope.scaling.factor")
    trained = k.whole("rope.scaling.original_context_length", n.context, least=1)
    fast, slow = k.real("rope.scaling.yarn_beta_fast", 32.0), k.real("rope.scaling.yarn_beta_slow", 1.0)
    for key, value in (("factor", factor), ("yarn_beta_fast", fast), ("yarn_beta_slow", slow)):
        if not value > 0:
            raise k.wrong(f"rope.scaling.{key}", "more than 0")
    if not base > 1:
        raise k.wrong("rope.freq_base", "more than 1")
    pairs = len(inverse)

    def place(turns: float) -> float:
        return pairs * math.log(trained / (turns * 2 * math.pi)) / math.log(base)

    low, high = place(fast), place(slow)
    if k.flag("rope.scaling.yarn_truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * pairs - 1)
    ramp = np.clip((np.arange(pairs) - low) / max(0.001, high - low), 0, 1)
    scale = 0.1 * math.log(factor) + 1 if factor > 1 else 1.0
    k.value("rope.scaling.yarn_attn_factor", scale)  # some files have it; what counts is the factor, as in llama.cpp
    return inverse * (1 - ramp + ramp / factor), scale
