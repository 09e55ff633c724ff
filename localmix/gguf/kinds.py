"""What a file is when it is not a GGUF: one line that says so and what to do about it.

Knows the first bytes of the files that people hand over by mistake; opens nothing but the file itself.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO, NoReturn

from localmix.errors import FileFormatError

MAGIC = b"GGUF"

_CONVERT = "convert it first: localmix quantize SOURCE OUT.gguf"
_DOWNLOAD = "download the .gguf file again"
_KINDS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; fetch it with: git lfs pull"),
    (
        b"PK\x03\x04",
        f"a zip archive, perhaps a PyTorch checkpoint; unzip it, or if it is a checkpoint {_CONVERT}",
    ),
    (b"\x80\x02", f"a Python pickle, perhaps a PyTorch checkpoint; {_CONVERT}"),
    (b"\x80\x04", f"a Python pickle; {_CONVERT}"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first: gunzip FILE"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it first: unzstd FILE"),
    (b"\xfd7zXZ\x00", "compressed with xz; unpack it first: unxz FILE"),
    (b"BZh", "compressed with bzip2; unpack it first: bunzip2 FILE"),
    (b"lmgg", "a GGML file from before GGUF; get the model as GGUF"),
    (b"fmgg", "a GGMF file from before GGUF; get the model as GGUF"),
    (b"tjgg", "a GGJT file from before GGUF; get the model as GGUF"),
    (b"FUGG", "a byte-swapped GGUF; get a little-endian one"),
    (b"<", f"a web page or XML, perhaps an error page saved under this name; {_DOWNLOAD}"),
    (b"{", f"JSON text; name the .gguf file, or {_CONVERT}"),
    (b"\x00\x00\x00\x00", f"zeros, perhaps an unfinished download; {_DOWNLOAD}"),
)


def open_regular(path: Path) -> BinaryIO:
    """Open `path` for reading if it is a file that can be mapped; else FileFormatError with advice."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise FileFormatError(f"{path}: {_describe_folder(path)}")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise FileFormatError(f"{path}: found a device or a pipe, expected a GGUF file on disk")
        return open(path, "rb")
    except FileNotFoundError:
        raise FileFormatError(f"{path}: no such file; check the path and the name") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise FileFormatError(f"{path}: cannot be read: {reason}") from None


def refuse(path: Path, head: bytes) -> NoReturn:
    """Say what the file is that starts with `head`, 16 bytes or more where there are so many."""
    if not head:
        raise FileFormatError(f"{path}: the file is empty, expected a GGUF file; {_DOWNLOAD}")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        raise FileFormatError(f"{path}: found safetensors, expected a GGUF file; {_CONVERT}")
    for start, kind in _KINDS:
        if head.startswith(start):
            raise FileFormatError(f"{path}: expected a GGUF file, found {kind}")
    raise FileFormatError(f"{path}: magic: found {head[:4]!r}, expected {MAGIC!r}; this is not a GGUF file")


def _describe_folder(path: Path) -> str:
    """What to do with a folder: name the GGUF in it, or convert the checkpoint in it."""
    names = sorted(os.listdir(path))
    models = [name for name in names if name.endswith(".gguf")]
    if models:
        return f"found a folder, expected a GGUF file; did you mean {path / models[0]}?"
    if any(name.endswith((".safetensors", ".pt", ".pth", ".bin")) for name in names):
        return f"found a checkpoint folder, expected a GGUF file; {_CONVERT}"
    return "found a folder, expected a GGUF file"
