"""Operands that a GPU would read as other bytes are refused, and no module calls MLX past the one that looks."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

mx = pytest.importorskip("mlx.core", reason="the mlx backend is not installed")
from localmix.backends.mlx import calls  # noqa: E402
from localmix.backends.mlx.calls import Packed  # noqa: E402

FOLDER = Path(calls.__file__).parent
GUARDED = {"quantize", "dequantize", "quantized_matmul", "gather_qmm", "gather_mm", "qqmm", "gather_qqmm", "fast"}


def codes(*shape: int, bits: int = 4) -> "mx.array":
    return mx.zeros((*shape[:-1], shape[-1] * bits // 32), mx.uint32)


def halves(*shape: int) -> "mx.array":
    return mx.zeros(shape, mx.float16)


def packed(*shape: int, scales: Any = mx.float16) -> Packed:
    groups = mx.zeros((*shape[:-1], shape[-1] // 32), scales)
    return Packed(codes(*shape), groups, groups, 4)


def test_biases_of_another_type_than_scales() -> None:
    """What made every token garbage on GPUs: biases of 16 bits read as if they had the 32 of the scales."""
    groups = mx.zeros((8, 2))
    with pytest.raises(TypeError, match=r"biases is mlx\.core\.float16: expected mlx\.core\.float32, as the scales"):
        Packed(codes(8, 64), groups, groups.astype(mx.float16), 4)


IDS = mx.zeros(3, mx.uint32)
WRONG: dict[str, Callable[[], Any]] = {
    "codes are not words": lambda: Packed(mx.zeros((8, 32), mx.uint8), halves(8, 2), halves(8, 2), 4),
    "too few codes": lambda: Packed(codes(8, 32), halves(8, 2), halves(8, 2), 4),
    "biases of another shape": lambda: Packed(codes(8, 64), halves(8, 2), halves(8, 1), 4),
    "no biases": lambda: Packed(codes(8, 64), halves(8, 2), None, 4),
    "scales are whole numbers": lambda: Packed(codes(8, 64), codes(8, 16), codes(8, 16), 4),
    "mxfp4 with floats": lambda: Packed(codes(8, 64), halves(8, 2), None, 4, "mxfp4"),
    "mxfp4 with biases": lambda: Packed(codes(8, 64), mx.zeros((8, 2), mx.uint8), halves(8, 2), 4, "mxfp4"),
    "activations wider than scales": lambda: calls.multiply(mx.zeros((3, 64)), packed(8, 64)),
    "activations narrower than scales": lambda: calls.multiply(halves(3, 64), packed(8, 64, scales=mx.float32)),
    "too short activations": lambda: calls.multiply(halves(3, 32), packed(8, 64)),
    "whole activations": lambda: calls.multiply(mx.zeros((3, 64), mx.int32), packed(8, 64)),
    "gathered, another type": lambda: calls.gather(mx.zeros((3, 1, 64)), packed(2, 8, 64), IDS, None),
    "gathered, K that M5 gets wrong": lambda: calls.gather(halves(3, 1, 96), packed(2, 8, 96), IDS, None),
    "signed experts": lambda: calls.gather(halves(3, 1, 64), packed(2, 8, 64), IDS.astype(mx.int32), None),
    "signed rows": lambda: calls.gather(halves(3, 1, 64), packed(2, 8, 64), IDS, IDS.astype(mx.int32)),
    "experts for other rows": lambda: calls.gather(halves(4, 1, 64), packed(2, 8, 64), IDS, None),
    "floats of another type": lambda: calls.gather_floats(halves(3, 1, 64), mx.zeros((2, 8, 64)), IDS, None),
    "norm in another type": lambda: calls.rms_norm(halves(3, 64), mx.zeros(64), 1e-5),
    "norm of another width": lambda: calls.rms_norm(mx.zeros((3, 64)), mx.zeros(32), 1e-5),
    "positions of 64 bits": lambda: calls.rope(mx.zeros((3, 2, 1, 64)), mx.zeros(3, mx.int64), mx.ones(32), True),
    "positions of other tokens": lambda: calls.rope(mx.zeros((3, 2, 1, 64)), mx.zeros(1, mx.int32), mx.ones(32), True),
    "keys of another type": lambda: calls.attend(mx.zeros((1, 2, 1, 64)), *[halves(1, 1, 5, 64)] * 2, 1.0, None, None),
    "numbers packed that are none": lambda: calls.pack(codes(8, 64), 8),
}  # fmt: skip


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_refused(call: Callable[[], Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"expected|biases"):
        call()


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_packed_numbers_come_back(bits: int) -> None:
    x = mx.random.normal((3, 8, 96), key=mx.random.key(0))
    p = calls.pack(x.astype(mx.float16), bits)
    assert p.width == 96
    assert p.nbytes == 3 * 8 * (96 * bits // 8 + 3 * 4)
    step = np.array(p.scales.astype(mx.float32)).max()
    assert mx.abs(calls.unpack(p) - x).max().item() < step
    assert np.array_equal(calls.unpack(p[1]), calls.unpack(p)[1])
    assert p.scaled_in(mx.float16) is p
    assert p.scaled_in(mx.float32).biases.dtype == mx.float32


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.name)
def test_no_module_calls_past_the_door(path: Path) -> None:
    used = {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "mx"
    }
    allowed = {"calls.py": GUARDED, "kernels.py": {"fast"}}.get(path.name, set())
    assert not used & GUARDED - allowed
