"""Whole networks on MLX against the reference: in 32 bits the same numbers, in 16 bits the same text."""

import pathlib
from typing import Any

import numpy as np
import pytest
import quantized_models
import small_models

from localmix import backends, gguf
from localmix import network as networks
from localmix.answer.options import Options
from localmix.answer.sampling import Sampler
from localmix.backends import Backend
from localmix.engine.batch import Batch
from localmix.engine.context import Context
from localmix.model import Model
from localmix.network.decoder import Network
from localmix.store.bundled import model_path
from quant import FORMATS, Format
from quant.format import Floats

mx = pytest.importorskip("mlx.core", reason="the mlx backend is not installed")
from modelled import KERNELS  # noqa: E402

from localmix.backends.mlx.backend import MlxBackend  # noqa: E402
from localmix.backends.mlx.choose import Choice  # noqa: E402

TEXT = (small_models.DATA / "stories260K" / "stories260K.greedy200.expected.txt").read_text()


def logits(backend: Backend, network: Network, ids: list[int], kv: str = "f16") -> Floats:
    """Logits (T, V), the first half of the ids as a prompt, then one after another."""
    cache, step, parts = backend.cache(network, len(ids), kv), backend.decoder(network), []
    sequence, half = cache.new(), len(ids) // 2
    for at, part in [(0, ids[:half]), *((half + i, [id]) for i, id in enumerate(ids[half:]))]:
        batch = Batch.of([(sequence, at, part)], every=True)
        cache.reserve(batch)
        parts.append(step(batch, cache))
        cache.commit(batch)
    return np.concatenate(parts)


def relative(a: Floats, b: Floats) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def divergence(expected: Floats, got: Floats) -> float:
    """Mean KL divergence of the two distributions of the next token."""

    def log_shares(x: Floats) -> np.ndarray:
        x = x.astype(np.float64) - x.max(axis=1, keepdims=True)
        return x - np.log(np.exp(x).sum(axis=1, keepdims=True))

    p, q = log_shares(expected), log_shares(got)
    return float((np.exp(p) * (p - q)).sum(axis=1).mean())


@pytest.fixture(scope="module")
def bundled() -> Model:
    return Model(model_path(), "reference")


@pytest.fixture(scope="module")
def ids(bundled: Model) -> list[int]:
    return bundled.tokenizer.encode(TEXT)[:160]


@pytest.fixture(scope="module")
def expected(bundled: Model, ids: list[int]) -> Floats:
    return bundled.logits(ids)


def test_bundled_model_in_32_bits(bundled: Model, ids: list[int], expected: Floats) -> None:
    assert relative(logits(MlxBackend(half=False), bundled.network, ids), expected) < 2e-3


@pytest.mark.parametrize(("kv", "same"), [("f16", 0.99), ("q8_0", 0.97)])
def test_bundled_model_in_16_bits(bundled: Model, ids: list[int], expected: Floats, kv: str, same: float) -> None:
    got = logits(MlxBackend(half=True), bundled.network, ids, kv)
    assert 1e-9 < divergence(expected, got) < 1e-3
    assert (got.argmax(axis=1) == expected.argmax(axis=1)).mean() >= same


def test_bundled_model_straight_from_blocks(bundled: Model, ids: list[int], expected: Floats) -> None:
    """As on a GPU of Apple, with a model of its kernels."""
    backend = MlxBackend(half=True, kernels=KERNELS)
    assert "straight" in backend.isa
    assert divergence(expected[:24], logits(backend, bundled.network, ids[:24])) < 1e-3


@pytest.mark.parametrize("seed", [1, 2])
def test_one_seed_gives_the_same_text(bundled: Model, seed: int) -> None:
    def first(model: Model) -> list[int]:
        answer = model.generate("Once upon a time", seed=seed, max_tokens=32, context=64)
        answer.read()
        return answer.ids

    assert first(Model(model_path(), "mlx")) == first(bundled)


def test_one_evaluation_a_token_queued_before_the_id_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else comes to the host: the experts chosen stay on the device."""
    seen: list[str] = []

    def noting(name: str, do: Any) -> Any:
        return lambda *arguments, **options: (seen.append(name), do(*arguments, **options))[1]

    def to_host(x: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(x, mx.array):
            seen.append("to host")
        return array(x, *arguments, **options)

    model, array = Model(model_path(), "mlx"), np.array
    context, prompt = Context(model.engine, 64), model.tokenizer.encode("Once upon a time")
    assert model.engine.chooses is not None
    logits, sampler = context.advance(prompt), Sampler(Options(seed=1, repeat_penalty=1.1))
    ids = model.engine.chooses(context.cache, context.sequence, context.ids, logits, sampler)
    next(ids)
    for module, name in ((mx, "eval"), (mx, "async_eval"), (Choice, "read")):
        monkeypatch.setattr(module, name, noting(name, getattr(module, name)))
    monkeypatch.setattr(np, "array", to_host)
    for _ in range(10):
        next(ids)
    assert seen == ["async_eval", "read", "to host", "to host"] * 10  # the best logit and the id


def test_a_long_pass_is_queued_layer_by_layer(monkeypatch: pytest.MonkeyPatch, ids: list[int]) -> None:
    model, queued = Model(model_path(), "mlx"), list[int]()
    monkeypatch.setattr(mx, "async_eval", lambda arrays: queued.append(len(arrays)))
    context = Context(model.engine, 256)
    context.advance(ids[:100])
    assert queued == [2] * len(model.network.layers)  # keys and values
    context.advance(ids[100:120])
    assert len(queued) == len(model.network.layers)

    def end() -> None:
        if len(queued) == len(model.network.layers) + 3:
            raise KeyboardInterrupt

    context.pause = end
    with pytest.raises(KeyboardInterrupt):
        context.advance(ids[:100])
    assert context.ids == ids[:120]


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_every_format(format: Format, folder: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    if format.quantize is not None:
        size = quantized_models.SIZE
        blocks = format.quantize((rng.standard_normal((size, size)) / 16).astype(np.float32), None)
    else:
        blocks = rng.integers(0, 256, (quantized_models.SIZE, format.row_bytes(256)), np.uint8).view(format.dtype)
        blocks["e"] = 121
    path = quantized_models.to_gguf(format, blocks, folder / f"mlx-{format.name}.gguf")
    network = networks.load(gguf.open(path))
    reference = logits(backends.pick("reference"), network, quantized_models.IDS, "f32")
    assert relative(logits(MlxBackend(half=False), network, quantized_models.IDS, "f32"), reference) < 1e-4
