"""How a checkpoint's makers would have answers chosen, from generation_config.json, as GGUF files say it."""

from pathlib import Path

import numpy as np

from localmix.answer.defaults import PREFIX, WHOLE, checked
from localmix.convert.safetensors import read_json
from localmix.gguf.metadata import Writable

# transformers' names; some folders have llama.cpp's.
_NAMES = {
    "temperature": "temp",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "penalty_repeat",
    "penalty_repeat": "penalty_repeat",
    "penalty_last_n": "penalty_last_n",
}


def recommended(folder: Path, notes: list[str]) -> dict[str, Writable]:
    """`general.sampling.*` of a folder; what cannot be is left out, with a note."""
    path = folder / "generation_config.json"
    given = read_json(path) if path.is_file() else {}
    found: dict[str, Writable] = {}
    for theirs, key in _NAMES.items():
        value = given.get(theirs)
        if value is None:
            continue
        number = checked(key, value)
        if number is None:
            notes.append(f"{path.name}: {theirs} = {str(value)[:40]!r} is left out: not supported")
        else:
            found[PREFIX + key] = np.int32(number) if key in WHOLE else np.float32(number)
    return found
