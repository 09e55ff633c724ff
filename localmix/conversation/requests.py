"""Requests as JSON has them: a string, or an object with `prompt` or `messages`, and with any of `id`, `system` and
the options of an answer. Everything is checked before anything is computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from localmix.answer.options import Options
from localmix.answer.speaker import Speaker
from localmix.answer.ticket import Request
from localmix.conversation.chat import template_of
from localmix.conversation.thinking import thinking
from localmix.errors import LocalmixError
from localmix.markup import Markup, markup_of
from localmix.template import Message

_TEXT = ("prompt", "messages")
_KEYS = ("id", *_TEXT, "system", *(field.name for field in fields(Options)))


@dataclass(frozen=True)
class Reader:
    """Lines to requests, with what the command line says for all of them."""

    model: Speaker
    options: Mapping[str, Any]
    context: int | None
    system: str | None
    raw: bool
    think: bool | None = None
    effort: str | None = None

    @property
    def markup(self) -> Markup:
        """How answers are marked."""
        return markup_of(template_of(self.model).source)

    def request(self, number: int, line: Any) -> Request:
        """One line; its number is the id of one that names none."""
        row = {"prompt": line} if isinstance(line, str) else line
        if not isinstance(row, dict) or len([key for key in _TEXT if key in row]) != 1:
            raise LocalmixError('expected a string, or an object with either "prompt" or "messages"')
        if unknown := [key for key in row if key not in _KEYS]:
            raise LocalmixError(f"unknown key {unknown[0]!r}: expected one of {', '.join(_KEYS)}")
        id = row.get("id", number)
        if not isinstance(id, str | int):
            raise LocalmixError(f"the id {id!r}: expected a string or a whole number")
        own = {key: value for key, value in row.items() if key not in ("id", *_TEXT, "system")}
        options = self.model.defaults.options({**self.options, **own})
        self.model.sampler(options)  # a schema or grammar that is wrong is said now
        tokenizer = self.model.tokenizer
        ids = self.model.engine.checked(self._encode(row), self.context or self.model.engine.network.context)
        if self.raw:
            return Request(id, ids, options, continues=ids != [tokenizer.bos])
        asides = partial(self.markup.asides, ids, tokenizer)
        return Request(id, ids, options, shown=self.markup.shown(tokenizer), asides=asides)

    def _encode(self, row: Mapping[str, Any]) -> list[int]:
        system = row.get("system", self.system)
        if "prompt" in row:
            if not isinstance(row["prompt"], str):
                raise LocalmixError(f"the prompt {row['prompt']!r}: expected a string")
            if self.raw:
                return self.model.tokenizer.encode(row["prompt"], eos=False)
            messages = [Message("user", row["prompt"])]
        else:
            messages = _messages(row["messages"])
        if self.raw:
            raise LocalmixError("messages with --raw, which uses no chat template: leave out --raw, or give a prompt")
        template = thinking(template_of(self.model), self.model.tokenizer, self.think, self.effort)
        return template.encode([Message("system", system)] * bool(system) + messages)


def _messages(rows: Any) -> list[Message]:
    if not isinstance(rows, list) or not rows:
        raise LocalmixError("messages: expected a non-empty list")
    for row in rows:
        whole = isinstance(row, dict) and set(row) == {"role", "content"}
        if not whole or not all(isinstance(value, str) for value in row.values()):
            raise LocalmixError(f'the message {row!r}: expected {{"role": "user", "content": "text"}}')
    return [Message(row["role"], row["content"]) for row in rows]
