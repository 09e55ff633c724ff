"""A conversation with a model that a server has: any that speaks OpenAI's chat completions.

It looks like `localmix.conversation.chat.Chat` to whoever talks, and keeps the messages; the server keeps nothing that
the conversation depends on. What a server does not tell (threads, experts, the ids of an answer) is empty here.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from localmix.answer.defaults import Defaults
from localmix.answer.options import Options
from localmix.answer.stats import Stats
from localmix.answer.text import Reason
from localmix.conversation.overflow import Notice, Overflow
from localmix.conversation.remote_server import Events, Server, said_by
from localmix.errors import LocalmixError
from localmix.markup import Said
from localmix.template import Message

_REASONS: dict[str, Reason] = {"stop": "end", "length": "length", "tool_calls": "end"}
# Our options by OpenAI's names, then by llama.cpp's, which other servers ignore.
_NAMES = {"max_tokens": "max_tokens", "temp": "temperature", "top_p": "top_p", "seed": "seed", "top_k": "top_k",
          "min_p": "min_p", "repeat_penalty": "repeat_penalty", "repeat_last_n": "repeat_last_n",
          "stop": "stop", "grammar": "grammar"}  # fmt: skip


class RemoteModel:
    """As much of a model as a terminal asks for."""

    def __init__(self, server: Server) -> None:
        self.server = server
        try:
            one = json.loads(server.ask("/v1/models"))["data"][0]
            self.name, meta = str(one["id"]), one.get("meta") or {}
        except (ValueError, LookupError, TypeError):
            raise LocalmixError(f"{server.url}: it lists no model: is it an OpenAI-compatible server?") from None
        self.context = int(meta.get("n_ctx") or meta.get("n_ctx_train") or 1 << 17)
        self.file = SimpleNamespace(path=Path(self.name))
        self.backend = SimpleNamespace(name=server.url, isa="a server", threads=0)
        self.engine = SimpleNamespace(chooses=self._unseen)
        self.network = SimpleNamespace(experts=0, active=0)
        self.tokenizer = SimpleNamespace(encode=self._encode)
        self.sampler = self._unseen
        self.defaults = Defaults()  # the server knows the file, and fills in what it is not told

    def _unseen(self, *given: Any) -> None:
        """The server chooses, and checks what it is given."""

    def _encode(self, text: str, **how: Any) -> Sequence[int]:
        """As many numbers as there are tokens, where the server counts them; else a guess."""
        try:
            return list(json.loads(self.server.ask("/tokenize", {"content": text}))["tokens"])
        except (LocalmixError, ValueError, LookupError, TypeError):
            return range(len(text) // 4)


@dataclass
class _Room:
    """What of the context is used, as far as the server tells."""

    size: int
    ids: Sequence[int] = ()
    pause: Callable[[], None] | None = None
    watch: Any = None


class RemoteChat:
    """One conversation with a server's model."""

    def __init__(self, model: RemoteModel, system: str | None = None, notice: Notice = print) -> None:
        self.model = model
        self.context = _Room(model.context)
        self.overflow = Overflow("stop", notice)
        self.messages: list[Message] = []
        self._answer: RemoteAnswer | None = None
        self.think: bool | None = None
        self.effort: str | None = None
        self.system = system

    def think_so(self, think: bool | None = None, effort: str | None = None) -> None:
        """Whether the model thinks before it answers, and how much; the server decides what it can do of that."""
        self.think, self.effort = think, effort

    @property
    def system(self) -> str | None:
        return next((message.content for message in self.messages if message.role == "system"), None)

    @system.setter
    def system(self, text: str | None) -> None:
        first = [Message("system", text)] if text else []
        self.messages = first + [message for message in self.messages if message.role != "system"]

    def send(self, text: str, *, progress: Any = None, **options: Any) -> "RemoteAnswer":
        """The answer to `text`, as it comes; what `options` leave out the server chooses. See `Chat.send`."""
        given = {name: value for name, value in options.items() if value not in (None, ())}
        values = vars(Options(**given))
        if self._answer is not None:
            self._answer.close()
        messages = [*self.messages, Message("user", text)]

        def keep(answer: "RemoteAnswer") -> None:
            if answer.text:
                self.messages = [*messages, Message("assistant", answer.text)]
            self.context.ids = range(min(answer.used, self.context.size))

        effort = "none" if self.think is False else self.effort
        self._answer = RemoteAnswer(
            self.model, self.context, messages, {name: values[name] for name in given}, effort, keep
        )
        return self._answer

    def reset(self) -> None:
        self.messages = [message for message in self.messages if message.role == "system"]

    def undo(self) -> str | None:
        """Forget the last turn: its question, or None if there is none."""
        if not self.messages or self.messages[-1].role != "assistant":
            return None
        question = self.messages[-2].content
        self.messages = self.messages[:-2]
        return question


@dataclass
class RemoteAnswer(Iterator[str]):
    """Text in pieces; see `localmix.answer.generate.Generation`."""

    model: RemoteModel
    context: _Room
    messages: Sequence[Message]
    options: Mapping[str, Any]  # those that were given
    effort: str | None
    on_end: Callable[["RemoteAnswer"], None]
    text: str = ""
    thought: str = ""
    calls: tuple[()] = ()  # none are offered
    reason: Reason = "interrupted"
    seed: int | None = None
    used: int = 0  # tokens of the context
    ids: list[int] = field(default_factory=list)
    stats: Stats = field(default_factory=Stats)

    def __post_init__(self) -> None:
        self.seed = self.options.get("seed")
        self._pieces = self._run()

    @property
    def room(self) -> int:
        return self.context.size

    def __next__(self) -> str:
        for part in self.parts():
            if part.kind == "content":
                return part.text
        raise StopIteration

    def parts(self) -> Iterator[Said]:
        """What is said and what is thought, as it comes."""
        for part in self._pieces:
            if part.kind == "content":
                self.text += part.text
            else:
                self.thought += part.text
            yield part

    def rest(self) -> list[Said]:
        """Nothing is held back here."""
        return []

    def read(self) -> str:
        for _ in self:
            pass
        return self.text

    def close(self) -> None:
        self._pieces.close()  # type: ignore[attr-defined]

    def _run(self) -> Iterator[Said]:
        events = Events(self.model.server, "/v1/chat/completions", self._body())
        try:
            for event in events.each(self._look):
                yield from self._take(event)
        finally:
            events.close()
            self.on_end(self)

    def _look(self) -> None:
        if self.context.pause is not None:
            self.context.pause()

    def _take(self, event: Mapping[str, Any]) -> Iterator[Said]:
        if "error" in event:
            raise LocalmixError(f"{self.model.server.url}: {said_by(json.dumps(event).encode())}")
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {}
            if thought := delta.get("reasoning_content") or delta.get("reasoning"):
                yield Said("reasoning", thought)
            if text := delta.get("content"):
                yield Said("content", text)
            if reason := choice.get("finish_reason"):
                self.reason = _REASONS.get(reason, "end")
        if usage := event.get("usage"):
            timings, cached = event.get("timings") or {}, usage.get("prompt_tokens_details") or {}
            self.stats.cached_tokens = cached.get("cached_tokens") or 0
            self.stats.prompt_tokens = usage["prompt_tokens"] - self.stats.cached_tokens
            self.stats.tokens = self.stats.decode_tokens = usage["completion_tokens"]
            self.stats.prompt_seconds = timings.get("prompt_ms", 0) / 1000
            self.stats.decode_seconds = timings.get("predicted_ms", 0) / 1000
            self.used = usage["prompt_tokens"] + usage["completion_tokens"]

    def _body(self) -> dict[str, Any]:
        said = [{"role": message.role, "content": message.content} for message in self.messages]
        body: dict[str, Any] = {"model": self.model.name, "messages": said, "stream": True}
        body["stream_options"] = {"include_usage": True}
        given = self.options
        body |= {theirs: given[ours] for ours, theirs in _NAMES.items() if ours in given}
        if self.effort is not None:
            body["reasoning_effort"] = self.effort
        if (schema := given.get("json_schema")) is not None:
            schema = json.loads(schema) if isinstance(schema, str) else schema
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        return body
