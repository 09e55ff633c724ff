"""Mistral's chat formats v1, v2 and v3, token by token as its own library encodes them.

The templates in files give one string, in which it is lost where a message ended: whether an answer's first word
has a space before it, for one. So each message is encoded apart. v1 (Mixtral 8x7B) writes `[INST]` as plain text,
which a user can type as well and nothing can tell apart; from v2 on it is a control token.
Source: https://github.com/mistralai/mistral-common, the instruct tokenizers v1, v2 and v3.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from localmix.errors import LocalmixError
from localmix.template.message import Message
from localmix.tokenizer import Tokenizer

_JOIN = "\n\n"  # between messages of one role in a row, and between the system prompt and the user's text


@dataclass(frozen=True)
class MistralFormat:
    """v1 has no tokens for the ends of a user's message; v2 and v3 are alike but for tools."""

    instruction: tuple[int, int] | None  # ids of [INST] and [/INST]

    def fold(self, messages: Sequence[Message]) -> list[Message]:
        """The same conversation as user and assistant in turn, the user first.

        The system prompt goes into the first user message in v1 and into the last one later.
        """
        system = _JOIN.join(m.content for m in messages if m.role == "system" and m.content)
        turns = [
            _merged(list(group))
            for _, group in groupby((m for m in messages if m.role != "system"), key=lambda m: m.role)
        ]
        if not turns or turns[0].role != "user":
            turns.insert(0, Message("user", ""))
        if system:
            users = [index for index, turn in enumerate(turns) if turn.role == "user"]
            index = users[0] if self.instruction is None else users[-1]
            turns[index] = Message("user", system + _JOIN + turns[index].content)
        return turns

    def encode(self, messages: Sequence[Message], tokenizer: Tokenizer) -> list[int]:
        """The ids of a conversation, each message encoded apart."""
        ids = [] if tokenizer.bos is None else [tokenizer.bos]
        for turn in self.fold(messages):
            ids += self._user(turn, tokenizer) if turn.role == "user" else self._answer(turn, tokenizer)
        return ids

    def _user(self, turn: Message, tokenizer: Tokenizer) -> list[int]:
        if self.instruction is None:
            return tokenizer.encode(f"[INST] {turn.content} [/INST]", bos=False)
        begin, end = self.instruction
        return [begin, *tokenizer.encode(turn.content, bos=False), end]

    def _answer(self, turn: Message, tokenizer: Tokenizer) -> list[int]:
        if turn.ids is not None:
            ids = tokenizer.without_end(turn.ids)
        else:
            content = turn.content if self.instruction is None else turn.content.rstrip(" ")
            ids = tokenizer.encode(content, bos=False)
        return ids if tokenizer.eos is None else [*ids, tokenizer.eos]


def recognise(source: str, render: Callable[[Sequence[Message]], str], tokenizer: Tokenizer) -> MistralFormat | None:
    """The format whose text the template `source` prints, or None.

    A template counts as Mistral's if it prints a short conversation as Mistral's do, spaces aside, with and
    without a system prompt. Some templates refuse or drop a system prompt; those are completed by `fold`.
    """
    if "[INST]" not in source:
        return None
    talk = [Message("user", "U1"), Message("assistant", "A1"), Message("user", "U2")]
    bos, eos = ("" if id is None else tokenizer.text(id) for id in (tokenizer.bos, tokenizer.eos))

    def printed(messages: Sequence[Message]) -> str | None:
        try:
            return "".join(render(messages).split()).removeprefix(bos)
        except LocalmixError:
            return None

    expected = f"[INST]U1[/INST]A1{eos}[INST]U2[/INST]"
    if printed(talk) != expected:
        return None
    with_system = printed([Message("system", "S"), *talk])
    if with_system not in (None, expected, expected.replace("U1", "SU1"), expected.replace("U2", "SU2")):
        return None
    begin, end = (tokenizer.control_tokens.get(text) for text in ("[INST]", "[/INST]"))
    return MistralFormat(None if begin is None or end is None else (begin, end))


def _merged(turns: list[Message]) -> Message:
    """Messages of one role in a row as one."""
    if len(turns) == 1:
        return turns[0]
    return Message(turns[0].role, _JOIN.join(turn.content for turn in turns if turn.content))
