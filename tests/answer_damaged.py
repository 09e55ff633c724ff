"""Loads copies of a model whose metadata is damaged and lets each answer, in a process with little memory.

Run by test_damaged_models.py. argv: the sound file, and a JSON list of [key, NumPy type, value]. Writes one JSON
object a line: key, value, outcome ("sound" or the name of the error), message, seconds.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
from small_models import write

import localmix
from localmix import gguf
from localmix.errors import LocalmixError

MEMORY = 128 << 20  # bytes beyond what the interpreter, its imports and the sound model have taken


def main(source: str, damages: str) -> None:
    sound, damaged = gguf.open(source), Path(source).with_name("damaged.gguf")
    assert attempt(Path(source)) == ("sound", "")
    if sys.platform == "linux":  # elsewhere the limit is not enforced and the deadline has to do
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    tensors = {name: (t.format, t.data) for name, t in sound.tensors.items()}
    for key, kind, value in json.loads(Path(damages).read_text()):
        write(damaged, sound.typed_metadata | {key: np.dtype(kind).type(value)}, tensors)
        start = time.perf_counter()
        outcome, message = attempt(damaged)
        seconds = time.perf_counter() - start
        print(json.dumps({"key": key, "value": value, "outcome": outcome, "message": message, "seconds": seconds}))


def attempt(path: Path) -> tuple[str, str]:
    try:
        model = localmix.load(path, "reference")
        for _ in model.generate("Once upon", max_tokens=2, temp=0):
            pass
        return "sound", ""
    except LocalmixError as error:
        return "LocalmixError", str(error)
    except BaseException as error:
        return type(error).__name__, repr(error)


if __name__ == "__main__":
    main(*sys.argv[1:])
