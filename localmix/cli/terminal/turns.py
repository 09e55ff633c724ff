"""The commands that change the conversation: /regen /undo /edit /save /load /file /clear."""

import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from localmix.conversation import record as saved
from localmix.conversation import shelf as sessions
from localmix.errors import LocalmixError

if TYPE_CHECKING:
    from localmix.cli.terminal.talk import Talk

_BEGINNING = 50  # signs of a question that tell which conversation it is
_LISTED = 20
_LONGEST_TOKEN = 100  # bytes, about: what has more a token is not even read


def regen(talk: "Talk", rest: str) -> None:
    question = _last_question(talk)
    if talk.options.get("seed") is not None:
        talk.display.note("the seed is set: the answer will be the same; /set seed none picks a new one each time")
    talk.ask(question, instead=True)


def thought(talk: "Talk", rest: str) -> None:
    last = talk.chat.messages[-1] if talk.chat.messages else None
    fields = (last.more or {}) if last is not None else {}
    found = str(fields.get("thinking") or fields.get("reasoning_content") or "")
    if talk.last is not None and not found:
        found = talk.last.thought  # of an answer that never came
    if not found.strip():
        raise LocalmixError("no thoughts: the model did not think before its last answer")
    talk.display.note(found.strip())


def undo(talk: "Talk", rest: str) -> None:
    question = talk.chat.undo()
    if question is None:
        raise LocalmixError("nothing to undo")
    talk.keep()
    talk.display.note(f"forgotten: {_short(question)}")


def edit(talk: "Talk", rest: str) -> None:
    question = _last_question(talk)
    if rest:
        talk.ask(rest, instead=True)
    else:
        talk.edit(question)


def save(talk: "Talk", rest: str) -> None:
    _last_question(talk)
    if talk.keeper is None:
        talk.keeper = sessions.Keeper()
    if rest:
        talk.keeper.rename(rest, talk.chat)
    else:
        talk.keep()
    talk.display.note(f"saved: {talk.keeper.file}")


def load(talk: "Talk", rest: str) -> None:
    if not rest:
        _list(talk)
        return
    talk.resume(sessions.find(rest))


def file(talk: "Talk", rest: str) -> None:
    if not rest:
        raise LocalmixError("which file? For example: /file notes.txt")
    path = Path(os.path.expanduser(rest.strip("'\"")))
    size = talk.chat.context.size
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # others may have no end
            raise LocalmixError(f"{path}: not a file")
        if status.st_size > size * _LONGEST_TOKEN:
            raise LocalmixError(f"{path}: has {status.st_size} bytes, too many for a context of {size} tokens")
        text = path.read_bytes().decode()
    except OSError as error:
        raise LocalmixError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LocalmixError(f"{path}: not UTF-8 text") from None
    tokens = len(talk.model.tokenizer.encode(text, bos=False))
    if tokens >= size:
        raise LocalmixError(f"{path}: has {tokens} tokens, the context holds {size}")
    talk.files.append((path, text))
    talk.display.note(f"{path}: {len(text.splitlines())} lines, {tokens} tokens, sent with the next message")


def clear(talk: "Talk", rest: str) -> None:
    talk.clear()
    talk.display.note("a new conversation")


def _last_question(talk: "Talk") -> str:
    """LocalmixError: there is none."""
    questions = [message.content for message in talk.chat.messages if message.role == "user"]
    if not questions:
        raise LocalmixError("no question yet: ask something first")
    return questions[-1]


def _list(talk: "Talk") -> None:
    names = sessions.names()
    if not names:
        raise LocalmixError("no saved conversations yet")
    for name in names[:_LISTED]:
        path, when = sessions.path(name), "gone"
        try:
            questions = saved.read(path).questions
            about = f"{len(questions)} turns: {_short(questions[0])}" if questions else "no turn"
        except LocalmixError as error:
            about = str(error)
        if path.exists():
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))
        talk.display.note(f"{name}  ({when}, {about})", "code")
    if len(names) > _LISTED:
        talk.display.note(f"and {len(names) - _LISTED} older ones in {sessions.path(names[0]).parent}")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _BEGINNING else line[: _BEGINNING - 3] + "..."
