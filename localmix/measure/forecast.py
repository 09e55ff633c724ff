"""How fast a model will decode on this machine, found out before it is loaded; and its sizes, for whether it fits.

Speed is measured, not looked up: two of its layers are run with the kernels and threads that all will be, and their
time is scaled by the bytes that a token reads. A model that is not here is stood in for by random weights.
"""

import math
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from localmix import gguf
from localmix.answer.options import Options
from localmix.answer.sampling import Sampler
from localmix.backends import Backend
from localmix.engine.batch import Batch
from localmix.gguf import File
from localmix.measure import inventory, synthetic
from localmix.model import Model
from localmix.network import load
from localmix.network.decoder import Network
from localmix.stream.fit import LEAST, Sizes

_WHOLE = 1 << 29  # bytes up to which a model is run whole
_TOKENS = 24  # timed, after as many in one pass that touch what is to be read
_ROUNDS = 3


def sizes(file: File, held: Callable[[str, int], int] | None = None) -> Sizes:
    """From a file's header. `held`: what weights take on a backend that does not read them where files are mapped."""
    found = inventory.take(file)
    experts = [part for part in found.parts if part.role == "experts"]
    if held is not None:
        total = sum(held(part.format, part.weights) for part in found.parts)
        chosen = sum(held(part.format, part.weights) for part in experts)
        active = sum(held(part.format, part.active) for part in experts)
        return Sizes(total, total - chosen, chosen, active, found.cache, found.context or LEAST)
    shared = sum(part.read for part in found.parts if part.role != "experts")  # of an embedding one row
    total, read = sum(part.bytes for part in experts), sum(part.read for part in experts)
    return Sizes(found.bytes, shared, total, read, found.cache, found.context or LEAST)


def seconds(file: File, backend: Backend) -> float:
    """Seconds a decoded token takes with everything in memory, sampling included."""
    network = load(file)
    count = len(network.layers)
    if inventory.take(file).bytes <= _WHOLE or count <= 2:
        return _answering(file, backend)
    middle = count // 2
    one, two = _time(network, backend, [[middle], [middle, middle - 1]])
    return _scaled(file, one, two, layer_bytes(file, middle - 1)) + _sampling(network)


def seconds_of_absent(header: File, backend: Backend) -> float:
    """The same for a model of which only the header is here, in a temporary file that holds no weights."""
    count = sum(1 for name in header.tensors if re.fullmatch(r"blk\.\d+\.attn_norm\.weight", name))
    whole = count <= 2 or inventory.take(header).bytes <= _WHOLE
    layers = list(range(count)) if whole else [count // 2, count // 2 - 1]
    with tempfile.TemporaryDirectory(prefix="localmix-") as folder:
        path = Path(folder) / "sample.gguf"
        synthetic.sample(path, header, layers)
        with gguf.open(path) as file:
            if whole:
                return _answering(file, backend)
            network = load(file)
            one, two = _time(network, backend, [[0], [0, 1]])
            return _scaled(header, one, two, layer_bytes(file, 1)) + _sampling(network)


def seconds_of_experts(file: File, backend: Backend, disk: float) -> float:
    """Seconds in which the experts that a token needs come from a disk of so many bytes a second, repacked as the
    backend does.
    """
    parts = [part for part in inventory.take(file).parts if part.role == "experts"]
    rate: Callable[[str], float] = getattr(backend, "repack_rate", lambda _: math.inf)
    return sum(part.read / min(disk, rate(part.format)) for part in parts)


def _answering(file: File, backend: Backend) -> float:
    """Seconds a token of answers by the whole model, where what Python does between two tokens counts too."""
    model = Model(file.path, backend.name, backend.threads if backend.name == "numba" else None)
    model.tokenizer.end_ids = frozenset()  # it has to go on
    ids = np.random.default_rng(0).integers(0, model.network.vocabulary, 2 * _TOKENS).tolist()
    times = []
    for seed in range(_ROUNDS + 1):
        answer = model.generate(ids[: model.network.context // 2], max_tokens=2 * _TOKENS, seed=seed)
        answer.read()
        times.append(answer.stats.decode_seconds / max(answer.stats.decode_tokens, 1))
    return median(times[1:])


def _scaled(file: File, one: float, two: float, second: float) -> float:
    """Seconds of all layers, from those of the middle one and of two, of which the second reads `second` bytes."""
    count = inventory.take(file).layers or 1
    rest = sum(layer_bytes(file, i) for i in range(count) if i != count // 2)
    return one + max(two - one, 0.0) * rest / second


def layer_bytes(file: File, layer: int) -> float:
    """Bytes of one layer that a token reads."""
    found = inventory.take(file)
    share = found.experts_used / found.experts if found.experts and found.experts_used else 1.0
    own = (t for t in file.tensors.values() if t.name.startswith(f"blk.{layer}."))
    return sum(t.nbytes * (share if inventory.role(t.name) == "experts" else 1.0) for t in own)


def _time(network: Network, backend: Backend, choices: Sequence[Sequence[int]]) -> list[float]:
    """Seconds a token of the network with only these layers, for each choice; they take turns."""
    runs = [_Run(network, backend, layers) for layers in choices]
    for run in runs:
        run.forward(_TOKENS)
        run.forward(1)
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(_ROUNDS):
        for run, taken in zip(runs, times, strict=True):
            taken += [run.forward(1) for _ in range(_TOKENS // _ROUNDS)]
    return [median(taken) for taken in times]


class _Run:
    """Some layers of a network, as a network of their own, on random tokens."""

    def __init__(self, network: Network, backend: Backend, layers: Sequence[int]) -> None:
        own, context = tuple(network.layers[i] for i in layers), max(network.context, 4 * _TOKENS)
        part = replace(network, layers=own, context=context)
        self._step = backend.decoder(part)
        self._cache = backend.cache(part, context, "f16")
        self._sequence, self._at = self._cache.new(), 0
        self._random, self._vocabulary = np.random.default_rng(0), network.vocabulary

    def forward(self, count: int) -> float:
        """Seconds of one pass of `count` tokens."""
        ids = self._random.integers(0, self._vocabulary, count).tolist()
        batch = Batch.of([(self._sequence, self._at, ids)])
        began = time.perf_counter()
        self._cache.reserve(batch)
        self._step(batch, self._cache)
        self._cache.commit(batch)
        self._at += count
        return time.perf_counter() - began


def _sampling(network: Network) -> float:
    """Seconds to choose an id, with the usual options."""
    sampler = Sampler(Options())
    logits = np.random.default_rng(0).standard_normal(network.vocabulary, np.float32)
    times = []
    for _ in range(9):
        began = time.perf_counter()
        sampler(logits, [])
        times.append(time.perf_counter() - began)
    return median(times)
