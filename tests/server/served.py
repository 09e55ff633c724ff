"""A server on a free port of the loopback, in a thread of this process."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from localmix.server import start


@dataclass
class Served:
    """A running server and how to ask it."""

    service: Any
    port: int

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, raw, headers or {})
        found = connection.getresponse()
        try:
            return found.status, {k.lower(): v for k, v in found.getheaders()}, found.read()
        finally:
            connection.close()

    def post(self, path: str, **body: Any) -> Any:
        """The JSON of a request that must be answered."""
        status, _, raw = self.ask("POST", path, body)
        assert status == 200, raw
        return json.loads(raw)

    def fail(self, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        status, _, raw = self.ask("POST", path, body)
        return status, json.loads(raw)["error"]

    def events(self, path: str, **body: Any) -> list[Any]:
        """The objects of a stream, without [DONE]."""
        status, headers, raw = self.ask("POST", path, {**body, "stream": True})
        assert status == 200, raw
        assert headers["content-type"].startswith("text/event-stream")
        lines = [line for line in raw.decode().split("\n") if line.startswith("data: ")]
        return [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]

    def idle(self) -> bool:
        """Whether every place is free, within two seconds."""
        for _ in range(200):
            if self.service.worker.scheduler.idle and not self.service.worker.waiting:
                return True
            time.sleep(0.01)
        return False


@contextmanager
def served(model: Any, **settings: Any) -> Iterator[Served]:
    """It has loaded the model before, and ends after."""
    given = start.Settings(port=0, **settings)
    listening = start.listen(given)
    found, ready = start.service(model, given), threading.Event()
    server = start.Server(found, given, ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    found.worker.start()
    thread.start()
    assert ready.wait(60)
    assert found.worker.state == "ready"
    try:
        yield Served(found, listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)
