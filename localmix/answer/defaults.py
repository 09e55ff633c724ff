"""What a model's file recommends for sampling: it goes over the built-in defaults, and under whatever is asked for.

The keys are llama.cpp's, `general.sampling.*`. A recommendation that cannot be carried out is left aside and named.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from localmix.answer.options import Options
from localmix.errors import LocalmixError

PREFIX = "general.sampling."
# The file's names, ours, and what is said to people.
NAMES = {
    "temp": ("temp", "temperature"),
    "top_k": ("top_k", "top-k"),
    "top_p": ("top_p", "top-p"),
    "min_p": ("min_p", "min-p"),
    "penalty_repeat": ("repeat_penalty", "repeat penalty"),
    "penalty_last_n": ("repeat_last_n", "repeat last n"),
}
WHOLE = ("top_k", "penalty_last_n")  # the others are fractions
# Samplers that there are none of here, where they are off; what goes with them says nothing then.
_OFF = {"mirostat": 0, "xtc_probability": 0}
_ASIDE = ("mirostat_tau", "mirostat_eta", "xtc_threshold")
_WORDS = dict(NAMES.values())


@dataclass(frozen=True)
class Defaults:
    """Recommended values of fields of `Options`, and the keys that are left aside."""

    values: Mapping[str, float] = field(default_factory=dict)
    left: tuple[str, ...] = ()

    def options(self, given: Mapping[str, Any]) -> Options:
        """What is asked for; where that is silent, or None, what is recommended. LocalmixError: what cannot be."""
        return Options(**{**self.values, **{name: value for name, value in given.items() if value is not None}})

    def said(self, given: Mapping[str, Any]) -> str:
        """What of it counts beside what is asked for: "temperature 0.6, top-p 0.95 from the file", or nothing."""
        used = [f"{_WORDS[name]} {value:g}" for name, value in self.values.items() if given.get(name) is None]
        aside = [f"its {', '.join(self.left)} ignored: not supported"] if self.left else []
        return ", ".join([", ".join(used) + " from the file"] * bool(used) + aside)


def of_file(metadata: Mapping[str, Any]) -> Defaults:
    """The recommendations among a file's metadata."""
    found = {key.removeprefix(PREFIX): value for key, value in metadata.items() if key.startswith(PREFIX)}
    values: dict[str, float] = {}
    left = []
    for key, value in found.items():
        number = checked(key, value) if key in NAMES else None
        if number is not None:
            values[NAMES[key][0]] = number
        elif key not in _ASIDE and _OFF.get(key) != value:
            left.append(f"{PREFIX}{key} = {str(value)[:40]}")
    return Defaults(values, tuple(left))


def checked(key: str, value: Any) -> float | None:
    """A value of one of NAMES as `Options` has it; None: it cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not math.isfinite(value) or (key in WHOLE and value != int(value)):
        return None
    number: Any = int(value) if key in WHOLE else float(str(np.float32(value)))  # 0.95, not 0.949999988
    try:
        Options(**{NAMES[key][0]: number})
        return number
    except LocalmixError:
        return None
