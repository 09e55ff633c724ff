"""How much memory the GPU may use, and the refusal of what cannot fit, before it is loaded.

On Apple silicon the GPU shares the machine's memory, and the system recommends how much of it may be in use. All
of that is kept wired, so that nothing is paged out between tokens; more is never asked for. NVIDIA's GPUs have memory
of their own, of which other programs may hold a part.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from localmix.amounts import amount
from localmix.backends.mlx.matrix import Arithmetic
from localmix.engine.weights import Weight
from localmix.errors import LocalmixError
from quant import FORMATS

_ACTIVATIONS = 1 << 30  # bytes for them and for the chunks that are being repacked
_POOL = 1 << 29  # most bytes of freed buffers that MLX keeps for later
KEPT_BESIDE_POOL = 1 << 26  # the same where every byte more is an expert
_SHARE = 0.95  # of an NVIDIA GPU's memory that MLX allocates at most
_LEAST = 512  # tokens of context without which a model is of no use
_LADDER = ("q8_0", "q6_k", "q5_k", "q4_k", "q3_k", "q2_k")  # what a model may be quantized to, largest first


@dataclass(frozen=True)
class Device:
    """What MLX says of the GPU or CPU that computes."""

    name: str  # such as "Apple M2 Max"
    working_set: int | None  # bytes that a GPU may use, as the system recommends; None: it does not say
    own: bool = False  # the GPU has memory of its own: what the machine has free says nothing

    @classmethod
    def of(cls, info: Mapping[str, Any], held: int = 0) -> "Device":
        """From `mx.device_info()`; `held`: bytes that this program has of what is not free."""
        name, size = str(info.get("device_name", "unknown device")), info.get("max_recommended_working_set_size")
        if size is None and "free_memory" in info:  # NVIDIA's
            return cls(name, min(int(_SHARE * info["total_memory"]), info["free_memory"] + held), own=True)
        return cls(name, None if size is None else int(size))

    @property
    def text(self) -> str:
        """For people."""
        return self.name if self.working_set is None else f"{self.name}, {amount(self.working_set, 'B')} for models"

    @property
    def room(self) -> int | None:
        """Bytes that weights, keys and values may take in all; None: no limit is known."""
        return None if self.working_set is None else self.working_set - _ACTIVATIONS


@dataclass(frozen=True)
class Budget:
    """A hard cap on bytes, None for none, and what tells how many are taken."""

    limit: int | None
    used: Callable[[], int]

    @property
    def left(self) -> int | None:
        return None if self.limit is None else max(0, self.limit - self.used())


UNLIMITED = Budget(None, lambda: 0)


def here() -> Device:
    """The device that MLX computes on."""
    return Device.of(mx.device_info(), mx.get_active_memory() + mx.get_cache_memory())


def prepare(device: Device) -> None:
    """Keep the GPU's memory wired up to the recommended size, ask for no more, and bound what is kept when freed."""
    mx.set_cache_limit(_POOL)
    if device.working_set is not None:
        mx.set_memory_limit(device.working_set)
        mx.set_wired_limit(device.working_set)


def check(weights: list[Weight], kept: Callable[[int], int], arithmetic: Arithmetic, left: int | None) -> None:
    """LocalmixError: weights and a short context need more than the bytes that are left. Loads nothing.

    `kept`: bytes of the keys and values of so many tokens.
    """
    size, context = needed(weights, arithmetic), kept(_LEAST)
    if left is None or size + context <= left:
        return
    count = sum(w.shape[0] * w.shape[1] for w in weights)
    smaller = (name for name in _LADDER if bytes_of(count, name, arithmetic) + context <= left)
    fits = next((f"quantized to {name} it would fit" for name in smaller), "no format would fit")
    raise LocalmixError(
        f"the model needs {amount(size, 'B')} on the GPU and {amount(context, 'B')} for {_LEAST} tokens of context, "
        f"{amount(max(0, left), 'B')} is left besides {amount(_ACTIVATIONS, 'B')} for activations: {fits}; "
        "or use --backend numba, which reads the file where it is"
    )


def needed(weights: Iterable[Weight], arithmetic: Arithmetic) -> int:
    """Bytes of weights in MLX's forms."""
    return sum(bytes_of(w.shape[0] * w.shape[1], w.format.name, arithmetic) for w in weights)


def bytes_of(count: int, name: str, arithmetic: Arithmetic) -> int:
    """Bytes of so many weights of a format."""
    return round(count * arithmetic.form(FORMATS[name]).bits / 8)
