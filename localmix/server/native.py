"""`/completion`: llama.cpp's own interface to text that continues a prompt. No part of a prompt is ever left out.

`cache_prompt` and `id_slot` change nothing: an answer has the same bits in any place, with what is remembered or
without.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from localmix.answer.ticket import Piece, Ticket
from localmix.server import choices, limits
from localmix.server.bodies import Sampling, Text
from localmix.server.completions import prompts_of, tickets_of
from localmix.server.errors import ApiError
from localmix.server.service import Service, owner_of, service_of
from localmix.server.stream import Event, Progress, Stream, streamed, whole
from localmix.server.wire import event, json, read

_STOPS = {"end": "eos", "stop": "word", "length": "limit", "context": "limit"}


class Native(Sampling, kw_only=True):
    """/completion"""

    prompt: Text | dict[str, Any] | list[int | Text | dict[str, Any] | list[int | Text]] | None = None
    n_probs: Annotated[int, Meta(ge=0, le=limits.LOGPROBS)] | None = None
    return_tokens: bool | None = None
    response_fields: Annotated[list[str], Meta(max_length=limits.STOPS)] | None = None


async def completion(request: HttpRequest) -> Response:
    service, body = service_of(request), await read(request, Native)
    made = await run_in_threadpool(_prepared, service, body, owner_of(request))
    stream = Stream(service.worker, made, progress=body.stream and body.return_progress)
    answers = [_Answer(service, body, ticket, place) for place, ticket in enumerate(stream.tickets)]
    if not body.stream:
        pieces = await whole(request, stream)
        found = [answer.whole(parts) for answer, parts in zip(answers, pieces, strict=True)]
        return json(found[0] if len(found) == 1 else found)

    def chunks(what: Event) -> Sequence[bytes]:
        place, parts, ended = what
        return [event(one) for one in answers[place].parts(parts, ended)]

    def reading(what: Progress) -> bytes:
        return event({**answers[what.place].nothing(), **choices.reading(what, body)})

    return await streamed(stream, chunks, reading=reading)


def _prepared(service: Service, body: Native, owner: str) -> list[list[Ticket]]:
    given = [_text(part) for part in body.prompt] if isinstance(body.prompt, list) else _text(body.prompt)
    prompts = prompts_of(service, given)
    if body.count > 1 and len(prompts) > 1:
        raise ApiError(400, "n with several prompts is not supported: send one prompt", param="n")
    options = choices.options(service, body, texts=True)
    return tickets_of(service, body, prompts, options, owner, body.n_probs or None)


def _text(part: Any) -> Any:
    """A prompt without its wrapping. ApiError: it has pictures or sounds."""
    if not isinstance(part, dict):
        return part
    if not isinstance(part.get("prompt_string"), str) or part.get("multimodal_data"):
        raise ApiError(400, "prompt: expected prompt_string, a text, and no multimodal_data", param="prompt")
    return part["prompt_string"]


class _Answer:
    """What is told of one answer."""

    def __init__(self, service: Service, body: Native, ticket: Ticket, place: int) -> None:
        self._service, self._body, self._ticket, self._place = service, body, ticket, place
        self._told = 0  # tokens

    def whole(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        text = "".join(piece.text for piece in pieces)
        ids = [id for piece in pieces for id in piece.ids] if self._body.return_tokens else []
        found = {**self._head(text, ids), **self._scores(pieces), **self._tail("\n" in text)}
        if self._body.response_fields:
            return {name: _at(found, name) for name in self._body.response_fields if _at(found, name) is not None}
        return found

    def parts(self, pieces: Sequence[Piece], ended: bool) -> list[dict[str, Any]]:
        """An object for each piece, and with the end one that says why."""
        found = []
        for piece in pieces:
            if piece.ids or piece.text:
                found.append({**self._part(piece.text, list(piece.ids)), **self._scores([piece])})
        if ended:
            text = self._service.model.tokenizer.decode(self._ticket.ids)
            found.append({**self._head("", []), **self._tail("\n" in text)})
        return found

    def nothing(self) -> dict[str, Any]:
        return self._part("", [])

    def _part(self, text: str, ids: list[int]) -> dict[str, Any]:
        return {**self._head(text, ids), "stop": False, **choices.times(self._ticket.stats, self._body)}

    def _head(self, text: str, ids: list[int]) -> dict[str, Any]:
        return {
            "index": self._place,
            "content": text,
            "tokens": ids,
            "id_slot": self._place,
            "tokens_predicted": len(self._ticket.ids),
            "tokens_evaluated": len(self._ticket.request.prompt),
        }

    def _tail(self, has_new_line: bool) -> dict[str, Any]:
        ticket, tokenizer = self._ticket, self._service.model.tokenizer
        stream = tokenizer.stream(shown=frozenset(tokenizer.control_tokens.values()))
        return {
            "stop": True,
            "model": self._service.name,
            "generation_settings": _settings(self._body, ticket),
            "prompt": "".join(map(stream.push, ticket.request.prompt)) + stream.flush(),
            "has_new_line": has_new_line,
            "truncated": ticket.reason == "context",
            "stop_type": _STOPS.get(ticket.reason, "none"),
            "stopping_word": ticket.written.stopped_by or "",
            "tokens_cached": len(ticket.request.prompt) + len(ticket.ids),
            "timings": choices.timings(ticket.stats),
        }

    def _scores(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        scores = [score for piece in pieces for score in piece.scores]
        if self._ticket.request.scores is None:
            return {}
        first, self._told = not self._told, self._told + len(scores)
        return {"completion_probabilities": choices.logprobs(self._service, self._ticket, scores, first=first)}


def _settings(body: Native, ticket: Ticket) -> dict[str, Any]:
    """How the answer was chosen, by llama.cpp's names."""
    biases = (ticket.options.logit_bias or {}).items()
    return {
        **choices.settings(ticket.options),
        "seed": ticket.seed,
        "n_probs": body.n_probs or 0,
        "stream": bool(body.stream),
        "ignore_eos": bool(body.ignore_eos),
        "logit_bias": [{"token": id, "bias": bias if math.isfinite(bias) else None} for id, bias in biases],
    }


def _at(found: dict[str, Any], path: str) -> Any:
    """A field, or one within another: `a/b`."""
    value: Any = found
    for name in path.split("/"):
        value = value.get(name) if isinstance(value, dict) else None
    return value
