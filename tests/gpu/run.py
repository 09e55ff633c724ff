"""Everything that has to be seen on a real GPU, and one table of it. By hand; wants this checkout, NumPy and MLX.

    python tests/gpu/run.py [--steps selftest,parity,operations,bench] [--model FILE …] [--layers 4] [--out FILE.json]

Steps, each of which goes on where another fails:
  selftest    every operation, the bundled model and a small network of each family, in both modes, against the
              reference and MLX's CPU device
  parity      teacher-forced beside the reference: the bundled model, each FILE, two layers of Mixtral's shape in four
              formats and of other large models' shapes; bars: in 16-bit mode mean KL below 1e-3 and the same first
              choice at 99 % of tokens
  operations  what each operation of a Mixtral layer takes (by_operation.py)
  bench       prompts, decoding and batches: the bundled model, layers of large models' shapes, and each FILE;
              bar: decoding at 60 % of the memory's bandwidth on Mixtral's shape
Kernels that MLX compiles as it meets them are counted, with the seconds that went by. `--quick` tries the script out.
"""

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "peers"), str(ROOT / "tests" / "gpu")]

import by_operation  # noqa: E402
import mlx_parity  # noqa: E402

from localmix import gguf  # noqa: E402
from localmix import network as networks  # noqa: E402
from localmix.answer.options import Options  # noqa: E402
from localmix.answer.sampling import Sampler  # noqa: E402
from localmix.backends.mlx import cuda, layouts, probe  # noqa: E402
from localmix.backends.mlx.backend import MlxBackend  # noqa: E402
from localmix.backends.mlx.selftest import checks  # noqa: E402
from localmix.engine.batch import Batch  # noqa: E402
from localmix.engine.engine import Engine  # noqa: E402
from localmix.measure import bench, small, synthetic  # noqa: E402
from localmix.store.bundled import model_path  # noqa: E402

KL, SAME, SHARE = 1e-3, 0.99, 0.6  # the bars
FORMATS = ("q4_0", "q4_k", "q6_k", "q8_0")
SHAPES = ("mixtral-8x7b", "qwen3-30b-a3b", "gpt-oss-20b")  # those that `synthetic` knows are measured
OTHERS = {"qwen3-30b-a3b": "q4_k", "gpt-oss-20b": "mxfp4"}  # the formats of those after the first


@dataclass(frozen=True)
class Row:
    """`passed` None: there is no bar."""

    what: str
    figure: str
    passed: bool | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", default="selftest,parity,operations,bench")
    parser.add_argument("--model", type=Path, action="append", default=[], help="a GGUF file; may be repeated")
    parser.add_argument("--layers", type=int, default=4, help="of the shapes that are measured")
    parser.add_argument("--out", type=Path, help="the rows as JSON")
    parser.add_argument("--quick", action="store_true")
    a = parser.parse_args()
    unknown = set(a.steps.split(",")) - set(STEPS)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(STEPS)}")
    rows = [*about()]
    for name in a.steps.split(","):
        rows += step(name, partial(STEPS[name], a))
        if a.out is not None:
            a.out.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    print(table(rows))
    sys.exit(any(row.passed is False for row in rows))


def about() -> Iterator[Row]:
    import mlx.core as mx

    backend = MlxBackend()
    yield Row("device", f"{backend.isa}; MLX {mx.__version__}, {time.strftime('%d %B %Y')}")
    if backend.arithmetic.cpu:
        yield Row("a GPU", "there is none: this only tries the script out", None)
    else:
        yield Row("memory's bandwidth", f"{probe.read_rate() / 1e9:.0f} GB/s")
        yield Row("layouts of experts", layouts.layouts().why)


def step(name: str, run: Callable[[], Iterator[Row]]) -> list[Row]:
    """Its rows, with what it took and what was compiled; an error is a row."""
    print(f"## {name}", flush=True)
    rows, start, before = [], time.perf_counter(), compiled()
    try:
        for row in run():
            print(f"{row.what}: {row.figure}", flush=True)
            rows.append(row)
    except Exception as error:
        traceback.print_exc()
        rows.append(Row(name, f"{type(error).__name__}: {error}", False))
    kernels = f", {compiled() - before} kernels compiled" if cuda.present() else ""
    return [*rows, Row(f"{name} took", f"{time.perf_counter() - start:.0f} s{kernels}")]


def compiled() -> int:
    return sum(1 for _ in cuda.kernels().rglob("*.ptx")) if cuda.present() else 0


def selftest(a: argparse.Namespace) -> Iterator[Row]:
    counts, failed = {True: 0, False: 0, None: 0}, []
    with tempfile.TemporaryDirectory() as folder:
        named = [("the bundled model", networks.load(gguf.open(model_path()))), *small.networks(Path(folder))]
        for check in checks(named, (True,) if a.quick else (True, False)):
            counts[check.passed] += 1
            if check.passed is False:
                failed.append(f"{check.name}: {check.detail}")
                print(f"FAIL {failed[-1]}", flush=True)
    first = f"; the first that failed: {failed[0]}" if failed else ""
    yield Row("self-test", f"{counts[True]} passed, {counts[False]} failed, {counts[None]} skipped{first}", not failed)


def parity(a: argparse.Namespace) -> Iterator[Row]:
    yield from _parity("bundled model", model_path(), 16 if a.quick else 96)
    for path in a.model:
        yield from _parity(path.name, path, 16 if a.quick else 96)
    if a.quick:
        return
    for shape, format in [(SHAPES[0], format) for format in FORMATS] + [(shape, OTHERS[shape]) for shape in SHAPES[1:]]:
        if shape in synthetic.SHAPES:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "two.gguf"
                synthetic.write(path, shape, 2, format)
                yield from _parity(f"two layers of {shape}, {format}", path, 24)


def _parity(name: str, path: Path, tokens: int) -> Iterator[Row]:
    network = networks.load(gguf.open(path))
    ids = np.random.RandomState(0).randint(3, network.token_embd.shape[0], tokens).tolist()
    for half, found in mlx_parity.modes(network, ids, "reference"):
        close = found.same >= SAME or (tokens < 100 and round(found.same * tokens) >= tokens - 1)  # one tie is one
        yield Row(f"{name}, {16 if half else 32}-bit", found.text, found.kl < KL and close)


def operations(a: argparse.Namespace) -> Iterator[Row]:
    timed = by_operation.Bench("q4_k", 512 if a.quick else 4096)
    for tokens in (1,) if a.quick else (1, 16, 512):
        yield from (
            Row(f"{one.name}, {tokens} tokens", one.figure) for one in timed.run(tokens, 64 if a.quick else 1024)
        )


def speed(a: argparse.Namespace) -> Iterator[Row]:
    yield from _speed("bundled model", model_path(), a.quick, bar=False)
    for path in a.model:
        yield from _speed(path.name, path, a.quick, bar=False)
    for shape in () if a.quick else SHAPES:
        if shape not in synthetic.SHAPES:
            yield Row(shape, "no such shape in this checkout")
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "some.gguf"
            synthetic.write(path, shape, a.layers, OTHERS.get(shape, "q4_k"))
            yield from _speed(f"{a.layers} layers of {shape}", path, a.quick, bar=shape == SHAPES[0])


def _speed(name: str, path: Path, quick: bool, bar: bool) -> Iterator[Row]:
    model: Any = _bare(path)
    rate = model.backend.read_rate()
    plan = bench.Plan((32,), 4, (1,), (0,), 1) if quick else bench.Plan((32, 128, 512, 2048), 64, (1, 16), (0,), 3)
    for found in bench.run(model, plan, None if rate is None else lambda: rate):
        share = found.share_of_bound
        text = f"{found.tokens_per_second:.1f} t/s" + ("" if share is None else f", {share:.0%} of the bandwidth")
        yield Row(f"{name}, {found.test}, batch {found.batch}", text, share >= SHARE if bar and share else None)
    yield Row(f"{name}, decoding as in a chat", f"{_chatting(model, 4 if quick else 64):.1f} t/s")


def _chatting(model: Any, tokens: int) -> float:
    """Tokens a second where ids are chosen on the device, and the next pass is queued before an id is read."""
    engine, ids = model.engine, [1, 2, 3]
    cache = engine.cache()
    sequence = cache.new()
    last = engine.forward(Batch.of([(sequence, 0, ids)]), cache)[0]
    chosen = engine.chooses(cache, sequence, ids, last, Sampler(Options(temp=0)))
    next(chosen)
    start = time.perf_counter()
    for _ in range(tokens):
        next(chosen)
    return tokens / (time.perf_counter() - start)


def _bare(path: Path) -> SimpleNamespace:
    """What `bench` needs of a model: no vocabulary, and so no library but MLX."""
    file = gguf.open(path)
    engine = Engine(networks.load(file), MlxBackend())
    return SimpleNamespace(file=file, engine=engine, network=engine.network, backend=engine.backend)


def table(rows: list[Row]) -> str:
    verdicts = {True: "pass", False: "**FAIL**", None: ""}
    lines = [f"| {row.what} | {row.figure} | {verdicts[row.passed]} |" for row in rows]
    return "\n".join(["", "| what | seen | |", "|---|---|---|", *lines])


STEPS = {"selftest": selftest, "parity": parity, "operations": operations, "bench": speed}

if __name__ == "__main__":
    main()
