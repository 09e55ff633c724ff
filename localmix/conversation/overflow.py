"""What of a conversation goes into the prompt once all of it is too long: three ways, none of them silent.

stop: nothing is left out, a prompt that does not fit is an error. drop: the oldest whole turns are left out, so
that the template stays valid, and the rest is computed again. shift: the oldest tokens behind the system prompt
are left out wherever a turn ends, and what comes after moves up in the cache (arXiv:2309.17453).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from localmix.engine.context import Context
from localmix.errors import LocalmixError
from localmix.template import ChatTemplate, Message

POLICIES = ("stop", "drop", "shift")
Notice = Callable[[str], None]  # told in one line what was left out


@dataclass
class Overflow:
    """`turns` and `tokens` are left out: whole turns from the beginning, or tokens behind the system prompt."""

    policy: str
    notice: Notice
    turns: int = 0
    tokens: int = 0

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise LocalmixError(f"when full = {self.policy!r}: expected one of {', '.join(POLICIES)}")

    def prompt(
        self,
        context: Context,
        template: ChatTemplate,
        messages: Sequence[Message],
        *,
        answer: Sequence[int] = (),
        reserve: int = 0,
    ) -> list[int] | None:
        """The ids of `messages` and of an answer begun, `reserve` fewer than the context holds.

        None if an answer is begun and nothing can be left out. Without one the last message is always whole:
        such a prompt may be too long.
        """
        if self.policy == "drop":
            return self._drop(context, template, messages, answer, reserve)
        if self.policy == "shift":
            return self._shift(context, template, messages, answer, reserve)
        return None if answer else template.encode(messages)

    def forget(self) -> None:
        """The conversation begins anew: nothing is left out."""
        self.turns = self.tokens = 0

    def _drop(
        self, context: Context, template: ChatTemplate, messages: Sequence[Message], answer: Sequence[int], reserve: int
    ) -> list[int] | None:
        last = sum(message.role == "user" for message in messages) - 1  # turns before the one that is asked
        before = self.turns = min(self.turns, last)
        ids = [*template.encode(visible(messages, self.turns)), *answer]
        if len(ids) + reserve > context.size:
            while len(ids) > context.size * 3 // 4 - reserve and self.turns < last:  # a quarter: not again at once
                self.turns += 1
                ids = [*template.encode(visible(messages, self.turns)), *answer]
        if len(ids) > context.size:  # the last question alone is too long
            self.turns = before
        if count := self.turns - before:
            self.notice(f"the context of {context.size} tokens is full: the oldest {_turns(count)} left out")
        return None if answer and not (count and len(ids) < context.size) else ids

    def _shift(
        self, context: Context, template: ChatTemplate, messages: Sequence[Message], answer: Sequence[int], reserve: int
    ) -> list[int] | None:
        whole = [*template.encode(messages), *answer]
        keep = _head(template, messages)
        end = len(whole) if answer else _shared(whole, template.encode([*messages[:-1], _other(messages[-1])]))
        if keep + self.tokens > end:  # turns were taken back
            self.tokens = 0
        ids = whole[:keep] + whole[keep + self.tokens :]
        if len(ids) + reserve <= context.size and not answer:
            return ids
        count = min(max(len(ids) + reserve - context.size, (len(ids) - keep) // 2), end - keep - self.tokens)
        if count <= 0 or len(ids) - count > context.size:  # the last question alone is too long
            return None if answer else ids
        if context.ids[: keep + count] == ids[: keep + count]:
            context.shift(keep, count)
        self.tokens += count
        self.notice(f"the context of {context.size} tokens is full: the oldest {count} tokens are left out")
        return ids[:keep] + ids[keep + count :]


def visible(messages: Sequence[Message], turns: int) -> list[Message]:
    """Messages without the oldest `turns`, the system prompt kept."""
    users = [index for index, message in enumerate(messages) if message.role == "user"]
    start = users[turns] if turns else 0
    return [message for index, message in enumerate(messages) if index >= start or message.role == "system"]


def _head(template: ChatTemplate, messages: Sequence[Message]) -> int:
    """Tokens that every conversation with this system prompt begins with."""
    system = [message for message in messages if message.role == "system"]
    one, other = (template.encode([*system, Message("user", text)]) for text in ("a", "1"))
    return _shared(one, other)


def _other(message: Message) -> Message:
    """A message of the same kind that begins otherwise."""
    return Message(message.role, ("1" if message.content.startswith("a") else "a") + message.content)


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of what both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _turns(count: int) -> str:
    return "turn is" if count == 1 else f"{count} turns are"
