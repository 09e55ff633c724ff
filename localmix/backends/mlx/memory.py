"""How much of this machine's memory the GPU may use, and the refusal of what cannot fit, before it is loaded."""

from collections.abc import Iterable

import mlx.core as mx

from localmix.backends.mlx.matrix import Arithmetic
from localmix.errors import LocalmixError
from localmix.weights import Weight

_ROOM = 1 << 30  # bytes for activations and the chunk that is being repacked
_POOL = 1 << 29  # most bytes of freed buffers that MLX keeps for later


def device_name() -> str:
    """Of the GPU or CPU that computes, such as "Apple M2 Max"."""
    return str(mx.device_info().get("device_name", mx.default_device()))


def working_set() -> int | None:
    """Bytes that the GPU may use without swapping, as the system recommends; None: it does not say."""
    size = mx.device_info().get("max_recommended_working_set_size")
    return None if size is None else int(size)


def prepare() -> None:
    """Keep the GPU's memory wired up to the recommended size, and bound what MLX keeps of freed memory."""
    mx.set_cache_limit(_POOL)
    size = working_set()
    if size is not None and mx.metal.is_available():
        mx.set_wired_limit(size)


def needed(weights: Iterable[Weight], arithmetic: Arithmetic) -> int:
    """Bytes of weights in MLX's forms."""
    return sum(round(w.shape[0] * w.shape[1] * arithmetic.form(w.format).bits / 8) for w in weights)


def room_beside(weights: list[Weight], arithmetic: Arithmetic, available: int | None) -> int | None:
    """Bytes left for keys and values; None: no limit is known. LocalmixError: the weights alone do not fit."""
    if available is None:
        return None
    size, count = needed(weights, arithmetic), sum(w.shape[0] * w.shape[1] for w in weights)
    left = available - _ROOM - size
    if left <= 0:
        raise LocalmixError(
            f"the model needs {size / 1e9:.1f} GB on the GPU, which may use {available / 1e9:.1f} GB, "
            f"{_ROOM / 1e9:.1f} of it for activations: a file of about {8 * (available - _ROOM) / count:.1f} bits a "
            "weight would fit; or use --backend numba, which reads the file where it is"
        )
    return left
