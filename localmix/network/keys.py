"""Takes an architecture's metadata keys by name, checks their values, and at the end refuses what nobody took: a key
that is ignored would be arithmetic that is ignored.
"""

from collections.abc import Collection
from typing import Any

import numpy as np

from localmix.errors import FileFormatError, UnsupportedError

# Keys that say nothing about the arithmetic.
_DECORATION = {"vocab_size", "tensor_data_layout", "rope.scaling.finetuned", "rope.scaling.original_context_length"}
# Keys that change nothing at these values; at any other, a family that does not take them cannot be run.
_NEUTRAL = {
    "attention.causal": True, "use_parallel_residual": False, "attention.scale": 0.0, "logit_scale": 1.0,
    "residual_scale": 1.0, "embedding_scale": 1.0, "expert_shared_count": 0, "expert_weights_scale": 1.0,
    "expert_weights_norm": True, "expert_group_count": 1, "expert_group_used_count": 1,
    "rope.scaling.attn_factor": 1.0, "attention.clamp_kqv": 0.0, "attn_logit_softcapping": 0.0,
    "final_logit_softcapping": 0.0, "nextn_predict_layers": 0, "leading_dense_block_count": 0,
    "attention.sliding_window": 0, "interleave_moe_layer_step": 1,
}  # fmt: skip


class Keys:
    """The keys of one architecture, without their prefix."""

    def __init__(self, path: str, metadata: dict[str, Any]) -> None:
        self.path, self.prefix = path, f"{metadata['general.architecture']}."
        self._all = {k.removeprefix(self.prefix): v for k, v in metadata.items() if k.startswith(self.prefix)}
        self._taken: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._all

    def value(self, key: str, default: Any = None) -> Any:
        """As the file has it. FileFormatError: it is missing, and there is no default."""
        self._taken.add(key)
        if key not in self._all and default is None:
            raise FileFormatError(f"{self.path}: metadata key {self.prefix}{key} is missing: the file is incomplete")
        return self._all.get(key, default)

    def whole(self, key: str, default: int | None = None, least: int = 0) -> int:
        """A whole number, or the one that a list repeats for every layer."""
        value = self._number(key, default)
        if value.dtype.kind == "f":
            raise self.wrong(key, "a whole number")
        if value < least:
            raise self.wrong(key, f"at least {least}")
        return int(value)

    def real(self, key: str, default: float | None = None) -> float:
        """A finite number, not negative."""
        return float(self._number(key, default))

    def flag(self, key: str, default: bool) -> bool:
        value = self.value(key, default)
        if not isinstance(value, bool | np.bool_):
            raise self.wrong(key, "true or false")
        return bool(value)

    def text(self, key: str, default: str, among: Collection[str]) -> str:
        """One of a few words. UnsupportedError: another."""
        value = self.value(key, default)
        if not isinstance(value, str) or value not in among:
            raise UnsupportedError(
                f"{self.path}: {self.prefix}{key} = {value!r}: expected {' or '.join(map(repr, among))}"
            )
        return value

    def wrong(self, key: str, expected: str) -> FileFormatError:
        """The error for a value that cannot be."""
        return FileFormatError(f"{self.path}: {self.prefix}{key} = {self._all.get(key)!r}: expected {expected}")

    def finish(self) -> None:
        """Every key must have been taken, or change nothing."""
        for key, value in self._all.items():
            known = key in self._taken or key in _DECORATION
            if not known and not (key in _NEUTRAL and np.array_equal(value, _NEUTRAL[key])):
                raise UnsupportedError(
                    f"{self.path}: {self.prefix}{key} = {value!r} changes the arithmetic: not supported"
                )

    def _number(self, key: str, default: float | None) -> Any:
        value = self.value(key, default)
        values = np.asarray(value).ravel()
        if len(set(values.tolist())) != 1 or not np.issubdtype(values.dtype, np.number):
            raise UnsupportedError(f"{self.path}: {self.prefix}{key} = {value!r}: expected one number for all layers")
        if not np.isfinite(values[0]) or values[0] < 0:
            raise self.wrong(key, "a finite number, not negative")
        return values[0]
