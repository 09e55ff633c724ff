"""A conversation as the ids that a model was trained to read.

The template in the file prints one string, in which a `</s>` that a user typed would look like the real one. So
the template sees stand-ins for those, what it prints is split at the control tokens in it, and only then do the
stand-ins turn back into text. Answers that were generated go back in as the ids they were.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from localmix.errors import FileFormatError, LocalmixError
from localmix.template.message import Message
from localmix.template.mistral import MistralFormat, recognise
from localmix.template.stand_ins import StandIns
from localmix.tokenizer import Tokenizer

_ROLES = ("system", "user", "assistant", "tool")
_UNITS_A_CHARACTER = 50  # of work that a template may do, for each character of the conversation


class ChatTemplate:
    """The chat template of a model file, with the tokenizer of the same file."""

    def __init__(
        self,
        source: str,
        tokenizer: Tokenizer,
        variables: Mapping[str, Any] | None = None,
        after: Sequence[int] = (),
    ) -> None:
        """`variables` are seen by the template in every conversation. `after` are ids behind an opened answer."""
        self.source = source
        self._tokenizer = tokenizer
        self._variables = variables or {}
        self._after = tuple(after)

    def seeing(self, variables: Mapping[str, Any]) -> "ChatTemplate":
        """The same, that sees `variables` besides."""
        if not variables:
            return self
        return ChatTemplate(self.source, self._tokenizer, {**self._variables, **variables}, self._after)

    def followed_by(self, ids: Sequence[int]) -> "ChatTemplate":
        """The same, whose opening of an answer goes on with `ids`."""
        return ChatTemplate(self.source, self._tokenizer, self._variables, ids)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], tokenizer: Tokenizer) -> "ChatTemplate | None":
        """The template that a GGUF file carries; None where it has none, as files of base models.

        Files may have several with names after that key; where none goes without, the first is meant that is not
        for tools.
        """
        key = "tokenizer.chat_template"
        if not metadata.get(key):
            named = [name for name in metadata if name.startswith(key + ".")]
            key = next((name for name in named if "tool" not in name and "rag" not in name), key)
        source = metadata.get(key, "")
        if not isinstance(source, str):
            raise FileFormatError(f"{key} is of {type(source)}, expected a string: convert the model again")
        return cls(source, tokenizer) if source else None

    def encode(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        continued: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """The ids of a conversation, ready for the model to go on.

        `add_generation_prompt` opens the assistant's turn, in formats that have an opening; `continued` leaves the
        last message open instead, for the model to go on with it. `variables` are seen by the template, as `tools`.
        BOS comes once, if the template prints it or the file wants it. Raises LocalmixError where the template refuses
        or fails.
        """
        _check_roles(messages)
        variables = {**self._variables, **(variables or {})}
        if self._mistral is not None and not variables and all(message.more is None for message in messages):
            ids = self._mistral.encode(messages, self._tokenizer)
            return ids[:-1] if continued and ids[-1] == self._tokenizer.eos else ids
        texts = [self.source, *self._tokenizer.control_tokens, *(message.content for message in messages)]
        texts += _texts([variables, *(message.more for message in messages)])
        stand_ins = StandIns(texts, self._tokenizer)
        contents = [
            stand_ins.hide_control(message.content)
            if message.ids is None
            else stand_ins.hide_answer(self._tokenizer.without_end(message.ids))
            for message in messages
        ]
        hidden = [replace(one, more=_each(one.more, stand_ins.hide_control)) for one in messages]
        seen = _each(variables or {}, stand_ins.hide_control)
        if continued:
            return self._with_one_bos(self._encode_open(hidden, contents, seen, stand_ins))
        printed = self._print(hidden, contents, add_generation_prompt, seen)
        ids = self._with_one_bos(self._encode_printed(printed, stand_ins))
        return [*ids, *self._after] if add_generation_prompt else ids

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The text that the template prints, to look at: `encode` does not go through it."""
        _check_roles(messages)
        variables = {**self._variables, **(variables or {})}
        if self._mistral is not None and not variables:
            messages = self._mistral.fold(messages)
        contents = [message.content for message in messages]
        return self._print(messages, contents, add_generation_prompt, variables or {})

    @cached_property
    def _mistral(self) -> MistralFormat | None:
        def prints(messages: Sequence[Message]) -> str:
            return self._print(messages, [message.content for message in messages], False, {})

        return recognise(self.source, prints, self._tokenizer)

    def _print(
        self, messages: Sequence[Message], contents: list[str], add_generation_prompt: bool, seen: Mapping[str, Any]
    ) -> str:
        from localmix.template import sandbox  # imports jinja2: 25 ms that only a chat needs

        named = {"bos_token": self._tokenizer.bos, "eos_token": self._tokenizer.eos}
        variables = {
            **{name: self._tokenizer.text(id) for name, id in named.items() if id is not None},
            "messages": [
                {"role": message.role, "content": content, **(message.more or {})}
                for message, content in zip(messages, contents, strict=True)
            ],
            "add_generation_prompt": add_generation_prompt,
            "tools": None,
            "documents": None,
            **seen,
        }
        size = sum(map(len, [*contents, *_texts([seen, *(message.more for message in messages)])]))
        units = sandbox.UNITS + _UNITS_A_CHARACTER * size
        return sandbox.render(self.source, variables, units=units)

    def _encode_open(
        self, messages: Sequence[Message], contents: list[str], seen: Mapping[str, Any], stand_ins: StandIns
    ) -> list[int]:
        """What the template prints up to the end of the last message's content, which a mark tells."""
        mark = stand_ins.hide_answer([])
        before, found, _ = self._print(messages, [*contents[:-1], contents[-1] + mark], False, seen).rpartition(mark)
        if not found:
            raise LocalmixError("the chat template does not print the last message, which is to be continued")
        return self._encode_printed(before, stand_ins)

    def _encode_printed(self, printed: str, stand_ins: StandIns) -> list[int]:
        tokenizer = self._tokenizer
        ids: list[int] = []
        for text, answer in stand_ins.split(printed):
            if answer and tokenizer.piece(answer[0]).startswith(b" "):
                text = text.removesuffix(" ")  # the template's space before the answer is the answer's own
            for stretch in tokenizer.split_control(text):
                if isinstance(stretch, int):
                    ids.append(stretch)
                else:
                    ids += tokenizer.encode(stand_ins.reveal(stretch), bos=False, first=not ids)
            ids += answer
        return ids

    def _with_one_bos(self, ids: list[int]) -> list[int]:
        bos = self._tokenizer.bos
        if bos is None:
            return ids
        own = next((index for index, id in enumerate(ids) if id != bos), len(ids))
        wanted = own > 0 or self._tokenizer.add_bos
        return [bos] * wanted + ids[own:]


def _check_roles(messages: Sequence[Message]) -> None:
    for message in messages:
        if message.role not in _ROLES:
            raise LocalmixError(f"a message has the role {message.role!r}, expected one of {', '.join(_ROLES)}")


def _each(value: Any, change: Callable[[str], str]) -> Any:
    """A value of JSON with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _each(one, change) for key, one in value.items()}
    return [_each(one, change) for one in value] if isinstance(value, list | tuple) else value


def _texts(value: Any) -> list[str]:
    """The texts in a value of JSON."""
    found: list[str] = []

    def note(text: str) -> str:
        found.append(text)
        return text

    _each(value, note)
    return found
