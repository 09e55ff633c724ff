"""What a configuration says about rotation, as GGUF has it: a base, what stretches positions, factors of frequencies.

Both forms of config.json are read (transformers 4: rope_theta and rope_scaling; 5: rope_parameters).
"""

import math
from dataclasses import dataclass, field

import numpy as np

from localmix.convert.settings import Settings
from localmix.errors import UnsupportedError
from localmix.gguf.metadata import Writable
from quant.format import Floats

KINDS = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True)
class Rotation:
    """`keys` lack the architecture; `factors` divide each frequency, (head size / 2,)."""

    keys: dict[str, Writable] = field(default_factory=dict)
    factors: Floats | None = None


def rotation(config: Settings, size: int, base: float) -> Rotation:
    """That of config.json; `base` where it has none. UnsupportedError: of another kind."""
    parameters = config.within("rope_parameters")  # transformers 5
    scaling = parameters if parameters.values else config.within("rope_scaling")  # transformers 4
    base = (parameters if "rope_theta" in parameters else config).real("rope_theta", base)
    if any(place.real("partial_rotary_factor", 1.0) != 1.0 for place in (config, parameters)):
        raise UnsupportedError(
            f"{config.path}: partial_rotary_factor is not 1: heads that are rotated in part are not supported"
        )
    kind = scaling.text("rope_type", scaling.values.get("type") or "default")
    keys: dict[str, Writable] = {"rope.freq_base": np.float32(base)}
    if kind == "default":
        return Rotation(keys)
    if kind == "linear":
        factor = np.float32(scaling.real("factor"))
        return Rotation(keys | ({"rope.scaling.type": "linear", "rope.scaling.factor": factor} if factor != 1 else {}))
    if kind == "llama3":
        return Rotation(keys, llama3_factors(scaling, base, size))
    if kind == "yarn":
        return Rotation(keys | yarn(scaling, config))
    raise UnsupportedError(f"{config.path}: rope_type is {kind!r}, expected one of {', '.join(KINDS)}")


def yarn(scaling: Settings, config: Settings) -> dict[str, Writable]:
    """YaRN (arXiv:2309.00071). UnsupportedError: another scale of cos and sin than its factor gives."""
    trained = scaling.whole("original_max_position_embeddings", config.whole("max_position_embeddings"))
    factor = scaling.real("factor", config.whole("max_position_embeddings") / trained)
    usual = attention_factor(factor, 1.0)
    if "mscale" in scaling and "mscale_all_dim" in scaling:
        over, under = (scaling.real(key) for key in ("mscale", "mscale_all_dim"))
        implied = attention_factor(factor, over) / attention_factor(factor, under)
    else:
        implied = usual
    if not math.isclose(scaling.real("attention_factor", implied), usual, rel_tol=1e-5):
        raise UnsupportedError(f"{config.path}: attention_factor is not the {usual:.4f} of its factor: not supported")
    keys: dict[str, Writable] = {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": np.float32(factor),
        "rope.scaling.original_context_length": trained,
        "rope.scaling.yarn_beta_fast": np.float32(scaling.real("beta_fast", 32.0)),
        "rope.scaling.yarn_beta_slow": np.float32(scaling.real("beta_slow", 1.0)),
    }
    if not scaling.flag("truncate", True):  # llama.cpp has no such key, and rounds the ends of the ramp
        keys["rope.scaling.yarn_truncate"] = False
    return keys


def attention_factor(factor: float, scale: float) -> float:
    return 0.1 * scale * math.log(factor) + 1 if factor > 1 else 1.0


def llama3_factors(scaling: Settings, base: float, size: int) -> Floats:
    """What Llama 3.1 divides each frequency by: nothing for fast ones, `factor` for slow ones, a ramp between."""
    factor, trained = scaling.real("factor"), scaling.real("original_max_position_embeddings")
    low, high = scaling.real("low_freq_factor"), scaling.real("high_freq_factor")
    frequency = base ** (-np.arange(0, size, 2, dtype=np.float64) / size)
    turns = trained * frequency / (2 * math.pi)  # within the trained context
    ramp = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - ramp) / factor + ramp)).astype(np.float32)
