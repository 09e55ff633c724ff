"""What each operation of a layer takes on this GPU, and what share of its memory's bandwidth that is. By hand.

    python tests/gpu/by_operation.py [--format q4_k] [--tokens 1,16,512] [--depth 1024] [--json]

Matrices of Mixtral 8x7B's shape, several of each kind in turn, so that none is found in a cache. Operations are
queued many at a time: what is left of a token's time beside their sum is what starting them costs.
Shapes: T tokens · D width · F hidden · E experts · A active.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import mlx.core as mx
import numpy as np

from localmix.backends.mlx import attention, calls, probe
from localmix.backends.mlx.backend import MlxBackend
from localmix.backends.mlx.cache import STORAGES
from localmix.backends.mlx.layouts import layouts
from localmix.backends.mlx.matrix import Matrix
from localmix.backends.mlx.metal import trial
from localmix.backends.mlx.repack import repack
from localmix.engine.weights import Weight
from quant import FORMATS

_D, _F, _E, _A, _HEADS, _KV_HEADS, _HEAD, _VOCABULARY = 4096, 14336, 8, 2, 32, 8, 128, 32000
_SPREAD = 1 << 29  # bytes of one kind of matrix that are read in turn: more than a cache holds
_ROUNDS = 7


@dataclass(frozen=True)
class Timed:
    """One operation on `tokens` tokens; `bytes` of weights, keys and values that it reads."""

    name: str
    tokens: int
    seconds: float
    bytes: int
    share: float | None  # of the bandwidth; None: on a CPU

    @property
    def figure(self) -> str:
        share = "" if self.share is None else f", {self.share:.0%} of the bandwidth"
        rate = f", {self.bytes / self.seconds / 1e9:.1f} GB/s" if self.bytes else ""
        return f"{self.seconds * 1e6:.1f} µs{rate}{share}"


class Bench:
    """Times operations in one format."""

    def __init__(self, format: str, size: int = _D) -> None:
        self._format, self._scale = format, size / _D  # smaller: to try this script out
        self._backend = MlxBackend()
        self._rate = None if self._backend.arithmetic.cpu else probe.read_rate()

    def run(self, tokens: int, depth: int) -> Iterator[Timed]:
        d, f, vocabulary = (int(n * self._scale) for n in (_D, _F, _VOCABULARY))
        kv = int(_KV_HEADS * _HEAD * self._scale)
        for name, out, width in (("q, output", d, d), ("k, v", kv, d), ("logits", vocabulary, d)):
            yield self._product(name, out, width, tokens)
        for name, out, width in (("experts gate, up", f, d), ("experts down", d, f)):
            yield self._gathered(name, out, width, tokens)
        yield self._attention(tokens, depth)
        x, weight = self._numbers(tokens, d).astype(mx.float32), mx.ones(d)
        yield self._time("norm", tokens, [lambda: calls.rms_norm(x, weight, 1e-5)] * 32, 0)
        yield self._time("add", tokens, [lambda: x + x] * 32, 0)
        logits = self._numbers(tokens, _E).astype(mx.float32)
        yield self._time("choose", tokens, [lambda: mx.argsort(-logits, axis=1)[:, :_A]] * 32, 0)

    def _product(self, name: str, out: int, width: int, tokens: int) -> Timed:
        matrices, x = self._matrices(out, width, 0), self._numbers(tokens, width)
        return self._time(name, tokens, [lambda m=m: m.multiply(x) for m in matrices], matrices[0].nbytes)  # type: ignore[misc]

    def _gathered(self, name: str, out: int, width: int, tokens: int) -> Timed:
        stacks, x = self._matrices(out, width, _E), self._numbers(tokens, width)
        rng = np.random.default_rng(0)
        chosen = mx.array(rng.permuted(np.tile(np.arange(_E), (tokens, 1)), axis=1)[:, :_A])

        def gathered(stack: Matrix) -> mx.array:
            p = layouts().of(chosen, _E)
            return p.collect(stack.gather(p.spread(x), p.experts, p.rows))

        read = stacks[0].nbytes * min(_E, tokens * _A) // _E
        return self._time(name, tokens, [lambda s=s: gathered(s) for s in stacks], read)  # type: ignore[misc]

    def _attention(self, tokens: int, depth: int) -> Timed:
        """One sequence whose last tokens these are."""
        n = max(depth, tokens)
        stored = STORAGES["f16"].encode(mx.random.normal((_KV_HEADS, n, _HEAD)))
        q, size = self._numbers(_HEADS, tokens, _HEAD), 2 * stored[0].nbytes

        def attend() -> mx.array:
            return attention.attend(q, stored, stored, n, attention.How(_HEAD**-0.5), self._backend.arithmetic)

        return self._time(f"attention at {n}", tokens, [attend] * 8, size)

    def _matrices(self, out: int, width: int, experts: int) -> list[Matrix]:
        """As many as `_SPREAD` holds, at least two; they are copies of one another."""
        format, count = FORMATS[self._format], max(1, experts)
        blocks = trial.random_blocks(self._format, out, width)
        made: list[Matrix] = []
        while len(made) < 2 or sum(matrix.nbytes for matrix in made) < _SPREAD * self._scale**2:
            parts = tuple(Weight(f"{e}", format, (out, width), blocks) for e in range(count))
            made.append(repack(parts if experts else parts[0], self._backend.arithmetic))
        return made

    def _time(self, name: str, tokens: int, operations: list[Callable[[], mx.array]], size: int) -> Timed:
        runs = []
        for _ in range(1 + _ROUNDS):  # the first compiles
            start = time.perf_counter()
            mx.eval([operation() for operation in operations])
            runs.append((time.perf_counter() - start) / len(operations))
        seconds = float(np.median(runs[1:]))
        return Timed(name, tokens, seconds, size, size / seconds / self._rate if self._rate and size else None)

    def _numbers(self, *shape: int) -> mx.array:
        x = mx.random.normal(shape, key=mx.random.key(0)).astype(self._backend.arithmetic.type)
        mx.eval(x)
        return x


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--format", default="q4_k")
    parser.add_argument("--tokens", default="1,16,512")
    parser.add_argument("--depth", type=int, default=1024)
    parser.add_argument("--size", type=int, default=_D, help="width, smaller to try this script out")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    bench = Bench(a.format, a.size)
    found = [timed for tokens in map(int, a.tokens.split(",")) for timed in bench.run(tokens, a.depth)]
    if a.json:
        print(json.dumps([asdict(one) for one in found]))
        return
    for one in found:
        print(f"{one.name:<20} {one.tokens:>5}  {one.figure}")


if __name__ == "__main__":
    main()
