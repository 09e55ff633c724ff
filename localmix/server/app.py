"""Routes to endpoints, and failures to answers. A new interface is a module and its rows here."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from localmix.server import anthropic, chat, completions, native, ollama, openapi, responses, state, tokens
from localmix.server.anthropic_body import MessagesBody
from localmix.server.bodies import ChatCompletion, Completion
from localmix.server.errors import ApiError, as_api_error, response
from localmix.server.guard import Guard
from localmix.server.responses_body import ResponsesBody
from localmix.server.service import Service
from localmix.server.wire import json

Endpoint = Callable[[Request], Awaitable[Response]]

_GET: dict[str, Endpoint] = {
    "/": state.home,
    "/health": state.health,
    "/v1/health": state.health,
    "/v1/models": state.models,
    "/models": state.models,
    "/v1/models/{name:path}": state.model,
    "/metrics": state.metrics,
    "/slots": state.slots,
    "/props": state.props,
    "/tokenizer_info": tokens.tokenizer_info,
    "/api/version": ollama.version,
    "/api/tags": ollama.tags,
    "/api/ps": ollama.running,
}
_POST: dict[str, tuple[Endpoint, type]] = {  # each with the type of its body
    "/v1/chat/completions": (chat.chat_completions, ChatCompletion),
    "/chat/completions": (chat.chat_completions, ChatCompletion),
    "/v1/chat/completions/input_tokens": (tokens.count, ChatCompletion),
    "/chat/completions/input_tokens": (tokens.count, ChatCompletion),
    "/v1/completions": (completions.completions, Completion),
    "/completion": (native.completion, native.Native),
    "/completions": (native.completion, native.Native),
    "/v1/responses": (responses.responses, ResponsesBody),
    "/responses": (responses.responses, ResponsesBody),
    "/v1/messages": (anthropic.messages, MessagesBody),
    "/v1/messages/count_tokens": (anthropic.count_tokens, MessagesBody),
    "/api/show": (ollama.show, ollama.Show),
    "/api/chat": (ollama.chat, ollama.Chat),
    "/api/generate": (ollama.generate, ollama.Generate),
    "/apply-template": (tokens.apply_template, ChatCompletion),
    "/tokenize": (tokens.tokenize, tokens.Tokenize),
    "/detokenize": (tokens.detokenize, tokens.Detokenize),
}


def make(
    service: Service, keys: Sequence[str] = (), origins: Sequence[str] = (), hosts: Sequence[str] = ()
) -> Starlette:
    """The application. `keys`, `origins`, `hosts`: see `guard`."""
    routes = [Route(path, _told(call), methods=["GET"]) for path, call in _GET.items()]
    routes += [Route(path, _told(call), methods=["POST"]) for path, (call, _) in _POST.items()]
    described = openapi.description(_GET, {path: kind for path, (_, kind) in _POST.items()})
    routes.append(Route("/openapi.json", _described(described), methods=["GET"]))
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, keys=keys, origins=origins, hosts=hosts)],
        exception_handlers={HTTPException: _refused},
    )
    app.state.service = service
    return app


def _told(call: Endpoint) -> Endpoint:
    """An endpoint whose failures are answers, too."""

    async def endpoint(request: Request) -> Response:
        try:
            return await call(request)
        except HTTPException:
            raise
        except Exception as error:
            found = as_api_error(error)
            if found.status == 500:
                logging.getLogger("localmix").error("%s %s failed", request.method, request.url.path, exc_info=error)
            return response(found)

    return endpoint


def _described(document: dict[str, Any]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return json(document)

    return endpoint


async def _refused(request: Request, error: Exception) -> Response:
    """No such path, or not with this method."""
    status = getattr(error, "status_code", 404)
    what = "no such path" if status == 404 else "not with this method"
    return response(ApiError(status, f"{request.method} {request.url.path}: {what}"), getattr(error, "headers", None))
