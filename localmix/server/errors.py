"""What went wrong with a request, as OpenAI's clients expect it: a status, and an object with `error`."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from localmix.errors import ContextFullError, LocalmixError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    501: "not_supported_error",
    503: "unavailable_error",
}


class ApiError(Exception):
    """An answer with a status of 400 or more. `retry`: seconds until it makes sense to ask again."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        type: str | None = None,
        retry: int | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.retry = status, message, param, retry
        self.type = type or _TYPES.get(status, "server_error")
        self.more = more or {}

    @property
    def body(self) -> dict[str, Any]:
        named = {"message": self.message, "type": self.type, "param": self.param, "code": self.type}
        return {"error": {**named, **self.more}}

    @property
    def headers(self) -> dict[str, str]:
        """Whether and when a client should try again: SDKs repeat every 500 of their own accord."""
        if self.retry is not None:
            return {"retry-after": str(self.retry)}
        return {"x-should-retry": "false"} if self.status >= 500 else {}


def as_api_error(error: Exception) -> ApiError:
    """Any failure as one that a client can be told; what is not foreseen keeps its details to itself."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ContextFullError):
        size = {"n_prompt_tokens": error.tokens, "n_ctx": error.size}
        message = f"the request exceeds the available context size: {error}"  # words that clients look for
        return ApiError(400, message, type="exceed_context_size_error", more=size)
    if isinstance(error, LocalmixError):
        return ApiError(400, str(error))
    return ApiError(500, "the server failed: see its log")


def response(error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    content = msgspec.json.encode(error.body)
    return Response(content, error.status, {**error.headers, **(headers or {})}, media_type="application/json")
