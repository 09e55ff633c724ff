"""How close the MLX backend is to the reference, in both of its modes, and what loading takes. By hand.

    python tests/peers/mlx_parity.py MODEL.gguf [--tokens 96] [--layers 2] [--text FILE] [--beside numba]
    python tests/peers/mlx_parity.py --synthetic mixtral-8x7b --layers 2 --format q4_0 [--tokens 32]

Teacher-forced on a text (or random ids), the first half as a prompt and the rest one token after another: the
largest difference of logits over the largest logit, mean KL divergence, top-1 agreement and, where the best token
differs, how close the reference's two best were at most. In 32-bit mode also whether the first 32 tokens of one
seed are the same. Last, the peak of anonymous memory while loading, over the file's size (Linux).
Numba, as the other side, is faster and rounds activations of wide networks.
"""

import argparse
import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from localmix import backends, gguf, tokenizer
from localmix import network as networks
from localmix.answer.options import Options
from localmix.answer.sampling import Sampler
from localmix.backends import Backend
from localmix.backends.mlx.backend import MlxBackend
from localmix.engine.batch import Batch
from localmix.measure import synthetic
from localmix.network.decoder import Network
from quant.format import Floats


def logits(backend: Backend, network: Network, ids: list[int], prompt: int) -> Floats:
    """Logits (T, V) after each of the ids: `prompt` of them in one batch, the others one by one."""
    cache, step, parts = backend.cache(network, len(ids), "f16"), backend.decoder(network), []
    sequence = cache.new()
    for at, part in [(0, ids[:prompt]), *((i, ids[i : i + 1]) for i in range(prompt, len(ids)))]:
        batch = Batch.of([(sequence, at, part)], every=True)
        cache.reserve(batch)
        parts.append(step(batch, cache))
        cache.commit(batch)
    return np.concatenate(parts)


def continued(backend: Backend, network: Network, ids: list[int], count: int) -> list[int]:
    """Ids sampled with one seed."""
    step, cache = backend.decoder(network), backend.cache(network, len(ids) + count, "f16")
    sequence, sampler, out, new = cache.new(), Sampler(Options(seed=1)), list(ids), ids
    for _ in range(count):
        batch = Batch.of([(sequence, cache.length(sequence), new)])
        cache.reserve(batch)
        last = step(batch, cache)[0]
        cache.commit(batch)
        new = [sampler(last, out)]
        out += new
    return out[len(ids) :]


def log_shares(x: Floats) -> Floats:
    x = x.astype(np.float64) - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Parity:
    """How far logits are from what is expected."""

    error: float  # largest difference over the largest logit
    kl: float  # mean divergence of the distributions of the next token
    same: float  # share of tokens with the same first choice
    apart: float  # where it is not the same: how far the two best were from each other at most
    tokens: int

    @property
    def text(self) -> str:
        close = f", where not at most {self.apart:.3f} apart" if self.same < 1 else ""
        return f"logits {self.error:.1e} relative, KL {self.kl:.1e}, top-1 {self.same:.1%} of {self.tokens}{close}"


def compared(expected: Floats, got: Floats) -> Parity:
    p, q = log_shares(expected), log_shares(got)
    other = got.argmax(axis=1) != expected.argmax(axis=1)
    second, best = np.sort(expected[other], axis=1)[:, -2:].T
    return Parity(
        error=float(np.abs(got - expected).max() / np.abs(expected).max()),
        kl=float((np.exp(p) * (p - q)).sum(axis=1).mean()),
        same=1 - float(other.mean()),
        apart=float((best - second).max()) if other.any() else 0.0,
        tokens=len(got),
    )


def modes(network: Network, ids: list[int], beside: str) -> Iterator[tuple[bool, Parity]]:
    """16-bit mode (True) and 32-bit mode beside another backend; the first half of the ids is a prompt."""
    expected = logits(backends.pick(beside), network, ids, len(ids))
    for half in (True, False):
        yield half, compared(expected, logits(MlxBackend(half=half), network, ids, len(ids) // 2))


def load_peak(path: Path, half: bool) -> float:
    """Peak of anonymous memory in bytes, in a process that only loads."""
    code = f"""
import threading, time
from localmix import gguf, network
from localmix.backends.mlx.backend import MlxBackend
loaded, peak = network.load(gguf.open({str(path)!r})), 0
def anonymous():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))
done = threading.Event()
def watch():
    global peak
    while not done.wait(0.005):
        peak = max(peak, anonymous())
thread = threading.Thread(target=watch); thread.start()
step = MlxBackend(half={half}).decoder(loaded)
done.set(); thread.join(); print(max(peak, anonymous()) * 1024)
"""
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def measure(path: Path, layers: int | None, ids: list[int], beside: str) -> None:
    """Print all figures of one file; no ids: loading only."""
    network = networks.load(gguf.open(path))
    network = dataclasses.replace(network, layers=network.layers[:layers])
    if ids:
        for half, parity in modes(network, ids, beside):
            print(f"{16 if half else 32}-bit: {parity.text}", flush=True)
        if layers is None:
            start, other = ids[:8], backends.pick(beside)
            same = continued(MlxBackend(half=False), network, start, 32) == continued(other, network, start, 32)
            print("the first 32 tokens of one seed:", "the same" if same else "DIFFERENT", flush=True)
    size = path.stat().st_size
    print(f"loading: {load_peak(path, True) / size:.2f} of the file's size at the peak, {size / 1e6:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--tokens", type=int, default=96, help="0: measure loading only")
    parser.add_argument("--layers", type=int, help="only the first layers")
    parser.add_argument("--text", type=Path, help="a text file; otherwise random ids")
    parser.add_argument("--synthetic", metavar="NAME", help="random weights of this shape instead of a file")
    parser.add_argument("--format", default="q4_0", help="of the synthetic model")
    parser.add_argument("--beside", default="reference", choices=("reference", "numba"))
    a = parser.parse_args()
    if (a.model is None) == (a.synthetic is None):
        parser.error("name a model file or --synthetic NAME")
    with tempfile.TemporaryDirectory() as folder:
        path = a.model or Path(folder) / "synthetic.gguf"
        if a.synthetic:
            synthetic.write(path, a.synthetic, a.layers, a.format)
        file = gguf.open(path)
        vocabulary = networks.load(file).vocabulary
        ids = np.random.RandomState(0).randint(3, vocabulary, a.tokens).tolist()
        if a.text is not None:
            ids = tokenizer.from_metadata(file.metadata).encode(a.text.read_text()[: 20 * a.tokens])[: a.tokens]
        measure(path, a.layers, ids, a.beside)


if __name__ == "__main__":
    main()
