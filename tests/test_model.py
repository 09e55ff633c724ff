"""What must hold for every backend, whatever its numbers are."""

import concurrent.futures
import pathlib

import numpy as np
import pytest
import small_models
from numpy.typing import NDArray

import localmix
from localmix.engine.batch import Batch
from localmix.engine.context import Context
from localmix.errors import LocalmixError
from localmix.model import Model
from quant.format import Floats

IDS = np.random.RandomState(0).randint(3, 512, 90).tolist()


def close(a: Floats, b: Floats) -> bool:
    """Equal up to the order of additions."""
    return bool(np.allclose(a, b, rtol=0, atol=2e-4 * np.abs(b).max()))


def in_chunks(model: Model, ids: list[int], sizes: list[int]) -> Floats:
    """Logits (T, V), computed chunk by chunk."""
    cache = model.engine.cache(len(ids))
    sequence, at, parts = cache.new(), 0, []
    for size in sizes:
        parts.append(model.engine.forward(Batch.of([(sequence, at, ids[at : at + size])], every=True), cache))
        at += size
    assert at == len(ids)
    return np.concatenate(parts)


@pytest.fixture(params=["dense", "sparse"])
def path(request: pytest.FixtureRequest, upcycled_path: pathlib.Path) -> pathlib.Path:
    return small_models.STORIES if request.param == "dense" else upcycled_path


@pytest.fixture
def model(path: pathlib.Path, backend: str) -> Model:
    """With keys and values in f32: rounded to f16, a number that lies between two may go to either."""
    return localmix.load(path, backend, kv="f32")


@pytest.mark.parametrize("sizes", [[1] * 90, [64, 26], [7, 1, 60, 22], [63, 2, 25]])
def test_chunks_equal_one_shot(model: Model, sizes: list[int]) -> None:
    one_shot = model.logits(IDS)
    assert one_shot.shape == (90, 512)
    assert one_shot.dtype == np.float32
    assert close(in_chunks(model, IDS, sizes), one_shot)


@pytest.mark.parametrize("sizes", [[1] * 90, [64, 26]])
def test_chunks_read_keys_and_values_as_they_are_kept(path: pathlib.Path, backend: str, sizes: list[int]) -> None:
    """Also those of the chunk itself: what is left between one shot and chunks are ties that went the other way."""
    model = localmix.load(path, backend, kv="f16")
    one_shot = model.logits(IDS)
    rounding = np.abs(one_shot - model.logits(IDS, kv="f32")).mean()
    assert np.abs(in_chunks(model, IDS, sizes) - one_shot).mean() < rounding / 3


def test_batch_equals_single(model: Model) -> None:
    """Sequences of different lengths, some beginning and some going on, in one batch."""
    texts = [IDS[:70], IDS[20:24], IDS[5:41]]
    cache = model.engine.cache(96)
    names = [cache.new() for _ in texts]
    first = [text[: len(text) // 2] for text in texts[1:]]
    model.engine.forward(Batch.of([(n, 0, ids) for n, ids in zip(names[1:], first, strict=True)]), cache)
    rest = [(names[0], 0, texts[0])]
    rest += [(n, len(a), t[len(a) :]) for n, a, t in zip(names[1:], first, texts[1:], strict=True)]
    logits = model.engine.forward(Batch.of(rest), cache)
    assert logits.shape == (3, 512)
    for row, text in zip(logits, texts, strict=True):
        assert close(row, model.logits(text)[-1])


def test_shared_prefix_and_truncation(model: Model) -> None:
    cache = model.engine.cache(96)
    first = cache.new()
    model.engine.forward(Batch.of([(first, 0, IDS[:80])]), cache)
    second = cache.share(first, 70)
    ends = model.engine.forward(Batch.of([(second, 70, IDS[5:15]), (first, 80, IDS[80:])]), cache)
    assert close(ends[0], model.logits(IDS[:70] + IDS[5:15])[-1])
    assert close(ends[1], model.logits(IDS)[-1])
    cache.truncate(first, 33)
    again = model.engine.forward(Batch.of([(first, 33, IDS[50:60])]), cache)
    assert close(again[0], model.logits(IDS[:33] + IDS[50:60])[-1])


def test_backends_agree(path: pathlib.Path, backend: str) -> None:
    expected = localmix.load(path, "reference", kv="f32").logits(IDS)
    assert close(localmix.load(path, backend, kv="f32").logits(IDS), expected)


def test_threads_change_nothing(path: pathlib.Path) -> None:
    def ids(threads: int) -> tuple[list[int], NDArray]:
        model = localmix.load(path, "numba", threads)
        answer = model.generate("One day", temp=1.5, seed=3, max_tokens=60)
        answer.read()
        return answer.ids, model.logits(IDS)

    one = ids(1)
    for threads in (2, 3, 6, 6, 6):  # more than there are cores: some come late to a phase
        many = ids(threads)
        assert many[0] == one[0]
        assert np.array_equal(many[1], one[1])


def test_experts_in_one_tensor_each(upcycled: Model, folder: pathlib.Path, backend: str) -> None:
    apart = small_models.upcycled_stories(folder / f"apart-{backend}.gguf", merged=False)
    assert np.array_equal(localmix.load(apart, backend).logits(IDS), upcycled.logits(IDS))


def test_used_from_several_threads(upcycled: Model) -> None:
    alone = upcycled.generate("One day", temp=0, max_tokens=30).read()
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        answers = pool.map(lambda _: upcycled.generate("One day", temp=0, max_tokens=30).read(), range(6))
        assert list(answers) == [alone] * 6


def test_no_ids(model: Model) -> None:
    assert model.logits([]).shape == (0, 512)


def test_bad_ids(model: Model) -> None:
    for bad in ([512], [-1]):
        with pytest.raises(LocalmixError, match="expected 0 to 511"):
            model.logits(bad)
    with pytest.raises(LocalmixError, match="513"):
        model.logits([5] * 513)


def test_keys_and_values_in_few_bits_or_a_clear_no(upcycled_path: pathlib.Path, backend: str) -> None:
    model = localmix.load(upcycled_path, backend)
    with pytest.raises(LocalmixError, match=r"keys and values as 'f8'.* expected one of f16, f32"):
        model.engine.cache(kv="f8")
    for kv in ("q8_0", "q4_0"):
        with pytest.raises(LocalmixError, match=rf"{kv}: head size 8 is not a multiple of 32: use f16"):
            model.engine.cache(kv=kv)


@pytest.mark.parametrize(("kv", "error", "share"), [("q8_0", 0.3, 0.6), ("q4_0", 3.0, 0.32)])
def test_keys_and_values_in_few_bits(backend: str, kv: str, error: float, share: float) -> None:
    """Next to what 32 bits give, in a chunk or token by token; the bundled model has heads of 64."""
    model = localmix.load(backend=backend, kv=kv)
    ids = model.tokenizer.encode("Once upon a time there was a cat who lived in a big house by the sea.")
    exact, rounded = model.logits(ids, kv="f32"), model.logits(ids)
    assert 1e-3 < np.abs(rounded - exact).max() < error
    one = Context(model.engine, 64)
    one.advance(ids[:-3])
    for id in ids[-3:]:
        last = one.advance([id])
    assert np.abs(last - rounded[-1]).max() < (0.01 if kv == "q8_0" else 0.5)  # a key that lies between two levels
    other = Context(model.engine, 64)
    kept, kept_bytes = one.dump()
    other.restore(kept, kept_bytes)
    assert np.array_equal(other.advance([5]), one.advance([5]))
    assert kept_bytes.nbytes < share * model.engine.cache(64, "f16").position_bytes * len(ids)
