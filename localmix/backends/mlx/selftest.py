"""Everything that the MLX backend computes, on this device, against the reference: pass or fail, one by one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localmix.backends.mlx import cache as device_cache
from localmix.backends.mlx.backend import MlxBackend
from localmix.backends.mlx.metal import choice, trial
from localmix.backends.mlx.metal.lanes import TABLE
from localmix.backends.reference import Reference
from localmix.engine.batch import Batch
from localmix.engine.cache import Cache
from localmix.engine.weights import Experts, Weight
from quant import FORMATS, Format
from quant.format import Floats

_OUT, _WIDTH, _EXPERTS, _ACTIVE = 256, 512, 4, 2
_HEADS, _KV_HEADS, _HEAD, _DEPTH = 8, 2, 64, 100
_8_BIT_CACHE = 3e-2  # its error beside the reference's cache, which keeps 32 bits


@dataclass(frozen=True)
class Check:
    """`passed` None: it cannot be run here, `detail` says why."""

    name: str
    passed: bool | None
    detail: str


def checks(half: bool | None = None) -> Iterator[Check]:
    """All of them, each computed when it is asked for. `half`: in 16-bit mode; None: in the device's."""
    for name in TABLE:
        yield _metal(name)
    tester = _Tester(half)
    for format in FORMATS.values():
        yield from tester.format(format)
    yield from tester.operations()


def _metal(name: str) -> Check:
    title = f"metal {name}"
    if not mx.metal.is_available():
        return Check(title, None, "there is no GPU of Apple here")
    verdict = choice.judge(name)
    return Check(title, verdict.right, verdict.why)


class _Tester:
    """Both backends, and numbers to give them."""

    def __init__(self, half: bool | None) -> None:
        self._device, self._reference, self._rng = MlxBackend(half), Reference(), np.random.default_rng(0)
        self._bound = 5e-3 if self._device.arithmetic.half else 1e-4

    def format(self, format: Format) -> Iterator[Check]:
        """Rows; products with one token and with many; experts for few tokens and for many."""
        name, weight = format.name, self._weight(format, _OUT, _WIDTH)
        more = 2 * self._device.arithmetic.form(format).error
        yield self._compare(f"{name} rows", lambda b, ids: b.embed(weight, ids), np.array([3, 0, 200]), more=more)
        for tokens in (1, 40):
            x = self._numbers(tokens, _WIDTH)
            yield self._compare(f"{name} × {tokens}", lambda b, x: b.linear(x, weight)[0], x, more=more)
        shapes = (_OUT, _WIDTH), (_OUT, _WIDTH), (_WIDTH, _OUT)
        experts = Experts(*(tuple(self._weight(format, *shape) for _ in range(_EXPERTS)) for shape in shapes))
        for tokens in (1, 80):
            inputs = (
                self._numbers(tokens, _WIDTH),
                self._rng.permuted(np.tile(np.arange(_EXPERTS), (tokens, 1)), axis=1)[:, :_ACTIVE],
                np.full((tokens, _ACTIVE), 1 / _ACTIVE, np.float32),
            )
            yield self._compare(
                f"{name} experts × {tokens}",
                lambda b, x, chosen, mix: b.experts(x, chosen, mix, experts),
                *inputs,
                more=3 * more,
            )

    def operations(self) -> Iterator[Check]:
        """What is not a product with weights."""
        scale, gate = self._numbers(_WIDTH), self._numbers(_EXPERTS, _WIDTH)
        inverse = 1e6 ** (-np.arange(0, _HEAD, 2) / _HEAD)
        positions, heads = np.array([0, 1, 900, 7, 30000]), self._numbers(5, _HEADS, _HEAD)
        x = self._numbers(5, _WIDTH)
        yield self._compare("norm", lambda b, x: b.norm(x, scale, 1e-5), x)
        yield self._compare("route", lambda b, x: b.route(x, gate, _ACTIVE)[1], x)
        yield self._compare("rope", lambda b, x: b.rope(x, positions, inverse), heads, more=5e-3)  # float32 angles
        for kv in device_cache.STORAGES:
            for tokens in (1, 40):
                yield self._attention(kv, tokens)

    def _attention(self, kv: str, tokens: int) -> Check:
        """A prompt, then `tokens` more."""
        caches: dict[str, Any] = {
            self._reference.name: Cache(1, _KV_HEADS, _HEAD, 256, "f32"),
            self._device.name: device_cache.Cache(1, _KV_HEADS, _HEAD, 256, kv),
        }

        def attend(b: Any, *parts: Any) -> Any:
            cache, at, out = caches[b.name], 0, None
            sequence = cache.new()
            for q, k, v in (parts[:3], parts[3:]):
                batch = Batch.of([(sequence, at, [0] * len(q))])
                cache.reserve(batch)
                out = b.attend(q, k, v, cache, 0, batch)
                cache.commit(batch)
                at += len(q)
            return out

        inputs = [self._numbers(n, h, _HEAD) for n in (_DEPTH, tokens) for h in (_HEADS, _KV_HEADS, _KV_HEADS)]
        more = {"q8_0": _8_BIT_CACHE, "f16": 2e-3, "f32": 0.0}[kv]
        return self._compare(f"attention {kv} × {tokens}", attend, *inputs, more=more)

    def _compare(self, name: str, run: Callable[..., Any], *inputs: NDArray, more: float = 0.0) -> Check:
        """Largest difference over the largest number; `more` is added to what the arithmetic may cost."""
        expected = run(self._reference, *inputs)
        try:
            got = self._device.to_numpy(run(self._device, *map(mx.array, inputs)))
        except (RuntimeError, ValueError) as refusal:
            return Check(name, False, " ".join(str(refusal).split()))
        error = float(np.abs(got - expected).max() / np.abs(expected).max())
        return Check(name, error < self._bound + more, f"error {error:.1e}")

    def _numbers(self, *shape: int) -> Floats:
        return self._rng.standard_normal(shape).astype(np.float32)

    def _weight(self, format: Format, out: int, width: int) -> Weight:
        return Weight(format.name, format, (out, width), trial.random_blocks(format.name, out, width))
