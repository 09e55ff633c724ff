"""How close the MLX backend is to the reference, in both of its modes, and what loading takes. By hand.

    python tests/peers/mlx_parity.py MODEL.gguf [--tokens 96] [--layers 2] [--text FILE]

Teacher-forced on a text (or random ids): the largest difference of logits over the largest logit, mean KL
divergence, top-1 agreement. In 32-bit mode also whether the first 32 tokens of one seed are the same. Last, the
peak of anonymous memory while loading, over the file's size (Linux).
"""

import argparse
import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np

from localmix import arch, backends, gguf, tokenizer
from localmix.arch.decoder import Network
from localmix.backends import Backend
from localmix.batch import Batch
from localmix.options import Options
from localmix.sampling import Sampler
from quant.format import Floats


def logits(backend: Backend, network: Network, ids: list[int]) -> Floats:
    """Logits (T, V) after each of the ids, in one batch."""
    cache = backend.cache(network, len(ids), "f16")
    batch = Batch.of([(cache.new(), 0, ids)], every=True)
    cache.reserve(batch)
    return backend.decoder(network)(batch, cache)


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


def load_peak(path: Path, half: bool) -> float:
    """Peak of anonymous memory in bytes, in a process that only loads."""
    code = f"""
import threading, time
from localmix import arch, gguf
from localmix.backends.mlx.backend import MlxBackend
network, peak = arch.load(gguf.open({str(path)!r})), 0
def anonymous():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))
done = threading.Event()
def watch():
    global peak
    while not done.wait(0.005):
        peak = max(peak, anonymous())
thread = threading.Thread(target=watch); thread.start()
step = MlxBackend(half={half}).decoder(network)
done.set(); thread.join(); print(max(peak, anonymous()) * 1024)
"""
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--layers", type=int, help="only the first layers")
    parser.add_argument("--text", type=Path, help="a text file; otherwise random ids")
    a = parser.parse_args()
    from localmix.backends.mlx.backend import MlxBackend

    file = gguf.open(a.model)
    network = arch.load(file)
    network = dataclasses.replace(network, layers=network.layers[: a.layers])
    if a.text is None:
        ids = np.random.RandomState(0).randint(3, network.config.vocabulary, a.tokens).tolist()
    else:
        ids = tokenizer.from_metadata(file.metadata).encode(a.text.read_text()[: 20 * a.tokens])[: a.tokens]
    reference = backends.pick("reference")
    expected = logits(reference, network, ids)
    for half in (False, True):
        got = logits(MlxBackend(half=half), network, ids)
        p, q = log_shares(expected), log_shares(got)
        kl = (np.exp(p) * (p - q)).sum(axis=1).mean()
        top = (got.argmax(axis=1) == expected.argmax(axis=1)).mean()
        error = np.abs(got - expected).max() / np.abs(expected).max()
        print(f"{16 if half else 32}-bit: logits {error:.1e} relative, KL {kl:.1e}, top-1 {top:.1%} of {len(ids)}")
    if a.layers is None:
        start = ids[:8]
        same = continued(MlxBackend(half=False), network, start, 32) == continued(reference, network, start, 32)
        print("the first 32 tokens of one seed:", "the same" if same else "DIFFERENT")
    size = a.model.stat().st_size
    print(f"loading: {load_peak(a.model, True) / size:.2f} of the file's size at the peak, {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
