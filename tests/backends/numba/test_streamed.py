"""Experts in a pool: logits are those of the resident model, to the last bit, however small the pool is."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import quantized_models
import random_families
import small_models
import streamed_engines
from numpy.typing import NDArray
from streamed_engines import check_a_disk_that_fails, check_an_interrupted_pass, logits, pool_of, same

import localmix
from localmix import backends, gguf, network
from localmix.backends.numba.backend import NumbaBackend
from localmix.backends.protocol import Cache
from localmix.engine import streaming
from localmix.engine.batch import FEW, Batch
from localmix.engine.engine import Engine
from localmix.errors import FileFormatError, UnsupportedError
from localmix.gguf import shards
from localmix.stream import fit, memory
from quant import FORMATS

FAMILIES = ("mixtral", "qwen3moe", "qwen2moe", "gpt-oss", "granitemoe_shared")


def engine(path: Path, slots: int | None = None, threads: int = 2) -> Engine:
    return streamed_engines.engine(path, NumbaBackend(threads), slots)


def begun(path: Path) -> tuple[Engine, Cache, int]:
    return streamed_engines.begun(path, NumbaBackend(2))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("streamed")
    return {name: random_families.make(folder / f"{name}.gguf", name) for name in FAMILIES}


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_are_those_of_the_resident_model(name: str, paths: dict[str, Path]) -> None:
    """From two experts up, fewer than a token of a layer needs, to all of them."""
    resident = engine(paths[name])
    expected = logits(resident), logits(resident, every=True)
    layers = len(resident.network.layers)
    for slots in (2, 2 * layers, 4 * layers, 6 * layers):
        streamed = engine(paths[name], slots)
        assert same(logits(streamed), expected[0]), slots
        assert same(logits(streamed, every=True), expected[1]), slots
        assert streamed.pool is not None
        counts = streamed.pool.counts
        assert streamed.pool.room() == slots  # nothing stays held
        assert counts.hits < counts.wanted
        if slots == 6 * layers:
            assert counts.wanted - counts.hits <= 6 * layers  # each is read once
        streamed.pool.check()


def test_quantized_experts(folder: Path) -> None:
    """Formats with kernels of their own, more threads than pieces."""
    size, format = quantized_models.SIZE, FORMATS["q4_k"]
    assert format.quantize is not None
    weights = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32) / 16
    path = quantized_models.to_gguf(format, format.quantize(weights, None), folder / "streamed.gguf")
    expected = logits(engine(path))
    for threads in (1, 3):
        assert same(logits(engine(path, 3, threads)), expected)


def test_files_of_any_layout(folder: Path) -> None:
    """One tensor an expert, and a model in several files."""
    apart = small_models.upcycled_stories(folder / "streamed-apart.gguf", merged=False)
    whole = gguf.open(apart)
    names, infos = list(whole.tensors), {n: gguf.TensorInfo(n, t.shape, t.format) for n, t in whole.tensors.items()}
    for number, part in enumerate((names[:40], names[40:])):
        split = {"split.no": number, "split.count": 2, "split.tensors.count": len(names)}
        metadata = (whole.typed_metadata if number == 0 else {}) | {k: np.uint16(v) for k, v in split.items()}
        metadata["split.tensors.count"] = np.int32(len(names))
        with gguf.Writer(folder / shards.part_name("streamed", number, 2), metadata, [infos[n] for n in part]) as out:
            for name in part:
                out.write(name, whole.tensors[name].data)
    expected = logits(engine(apart))
    assert same(logits(engine(apart, 5)), expected)
    assert same(logits(engine(folder / shards.part_name("streamed", 0, 2), 5)), expected)


def test_a_prompt_reads_each_expert_once(paths: dict[str, Path]) -> None:
    """In the last layer only those of the tokens whose logits are wanted."""
    streamed = engine(paths["mixtral"], 2)
    assert streamed.pool is not None
    cache = streamed.cache(64)
    seen: list[NDArray] = []
    ids = np.random.default_rng(0).integers(3, 300, 40).tolist()
    streamed.forward(Batch.of([(cache.new(), 0, ids)], every=True), cache, watch=seen.append)
    used = sum(len(np.unique(layer)) for layer in seen[0])
    assert streamed.pool.counts.wanted == used
    assert np.array_equal(seen[0], watched(engine(paths["mixtral"]), ids))


def watched(engine: Engine, ids: list[int]) -> NDArray:
    cache, seen = engine.cache(64), list[NDArray]()
    engine.forward(Batch.of([(cache.new(), 0, ids)], every=True), cache, watch=seen.append)
    return seen[0]


def test_what_matrices_are_multiplied_with(paths: dict[str, Path]) -> None:
    """A listener hears the same."""

    def heard(engine: Engine) -> dict[str, NDArray]:
        found: dict[str, NDArray] = {}
        step = engine.decoder(lambda weights, x: found.update({w.name: x.copy() for w in weights}))
        cache = engine.cache(64)
        batch = Batch.of([(cache.new(), 0, list(range(3, 30)))])
        cache.reserve(batch)
        step(batch, cache)
        return found

    expected, found = heard(engine(paths["qwen2moe"])), heard(engine(paths["qwen2moe"], 4))
    assert expected.keys() == found.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_long_context_takes_the_place_of_experts(paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = network.load(gguf.open(paths["mixtral"]))
    streamed = Engine(loaded, NumbaBackend(2), pool=pool_of(loaded, 9, spare=1))
    monkeypatch.setattr(streamed, "_work", None)  # of activations
    resident = engine(paths["mixtral"])
    assert streamed.pool is not None
    caches = [one.cache(256) for one in (streamed, resident)]
    ids = np.random.default_rng(0).integers(3, 300, 200).tolist()
    found = [
        one.forward(Batch.of([(cache.new(), 0, ids)]), cache)
        for one, cache in zip((streamed, resident), caches, strict=True)
    ]
    assert np.array_equal(*found)
    slot = streamed.pool.nbytes // streamed.pool.slots
    assert streamed.pool.slots == 27 - -(-(caches[0].nbytes - 1) // slot)
    del caches
    streamed.logits(ids[:9])
    assert streamed.pool.slots == 27 - 1


def test_a_prompt_takes_the_place_of_experts_for_a_while(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until some tokens were decoded one by one."""
    loaded = network.load(gguf.open(paths["mixtral"]))
    streamed = Engine(loaded, NumbaBackend(2), pool=pool_of(loaded, 9, spare=1 << 20))
    resident = engine(paths["mixtral"])
    assert streamed.pool is not None
    ids = np.random.default_rng(0).integers(3, 300, 200 + FEW).tolist()
    slots, caches = [], [one.cache(256) for one in (streamed, resident)]
    sequences = [cache.new() for cache in caches]
    for start, end in [(0, 200), *((at, at + 1) for at in range(200, 200 + FEW))]:
        found = [
            one.forward(Batch.of([(sequence, start, ids[start:end])]), cache)
            for one, cache, sequence in zip((streamed, resident), caches, sequences, strict=True)
        ]
        assert np.array_equal(*found)
        slots.append(streamed.pool.slots)
    assert slots == [slots[0]] * FEW + [27]
    assert slots[0] < 27


def test_what_is_missing_of_memory_the_pool_gives_up(paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """For good, where a prompt begins."""
    loaded, ids = network.load(gguf.open(paths["mixtral"])), list(range(3, 60))
    streamed = Engine(loaded, NumbaBackend(2), pool=pool_of(loaded, 9, spare=1 << 20))
    assert streamed.pool is not None
    expected, slots = streamed.logits(ids), streamed.pool.slots
    short = memory.Memory(1 << 30, fit.RESERVE - streamed.pool.nbytes // streamed.pool.slots)
    monkeypatch.setattr(memory, "here", lambda: short)
    assert np.array_equal(streamed.logits(ids), expected)
    assert streamed.pool.slots == slots - 1
    monkeypatch.undo()
    streamed.logits(ids)
    assert streamed.pool.slots == slots - 1


def test_a_pass_that_is_interrupted_leaves_no_trace(paths: dict[str, Path]) -> None:
    check_an_interrupted_pass(*(engine(paths["mixtral"], slots) for slots in (4, None)))


def test_a_file_that_changes_is_an_error(paths: dict[str, Path], tmp_path: Path) -> None:
    path = shutil.copy(paths["mixtral"], tmp_path / "cut.gguf")
    streamed, cache, sequence = begun(path)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")
    os.utime(path, ns=(0, 0))
    with pytest.raises(FileFormatError, match="was written to while in use: load the model again"):
        streamed.forward(Batch.of([(sequence, 3, [3, 4, 5])]), cache)


def test_a_file_that_is_cut_is_an_error(paths: dict[str, Path], tmp_path: Path) -> None:
    """Before anything of it that is mapped is touched, which would end the program."""
    path = shutil.copy(paths["mixtral"], tmp_path / "shorter.gguf")
    streamed, cache, sequence = begun(path)
    os.truncate(path, 100)
    for ids in ([6], [7, 8, 9]):
        with pytest.raises(FileFormatError, match="was written to while in use: load the model again"):
            streamed.forward(Batch.of([(sequence, 3, ids)]), cache)


def test_a_disk_that_fails_is_an_error_and_then_forgotten(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_a_disk_that_fails(*(engine(paths["qwen3moe"], slots) for slots in (4, None)), monkeypatch)


def test_other_backends_refuse_a_pool_by_name(paths: dict[str, Path]) -> None:
    loaded = network.load(gguf.open(paths["mixtral"]))
    with pytest.raises(UnsupportedError, match=r"the reference backend does not stream experts.*--backend numba"):
        Engine(loaded, backends.pick("reference"), pool=pool_of(loaded, 4))


def test_what_stays_in_memory(paths: dict[str, Path]) -> None:
    """All that every token is multiplied with is the program's own, the embedding a view of the file."""
    loaded = network.load(gguf.open(paths["qwen2moe"]))
    owned = streaming.owned(loaded)
    layer = owned.layers[0]
    kept = [layer.attention.q.weight, owned.output.weight]
    assert layer.mixture.shared is not None
    kept += [layer.mixture.shared.gate[0], layer.mixture.shared.down[0]]
    assert all(weight.data.flags.owndata for weight in kept)
    assert not owned.token_embd.data.flags.owndata
    assert localmix.load(paths["qwen2moe"]).engine.pool is None
