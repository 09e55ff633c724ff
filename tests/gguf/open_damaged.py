"""Opens damaged copies of a GGUF file in a process of its own, with little memory. Run by test_damage.py.

argv: the sound file, a JSON list of [label, [[offset, bytes in hex], ...], length or null]. Writes one JSON object
a line: label, outcome ("sound" or the name of the error), message, seconds. Sound means that every byte of every
tensor could be read.
"""

import json
import resource
import sys
import time
from pathlib import Path

from localmix import gguf
from localmix.errors import LocalmixError

MEMORY = 64 << 20  # bytes beyond what the interpreter and its imports have taken


def main(source: str, damages: str) -> None:
    limit_memory()
    original = Path(source).read_bytes()
    damaged = Path(source).with_name("damaged.gguf")
    for label, edits, length in json.loads(Path(damages).read_text()):
        raw = bytearray(original[:length])
        for offset, replacement in edits:
            new = bytes.fromhex(replacement)
            raw[offset : offset + len(new)] = new
        damaged.write_bytes(raw)
        start = time.perf_counter()
        outcome, message = attempt(damaged)
        seconds = time.perf_counter() - start
        print(json.dumps({"label": label, "outcome": outcome, "message": message, "seconds": seconds}))


def limit_memory() -> None:
    """On Linux; elsewhere the limit is not enforced and the deadline has to do."""
    if sys.platform == "linux":
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))


def attempt(path: Path) -> tuple[str, str]:
    try:
        with gguf.open(path) as file:
            read = sum(len(tensor.data.tobytes()) for tensor in file.tensors.values())
            assert read <= file.size, "tensors are larger than their file"
            assert all(tensor.data.shape[:-1] == tensor.shape[:-1] for tensor in file.tensors.values())
        return "sound", ""
    except LocalmixError as error:
        return "LocalmixError", str(error)
    except BaseException as error:
        return type(error).__name__, repr(error)


if __name__ == "__main__":
    main(*sys.argv[1:])
