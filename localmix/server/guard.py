"""Who may ask: names of this machine, origins that are its own, and holders of a key. Plain ASGI.

A page anywhere on the web can make a browser send requests to this machine, under a name that it points here
(rebinding), or across origins. Both are refused before anything is read. The key is compared in constant time.
"""

import hashlib
import ipaddress
import secrets
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from localmix.server.errors import ApiError, response
from localmix.server.limits import BODY

_PUBLIC = ("/health", "/v1/health", "/")
_SUFFIXES = (".localhost", ".local", ".internal")
_JSON = "application/json"
_METHODS = "GET, POST, OPTIONS"
_ALLOWED = "authorization, content-type, x-api-key, anthropic-version"


class Guard:
    """`keys`: any of them will do, none: everybody may ask. `origins` and `hosts`: more that may."""

    def __init__(
        self, app: ASGIApp, keys: Sequence[str] = (), origins: Sequence[str] = (), hosts: Sequence[str] = ()
    ) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]
        self._origins = {origin.rstrip("/").lower() for origin in origins}
        self._hosts = {"localhost", socket.gethostname().lower(), *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        shared: dict[str, str] = {}
        try:
            self._check_host(headers.get("host", ""))
            if origin is not None:
                self._check_origin(origin, headers.get("host", ""))
                shared = {"access-control-allow-origin": origin, "vary": "origin"}
            elif headers.get("sec-fetch-site") == "cross-site" and scope["path"] != "/":
                raise ApiError(403, "a request from another site")
            if scope["method"] == "OPTIONS":
                more = {"access-control-allow-methods": _METHODS, "access-control-allow-headers": _ALLOWED}
                await Response(headers={**shared, **more})(scope, receive, send)
                return
            self._check_body(scope, headers, origin)
            scope["localmix.owner"] = self._owner(scope["path"], headers)
        except ApiError as error:
            await response(error, shared)(scope, receive, send)
            return
        await self._app(scope, receive, _with(send, shared) if shared else send)

    def _check_host(self, host: str) -> None:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        if name in self._hosts or name.endswith(_SUFFIXES) or _is_address(name):
            return
        raise ApiError(403, f"the host {name!r} is not known as this machine: add --allow-host {name} if it is")

    def _check_origin(self, origin: str, host: str) -> None:
        parts = urlsplit(origin.lower())
        own = parts.scheme in ("http", "https") and parts.netloc == host.lower()
        if own or origin.rstrip("/").lower() in self._origins or _is_loopback(parts.hostname or ""):
            return
        raise ApiError(403, f"pages from {origin} are not allowed: add --allow-origin {origin} to allow them")

    def _check_body(self, scope: Scope, headers: Headers, origin: str | None) -> None:
        """A page may send other types without asking first, so only JSON will do."""
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > BODY:
            raise ApiError(413, f"the body has {length} bytes, more than {BODY}")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if scope["method"] == "POST" and origin is not None and kind != _JSON:
            raise ApiError(415, f"found the type {kind!r}, expected {_JSON}")

    def _owner(self, path: str, headers: Headers) -> str:
        """A name for the holder of a key, from which the key cannot be told. ApiError: the key is wrong."""
        if not self._keys or path in _PUBLIC:
            return ""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        found = [key for key in self._keys if secrets.compare_digest(key, given.encode())]
        if not found:
            raise ApiError(401, "the API key is missing or wrong: send it as Authorization: Bearer KEY")
        return hashlib.sha256(found[0]).hexdigest()[:16]


def _with(send: Send, shared: dict[str, str]) -> Send:
    """Adds headers to a response."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in shared.items())]
        await send(message)

    return sending


def _is_address(name: str) -> bool:
    """No name, so nobody can point it elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    return _is_address(name) and ipaddress.ip_address(name).is_loopback
