"""A conversation: its messages, and a context that keeps what one turn's prompt shares with the next.

Answers go back into the prompt as the ids that were generated, so nothing of them is computed twice. Where a
template moves things about (Mistral folds the system prompt into a message), the common prefix decides.
"""

import logging
from collections.abc import Sequence
from threading import Event
from typing import Any, Generic, TypeVar

from localmix.answer.generate import Progress
from localmix.answer.speaker import Speaker
from localmix.conversation.overflow import Notice, Overflow
from localmix.conversation.reply import Reply
from localmix.conversation.thinking import thinking
from localmix.engine.context import Context
from localmix.errors import LocalmixError
from localmix.markup import markup_of
from localmix.template import ChatTemplate, Message

M = TypeVar("M", bound=Speaker)


class Chat(Generic[M]):
    """One conversation with one model. Any number may share a model; each holds a cache of its own."""

    def __init__(
        self,
        model: M,
        system: str | None = None,
        *,
        context: int | None = None,
        kv: str | None = None,
        when_full: str = "stop",
        notice: Notice | None = None,
        think: bool | None = None,
        effort: str | None = None,
    ) -> None:
        """`when_full`: "stop", "drop" or "shift", see `localmix.conversation.overflow`; what is left out then is told
        to `notice`, or logged. `think`, `effort`: see `think_so`. LocalmixError: the model's file has no chat template.
        """
        self.model = model
        self.messages: list[Message] = []
        self.overflow = Overflow(when_full, notice or logging.getLogger("localmix").warning)
        self._template = template_of(model)
        self.markup = markup_of(self._template.source)
        self.think_so(think, effort)
        self.context = Context(model.engine, context, kv)
        self._answer: Reply | None = None
        if system:
            self.system = system

    @property
    def system(self) -> str | None:
        """The system prompt. LocalmixError when set: the model's template has no place for one."""
        return next((message.content for message in self.messages if message.role == "system"), None)

    @system.setter
    def system(self, text: str | None) -> None:
        first = [Message("system", text)] if text else []
        self._template.encode([*first, Message("user", "Hi")])
        self._close()
        self.messages = first + [message for message in self.messages if message.role != "system"]

    def send(
        self, text: str, *, progress: Progress | None = None, cancel: Event | None = None, **options: Any
    ) -> Reply:
        """The answer to `text`, generated as it is read. `options` are the fields of `Options`; what is
        left out is as the model's file recommends.

        Question and answer join `messages` when the answer ends, also one that was cut short; an answer without
        any text leaves no trace. ContextFullError: the conversation is too long, and is left as it was.
        """
        self._close()
        self.model.engine.fits(self.model.tokenizer.at_least(text), self.context.size, "at least ")
        chosen = self.model.defaults.options(options)
        messages = [*self.messages, Message("user", text)]

        def keep(answer: Reply) -> None:
            if answer.text:
                # Stop strings, thoughts and markers are among the ids but not in the text: that is encoded anew then.
                ids = tuple(answer.ids) if answer.reason != "stop" and answer.whole else None
                more = self.markup.history(answer.thought)
                self.messages = [*messages, Message("assistant", answer.text, ids, more)]

        def prompt(answer: Sequence[int] = ()) -> list[int] | None:
            reserve = min(self.context.size if chosen.max_tokens is None else chosen.max_tokens, self.context.size // 4)
            return self.overflow.prompt(self.context, self._template, messages, answer=answer, reserve=reserve)

        self._answer = Reply(
            self.model,
            self.context,
            prompt() or [],
            chosen,
            self.markup,
            progress=progress,
            cancel=cancel,
            on_end=keep,
            refill=prompt,
        )
        return self._answer

    def think_so(self, think: bool | None = None, effort: str | None = None) -> None:
        """Whether the model thinks before it answers, and how much ("low", "medium" or "high"); None: as it likes.

        LocalmixError: its template has no place for that.
        """
        self._template = thinking(template_of(self.model), self.model.tokenizer, think, effort)
        self.think, self.effort = think, effort

    def reset(self) -> None:
        """Forget everything but the system prompt."""
        self._close()
        self.messages = [message for message in self.messages if message.role == "system"]
        self.overflow.forget()

    def undo(self) -> str | None:
        """Forget the last turn: its question, or None if there is none."""
        self._close()
        if not self.messages or self.messages[-1].role != "assistant":
            return None
        question = self.messages[-2].content
        self.messages = self.messages[:-2]
        return question

    def _close(self) -> None:
        if self._answer is not None:
            self._answer.close()


def template_of(model: Speaker) -> ChatTemplate:
    """The chat template of a model; LocalmixError where its file has none."""
    if model.template is None:
        raise LocalmixError(
            f"{model.file.path}: has no chat template, it only continues text: use localmix run --raw, or generate()"
        )
    return model.template
