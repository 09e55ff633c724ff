"""Convert with an importance, be killed at a random moment, resume; ten times over. A program of its own, for it forks.

usage: python kill_and_resume.py CHECKPOINT OUT.gguf SEED [TEXT]

With a TEXT the file is also measured on it: the moment may come before, in the middle or after that.

A line of JSON for each time: the hash of the finished file, how many bytes the second run found, and whether the
final name was there after the kill. The first line is of a run that nothing disturbed.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from localmix import convert, gguf
from localmix.convert import stream
from localmix.convert.receipt import read_receipt
from localmix.gguf import partial
from quant.recipe import RECIPES

KILLS = 10
PAUSE = 0.001  # seconds a chunk, so that there is time to be killed in


def main(source: Path, out: Path, seed: int, text: Path | None) -> None:
    rng = random.Random(seed)
    stream.CHUNK, partial.INTERVAL = 200, 0.01
    quantize = stream.quantize

    def slowly(*job: object) -> object:
        time.sleep(PAUSE)
        return quantize(*job)  # type: ignore[arg-type]

    stream.quantize = slowly  # type: ignore[assignment]
    convert_and_measure(source, out, None)  # what is compiled here is so in every fork
    out.unlink()
    begun = time.monotonic()
    wait(start(source, out, text))
    seconds = time.monotonic() - begun
    say(out, 0, False)
    for _ in range(KILLS):
        run = start(source, out, text)
        time.sleep(rng.uniform(0, seconds))
        os.kill(run, signal.SIGKILL)
        os.waitpid(run, 0)
        there = out.exists()
        log = Path(f"{out}.partial.log")
        found = int((log.read_text().split() or ["0"])[-1]) if log.exists() and len(log.read_text()) > 65 else 0
        if not there:
            wait(start(source, out, text))
        say(out, found, there)


def start(source: Path, out: Path, text: Path | None) -> int:
    """A process that converts, or goes on."""
    child = os.fork()
    if child == 0:
        convert_and_measure(source, out, text)
        os._exit(0)
    return child


def convert_and_measure(source: Path, out: Path, text: Path | None) -> None:
    checkpoint = convert.open_checkpoint(source)
    shapes = {name: source.shape for name, source in checkpoint.tensors.items() if len(source.shape) == 2}
    importance = {name: np.linspace(0.1, 1, shape[1], dtype=np.float32) for name, shape in shapes.items()}
    extra = convert.receipt(checkpoint, "Q4_0", {"tokens": 1000}, text is not None)
    plan = convert.make_plan(checkpoint, RECIPES["Q4_0"], (), extra, importance)
    convert.write(plan, out, 2, resume=True, finish=text and measured(plan, text, out))


def measured(plan: convert.Plan, text: Path, out: Path) -> Callable[[Path], None]:
    measurement = convert.Measurement.make(plan, text, threads=1)

    def finish(place: Path) -> None:
        measurement.fill_in(place, out, lambda count: None)

    return finish


def wait(child: int) -> None:
    assert os.waitpid(child, 0)[1] == 0


def say(out: Path, found: int, there: bool) -> None:
    print(json.dumps([hashlib.sha256(out.read_bytes()).hexdigest(), found, there]))
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert None not in read_receipt(gguf.open(out).metadata).values()  # all is measured
    out.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]) if sys.argv[4:] else None)
