"""Random requests against a server of its own: python tests/peers/storm.py [REQUESTS]

Good and bad ones, streams and not, clients that leave at any time, more at once than there are places and than may
wait. No answer but 200, 400, 429 and 503; every whole answer is the text that the library gives alone; no place is lost
and memory stays. Bounded: seconds on two cores for 1,000.
"""

import http.client
import json
import random
import resource
import sys
import threading
import time
from collections import Counter
from typing import Any

import localmix
from localmix.server import start

PROMPTS = ["Once upon a time", "One day", "The cat", "Hello", "There was a big dog who liked to play " * 3]
BAD = (
    *(b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"prompt": 5}', b'{"prompt": []}', b'{"prompt": [99999999]}'),
    *(b'{"prompt": "x", "max_tokens": "y"}', b'{"prompt": "x", "n": 99}', b'{"prompt": "x", "temperature": -1}'),
)
CLIENTS = 24


class Storm:
    def __init__(self, port: int, count: int) -> None:
        self._port, self._left = port, iter(range(count))
        self._lock = threading.Lock()
        self.statuses: Counter[object] = Counter()
        self.found: list[tuple[dict[str, Any], str]] = []

    def run(self) -> None:
        while True:
            with self._lock:
                number = next(self._left, None)
            if number is None:
                return
            rng = random.Random(number)
            try:
                self._one(rng)
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.statuses[type(error).__name__] += 1

    def _one(self, rng: random.Random) -> None:
        body: dict[str, Any] = {"prompt": rng.choice(PROMPTS), "max_tokens": rng.randint(1, 40)}
        body |= {"seed": rng.randint(0, 5), "temperature": rng.choice([0, 1.0]), "stream": rng.random() < 0.5}
        bad, leaves = rng.random() < 0.15, rng.random() < 0.25
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        try:
            connection.request("POST", "/v1/completions", rng.choice(BAD) if bad else json.dumps(body).encode())
            if leaves:
                time.sleep(rng.random() * 0.1)
                with self._lock:
                    self.statuses["left"] += 1
                return
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        with self._lock:
            self.statuses[answer.status] += 1
            if answer.status == 200:
                self.found.append((body, _text(raw, body["stream"])))


def _text(raw: bytes, stream: bool) -> str:
    if not stream:
        return str(json.loads(raw)["choices"][0]["text"])
    events = [json.loads(line[6:]) for line in raw.split(b"\n") if line.startswith(b"data: {")]
    return "".join(event["choices"][0]["text"] for event in events)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    model = localmix.load()
    settings = start.Settings(port=0, parallel=6, queue=8, memory=64 << 20)
    listening = start.listen(settings)
    found = start.service(model, settings)
    server = start.Server(found, settings, lambda: None)
    found.worker.start()
    threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True).start()
    while found.worker.state == "loading":
        time.sleep(0.1)
    storm = Storm(listening.getsockname()[1], count)
    before, began = 0, time.perf_counter()
    for part in (count // 5, count - count // 5):  # what the first fifth takes is not counted
        storm._left = iter(range(part))
        clients = [threading.Thread(target=storm.run) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        before, grown = now, now - before
    took, more = time.perf_counter() - began, grown / 1024
    print(f"{count} requests in {took:.0f} s: {dict(storm.statuses)}; memory +{more:.1f} MB")
    time.sleep(1)
    assert found.worker.scheduler.idle, "a place is lost"
    assert set(storm.statuses) <= {200, 400, 429, 503, "left"}, storm.statuses
    wrong, alone = 0, dict[str, str]()
    for body, text in storm.found:
        name = json.dumps({**body, "stream": None})
        if name not in alone:
            how = {"max_tokens": body["max_tokens"], "seed": body["seed"], "temp": body["temperature"]}
            alone[name] = model.generate(body["prompt"], **how).read()
        wrong += alone[name] != text
    print(f"{len(storm.found)} texts, {wrong} of them other than alone")
    assert not wrong
    server.should_exit = True


if __name__ == "__main__":
    main()
