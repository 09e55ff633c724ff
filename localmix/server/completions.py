"""`/v1/completions`: text that continues a prompt; with `echo` and `logprobs` how likely the prompt itself is.

Log-probabilities are of raw logits, before temperature and penalties. The first token has none.
"""

from collections.abc import Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from localmix.answer.options import Options
from localmix.answer.scores import Score
from localmix.answer.ticket import Piece, Request, Ticket
from localmix.server import choices
from localmix.server.bodies import Completion, Sampling
from localmix.server.errors import ApiError
from localmix.server.limits import PROMPTS
from localmix.server.service import Service, owner_of, service_of
from localmix.server.stream import Event, Progress, Stream, streamed, whole
from localmix.server.wire import DONE, event, json, read

_MAX_TOKENS = 16  # as OpenAI has it


async def completions(request: HttpRequest) -> Response:
    service, body = service_of(request), await read(request, Completion)
    prompts, made = await run_in_threadpool(_prepared, service, body, owner_of(request))
    head = service.head("text_completion", "cmpl")
    stream = Stream(service.worker, made, progress=body.stream and body.return_progress)
    logs = [_Log(service, ticket, body, _text(service, ticket, body)) for ticket in stream.tickets]
    counts = [len(prompt) for prompt in prompts]
    if not body.stream:
        pieces = await whole(request, stream)
        found = [
            log.choice(place, parts, True, first=True)
            for place, (log, parts) in enumerate(zip(logs, pieces, strict=True))
        ]
        tail = {"usage": choices.usage(stream.tickets, counts), "timings": choices.timings(stream.tickets[0].stats)}
        return json({**head, "choices": found, **tail})

    told = [False] * len(logs)

    def chunks(what: Event) -> Sequence[bytes]:
        place, parts, ended = what
        first, told[place] = not told[place], True
        times = choices.times(stream.tickets[place].stats, body)
        return [event({**head, "choices": [logs[place].choice(place, parts, ended, first=first)], **times})]

    def reading(what: Progress) -> bytes:
        return event({**head, "choices": [logs[what.place].nothing(what.place)], **choices.reading(what, body)})

    def end() -> Sequence[bytes]:
        wanted = body.stream_options is not None and body.stream_options.include_usage
        last = {**head, "choices": [], "usage": choices.usage(stream.tickets, counts)}
        return [event(last), DONE] if wanted else [DONE]

    return await streamed(stream, chunks, end=end, reading=reading)


def _prepared(service: Service, body: Completion, owner: str) -> tuple[list[list[int]], list[list[Ticket]]]:
    prompts = prompts_of(service, body.prompt, bos=body.add_special_tokens)
    options = choices.options(service, body, _MAX_TOKENS)
    scores = None if body.logprobs is None or body.logprobs is False else int(body.logprobs)
    return prompts, tickets_of(service, body, prompts, options, owner, scores, echo=bool(body.echo))


def prompts_of(service: Service, given: str | Sequence[Any] | None, *, bos: bool | None = None) -> list[list[int]]:
    """The ids of every prompt; `bos`: whether texts begin with that token, None: where the model wants it. ApiError:
    there is no prompt, or too many, or none of this model.
    """
    tokenizer = service.model.tokenizer
    bos = None if bos else bos
    if given is None or isinstance(given, str):
        return [tokenizer.encode(given or "", bos=bos, eos=False)]
    if not given:
        raise ApiError(400, "prompt: found an empty list, expected a text or ids", param="prompt")
    if any(isinstance(one, int) for one in given):  # one prompt, of ids and texts
        return [_joined(service, given, bos)]
    if len(given) > PROMPTS:
        raise ApiError(400, f"prompt: found {len(given)} of them, expected at most {PROMPTS}", param="prompt")
    return [_joined(service, [one] if isinstance(one, str) else one, bos) for one in given]


def _joined(service: Service, parts: Any, bos: bool | None) -> list[int]:
    """Ids as they are, and texts among them."""
    tokenizer, ids = service.model.tokenizer, list[int]()
    for part in parts:
        if isinstance(part, list):
            raise ApiError(400, "prompt: found a list beside numbers, expected ids and texts", param="prompt")
        ids += [part] if isinstance(part, int) else tokenizer.encode(part, bos=bos if not ids else False, eos=False)
    return ids


def tickets_of(
    service: Service,
    body: Sampling,
    prompts: list[list[int]],
    options: Options,
    owner: str,
    scores: int | None,
    *,
    echo: bool = False,
) -> list[list[Ticket]]:
    """For each prompt its answers, with `scores` likely ids beside each of theirs. LocalmixError: a prompt too long."""
    bos = service.model.tokenizer.bos
    requests = [
        Request(0, prompt, options, continues=prompt != [bos], scores=scores, echo=echo, owner=owner)
        for prompt in prompts
    ]
    return [choices.tickets(service, request, body.count) for request in requests]


def _text(service: Service, ticket: Ticket, body: Completion) -> str:
    return service.model.tokenizer.decode(ticket.request.prompt) if body.echo else ""


class _Log:
    """What is told of one answer: the places of tokens in the text go on from piece to piece."""

    def __init__(self, service: Service, ticket: Ticket, body: Completion, echo: str) -> None:
        self._tokenizer, self._ticket, self._echo = service.model.tokenizer, ticket, echo
        self._scored = ticket.request.scores is not None
        self._stream = self._tokenizer.stream(keep_space=not echo)
        self._offset = 0

    def choice(self, place: int, pieces: Sequence[Piece], ended: bool, *, first: bool) -> dict[str, Any]:
        text = "".join(piece.text for piece in pieces)
        logprobs = self._logprobs(pieces, first) if self._scored else None
        reason = choices.FINISH[self._ticket.reason] if ended else None
        return {
            "text": self._echo * first + text,
            "index": place,
            "logprobs": logprobs,
            "finish_reason": reason,
        }

    def nothing(self, place: int) -> dict[str, Any]:
        return {"text": "", "index": place, "logprobs": None, "finish_reason": None}

    def _logprobs(self, pieces: Sequence[Piece], first: bool) -> dict[str, Any]:
        entries: list[tuple[int, Score | None]] = []
        if first and self._ticket.request.echo:
            entries += zip(self._ticket.request.prompt, self._ticket.prompt_scores, strict=True)
        entries += [(score.id, score) for piece in pieces for score in piece.scores]
        offsets = []
        for id, _ in entries:
            offsets.append(self._offset)
            self._offset += len(self._stream.push(id))
        return {
            "tokens": [self._tokenizer.text(id) for id, _ in entries],
            "token_logprobs": [None if score is None else choices.finite(score.logprob) for _, score in entries],
            "top_logprobs": [None if score is None else self._top(score) for _, score in entries],
            "text_offset": offsets,
        }

    def _top(self, score: Score) -> dict[str, float]:
        """Two ids may have one text: the likelier counts."""
        found: dict[str, float] = {}
        for id, logprob in score.top:
            found.setdefault(self._tokenizer.text(id), choices.finite(logprob))
        return found
