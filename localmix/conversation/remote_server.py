"""A server of OpenAI's kind over HTTP: questions, and the events of an answer as they come."""

import http.client
import json
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from localmix.errors import LocalmixError

_SECONDS = 600.0  # that a server may say nothing
_LOOK = 0.2  # seconds between two looks at an interrupt


class Server:
    """Where it is, and who asks. LocalmixError: what cannot be reached, or what the server says against it."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = (url if "://" in url else f"http://{url}").rstrip("/").removesuffix("/v1")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise LocalmixError(f"--server {url}: expected an address such as http://127.0.0.1:8080")
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._place, self._path = parts.netloc, parts.path
        self._headers = {"content-type": "application/json", "connection": "close"} | (
            {"authorization": f"Bearer {key}"} if key else {}
        )

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        """What is answered to a question."""
        with self.open(path, body)[0] as found:
            return found.read()

    def open(self, path: str, body: Mapping[str, Any] | None = None) -> tuple[http.client.HTTPResponse, socket.socket]:
        """The response to a question, its body unread, and the socket that it comes through."""
        connection = self._kind(self._place, timeout=_SECONDS)
        try:
            raw = None if body is None else json.dumps(body).encode()
            connection.request("GET" if body is None else "POST", self._path + path, raw, self._headers)
            through = connection.sock
            found = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise LocalmixError(f"{self.url}: {getattr(error, 'strerror', error)}: is the server running?") from None
        if found.status != 200:
            with found:
                said = said_by(found.read())
            raise LocalmixError(f"{self.url}: {said or found.reason} ({found.status})")
        return found, through


class Events:
    """The events of one answer, one object each. `close` ends the answer wherever it is."""

    def __init__(self, server: Server, path: str, body: Mapping[str, Any]) -> None:
        self._found, self._through = server.open(path, body)
        self._lines: queue.Queue[bytes | Exception | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def each(self, look: Callable[[], None]) -> Iterator[dict[str, Any]]:
        """`look` is called again and again while nothing comes: it may raise."""
        while True:
            try:
                line = self._lines.get(timeout=_LOOK)
            except queue.Empty:
                look()
                continue
            if isinstance(line, Exception):
                raise LocalmixError(f"the server ended the answer early: {line}")
            if line is None:
                return
            if line.startswith(b"data:") and (raw := line[5:].strip()) != b"[DONE]":
                yield json.loads(raw)

    def close(self) -> None:
        with suppress(OSError):  # it has ended by itself
            self._through.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        """In a thread, so that an interrupt need not wait for the next line."""
        try:
            with self._found:
                for line in self._found:
                    self._lines.put(line)
            self._lines.put(None)
        except (OSError, ValueError, AttributeError, http.client.HTTPException) as error:  # also: it was closed
            self._lines.put(error)


def said_by(raw: bytes) -> str:
    """The message of an error, in any of the shapes that servers give it."""
    try:
        error = json.loads(raw)
        error = error.get("error", error)
        return str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, AttributeError):
        return raw.decode("utf-8", "replace")[:200].strip()
