"""The arithmetic of `localmix info`, on files with the shape of Mixtral 8x7B: sparse, 26 GB, opened without reading."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localmix import gguf
from localmix.measure import inventory
from quant import FORMATS

LAYERS, EXPERTS, WIDTH, HIDDEN, KV, VOCABULARY = 32, 8, 4096, 14336, 1024, 32000
METADATA = {
    "general.architecture": "llama",
    "llama.block_count": LAYERS,
    "llama.context_length": 32768,
    "llama.embedding_length": WIDTH,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
    "llama.expert_count": EXPERTS,
    "llama.expert_used_count": 2,
}


def mixtral(merged: bool) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """name, shape and format of every tensor, experts merged or one tensor each; 4.5 bits but for the small ones."""
    yield "token_embd.weight", (VOCABULARY, WIDTH), "q4_k"
    for layer in range(LAYERS):
        blk = f"blk.{layer}."
        for part, shape in (("gate", (HIDDEN, WIDTH)), ("up", (HIDDEN, WIDTH)), ("down", (WIDTH, HIDDEN))):
            if merged:
                yield f"{blk}ffn_{part}_exps.weight", (EXPERTS, *shape), "q4_k"
            else:
                yield from ((f"{blk}ffn_{part}.{index}.weight", shape, "q4_k") for index in range(EXPERTS))
        yield blk + "ffn_gate_inp.weight", (EXPERTS, WIDTH), "f16"
        yield blk + "attn_norm.weight", (WIDTH,), "f32"
        yield blk + "ffn_norm.weight", (WIDTH,), "f32"
        for part, rows in (("q", WIDTH), ("k", KV), ("v", KV), ("output", WIDTH)):
            yield f"{blk}attn_{part}.weight", (rows, WIDTH), "q4_k"
    yield "output_norm.weight", (WIDTH,), "f32"
    yield "output.weight", (VOCABULARY, WIDTH), "q4_k"


def sparse(path: Path, tensors: Any, metadata: Any = METADATA) -> Path:
    """A file of full size whose weights are holes: it takes no room on the disk."""
    infos = [gguf.TensorInfo(name, shape, FORMATS[format]) for name, shape, format in tensors]
    writer = gguf.Writer(path, metadata, infos)
    with path.open("wb") as file:
        file.write(writer.header)
        file.truncate(writer.size)
    return path


@pytest.mark.parametrize("merged", [True, False])
def test_mixtral_in_numbers(merged: bool, tmp_path: Path) -> None:
    """The numbers of the paper and of the arithmetic on it."""
    found = inventory.take(gguf.open(sparse(tmp_path / "mixtral.gguf", mixtral(merged))))
    assert found.weights == pytest.approx(46.70e9, rel=1e-3)
    assert found.active == pytest.approx(12.75e9, rel=1e-3)
    assert found.bytes == pytest.approx(26.3e9, rel=2e-3)
    assert found.bits == pytest.approx(4.5, abs=0.01)
    assert found.read == pytest.approx(7.2e9, rel=5e-3)
    assert found.kept is not None
    assert found.kept.position == 128 << 10
    assert (found.layers, found.experts, found.experts_used, found.context) == (32, 8, 2, 32768)
    assert not found.tied
    parts = {part.role: part for part in found.parts}
    assert list(parts) == ["embedding", "output", "norms", "router", "experts", "attention"]
    assert parts["experts"].bytes == LAYERS * EXPERTS * 3 * WIDTH * HIDDEN * 144 // 256
    assert parts["experts"].read * 4 == parts["experts"].bytes
    assert parts["embedding"].read == WIDTH * 144 // 256
    assert parts["experts"].tensors == LAYERS * 3 * (1 if merged else EXPERTS)
    assert parts["router"].format == "f16"


def resident() -> int:
    """Bytes of this process in memory, mapped pages included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_opening_26_gigabytes_reads_no_weights(tmp_path: Path) -> None:
    path = sparse(tmp_path / "mixtral.gguf", mixtral(merged=False))
    assert path.stat().st_size > 26e9
    before, start = resident(), time.process_time()
    file = gguf.open(path)
    assert time.process_time() - start < 0.5
    assert resident() - before < 16 << 20
    assert len(file.tensors) == 32 * (3 * 8 + 7) + 3
    assert file.tensors["output.weight"].data[-1, -1]["d"] == 0  # and yet they are there


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("token_embd.weight", "embedding"),
        ("output.weight", "output"),
        ("output_norm.weight", "norms"),
        ("blk.0.attn_q_norm.weight", "norms"),
        ("blk.0.attn_output.weight", "attention"),
        ("blk.0.attn_q.bias", "attention"),
        ("blk.11.ffn_gate_inp.weight", "router"),
        ("blk.11.ffn_gate_exps.weight", "experts"),
        ("blk.11.ffn_gate.7.weight", "experts"),
        ("blk.11.ffn_gate_shexp.weight", "shared experts"),
        ("blk.11.ffn_down.weight", "dense ffn"),
        ("rope_freqs.weight", "other"),
    ],
)
def test_roles(name: str, role: str) -> None:
    assert inventory.role(name) == role


def test_a_tied_embedding_is_read_whole(tmp_path: Path) -> None:
    found = inventory.take(gguf.open(sparse(tmp_path / "m.gguf", [("token_embd.weight", (100, 64), "f32")])))
    assert found.tied
    assert found.read == found.bytes == 25600


@pytest.mark.parametrize(
    ("changed", "kv"),
    [
        ({"llama.attention.key_length": 64, "llama.attention.value_length": 32}, 32 * 8 * 96 * 2),
        ({"llama.attention.head_count_kv": np.array([8, 4] * 16, np.int32)}, 32 * 6 * 256 * 2),
        ({"llama.attention.head_count_kv": None}, 32 * 32 * 256 * 2),
        ({"llama.attention.head_count": None}, None),
        ({"llama.block_count": "many"}, None),
        ({"llama.embedding_length": True}, None),
        ({"general.architecture": None}, None),
    ],
)
def test_cache_bytes(changed: dict[str, Any], kv: int | None, tmp_path: Path) -> None:
    metadata = {key: value for key, value in {**METADATA, **changed}.items() if value is not None}
    kept = inventory.take(gguf.open(sparse(tmp_path / "m.gguf", [], metadata))).kept
    assert (kept and kept.position) == kv


def test_a_file_without_anything(tmp_path: Path) -> None:
    found = inventory.take(gguf.open(sparse(tmp_path / "m.gguf", [], {})))
    assert (found.bytes, found.bits, found.parts, found.architecture) == (0, 0.0, (), None)
