"""A name for the content of large files, found in milliseconds: their sizes, beginnings and sampled blocks.

Reading 26 GB takes up to a minute, so most of a large file is not looked at: this tells models apart, and no one
may rely on it against damage or deceit. A file up to 4 MiB is read whole.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

_HEAD, _SAMPLE, _SAMPLES = 1 << 22, 1 << 12, 64  # bytes of the beginning, of a sampled block; how many of these


def fingerprint(paths: Iterable[Path]) -> str:
    """64 hexadecimal digits for the files in their order; their names do not matter. OSError: the disk."""
    digest = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        digest.update(size.to_bytes(8, "little"))
        with path.open("rb") as file:
            digest.update(file.read(_HEAD))
            for i in range(_SAMPLES):
                file.seek(size * i // _SAMPLES)
                digest.update(file.read(_SAMPLE))
    return digest.hexdigest()
