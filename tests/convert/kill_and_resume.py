"""Convert, be killed at a random moment, resume; ten times over. A program of its own, for it forks.

usage: python kill_and_resume.py CHECKPOINT OUT.gguf SEED

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
from pathlib import Path

from localmix import convert
from localmix.convert import stream
from localmix.gguf import partial
from quant.recipe import RECIPES

KILLS = 10
PAUSE = 0.001  # seconds a chunk, so that there is time to be killed in


def main(source: Path, out: Path, seed: int) -> None:
    rng = random.Random(seed)
    stream.CHUNK, partial.INTERVAL = 200, 0.01
    quantize = stream.quantize

    def slowly(*job: object) -> object:
        time.sleep(PAUSE)
        return quantize(*job)  # type: ignore[arg-type]

    stream.quantize = slowly  # type: ignore[assignment]
    begun = time.monotonic()
    wait(start(source, out))
    seconds = time.monotonic() - begun
    say(out, 0, False)
    for _ in range(KILLS):
        run = start(source, out)
        time.sleep(rng.uniform(0, seconds))
        os.kill(run, signal.SIGKILL)
        os.waitpid(run, 0)
        there = out.exists()
        log = Path(f"{out}.partial.log")
        found = int((log.read_text().split() or ["0"])[-1]) if log.exists() and len(log.read_text()) > 65 else 0
        if not there:
            wait(start(source, out))
        say(out, found, there)


def start(source: Path, out: Path) -> int:
    """A process that converts, or goes on."""
    child = os.fork()
    if child == 0:
        plan = convert.make_plan(convert.open_checkpoint(source), RECIPES["F16"])
        convert.write(plan, out, threads=2, resume=True)
        os._exit(0)
    return child


def wait(child: int) -> None:
    assert os.waitpid(child, 0)[1] == 0


def say(out: Path, found: int, there: bool) -> None:
    print(json.dumps([hashlib.sha256(out.read_bytes()).hexdigest(), found, there]))
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    out.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
