"""`/v1/chat/completions`: answers to a conversation, with thinking and calls of tools apart from the text."""

from collections.abc import Iterable, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from localmix.answer.ticket import Piece, Ticket
from localmix.markup import Call, Part, Said
from localmix.server import choices
from localmix.server.bodies import ChatCompletion
from localmix.server.dialogue import Dialogue, dialogue_of, tickets_of
from localmix.server.service import Service, owner_of, service_of
from localmix.server.stream import Event, Progress, Stream, streamed, whole
from localmix.server.tools import new_id
from localmix.server.wire import DONE, event, json, read


async def chat_completions(request: HttpRequest) -> Response:
    service, body = service_of(request), await read(request, ChatCompletion)
    talk, made = await run_in_threadpool(prepared, service, body, owner_of(request))
    stream = Stream(service.worker, [made], progress=body.stream and body.return_progress)
    answers = [_Answer(service, body, talk, ticket, place) for place, ticket in enumerate(made)]
    head = service.head("chat.completion.chunk" if body.stream else "chat.completion", "chatcmpl")

    def tail() -> dict[str, Any]:
        return {"usage": choices.usage(made, [len(talk.ids)]), "timings": choices.timings(made[0].stats)}

    if not body.stream:
        pieces = await whole(request, stream)
        found = [answer.whole(parts) for answer, parts in zip(answers, pieces, strict=True)]
        return json({**head, "choices": found, **tail()})

    def chunks(what: Event) -> Sequence[bytes]:
        place, parts, ended = what
        times = choices.times(made[place].stats, body)
        return [event({**head, "choices": [choice], **times}) for choice in answers[place].deltas(parts, ended)]

    def reading(what: Progress) -> bytes:
        return event({**head, "choices": [answers[what.place].nothing()], **choices.reading(what, body)})

    def end() -> Sequence[bytes]:
        wanted = body.stream_options is not None and body.stream_options.include_usage
        return [event({**head, "choices": [], **tail()}), DONE] if wanted else [DONE]

    begin = [event({**head, "choices": [answer.first()]}) for answer in answers]
    return await streamed(stream, chunks, begin, end, reading=reading)


def prepared(service: Service, body: ChatCompletion, owner: str) -> tuple[Dialogue, list[Ticket]]:
    """The prompt, and the answers to it. ApiError or LocalmixError: what cannot be."""
    talk = dialogue_of(service, body)
    return talk, tickets_of(service, body, talk, owner)


class _Answer:
    """One of the choices, whole or in deltas."""

    def __init__(self, service: Service, body: ChatCompletion, talk: Dialogue, ticket: Ticket, place: int) -> None:
        self._service, self._body, self._ticket, self._place = service, body, ticket, place
        self._parts = talk.parts()
        self._one_call = body.parallel_tool_calls is False
        self._calls = self._told = 0
        self._scored = False  # whether log-probabilities were told

    def first(self) -> dict[str, Any]:
        return self._choice({"role": "assistant", "content": ""})

    def nothing(self) -> dict[str, Any]:
        return self._choice({})

    def deltas(self, pieces: Sequence[Piece], ended: bool) -> list[dict[str, Any]]:
        """What is new; with the end a choice that says why."""
        found = []
        for piece in pieces:
            said = [self._delta(part) for part in self._kept(self._parts.push(piece.text))]
            if piece.scores and self._body.logprobs:
                said = said or [{"content": ""}]
            told = self._logprobs([piece])
            more = {"routes": [experts.tolist() for experts in piece.routes]} if piece.routes else {}
            for delta in said or ([{"content": ""}] if more else []):
                found.append(self._choice(delta, logprobs=told, **more))
                told, more = None, {}
        if ended:
            found += [self._choice(self._delta(part)) for part in self._kept(self._parts.end())]
            found.append(self._choice({}, finish_reason=self._reason()))
        return found

    def whole(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        text = "".join(piece.text for piece in pieces)
        parts = self._kept([*self._parts.push(text), *self._parts.end()])
        thought = "".join(part.text for part in parts if isinstance(part, Said) and part.kind == "reasoning")
        content = "".join(part.text for part in parts if isinstance(part, Said) and part.kind == "content")
        calls = [part for part in parts if isinstance(part, Call)]
        message: dict[str, Any] = {"role": "assistant", "content": content or (None if calls else ""), "refusal": None}
        if thought:
            message |= {"reasoning_content": thought, "reasoning": thought}
        if calls:
            self._calls = len(calls)
            message["tool_calls"] = [_call(call) for call in calls]
        told = self._logprobs(pieces)
        if routes := [experts.tolist() for piece in pieces for experts in piece.routes]:
            message["routes"] = routes
        return {"index": self._place, "message": message, "logprobs": told, "finish_reason": self._reason()}

    def _kept(self, parts: Iterable[Part]) -> list[Part]:
        """Without calls beyond the first, where only one is wanted."""
        found = []
        for part in parts:
            if isinstance(part, Call):
                if self._one_call and self._calls:
                    continue
                self._calls += 1
            found.append(part)
        return found

    def _delta(self, part: Part) -> dict[str, Any]:
        if isinstance(part, Call):
            self._told += 1
            return {"tool_calls": [{"index": self._told - 1, **_call(part)}]}
        if part.kind == "reasoning":
            return {"reasoning_content": part.text, "reasoning": part.text}
        return {"content": part.text}

    def _choice(self, delta: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"index": self._place, "delta": delta, "logprobs": None, "finish_reason": None, **more}

    def _reason(self) -> str:
        reason = choices.FINISH[self._ticket.reason]
        return "tool_calls" if self._calls and reason == "stop" else reason

    def _logprobs(self, pieces: Sequence[Piece]) -> dict[str, Any] | None:
        scores = [score for piece in pieces for score in piece.scores]
        if not self._body.logprobs or not scores:
            return {"content": [], "refusal": None} if self._body.logprobs else None
        first, self._scored = not self._scored, True
        return {"content": choices.logprobs(self._service, self._ticket, scores, first=first), "refusal": None}


def _call(call: Call) -> dict[str, Any]:
    return {"id": new_id(), "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
