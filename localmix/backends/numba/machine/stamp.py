"""A short name for what compiled code depends on, so that code is found only by the program that it was made of."""

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path

import quant


@lru_cache(1)
def _sources() -> bytes:
    """The digest of the kernels' sources and of the formats that they are derived from."""
    digest = hashlib.sha256()
    for source in (*sorted(Path(__file__).parents[1].rglob("*.py")), *sorted(Path(quant.__file__).parent.glob("*.py"))):
        digest.update(source.read_bytes())
    return digest.digest()


def stamp(first: str, *parts: str) -> str:
    """`first` and 16 digits, which follow from the sources and all parts."""
    digest = hashlib.sha256(_sources())
    for part in (first, *parts):
        digest.update(part.encode() + b"\0")
    return f"{first}-{digest.hexdigest()[:16]}"


def version(package: str) -> str:
    """What tells versions of a package apart, found without importing it or, as a rule, importlib.metadata."""
    spec = importlib.util.find_spec(package)
    try:
        return Path(spec.origin if spec and spec.origin else "").with_name("_version.py").read_text()
    except (OSError, ValueError):
        from importlib import metadata

        return metadata.version(package)
