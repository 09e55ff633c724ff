"""Puts loads on `localmix serve` and on llama-server, in turn and on one file, and prints both sides and ratios.

By hand, on a quiet machine; no other model may be in use:
    python tests/peers/serving.py MODEL.gguf --peer "llama-server --no-repack" [--rounds 3] [-t 2] [--loads crowd,alone]
Three loads, each with text that no server has seen: `crowd`: 16 clients of 40 words each want 48 tokens; `alone`: a
prompt of 3,500 words; `beside`: the same while one answer runs and a short request comes, /health asked all the time.
The total of the crowd is compared with `localmix run --file`, too, which answers the same requests without a server.
Figures are the medians over the rounds.
"""

import argparse
import http.client
import json
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles

WORDS = ("the", "a", "cat", "dog", "house", "runs", "over", "under", "with", "blue", "green", "story", "bird", "sings")
CLIENTS, WANTED = 16, 48
LONG = 3500  # words
BARS = {  # what localmix is to reach: by itself, or against the other server
    "crowd: tokens a second": ("at least 2.5 of the peer's", lambda ours, theirs: ours >= 2.5 * theirs),
    "crowd: of localmix run --file": ("at least 0.95", lambda ours, _: ours >= 0.95),
    "beside: short request's first token": ("within 1.5 s", lambda ours, _: ours <= 1.5),
    "beside: running answer's longest gap": ("at most 0.5 s", lambda ours, _: ours <= 0.5),
    "beside: long prompt, of alone": ("at most 1.25", lambda ours, _: ours <= 1.25),
    "beside: health, 99 of 100": ("under 0.05 s", lambda ours, _: ours < 0.05),
}
Figures = dict[str, float]


@dataclass
class Asked:
    """Seconds: to the first token, between two tokens at most, of all."""

    first: float
    gap: float
    seconds: float
    pieces: int


class Load:
    """Requests of random words to a server on this machine."""

    def __init__(self, port: int, seed: int) -> None:
        self._port, self._rng = port, random.Random(seed)

    def text(self, words: int) -> str:
        return " ".join(self._rng.choice(WORDS) for _ in range(words))

    def ask(self, prompt: str, tokens: int) -> Asked:
        body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True, "ignore_eos": True}
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
        began = time.perf_counter()
        connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
        answer, times = connection.getresponse(), list[float]()
        if answer.status != 200:
            raise SystemExit(f"{answer.status}: {answer.read().decode()}")
        for line in answer:
            if line.startswith(b"data: {") and b'"choices":[{' in line:  # what is read costs no time that servers need
                times.append(time.perf_counter())
        connection.close()
        gap = max((after - before for before, after in pairwise(times)), default=0.0)
        return Asked(times[0] - began, gap, time.perf_counter() - began, len(times))

    def begin(self, words: int, tokens: int) -> Callable[[], Asked]:
        """Ask in a thread; what is returned waits for the end."""
        found: list[Asked] = []
        prompt = self.text(words)
        thread = threading.Thread(target=lambda: found.append(self.ask(prompt, tokens)))
        thread.start()

        def end() -> Asked:
            thread.join()
            return found[0]

        return end

    def health(self) -> float:
        """Seconds that it took to say so."""
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request("GET", "/health")
        connection.getresponse().read()
        connection.close()
        return time.perf_counter() - began

    def crowd(self) -> Figures:
        began = time.perf_counter()
        asked = [end() for end in [self.begin(40, WANTED) for _ in range(CLIENTS)]]
        return {
            "crowd: tokens a second": CLIENTS * WANTED / (time.perf_counter() - began),
            "crowd: slowest first token": max(one.first for one in asked),
            "crowd: longest gap": max(one.gap for one in asked),
        }

    def alone(self) -> Figures:
        return {"alone: long prompt's first token": self.ask(self.text(LONG), 8).first}

    def beside(self) -> Figures:
        running = self.begin(10, 200)
        time.sleep(2)
        began = time.perf_counter()
        long = self.begin(LONG, 8)
        time.sleep(1)
        short, delays, found = self.begin(10, 24), list[float](), list[Asked]()
        waiting = threading.Thread(target=lambda: found.append(long()))
        waiting.start()
        while waiting.is_alive() and time.perf_counter() - began < 280:
            delays.append(self.health())
            time.sleep(0.05)
        waiting.join()
        ran, came = running(), short()
        return {
            "beside: short request's first token": came.first,
            "beside: short request's longest gap": came.gap,
            "beside: running answer's longest gap": ran.gap,
            "beside: long prompt's first token": found[0].first,
            "beside: health, 99 of 100": quantiles(delays, n=100)[98] if len(delays) > 1 else delays[0],
        }


@contextmanager
def served(command: list[str], port: int) -> Iterator[None]:
    """A server until it is not needed any more, once it says that it is ready."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for _ in range(600):
                if process.poll() is not None:
                    log.seek(0)
                    raise SystemExit(f"{command[0]} ended: {log.read()[-2000:].decode(errors='replace')}")
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                    connection.request("GET", "/health")
                    if connection.getresponse().status == 200:
                        break
                except OSError:
                    pass
                time.sleep(0.2)
            yield
        finally:
            process.terminate()
            process.wait(60)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def measured(command: list[str], loads: list[str], seed: int) -> Figures:
    port = free_port()
    with served([*command, "--port", str(port)], port):
        load = Load(port, seed)
        load.ask(load.text(300), 2)  # maps the file and touches every expert
        found: Figures = {}
        for name in loads:
            one = getattr(load, name)()
            print(f"{Path(command[0]).name}: {one}", file=sys.stderr, flush=True)
            found |= one
    first = "long prompt's first token"
    if f"beside: {first}" in found and f"alone: {first}" in found:
        found["beside: long prompt, of alone"] = found[f"beside: {first}"] / found[f"alone: {first}"]
    return found


def from_file(localmix: list[str], model: str, threads: str) -> float:
    """Tokens a second of the crowd's requests without a server."""
    load = Load(0, 0)
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder, "prompts.jsonl")
        prompts.write_text("".join(json.dumps({"prompt": load.text(40)}) + "\n" for _ in range(CLIENTS)))
        command = [*localmix, "run", "-m", model, "-f", str(prompts), "-o", f"{folder}/answers.jsonl", "-t", threads]
        command += ["--raw", "-n", str(WANTED), "--temp", "0", "--parallel", str(CLIENTS)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found = re.search(r"([\d.,]+) t/s", said)
    if found is None:
        raise SystemExit(f"localmix run said no rate: {said}")
    return float(found[1].replace(",", ""))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--peer", help="a llama-server, and options that suit it best here")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-t", "--threads", default="2")
    parser.add_argument("--loads", default="crowd,alone,beside")
    given = parser.parse_args()
    localmix, loads = [str(Path(sys.executable).with_name("localmix"))], given.loads.split(",")
    ours = [*localmix, "serve", given.model, "--parallel", str(CLIENTS), "-t", given.threads, "-c", "8192"]
    theirs = [*shlex.split(given.peer or ""), "-m", given.model, "-np", str(CLIENTS), "-kvu", "-t", given.threads]
    theirs += ["-c", "32768"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # the servers, too
    rounds: list[tuple[Figures, Figures]] = []
    for place in range(given.rounds):
        mine = measured(ours, loads, place)
        if "crowd" in loads:
            rate = from_file(localmix, given.model, given.threads)
            mine["crowd: localmix run --file"] = rate
            mine["crowd: of localmix run --file"] = mine["crowd: tokens a second"] / rate
        rounds.append((mine, measured(theirs, loads, place) if given.peer else {}))
    print(f"{'':38} {'localmix':>9} {'peer':>9} {'ratio':>7}")
    for name in rounds[0][0]:
        mine_, others = (median(one[name] for one in side if name in one) if any(name in one for one in side) else None
                         for side in zip(*rounds, strict=True))  # fmt: skip
        assert mine_ is not None
        line = f"{name:38} {mine_:9.3f}" + (f" {others:9.3f} {mine_ / others:7.2f}" if others else " " * 18)
        if (bar := BARS.get(name)) and (others or "peer" not in bar[0]):
            line += f"   {bar[0]}: {'holds' if bar[1](mine_, others) else 'DOES NOT HOLD'}"
        print(line)


if __name__ == "__main__":
    main()
