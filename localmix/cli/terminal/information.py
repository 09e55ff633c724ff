"""The commands that show or set something: /system /set /stats /experts /model."""

import difflib
import os
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rich.text import Text

from localmix.answer.options import Options
from localmix.cli.answer import computed_by
from localmix.cli.parameters import written
from localmix.cli.paths import shortened
from localmix.cli.streams import harmless
from localmix.cli.terminal import experts as picture_of
from localmix.cli.terminal import markdown
from localmix.errors import LocalmixError
from localmix.store.pulled import resolve

if TYPE_CHECKING:
    from localmix.cli.terminal.talk import Talk

NAMES = [field.name for field in fields(Options)]
_SETTING = re.compile(r"([^\s=]*)(?:\s*=\s*|\s+|$)(.*)", re.DOTALL)  # temp=0.2, temp = 0.2, temp 0.2
_LABEL = 14  # columns of the names in /stats, and one at the right
_NOTHING = ("none", "off")
_THINKING = ("think", "reasoning_effort")
_WORDS = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False, "none": None}
_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}
_ESCAPE = re.compile("|".join(map(re.escape, _ESCAPES)))


def system(talk: "Talk", rest: str) -> None:
    if rest:
        talk.chat.system = None if rest.lower() in _NOTHING else rest
        talk.keep()
    now = talk.chat.system
    talk.display.note(f"system prompt: {now}" if now else "no system prompt")


def set_option(talk: "Talk", rest: str) -> None:
    name, text = _SETTING.findall(rest)[0]
    if name and set_thinking(talk, name.lstrip("-").replace("-", "_"), text.strip()):
        return
    if name:
        key = name.lstrip("-").replace("-", "_")
        if key not in NAMES:
            near = difflib.get_close_matches(key, [*NAMES, *_THINKING], n=1, cutoff=0)[0]
            raise LocalmixError(f"unknown option {name}: did you mean {near}? /set lists all")
        if text.strip():
            changed = talk.options | {key: _value(key, text.strip())}
            talk.model.sampler(talk.model.defaults.options(changed))  # a schema or grammar that is wrong is said now
            talk.options = changed
    now, recommended = vars(talk.model.defaults.options(talk.options)), talk.model.defaults.values
    of_file = {key for key in recommended if talk.options.get(key) is None}
    table(
        talk,
        [(key, _shown(now[key]) + ", from the file" * (key in of_file)) for key in ([key] if name else NAMES)],
    )


def set_thinking(talk: "Talk", key: str, text: str) -> bool:
    """/set think on, /set reasoning_effort low: none leaves it to the model. Whether `key` is one of these."""
    if key not in _THINKING:
        return False
    chat = talk.chat
    if text and key == "think":
        if text.lower() not in _WORDS:
            raise LocalmixError(f"think = {text!r}: expected on, off or none")
        chat.think_so(_WORDS[text.lower()], chat.effort)
    elif text:
        chat.think_so(chat.think, None if text.lower() in _NOTHING else text.lower())
    now = chat.effort if key != "think" else {True: "on", False: "off", None: None}[chat.think]
    table(talk, [(key, now or "as the model likes")])
    return True


def stats(talk: "Talk", rest: str) -> None:
    chat, total, last = talk.chat, talk.total, talk.last
    used, size = len(chat.context.ids), chat.context.size
    turns = sum(message.role == "user" for message in chat.messages)
    room = talk.display.size()[0] - _LABEL
    rows = [
        ("model", shortened(talk.model.file.path, room)),
        ("computed by", computed_by(talk.model)),
        ("context", f"{used:,} of {size:,} tokens, {used / size:.0%}; when full: {chat.overflow.policy}"),
        ("turns", f"{turns}"),
        ("kept in", _place(talk, room)),
    ]
    if last is not None:
        s = last.stats
        rows += [
            ("last prompt", f"{s.prompt_tokens} tokens at {s.prompt_rate:.1f} t/s, {s.cached_tokens} cached"),
            ("last answer", f"{s.tokens} tokens at {s.decode_rate:.1f} t/s, seed {last.seed}, ended by {last.reason}"),
            ("all answers", f"{total.tokens} tokens at {total.decode_rate:.1f} t/s"),
        ]
    table(talk, rows)


def _place(talk: "Talk", room: int) -> str:
    if talk.keeper is None:
        return "nowhere: this conversation is private"
    return shortened(talk.keeper.file, room) if talk.keeper.file else "nothing yet"


def experts(talk: "Talk", rest: str) -> None:
    network = talk.model.network
    if not network.experts:
        raise LocalmixError("this model has no experts: every token goes through all of it")
    if not talk.watched:
        raise LocalmixError("on this backend the device picks the experts itself: use --backend numba to see them")
    counts = talk.choices.counts(network.experts)
    if not counts.size:
        raise LocalmixError("no answer yet: ask something first")
    columns = talk.display.size()[0]
    talk.display.lines(picture_of.picture(counts, network.active, columns, talk.display.theme))


def model(talk: "Talk", rest: str) -> None:
    if rest:
        talk.change_model(resolve(Path(os.path.expanduser(rest))))
    talk.display.note(f"model: {shortened(talk.model.file.path, talk.display.size()[0] - _LABEL)}")


def table(talk: "Talk", rows: list[tuple[str, str]]) -> None:
    """Names and what belongs to them, in two columns where there is room, else below each other."""
    theme, columns = talk.display.theme, talk.display.size()[0]
    wide = max(len(name) for name, _ in rows) + 2
    room = columns - 1 - wide
    for name, text in rows:
        indent = wide if room >= 20 else 2
        texts = markdown.wrap(Text(harmless(text)), max(columns - 1 - indent, 1))
        title = theme.styled(name, "strong")
        if room >= 20:
            texts[0] = title + Text(" " * (wide - len(name))) + texts[0]
            texts[1:] = [Text(" " * indent) + line for line in texts[1:]]
        else:
            texts = [title, *(Text(" " * indent) + line for line in texts)]
        talk.display.lines(texts)


def _value(key: str, text: str) -> Any:
    """A value as it was typed. `Options` checks whether it may be."""
    if key == "stop":
        return () if text.lower() in ("", *_NOTHING) else (_unescaped(text),)
    kinds = get_args(next(field.type for field in fields(Options) if field.name == key))
    if text.lower() in _NOTHING and type(None) in kinds:
        return None
    if str in kinds:
        return written(key, text)
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    raise LocalmixError(f"{key} = {text!r}: expected a number")


def _unescaped(text: str) -> str:
    """Text with the escapes that cannot be typed: a backslash before anything else stands for itself."""
    return _ESCAPE.sub(lambda found: _ESCAPES[found[0]], text)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return " ".join(map(repr, value)) or "none" if isinstance(value, tuple | list) else str(value)
