"""A Hugging Face hub on the loopback: repositories of a few files, that can break off or send other bytes."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What it serves and what it was asked for."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.breaks_after: int | None = None  # bytes of a body that it sends before it hangs up
        self.damages = False
        self.ranges: list[str | None] = []  # of each download
        self.url = ""

    def answer(self, path: str) -> bytes | None:
        """The body for a path: a listing, or a file."""
        if path.startswith("/api/models/"):
            repository = path.removeprefix("/api/models/").partition("/revision/")[0]
            if repository not in self.repositories:
                return None
            files = self.repositories[repository]
            siblings = [
                {"rfilename": name, "size": len(data), "blobId": "0", "lfs": _lfs(data)} for name, data in files.items()
            ]
            return json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode()
        repository, _, rest = path.removeprefix("/").partition("/resolve/")
        return self.repositories.get(repository, {}).get(rest.partition("/")[2])


def _lfs(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 100}


@contextmanager
def serve() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            body = hub.answer(path)
            if body is None:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = 0
            if "/resolve/" in path:
                wanted = self.headers.get("Range")
                hub.ranges.append(wanted)
                start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
                body = bytes(len(body)) if hub.damages else body
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.end_headers()
            stop = len(body) if hub.breaks_after is None or "/resolve/" not in path else start + hub.breaks_after
            self.wfile.write(body[start:stop])
            self.close_connection = stop < len(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
