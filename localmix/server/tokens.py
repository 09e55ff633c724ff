"""`/tokenize`, `/detokenize`, `/tokenizer_info`: text to ids and back, in the words of llama.cpp and of vLLM."""

from msgspec import Struct
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from localmix.server.bodies import ChatCompletion, Message, Text
from localmix.server.dialogue import dialogue_of, ids_of
from localmix.server.errors import ApiError
from localmix.server.service import service_of
from localmix.server.wire import json, read


class Tokenize(Struct, kw_only=True):
    content: Text | None = None
    prompt: Text | None = None
    messages: list[Message] | None = None
    add_special: bool | None = None
    add_special_tokens: bool | None = None
    parse_special: bool | None = None
    with_pieces: bool | None = None


class Detokenize(Struct, kw_only=True):
    tokens: list[int]


async def tokenize(request: Request) -> Response:
    service, body = service_of(request), await read(request, Tokenize)
    tokenizer, size = service.model.tokenizer, service.context
    if body.messages is not None:
        ids = await run_in_threadpool(ids_of, service, body.messages)
        return json({"tokens": ids, "count": len(ids), "max_model_len": size})
    if body.prompt is not None:
        special = body.add_special_tokens is not False
        ids = await run_in_threadpool(tokenizer.encode, body.prompt, bos=special, eos=False, control=True)
        return json({"tokens": ids, "count": len(ids), "max_model_len": size})
    if body.content is None:
        raise ApiError(400, "expected content, prompt or messages")
    control = body.parse_special is not False
    ids = await run_in_threadpool(
        tokenizer.encode, body.content, bos=bool(body.add_special), eos=False, control=control
    )
    if body.with_pieces:
        return json({"tokens": [{"id": id, "piece": _piece(tokenizer.piece(id))} for id in ids]})
    return json({"tokens": ids})


async def detokenize(request: Request) -> Response:
    service, body = service_of(request), await read(request, Detokenize)
    service.model.engine.check(body.tokens)
    text = service.model.tokenizer.decode(body.tokens)
    return json({"content": text, "prompt": text})


async def apply_template(request: Request) -> Response:
    """The prompt as text, control tokens by their names."""
    service, body = service_of(request), await read(request, ChatCompletion)
    talk = await run_in_threadpool(dialogue_of, service, body)
    tokenizer = service.model.tokenizer
    stream = tokenizer.stream(shown=frozenset(tokenizer.control_tokens.values()))
    return json({"prompt": "".join(map(stream.push, talk.ids)) + stream.flush()})


async def count(request: Request) -> Response:
    """The tokens of a conversation, the answer begun."""
    service, body = service_of(request), await read(request, ChatCompletion)
    talk = await run_in_threadpool(dialogue_of, service, body)
    return json({"input_tokens": len(talk.ids)})


async def tokenizer_info(request: Request) -> Response:
    service = service_of(request)
    tokenizer = service.model.tokenizer

    def text(id: int | None) -> str | None:
        return None if id is None else tokenizer.text(id)

    template = service.model.template
    return json(
        {
            "bos_token": text(tokenizer.bos),
            "eos_token": text(tokenizer.eos),
            "pad_token": None,
            "chat_template": None if template is None else template.source,
            "vocab_size": tokenizer.vocab_size,
            "add_bos_token": tokenizer.add_bos,
            "max_model_len": service.context,
        }
    )


def _piece(raw: bytes) -> str | list[int]:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return list(raw)
