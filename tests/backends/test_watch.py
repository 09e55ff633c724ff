"""The experts that a network chose, as every backend tells them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import quantized_models
import small_models
from numpy.typing import NDArray

import localmix
from localmix.answer.generate import Generation
from localmix.answer.options import Options
from localmix.engine.batch import Batch
from localmix.engine.context import Context
from localmix.engine.weights import Weight
from localmix.errors import LocalmixError
from localmix.model import Model
from quant import FORMATS

IDS = np.random.RandomState(0).randint(3, 512, 40).tolist()


def watched(model: Model, ids: list[int], sizes: list[int]) -> tuple[NDArray, NDArray]:
    """Logits (T, V) and choices (L, T, A), computed in pieces of these sizes."""
    cache = model.engine.cache(len(ids))
    sequence, at = cache.new(), 0
    logits: list[NDArray] = []
    seen: list[NDArray] = []
    for size in sizes:
        batch = Batch.of([(sequence, at, ids[at : at + size])], every=True)
        logits.append(model.engine.forward(batch, cache, watch=seen.append))
        at += size
    return np.concatenate(logits), np.concatenate(seen, axis=1)


def test_a_prompt(upcycled: Model) -> None:
    """What the reference's router chose; being watched changes no logits."""
    logits, chosen = watched(upcycled, IDS, [40])
    layers = len(upcycled.network.layers)
    assert chosen.shape == (layers, 40, 2)
    assert chosen.dtype == np.int32
    assert 0 <= chosen.min() <= chosen.max() < 8
    assert (chosen[..., 0] != chosen[..., 1]).all()
    assert np.array_equal(logits, upcycled.logits(IDS))
    reference = localmix.load(upcycled.file.path, "reference")
    expected = watched(reference, IDS, [40])[1]
    assert (chosen == expected).mean() > 0.99  # a tie may fall either way
    assert len({tuple(pair) for pair in expected[0].tolist()}) > 4  # not all alike


def test_one_token_at_a_time_chooses_as_a_prompt_does(upcycled: Model) -> None:
    together, apart = watched(upcycled, IDS, [40]), watched(upcycled, IDS, [1] * 30 + [7, 1, 2])
    assert (together[1] == apart[1]).mean() > 0.99
    assert np.allclose(together[0], apart[0], rtol=0, atol=2e-4 * np.abs(together[0]).max())


def test_a_dense_network_chooses_nothing(backend: str) -> None:
    model = localmix.load(small_models.STORIES, backend)
    assert watched(model, IDS, [39, 1])[1].shape == (len(model.network.layers), 40, 0)


def test_a_context_tells_every_pass_of_an_answer(upcycled: Model) -> None:
    """Also where the device chooses the ids itself; the text is the same as unwatched."""
    context, seen = Context(upcycled.engine), list[NDArray]()
    plain = upcycled.generate("One day", temp=0, max_tokens=8).read()
    context.watch = seen.append
    prompt = upcycled.tokenizer.encode("One day")
    answer = Generation(upcycled, context, prompt, Options(temp=0, max_tokens=8), continues=True)
    assert answer.read() == plain
    assert [each.shape[1] for each in seen] == [len(prompt)] + [1] * 7


def inputs(model: Model, ids: list[int], sizes: list[int]) -> tuple[dict[str, NDArray], NDArray]:
    """The rows that each matrix was multiplied with, and the logits (W, V) of all passes."""
    found: dict[str, list[NDArray]] = {}

    def tell(weights: Sequence[Weight], x: NDArray) -> None:
        for weight in weights:
            found.setdefault(weight.name, []).append(x.copy())

    step = model.backend.decoder(model.network, tell)
    cache, at, logits = (
        model.engine.cache(40, kv="f32"),
        0,
        [],
    )  # as f16 the last bit of a key may decide between two experts
    sequence = cache.new()
    for size in sizes:
        batch = Batch.of([(sequence, at, ids[at : at + size])], every=True)
        cache.reserve(batch)
        logits.append(step(batch, cache))
        cache.commit(batch)
        at += size
    return {name: np.concatenate(parts) for name, parts in found.items()}, np.concatenate(logits)


@pytest.mark.parametrize("kind", ["dense", "sparse", "q8_0"])
@pytest.mark.parametrize("sizes", [[40], [1, 38, 1]])
def test_inputs_of_every_matrix(kind: str, sizes: list[int], upcycled_path: Path, folder: Path) -> None:
    """Numba's buffers hold what the reference multiplies; 8-bit weights find it rounded."""
    path, ids = {"dense": small_models.STORIES, "sparse": upcycled_path}.get(kind), IDS
    if path is None:
        ids = [3 + id % (quantized_models.SIZE - 3) for id in IDS]
        format = FORMATS[kind]
        random = np.random.RandomState(3).standard_normal((quantized_models.SIZE, quantized_models.SIZE))
        assert format.quantize is not None
        blocks = format.quantize(random.astype(np.float32) / 16, None)
        path = quantized_models.to_gguf(format, blocks, folder / f"inputs-{len(sizes)}.gguf")
    expected, logits = inputs(localmix.load(path, "reference"), ids, sizes)
    found, same = inputs(localmix.load(path, "numba"), ids, sizes)
    assert set(found) == set(expected)
    assert np.allclose(same, logits, rtol=0, atol=2e-3 * np.abs(logits).max())
    for name, x in expected.items():
        assert found[name].shape == x.shape, name
        assert np.allclose(found[name], x, rtol=0, atol=2e-3 * np.abs(x).max()), name


def test_mlx_does_not_tell_inputs() -> None:
    pytest.importorskip("mlx.core")
    model = localmix.load(small_models.STORIES, "mlx")
    with pytest.raises(LocalmixError, match="use --backend numba"):
        model.backend.decoder(model.network, lambda weights, x: None)
