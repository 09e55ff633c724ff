"""Whole networks: each operation beside the reference's on the same numbers, then a prompt and decoding.

The first pass names the operation that differs first; in the second the device's own numbers go from one to the next,
and then once more with the experts in a pool that has room for few of them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localmix.backends.mlx.backend import MlxBackend
from localmix.backends.mlx.load import matrices
from localmix.backends.mlx.selftest.check import Check, bound, distance, numbers
from localmix.backends.protocol import Step
from localmix.backends.reference import Reference
from localmix.engine.batch import Batch
from localmix.network.decoder import Network, forward, routed
from localmix.stream.pool import Pool
from localmix.stream.table import LEAST
from quant.format import Floats

Named = tuple[str, Network]

_PROMPT, _DECODED = 40, 6  # tokens
_KV = 2e-3  # what keys and values in 16 bits cost
_KL = 1e-3  # most mean divergence of the distributions of the next token, in 16-bit mode
_LOGITS = 2e-3  # most difference of logits, in 32-bit mode

# Of each operation: how many of its first arguments are numbers that the operation before has computed.
_COMPUTED = {
    "embed": 0,
    "norm": 1,
    "linear": 1,
    "rotate": 1,
    "attend": 3,
    "choose": 1,
    "experts": 3,
    "every": 1,
    "take": 1,
}


def checks(named: Iterable[Named], half: bool) -> Iterator[Check]:
    for name, network in named:
        device = MlxBackend(half)
        limit = bound(half) + _KV + max(3 * device.arithmetic.form(w.format).error for w in matrices(network))
        beside = _Beside(device, limit)
        operations: Any = beside
        expected = _logits(network, beside, _both(network, device), partial(forward, operations, network))
        yield Check(f"{name}, operation by operation", beside.first is None, beside.text)
        yield from _passes(name, network, device, device.decoder(network), expected)
        if routed(network) and device.streams:
            yield from _passes(f"{name}, streamed", network, device, _streamed(network, device), expected)


def _passes(name: str, network: Network, device: MlxBackend, step: Step, expected: Floats) -> Iterator[Check]:
    try:
        got = _logits(network, device, device.cache(network, _PROMPT + _DECODED, "f16"), step)
    except (RuntimeError, ValueError, TypeError) as refusal:
        yield Check(f"{name}, prompt", False, " ".join(str(refusal).split()))
        return
    for part, rows in (("prompt", slice(None, _PROMPT)), ("decoding", slice(_PROMPT, None))):
        yield _judged(f"{name}, {part}", got[rows], expected[rows], device.arithmetic.half)


def _streamed(network: Network, device: MlxBackend) -> Step:
    """With room for half of the experts of one layer."""
    extents = {key: [part.extent for part in parts if part.extent] for key, parts in routed(network).items()}
    slots = device.slots(network)
    pool = Pool(extents, max(LEAST, network.experts // 2) * slots.nbytes, memory=slots)
    return device.decoder(network, pool=pool)


def _logits(network: Network, backend: Any, cache: Any, step: Callable[[Batch, Any], Any]) -> Floats:
    """Logits (T, V) after random ids: a prompt in one pass, then one by one."""
    vocabulary = network.token_embd.shape[0]
    ids = np.random.default_rng(0).integers(0, vocabulary, _PROMPT + _DECODED).tolist()
    sequence, parts = cache.new(), []
    for at, some in [(0, ids[:_PROMPT]), *((at, ids[at : at + 1]) for at in range(_PROMPT, len(ids)))]:
        batch = Batch.of([(sequence, at, some)], every=True)
        cache.reserve(batch)
        parts.append(backend.to_numpy(step(batch, cache)) if isinstance(backend, _Beside) else step(batch, cache))
        cache.commit(batch)
    return np.concatenate(parts)


def _judged(name: str, got: Floats, expected: Floats, half: bool) -> Check:
    p, q = _log_shares(expected), _log_shares(got)
    apart = (np.exp(p) * (p - q)).sum(axis=1)  # of each token
    same = (got.argmax(axis=1) == expected.argmax(axis=1)).mean()
    error = distance(got, expected)
    # Rounding makes a router choose otherwise now and then, between experts that are nearly as good: then few tokens
    # are far apart. A fault shows in all of them.
    passed = min(apart.mean(), np.quantile(apart, 0.9)) < _KL if half else error < _LOGITS
    return Check(name, bool(passed), f"KL {apart.mean():.1e}, top-1 {same:.0%}, logits {error:.1e}")


def _log_shares(x: Floats) -> NDArray[np.float64]:
    x = x.astype(np.float64) - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class _Both:
    """A cache of each."""

    reference: Any
    device: Any

    def new(self) -> int:
        here, there = self.reference.new(), self.device.new()
        assert here == there, (here, there)
        return here

    def reserve(self, batch: Batch) -> None:
        self.reference.reserve(batch)
        self.device.reserve(batch)

    def commit(self, batch: Batch) -> None:
        self.reference.commit(batch)
        self.device.commit(batch)


def _both(network: Network, device: MlxBackend) -> _Both:
    room = _PROMPT + _DECODED
    return _Both(Reference().cache(network, room, "f32"), device.cache(network, room, "f16"))


class _Beside:
    """The reference's operations, each of which the device computes too, from the same numbers."""

    def __init__(self, device: MlxBackend, limit: float) -> None:
        self._reference, self._device, self._limit = Reference(), device, limit
        self._layers, self._worst = 0, ("", 0.0)
        self.first: str | None = None  # operation that differs

    @property
    def text(self) -> str:
        name, error = self._worst
        return f"the first that differs: {self.first}" if self.first else f"at most {error:.1e}, {name}"

    def to_numpy(self, x: Floats) -> Floats:
        return x

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in _COMPUTED:
            raise AttributeError(f"{name}: _COMPUTED does not say how many of its arguments are computed")
        return partial(self._compute, name)

    def _compute(self, name: str, *arguments: Any) -> Any:
        expected = getattr(self._reference, name)(*(_side(one, "reference") for one in arguments))
        computed = _COMPUTED[name]
        given = [mx.array(one) if i < computed else _side(one, "device") for i, one in enumerate(arguments)]
        where = f"{name} after {self._layers} attentions"
        try:
            got = getattr(self._device, name)(*given)
            parts = zip(_parts(got), _parts(expected), strict=True)
            error = max(distance(numbers(one), np.asarray(other, np.float32)) for one, other in parts)
        except (RuntimeError, ValueError, TypeError) as refusal:
            where, error = f"{where}: {' '.join(str(refusal).split())}", float("nan")
        self._note(where, error)
        self._layers += name == "attend"
        return expected

    def _note(self, where: str, error: float) -> None:
        if self.first is None and not error < self._limit:  # a NaN is not
            self.first = f"{where}, error {error:.1e}"
        if error > self._worst[1]:
            self._worst = where, error


def _side(argument: Any, side: str) -> Any:
    """An argument with the cache of one side."""
    if isinstance(argument, _Both):
        return getattr(argument, side)
    cache = getattr(argument, "cache", None)
    return replace(argument, cache=getattr(cache, side)) if isinstance(cache, _Both) else argument


def _parts(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)
