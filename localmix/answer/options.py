"""How an answer is chosen and when it ends: names and defaults as llama.cpp has them.

Plain Python, so that the command line can state the defaults without loading anything.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from localmix.errors import LocalmixError

PARALLEL = 16  # answers of a batch computed at once


@dataclass(frozen=True)
class Options:
    """A value outside its range raises LocalmixError."""

    max_tokens: int | None = None  # None: as many as the context holds; 0: the prompt is read, and no more
    stop: Sequence[str] = ()  # strings that end the text, themselves left out
    temp: float = 0.8  # 0: greedy, always the most likely id; else 0.001 to 100
    top_k: int = 40  # keep the k most likely; 0: all
    top_p: float = 0.95  # keep the most likely that together reach p; 1: all
    min_p: float = 0.05  # drop what is less likely than p times the most likely; 0: none
    repeat_penalty: float = 1.0  # divides the logits of recent ids; 1: off
    repeat_last_n: int = 64  # how many ids are recent; 0: none, -1: the whole context
    seed: int | None = None  # None: a new one each time
    json_schema: str | Mapping[str, Any] | None = None  # the answer is JSON that this schema allows
    grammar: str | None = None  # the answer is what this grammar allows, of Lark or llama.cpp (GBNF)
    presence_penalty: float = 0.0  # taken from the logits of ids that the answer has
    frequency_penalty: float = 0.0  # the same, for each time that it has them
    logit_bias: Mapping[int, float] | None = None  # added to the logits of ids; -inf: never

    def __post_init__(self) -> None:
        for name, words in _LLAMA_CPP.items():
            value = getattr(self, name)
            if isinstance(value, int) and value in words:
                object.__setattr__(self, name, words[value])
        if isinstance(self.stop, str) or not all(isinstance(s, str) and s for s in self.stop):
            raise LocalmixError(f"stop = {self.stop!r}: expected a list of non-empty strings")
        if self.json_schema is not None and self.grammar is not None:
            raise LocalmixError("json_schema and grammar: an answer can follow only one of them")
        for field in fields(self):
            if field.name not in ("stop", "json_schema", "grammar", "logit_bias"):
                _check_number(field.name, getattr(self, field.name), field.type)
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                most = "or more" if high == math.inf else f"to {high}"
                raise LocalmixError(f"{name} = {value}: expected {low} {most}")
        _check_bias(self.logit_bias)
        if 0 < self.temp < 0.001:  # would overflow
            raise LocalmixError(f"temp = {self.temp}: expected 0 (greedy) or 0.001 to 100")


# What llama.cpp's users write for no limit, all, and a new one.
_LLAMA_CPP: dict[str, dict[object, int | None]] = {
    "max_tokens": {-1: None, -2: None},
    "top_k": {-1: 0},
    "seed": {-1: None},
}
_RANGES: dict[str, tuple[float, float]] = {
    "max_tokens": (0, math.inf),
    "temp": (0, 100),
    "top_k": (0, math.inf),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repeat_penalty": (0.01, 100),
    "repeat_last_n": (-1, math.inf),
    "presence_penalty": (-100, 100),
    "frequency_penalty": (-100, 100),
    "seed": (0, math.inf),
}


def _check_number(name: str, value: object, kind: object) -> None:
    if value is None and kind == int | None:
        return
    numbers, expected = ((int, float), "a number") if kind is float else ((int,), "a whole number")
    if not isinstance(value, numbers) or isinstance(value, bool) or not math.isfinite(value):
        raise LocalmixError(f"{name} = {value!r}: expected {expected}")


def _check_bias(bias: object) -> None:
    whole = bias is None or (
        isinstance(bias, Mapping)
        and all(isinstance(id, int) and id >= 0 for id in bias)
        and all(isinstance(number, int | float) and number < math.inf for number in bias.values())
    )
    if not whole:
        raise LocalmixError(f"logit_bias = {bias!r}: expected a number for each id")
