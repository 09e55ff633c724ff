"""How long a start takes up to the first words: the first one ever and a later one, with and without code in the wheel.

By hand; installs into a new environment, for which pip must reach an index:

    python tests/peers/starts.py [--wheel WHEEL | --bin ENVIRONMENT/bin] [--old COMMAND] [--rounds 5] [--isa avx2]

Without --wheel one with object code of the kernels is built first, which takes minutes; --bin is of an environment that
has such a wheel. Each round has runs with the code, without it, and of another version (--old, its `localmix`), each
beginning with an empty cache. Told are medians, in seconds from the command on; the answers must be the same.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
ASK = ("run", "Tell me a story about a cat", "--seed", "4", "-n", "60", "-q", "--ndjson")


def built(folder: Path) -> Path:
    """A wheel with object code."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(command, env=os.environ | {"HATCH_BUILD_HOOK_ENABLE_CUSTOM": "1"}, check=True)
    (wheel,) = folder.glob("*.whl")
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, built in {time.perf_counter() - start:.0f} s")
    return wheel


def installed(wheel: Path, folder: Path) -> Path:
    """The `bin` of a new environment."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", str(wheel)], check=True)
    return folder / "bin"


def started(command: Path, cache: Path, isa: str) -> tuple[str, float, float]:
    """An answer; seconds to its first line and to its end."""
    environment = os.environ | {"LOCALMIX_CACHE_DIR": str(cache), "LOCALMIX_CONFIG": os.devnull}
    if isa:
        environment["LOCALMIX_ISA"] = isa
    start = time.perf_counter()
    with subprocess.Popen(
        [str(command), *ASK], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        first = run.stdout.readline()
        seconds = time.perf_counter() - start
        lines = [first, *run.stdout]
    assert run.returncode == 0
    return "".join(json.loads(line).get("text", "") for line in lines), seconds, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path)
    parser.add_argument("--bin", type=Path)
    parser.add_argument("--old", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--isa", default="", help="as LOCALMIX_ISA")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was put aside is put back
    found, answers = defaultdict[str, list[list[float]]](list), set[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bin = arguments.bin or installed(arguments.wheel or built(folder), folder / "environment")
        (shipped,) = bin.parent.rglob("backends/numba/shipped")
        aside = shipped.with_name("aside")
        started(bin / "localmix", folder / "cache", arguments.isa)  # the disk's cache, and Python's
        commands = {"with code": bin / "localmix", "without": bin / "localmix"}
        if arguments.old:
            commands["other version"] = arguments.old
        for round in range(arguments.rounds):
            for way, command in commands.items():
                if way == "without":
                    shipped.rename(aside)
                try:
                    runs = [started(command, folder / f"{round}-{way}", arguments.isa) for _ in range(2)]
                finally:
                    if way == "without":
                        aside.rename(shipped)
                answers |= {answer for answer, *_ in runs}
                found[way].append([seconds for _, *both in runs for seconds in both])
    assert len(answers) == 1, answers
    print("                 first start: words, end    second start: words, end")
    for way, figures in found.items():
        print(f"{way:<13}", *(f"{median(column):13.2f}" for column in zip(*figures, strict=True)))


if __name__ == "__main__":
    main()
