"""Conversations on disk: the text in one file, the keys and values beside it, both replaced in one step.

The text (JSON) is what matters: it is written after every turn and is never lost. The cache is worth its size only
for the same model and tokens: one that is damaged or another model's is refused, and then computed again.
"""

import json
import os
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from localmix.errors import FileFormatError, LocalmixError
from localmix.fingerprint import fingerprint
from localmix.gguf import shards
from localmix.template import Message

if TYPE_CHECKING:
    from localmix.session import Chat

_VERSION = 1
_LINE = 1 << 24  # longest first line of a cache file


def identity(path: Path) -> str:
    """Names a model by its files' sizes, their first 4 MiB and 64 sampled blocks: milliseconds for any size."""
    return fingerprint(shards.paths(path))


def save(path: Path, chat: "Chat") -> None:
    """Write the conversation's text."""
    model = chat.model
    content = {
        "localmix": _VERSION,
        "model": identity(model.file.path),
        "file": str(model.file.path),
        "messages": [asdict(message) for message in chat.messages],
    }
    _replace(path, json.dumps(content, ensure_ascii=False, indent=1).encode())


def save_cache(path: Path, chat: "Chat") -> None:
    """Write keys and values beside the text, if the backend can give them."""
    found = chat.context.dump()
    if found is None:
        return
    ids, kv = found
    raw = np.ascontiguousarray(kv).tobytes()
    head = {"model": identity(chat.model.file.path), "ids": ids, "dtype": str(kv.dtype), "shape": kv.shape}
    _replace(cache_path(path), json.dumps(head | {"crc32": zlib.crc32(raw)}).encode() + b"\n" + raw)


def load(path: Path, chat: "Chat") -> str | None:
    """Take up a saved conversation. Why its cache is not used, if so. LocalmixError: no conversation of this model."""
    try:
        content = json.loads(path.read_bytes())
        messages = [
            Message(str(m["role"]), str(m["content"]), None if m["ids"] is None else tuple(map(int, m["ids"])))
            for m in content["messages"]
        ]
        version, model, file = content["localmix"], content["model"], content["file"]
    except OSError as error:
        raise LocalmixError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise FileFormatError(
            f"{path}: is no saved conversation, or a damaged one; the file is left as it is"
        ) from None
    if version != _VERSION:
        raise FileFormatError(f"{path}: version {version}, expected {_VERSION}: is localmix up to date?")
    if model != identity(chat.model.file.path):
        raise LocalmixError(f"{path}: a conversation with another model, {file}: name that one with -m")
    for message in messages:
        chat.model.check(message.ids or ())
    chat.messages = messages
    return _load_cache(cache_path(path), chat, model)


def cache_path(path: Path) -> Path:
    """Where the keys and values of a conversation are."""
    return path.with_suffix(".kv")


def _load_cache(path: Path, chat: "Chat", model: str) -> str | None:
    if not path.exists():
        return f"{path}: there is none: the conversation is computed again"
    try:
        with path.open("rb") as file:
            head = json.loads(file.readline(_LINE))
            raw = file.read()
        if head["model"] != model or head["crc32"] != zlib.crc32(raw):
            raise ValueError
        chat.model.check(head["ids"])
        chat.context.restore(head["ids"], np.frombuffer(raw, head["dtype"]).reshape(head["shape"]))
    except (OSError, ValueError, KeyError, TypeError, LocalmixError):
        return f"{path}: is damaged or does not fit this model: the conversation is whole, and computed again"
    return None


def _replace(path: Path, content: bytes) -> None:
    """Write a file that is there either as before or whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    with aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
