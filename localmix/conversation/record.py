"""Conversations on disk: the text in one file, the keys and values beside it.

The text (JSON) is what matters: it is written after every turn, aside and moved in place, and is never lost. Keys
and values spare the time to compute it again, for the same model and tokens alone: what is damaged or another
model's is refused, and then computed.
"""

import json
import os
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localmix.conversation import kv_file
from localmix.errors import FileFormatError, LocalmixError
from localmix.gguf import shards
from localmix.store.fingerprint import fingerprint
from localmix.template import Message

if TYPE_CHECKING:
    from localmix.conversation.chat import Chat

_VERSION = 1


@dataclass(frozen=True)
class Conversation:
    """What a file holds. `file` is where its model was, `model` that model's identity."""

    model: str
    file: Path
    messages: tuple[Message, ...]
    turns: int  # left out of the prompt: see localmix.conversation.overflow
    tokens: int

    @property
    def questions(self) -> list[str]:
        return [message.content for message in self.messages if message.role == "user"]


@lru_cache
def identity(path: Path) -> str:
    """Names a model by its files' sizes, their first 4 MiB and 64 sampled blocks: milliseconds for any size."""
    return fingerprint(shards.paths(path))


def save(path: Path, chat: "Chat") -> None:
    """Write the conversation's text. LocalmixError: the disk."""
    model = chat.model
    content = {
        "localmix": _VERSION,
        "model": identity(model.file.path),
        "file": str(model.file.path.absolute()),
        "turns": chat.overflow.turns,
        "tokens": chat.overflow.tokens,
        "messages": [asdict(message) for message in chat.messages],
    }
    try:
        _replace(path, json.dumps(content, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass"))
    except OSError as error:
        raise LocalmixError(f"{path}: the conversation cannot be saved: {error.strerror}") from None


def save_cache(path: Path, chat: "Chat") -> None:
    """Write what is new of the keys and values beside the text, if the backend can give them."""
    found = chat.context.dump()
    if not found[0]:
        return
    try:
        kv_file.write(cache_path(path), identity(chat.model.file.path), *found)
    except OSError as error:
        raise LocalmixError(f"{cache_path(path)}: cannot be written: {error.strerror}") from None


def read(path: Path) -> Conversation:
    """What is in a file. FileFormatError: it is no conversation, or damaged; it is left as it is."""
    try:
        content = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))
        version = content["localmix"]
        if version != _VERSION:
            raise FileFormatError(f"{path}: version {version}, expected {_VERSION}: is localmix up to date?")
        return Conversation(
            str(content["model"]),
            Path(content["file"]),
            tuple(_message(entry) for entry in content["messages"]),
            int(content["turns"]),
            int(content["tokens"]),
        )
    except OSError as error:
        raise LocalmixError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise FileFormatError(
            f"{path}: not a saved conversation, or a damaged one; the file was left as it is"
        ) from None


def load(path: Path, chat: "Chat", *, any_model: bool = False) -> str | None:
    """Take up a saved conversation. Why it must be computed again, if so, in one line.

    LocalmixError: it is of another model. `any_model` takes its text nevertheless.
    """
    found = read(path)
    same = found.model == identity(chat.model.file.path)
    if not same and not any_model:
        raise LocalmixError(f"{path}: a conversation with another model, {found.file}: pass that one with -m")
    if same:
        for message in found.messages:
            chat.model.engine.check(message.ids or ())
        chat.messages = list(found.messages)
    else:
        chat.messages = [replace(message, ids=None) for message in found.messages]
    chat.overflow.turns, chat.overflow.tokens = (found.turns, found.tokens) if same else (0, 0)
    return _load_cache(cache_path(path), chat) if same else None


def cache_path(path: Path) -> Path:
    """Where the keys and values of a conversation are."""
    return path.with_suffix(".kv")


def _message(entry: dict[str, Any]) -> Message:
    ids = entry["ids"]
    more = entry.get("more")  # files of earlier versions know none
    if more is not None and not isinstance(more, dict):
        raise TypeError
    return Message(str(entry["role"]), str(entry["content"]), None if ids is None else tuple(map(int, ids)), more)


def _load_cache(path: Path, chat: "Chat") -> str | None:
    if not path.exists():
        return f"{path}: not found: the conversation will be computed again"
    try:
        ids, kv, sound = kv_file.read(path, identity(chat.model.file.path))
        if kv is None:
            raise ValueError
        chat.model.engine.check(ids)
        chat.context.restore(ids, kv)
    except (OSError, ValueError, LocalmixError):
        return f"{path}: damaged, or made by another model: the conversation is intact, and will be computed again"
    return (
        None if sound else f"{path}: damaged: the conversation is intact, but is computed again after {len(ids)} tokens"
    )


def _replace(path: Path, content: bytes) -> None:
    """Write a file that is there either as before or whole. Nobody else may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
