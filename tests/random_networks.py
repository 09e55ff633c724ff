"""Small random networks made of blocks, without files, and their logits on any backend."""

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmix.backends.protocol import Backend
from localmix.engine.batch import Batch
from localmix.engine.weights import Weight
from localmix.network.blocks import Attention, Experts, Layer, Linear, Mixture, Norm, Rope, Router
from localmix.network.decoder import Network
from quant import FORMATS
from quant.format import Floats

WIDTH, HEADS, KV_HEADS, SIZE, HIDDEN, EXPERTS, ACTIVE, VOCABULARY, LAYERS = 64, 4, 2, 32, 96, 6, 2, 80, 2
PROMPT, DECODED = 13, 3  # tokens of each of two sequences


class Random:
    """Numbers that are the same on every run."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)

    def floats(self, *shape: int, size: float = 1.0, mean: float = 0.0) -> Floats:
        return (mean + size * self._random.standard_normal(shape)).astype(np.float32)

    def weight(self, rows: int, width: int) -> Weight:
        return Weight(f"{rows}x{width}", FORMATS["f32"], (rows, width), self.floats(rows, width, size=width**-0.5))

    def norm(self, size: int) -> Norm:
        return Norm(self.floats(size, size=0.2, mean=1.0), 1e-5)

    def experts(self, count: int, hidden: int = HIDDEN) -> Experts:
        up, down = (hidden, WIDTH), (WIDTH, hidden)
        return Experts(*(tuple(self.weight(*shape) for _ in range(count)) for shape in (up, up, down)))


def network(experts: int = EXPERTS) -> Network:
    """Every field of every block is neutral. Dense where there are no experts."""
    r = Random()
    rope = Rope(1e3 ** (-np.arange(0, SIZE, 2) / SIZE))

    def layer() -> Layer:
        attention = Attention(
            r.norm(WIDTH),
            Linear(r.weight(HEADS * SIZE, WIDTH)),
            Linear(r.weight(KV_HEADS * SIZE, WIDTH)),
            Linear(r.weight(KV_HEADS * SIZE, WIDTH)),
            Linear(r.weight(WIDTH, HEADS * SIZE)),
            HEADS,
            KV_HEADS,
            SIZE,
            rope,
        )
        router = Router(r.floats(experts, WIDTH, size=0.3), ACTIVE) if experts else None
        return Layer(attention, Mixture(r.norm(WIDTH), r.experts(experts or 1), router))

    layers = tuple(layer() for _ in range(LAYERS))
    embedding = Weight("embedding", FORMATS["f32"], (VOCABULARY, WIDTH), r.floats(VOCABULARY, WIDTH))
    return Network(embedding, layers, r.norm(WIDTH), Linear(r.weight(VOCABULARY, WIDTH)), 64)


def changed(part: Any, kind: type, field: str, value: Callable[[Any], Any]) -> Any:
    """A network with another value in a field of every block of a kind."""
    if isinstance(part, tuple):
        return tuple(changed(one, kind, field, value) for one in part)
    if not is_dataclass(part) or isinstance(part, type | Weight):
        return part
    inside = {f.name: changed(getattr(part, f.name), kind, field, value) for f in fields(part)}
    part = replace(part, **inside)
    return replace(part, **{field: value(part)}) if isinstance(part, kind) else part


def logits(network: Network, backend: Backend, prompts: Sequence[int] = (PROMPT, 9), chunk: int = PROMPT) -> NDArray:
    """Of two sequences in turn: their prompts in one pass or in chunks, then the first alone, then both together."""
    ids = np.random.default_rng(1).integers(0, VOCABULARY, (len(prompts), max(prompts) + 2 * DECODED)).tolist()
    cache, step = backend.cache(network, network.context, "f32"), backend.decoder(network)
    sequences: list[int] = [cache.new() for _ in prompts]
    found: dict[int, list[NDArray]] = {sequence: [] for sequence in sequences}

    def run(ends: Sequence[int]) -> None:
        """One pass up to these places."""
        parts = [(s, len(found[s]), own[len(found[s]) : end]) for s, own, end in zip(sequences, ids, ends, strict=True)]
        batch = Batch.of([part for part in parts if part[2]], every=True)
        cache.reserve(batch)
        rows = np.array(step(batch, cache))
        cache.commit(batch)
        for span in batch.spans:
            found[span.sequence] += list(rows[span.row : span.row + span.count])

    for at in range(chunk, max(prompts) + chunk, chunk):
        run([min(at, count) for count in prompts])
    for i in range(1, DECODED + 1):
        run([prompts[0] + i, *prompts[1:]])
    for i in range(1, DECODED + 1):
        run([prompts[0] + DECODED + i, *(count + i for count in prompts[1:])])
    return np.concatenate([np.array(rows) for rows in found.values()])


def distance(a: NDArray, b: NDArray) -> float:
    """Largest difference over the largest number; infinite where one is no number."""
    error = float(np.abs(a - b).max() / np.abs(b).max())
    return error if np.isfinite(error) else np.inf
