"""Random requests from many clients at once: good and bad ones, streams and not, clients that leave at any time.

What they are is decided by their number, so that a storm that went wrong comes again.
"""

import http.client
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

PROMPTS = ("Once upon a time", "One day", "The cat", "Hello", "There was a big dog who liked to play " * 3)
BAD = (
    *(b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"prompt": 5}', b'{"prompt": []}', b'{"prompt": [99999999]}'),
    *(b'{"prompt": "x", "max_tokens": "y"}', b'{"prompt": "x", "n": 99}', b'{"prompt": "x", "temperature": -1}'),
    *(b'{"prompt": "x", "stop": [1]}', b'{"prompt": "x", "json_schema": {"type": "no"}}', b'{"prompt": [[1], 2]}'),
)


class Storm:
    """`statuses` counts what came back, and who left; `found` are the bodies that were answered, with their texts."""

    def __init__(self, port: int) -> None:
        self._port, self._lock = port, threading.Lock()
        self.statuses: Counter[object] = Counter()
        self.found: list[tuple[dict[str, Any], str]] = []

    def blow(self, first: int, count: int, clients: int) -> None:
        """Requests of the numbers from `first` on, from so many threads; returns when the last has ended."""
        numbers = iter(range(first, first + count))
        threads = [threading.Thread(target=self._run, args=(numbers,)) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _run(self, numbers: Iterator[int]) -> None:
        while True:
            with self._lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                self._one(random.Random(number))
            except (OSError, http.client.HTTPException) as error:
                self._count(type(error).__name__)

    def _one(self, rng: random.Random) -> None:
        body: dict[str, Any] = {"prompt": rng.choice(PROMPTS), "max_tokens": rng.randint(1, 40)}
        body |= {"seed": rng.randint(0, 5), "temperature": rng.choice([0, 1.0]), "stream": rng.random() < 0.5}
        bad, leaves = rng.random() < 0.15, rng.random() < 0.25
        raw = rng.choice(BAD) if bad else json.dumps(body).encode()
        if leaves and rng.random() < 0.3:
            self._cut(raw, rng)
            return
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        try:
            connection.request("POST", "/v1/completions", raw)
            if leaves:
                time.sleep(rng.random() * 0.1)
                self._count("left")
                return
            answer = connection.getresponse()
            told = answer.read()
        finally:
            connection.close()
        self._count(answer.status)
        if answer.status == 200:
            text = _text(told, body["stream"])
            with self._lock:
                self.found.append((body, text))

    def _cut(self, raw: bytes, rng: random.Random) -> None:
        """A client that dies while it sends: the connection is reset."""
        with socket.create_connection(("127.0.0.1", self._port)) as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            head = f"POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(raw)}\r\n\r\n".encode()
            found.sendall((head + raw)[: rng.randint(1, len(head) + len(raw))])
        self._count("died")

    def _count(self, what: object) -> None:
        with self._lock:
            self.statuses[what] += 1


def _text(raw: bytes, stream: bool) -> str:
    if not stream:
        return str(json.loads(raw)["choices"][0]["text"])
    events = [json.loads(line[6:]) for line in raw.split(b"\n") if line.startswith(b"data: {")]
    return "".join(event["choices"][0]["text"] for event in events)


def wrong(model: Any, found: list[tuple[dict[str, Any], str]]) -> int:
    """How many texts are other than what the library gives alone."""
    alone: dict[str, str] = {}
    count = 0
    for body, text in found:
        name = json.dumps({**body, "stream": None})
        if name not in alone:
            how = {"max_tokens": body["max_tokens"], "seed": body["seed"], "temp": body["temperature"]}
            alone[name] = model.generate(body["prompt"], **how).read()
        count += alone[name] != text
    return count
