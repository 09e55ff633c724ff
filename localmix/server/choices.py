"""From what a client asked for to options and tickets, and from tickets to usage, reasons and likelihoods."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any

from localmix.answer.options import Options
from localmix.answer.scores import Score
from localmix.answer.stats import Stats
from localmix.answer.ticket import Request, Ticket
from localmix.errors import LocalmixError
from localmix.server.bodies import Sampling
from localmix.server.errors import ApiError
from localmix.server.service import Service
from localmix.server.stream import Progress
from localmix.server.unsupported import OFF

_OBJECT = {"type": "object"}
_MOST_BIAS = 100
FINISH = {"end": "stop", "stop": "stop", "length": "length", "context": "length", "interrupted": "stop"}
_ORDER = ("penalties", "top_k", "top_p", "min_p", "temperature")  # of samplers, by llama.cpp's names
_ASLEEP = ("dry", "top_n_sigma", "typ_p", "typical_p", "xtc", "adaptive_p", "tfs_z")  # until a field of theirs is set
_SLEEPING = ("mirostat", "typical_p", "dynatemp_range", "xtc_probability", "dry_multiplier", "top_n_sigma",
             "adaptive_target")  # fmt: skip
# Our options that are no number as it stands in a request, see `options` and `_held`; all others of the same name are.
_OWN = {"stop", "logit_bias", "max_tokens", "grammar", "json_schema"}
_SAME = tuple(one.name for one in fields(Options) if one.name in Sampling.__struct_fields__ and one.name not in _OWN)


def options(service: Service, body: Sampling, limit: int | None = None, *, texts: bool = False) -> Options:
    """The options of an answer; the model's file fills in. ApiError: one that cannot be.

    `limit`: tokens of an answer where the body names none. `texts`: logit_bias may name texts, which stand for all of
    their tokens.
    """
    _check_samplers(body)
    given: dict[str, Any] = {name: getattr(body, name) for name in _SAME if getattr(body, name) is not None}
    if body.temperature is not None:
        given["temp"] = body.temperature
    limit = limit if body.limit is None else body.limit
    if limit is not None:
        given["max_tokens"] = limit
    if body.repetition_penalty is not None and body.repeat_penalty is None:
        given = {"repeat_last_n": -1, **given, "repeat_penalty": body.repetition_penalty}
    if body.stop is not None:
        given["stop"] = tuple(text for text in ([body.stop] if isinstance(body.stop, str) else body.stop) if text)
    if bias := _bias(service, body, texts):
        given["logit_bias"] = bias
    try:
        return service.model.defaults.options(given | _held(body))
    except LocalmixError as error:
        raise ApiError(400, str(error), param=str(error).partition(" ")[0]) from None


def settings(options: Options) -> dict[str, Any]:
    """What an answer is chosen by, in llama.cpp's names, with its samplers that there are none of here."""
    most = -1 if options.max_tokens is None else options.max_tokens
    return {
        **{name: getattr(options, name) for name in _SAME},
        "seed": -1 if options.seed is None else options.seed,
        "temperature": options.temp,
        "stop": list(options.stop),
        "n_predict": most,
        "max_tokens": most,
        **{name: OFF[name][0] for name in _SLEEPING},
        "adaptive_decay": 0.9,
    }


def tickets(service: Service, request: Request, count: int) -> list[Ticket]:
    """`count` answers to one prompt, each with a seed of its own. LocalmixError: a schema that cannot be kept."""
    if count > service.parallel:
        most = f"expected 1 to {service.parallel}, as many as are computed at once (--parallel)"
        raise ApiError(400, f"n: found {count}, {most}", param="n")
    ids = service.model.engine.checked(request.prompt, service.context)
    seeds = [None if request.options.seed is None else request.options.seed + place for place in range(count)]
    return [Ticket(service.model, _with(request, ids, seed if count > 1 else request.options.seed)) for seed in seeds]


def usage(found: Sequence[Ticket], prompts: Iterable[int]) -> dict[str, Any]:
    """Tokens of prompts, each counted once, and of answers."""
    prompt, answer = sum(prompts), sum(len(ticket.ids) for ticket in found)
    cached = sum(ticket.stats.cached_tokens for ticket in found if ticket.stats.prompt_tokens)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def timings(stats: Stats) -> dict[str, Any]:
    """As llama.cpp tells them."""
    return {
        "cache_n": stats.cached_tokens,
        "prompt_n": stats.prompt_tokens,
        "prompt_ms": 1000 * stats.prompt_seconds,
        "prompt_per_token_ms": 1000 * stats.prompt_seconds / max(stats.prompt_tokens, 1),
        "prompt_per_second": stats.prompt_rate,
        "predicted_n": stats.tokens,
        "predicted_ms": 1000 * stats.decode_seconds,
        "predicted_per_token_ms": 1000 * stats.decode_seconds / max(stats.decode_tokens, 1),
        "predicted_per_second": stats.decode_rate,
    }


def times(stats: Stats, body: Sampling) -> dict[str, Any]:
    """Timings for a part of an answer, where they are wanted."""
    return {"timings": timings(stats)} if body.timings_per_token else {}


def reading(what: Progress, body: Sampling) -> dict[str, Any]:
    """How far a prompt is read, as llama.cpp tells it."""
    return {"prompt_progress": what.told, **times(what.stats, body)}


def logprobs(service: Service, ticket: Ticket, scores: Iterable[Score], *, first: bool) -> list[dict[str, Any]]:
    """Log-probabilities as chat completions have them; the bytes of all tokens are the answer's.

    `first`: these are the first of the answer, from which the space that SentencePiece begins with is taken.
    """
    tokenizer = service.model.tokenizer
    bare = first and not ticket.keeps_space

    def named(id: int, logprob: float, place: int) -> dict[str, Any]:
        raw = b"" if tokenizer.is_control(id) else tokenizer.piece(id)
        if bare and not place and tokenizer.adds_space:
            raw = raw.removeprefix(b" ")
        return {"id": id, "token": raw.decode("utf-8", "replace"), "logprob": finite(logprob), "bytes": list(raw)}

    return [
        named(score.id, score.logprob, place)
        | {"top_logprobs": [named(id, logprob, place) for id, logprob in score.top]}
        for place, score in enumerate(scores)
    ]


def finite(logprob: float) -> float:
    """JSON has no infinity."""
    return logprob if math.isfinite(logprob) else -9999.0


def _check_samplers(body: Sampling) -> None:
    """ApiError: samplers in another order, or such as there are none of here."""
    if not body.samplers:
        return
    names = [name for name in body.samplers if name not in _ASLEEP]
    if names != list(_ORDER):
        raise ApiError(400, f"samplers: found {', '.join(names)}, expected {', '.join(_ORDER)}", param="samplers")


def _with(request: Request, ids: list[int], seed: int | None) -> Request:
    return replace(request, prompt=ids, options=replace(request.options, seed=seed))


def _held(body: Sampling) -> dict[str, Any]:
    """What an answer may be at all."""
    if body.grammar:
        return {"grammar": body.grammar}
    if body.json_schema is not None:
        return {"json_schema": body.json_schema}
    wanted = body.response_format
    if wanted is None or wanted.type == "text":
        return {}
    if wanted.type == "json_object":
        return {"json_schema": wanted.schema or _OBJECT}
    schema = wanted.json_schema.schema if wanted.json_schema is not None else wanted.schema
    if schema is None:
        raise ApiError(400, "response_format: expected json_schema.schema", param="response_format")
    return {"json_schema": schema if isinstance(schema, dict) else ({} if schema else {"not": {}})}


def _biased(service: Service, name: str | int, texts: bool) -> list[int]:
    """The ids that an entry of logit_bias means: one, or those of a text."""
    if str(name).isdigit():
        return [int(name)]
    if not texts or not isinstance(name, str):
        raise ApiError(400, f"logit_bias: found {name!r}, expected ids of tokens", param="logit_bias")
    return service.model.tokenizer.encode(name, bos=False, eos=False)


def _bias(service: Service, body: Sampling, texts: bool) -> dict[int, float]:
    found: dict[int, float] = {}
    pairs = body.logit_bias.items() if isinstance(body.logit_bias, dict) else (body.logit_bias or ())
    for name, number in pairs:
        if number is True or not abs(number) <= _MOST_BIAS:
            raise ApiError(400, f"logit_bias: found {number}, expected -100 to 100, or false", param="logit_bias")
        never = number is False or number == -_MOST_BIAS
        found |= dict.fromkeys(_biased(service, name, texts), -math.inf if never else float(number))
    if body.ignore_eos:
        found |= dict.fromkeys(service.model.tokenizer.end_ids, -math.inf)
    if too_high := [id for id in found if id >= service.model.network.vocabulary]:
        most = service.model.network.vocabulary - 1
        raise ApiError(400, f"logit_bias of {too_high[0]}: expected ids of 0 to {most}", param="logit_bias")
    return found
