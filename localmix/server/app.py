"""Routes to endpoints, and failures to answers. A new interface is a module and its rows here."""

import logging
from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from localmix.server import anthropic, chat, completions, native, ollama, responses, state, tokens
from localmix.server.errors import ApiError, as_api_error, response
from localmix.server.guard import Guard
from localmix.server.service import Service

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
_POST: dict[str, Endpoint] = {
    "/v1/chat/completions": chat.chat_completions,
    "/chat/completions": chat.chat_completions,
    "/v1/completions": completions.completions,
    "/completion": native.completion,
    "/completions": native.completion,
    "/v1/responses": responses.responses,
    "/v1/messages": anthropic.messages,
    "/v1/messages/count_tokens": anthropic.count_tokens,
    "/api/show": ollama.show,
    "/api/chat": ollama.chat,
    "/api/generate": ollama.generate,
    "/apply-template": tokens.apply_template,
    "/tokenize": tokens.tokenize,
    "/detokenize": tokens.detokenize,
}


def make(
    service: Service, keys: Sequence[str] = (), origins: Sequence[str] = (), hosts: Sequence[str] = ()
) -> Starlette:
    """The application. `keys`, `origins`, `hosts`: see `guard`."""
    routes = [Route(path, _told(call), methods=["GET"]) for path, call in _GET.items()]
    routes += [Route(path, _told(call), methods=["POST"]) for path, call in _POST.items()]
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


async def _refused(request: Request, error: Exception) -> Response:
    """No such path, or not with this method."""
    status = getattr(error, "status_code", 404)
    what = "no such path" if status == 404 else "not with this method"
    return response(ApiError(status, f"{request.method} {request.url.path}: {what}"), getattr(error, "headers", None))
