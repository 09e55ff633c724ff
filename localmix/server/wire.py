"""JSON in and out: strict types in, with the place of a mistake; bounded bodies; server-sent events out."""

import asyncio
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from localmix.server.errors import ApiError
from localmix.server.limits import BODY, RECEIVE_SECONDS
from localmix.server.unsupported import check

T = TypeVar("T")

encode = msgspec.json.encode


def json(content: Any, status: int = 200) -> Response:
    return Response(encode(content), status, media_type="application/json")


def event(content: Any, name: str | None = None) -> bytes:
    """A server-sent event."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + encode(content) + b"\n\n"


DONE = b"data: [DONE]\n\n"
ALIVE = b": waiting\n\n"


async def read(request: Request, kind: type[T]) -> T:
    """The body of a request. ApiError: it is too large, too slow, not JSON, of other types, or asks for what there is
    not.
    """
    raw = bytearray()
    try:
        async with asyncio.timeout(RECEIVE_SECONDS):
            async for part in request.stream():
                raw += part
                if len(raw) > BODY:
                    raise ApiError(413, f"the body has more than {BODY} bytes")
    except TimeoutError:
        raise ApiError(408, f"the body did not arrive within {RECEIVE_SECONDS} s") from None
    except ClientDisconnect:
        raise ApiError(499, "the client has left") from None
    return decode(bytes(raw), kind)


def decode(raw: bytes, kind: type[T]) -> T:
    """JSON as `kind`. ApiError: it is not, or asks for what there is not."""
    try:
        found = msgspec.json.decode(raw, type=kind)
        check(raw, kind)
        return found
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        param = place.strip("`").removeprefix("$").removeprefix(".") or None
        raise ApiError(400, message if param is None else f"{param}: {message}", param=param) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None
