"""Experts in a pool in MLX's memory: on a CPU logits are those of the resident model, to the last bit."""

import gc
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import quantized_models
import random_families
import small_models
from streamed_engines import (
    begun,
    check_a_disk_that_fails,
    check_an_interrupted_pass,
    engine,
    logits,
    pool_of,
    same,
)

from localmix import gguf, network
from localmix.engine.batch import Batch
from localmix.engine.engine import Engine
from localmix.errors import FileFormatError, UnsupportedError
from localmix.model import Model
from localmix.stream.fit import DEVICE, PROGRAM, WORKING
from quant import FORMATS

mx = pytest.importorskip("mlx.core", reason="the mlx backend is not installed")
from modelled import KERNELS  # noqa: E402

from localmix.backends.mlx import slots  # noqa: E402
from localmix.backends.mlx.backend import MlxBackend  # noqa: E402
from localmix.backends.mlx.memory import Device  # noqa: E402

FAMILIES = ("mixtral", "qwen3moe", "qwen2moe", "gpt-oss")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("streamed-mlx")
    return {name: random_families.make(folder / f"{name}.gguf", name) for name in FAMILIES}


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_are_those_of_the_resident_model(name: str, paths: dict[str, Path]) -> None:
    """From two experts up, fewer than a token of a layer needs, to all of them."""
    resident = engine(paths[name], MlxBackend())
    expected = logits(resident)
    layers = len(resident.network.layers)
    for count in (2, 2 * layers, 6 * layers) if name == "mixtral" else (2, 2 * layers):
        streamed = engine(paths[name], MlxBackend(), count)
        assert same(logits(streamed), expected), count
        assert streamed.pool is not None
        counts = streamed.pool.counts
        assert streamed.pool.room() == count  # nothing stays held
        assert counts.hits < counts.wanted
        if count == 6 * layers:
            assert counts.wanted - counts.hits <= 6 * layers  # each is read once


@pytest.mark.parametrize(
    ("name", "half"),
    [("q4_k", False), ("q3_k", False), ("q6_k", True), ("mxfp4", True), ("bf16", True), ("iq4_xs", False)],
)
def test_formats(name: str, half: bool, folder: Path) -> None:
    """Each form that MLX has: codes with minima, groups of 16, those fitted anew, its own, floats."""
    path, backend = quantized(name, folder), {"half": half, "kernels": {}}
    expected = logits(engine(path, MlxBackend(**backend)))
    assert same(logits(engine(path, MlxBackend(**backend), 3)), expected)


def test_blocks_straight_from_the_file(folder: Path) -> None:
    """As Apple's GPUs have them, the kernels' model in their place."""
    path, kernels = quantized("q4_k", folder), {"q4_k": KERNELS["q4_k"]}
    resident, streamed = (engine(path, MlxBackend(kernels=kernels), count) for count in (None, 3))
    assert np.array_equal(*(one.logits([3, 4, 5]) for one in (resident, streamed)))


def quantized(name: str, folder: Path) -> Path:
    size, format, random = quantized_models.SIZE, FORMATS[name], np.random.default_rng(0)
    if format.quantize is None:
        blocks = random.integers(0, 256, (size, size // format.block * format.dtype.itemsize), np.uint8)
        blocks = blocks.view(format.dtype)
        blocks["e"] = random.integers(117, 123, blocks.shape)
    else:
        blocks = format.quantize(random.standard_normal((size, size)).astype(np.float32) / 16, None)
    return quantized_models.to_gguf(format, blocks, folder / f"streamed-{name}.gguf")


def test_layers_in_different_formats_share_slots(paths: dict[str, Path], folder: Path, monkeypatch) -> None:
    """Rows are read a few at a time, from the middle of pages."""
    monkeypatch.setattr(slots, "PIECE", 5000)
    file, path = gguf.open(paths["qwen3moe"]), folder / "streamed-mixed.gguf"
    tensors, coarse = {}, FORMATS["q8_0"]
    for name, tensor in file.tensors.items():
        quantize = name.startswith("blk.1.") and "_exps" in name
        tensors[name] = (
            (coarse, random_families.stored(tensor.data, coarse)) if quantize else (small_models.F32, tensor.data)
        )
    small_models.write(path, file.typed_metadata, tensors)
    expected = logits(engine(path, MlxBackend()))
    assert same(logits(engine(path, MlxBackend(), 5)), expected)


def test_a_prompt_reads_each_expert_once(paths: dict[str, Path]) -> None:
    streamed = engine(paths["mixtral"], MlxBackend(), 2)
    assert streamed.pool is not None
    cache, seen = streamed.cache(256), list[np.ndarray]()
    ids = np.random.default_rng(0).integers(3, 300, 100).tolist()
    streamed.forward(Batch.of([(cache.new(), 0, ids)]), cache, watch=seen.append)
    assert streamed.pool.counts.wanted == sum(len(np.unique(layer)) for layer in seen[0])


def half_of(model: Model) -> int:
    """Bytes in which a half of the experts have room."""
    experts = sum(tensor.nbytes for name, tensor in model.file.tensors.items() if "_exps" in name)
    return model.place.needs - (PROGRAM - WORKING - DEVICE) - experts // 2


def test_a_model_streams_what_does_not_fit(paths: dict[str, Path]) -> None:
    """And answers as it does from memory, sampling included."""
    resident = Model(paths["qwen3moe"], "mlx")
    streamed = Model(paths["qwen3moe"], "mlx", ram=half_of(resident))
    assert resident.place.pool is None
    assert streamed.place.pool is not None
    pool = streamed.place.pool
    assert 27 <= pool.slots <= 36  # of 54: a half, and what keys and values do not take yet
    assert pool.experts_bytes == 18 * pool.expert_bytes
    ids = list(range(3, 60))
    for options in ({"temp": 0.0}, {"temp": 1.0, "seed": 3}):
        found = [one.generate(ids, max_tokens=9, **options).read() for one in (resident, streamed)]
        assert found[0] == found[1]
    assert streamed.engine.decoding.tokens >= 8
    assert streamed.engine.chooses is None  # nothing can be queued ahead


def test_a_pass_that_is_interrupted_leaves_no_trace(paths: dict[str, Path]) -> None:
    check_an_interrupted_pass(*(engine(paths["mixtral"], MlxBackend(), count) for count in (4, None)))


def test_a_file_that_changes_is_an_error(paths: dict[str, Path], tmp_path: Path) -> None:
    path = shutil.copy(paths["mixtral"], tmp_path / "shorter.gguf")
    streamed, cache, sequence = begun(path, MlxBackend())
    os.truncate(path, 100)
    with pytest.raises(FileFormatError, match="was written to while in use: load the model again"):
        streamed.forward(Batch.of([(sequence, 3, [6])]), cache)


def test_a_disk_that_fails_is_an_error_and_then_forgotten(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_a_disk_that_fails(*(engine(paths["qwen3moe"], MlxBackend(), count) for count in (4, None)), monkeypatch)


def test_numbers_that_16_bits_cannot_hold_are_refused(folder: Path) -> None:
    """By who reads them, as when a model is loaded."""
    path = random_families.make(folder / "streamed-large.gguf", "mixtral")
    tensor = gguf.open(path).tensors["blk.1.ffn_down_exps.weight"]
    with path.open("r+b") as file:
        file.seek(tensor.extent.start)
        file.write(np.full(tensor.data.size, 1e6, np.float32).tobytes())
    streamed = engine(path, MlxBackend(half=True), 4)
    cache = streamed.cache(64)
    with pytest.raises(UnsupportedError, match=r"blk.1.ffn_down.* holds numbers beyond 65504"):
        streamed.forward(Batch.of([(cache.new(), 0, [3, 4, 5])]), cache)


def test_a_long_context_takes_the_place_of_experts(paths: dict[str, Path]) -> None:
    loaded = network.load(gguf.open(paths["mixtral"]))
    backend = MlxBackend()
    pool = pool_of(loaded, 9, 1, backend.slots(loaded))
    streamed, resident = Engine(loaded, backend, pool=pool), engine(paths["mixtral"], MlxBackend())
    ids = np.random.default_rng(0).integers(3, 300, 200).tolist()
    found = []
    for one in (streamed, resident):
        cache = one.cache(256)
        found.append(one.forward(Batch.of([(cache.new(), 0, ids)]), cache))
    assert np.array_equal(*found)
    assert pool.slots < 27


def test_a_gpu_with_memory_of_its_own_is_refused_by_name(paths: dict[str, Path]) -> None:
    backend = MlxBackend(device=Device("NVIDIA H200", 10**11, own=True))
    assert not backend.streams
    with pytest.raises(UnsupportedError, match=r"mlx backend does not stream experts.*: use --backend numba"):
        engine(paths["mixtral"], backend, 4)


def test_a_gpu_leaves_less_than_the_machine_has_free(paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left for keys and values is counted with slots that are taken already."""
    whole = Model(paths["mixtral"], "mlx")
    gc.collect()  # what earlier tests have left
    device = Device("Apple A1", (1 << 30) + mx.get_active_memory() + half_of(whole))
    monkeypatch.setattr("localmix.backends.pick", lambda *_: MlxBackend(device=device))
    model = Model(paths["mixtral"])
    assert model.place.pool is not None
    assert 27 <= model.place.pool.slots <= 36  # of 54: a half, and what keys and values do not take yet
    ids = list(range(3, 60))
    assert np.array_equal(model.logits(ids), whole.logits(ids))
