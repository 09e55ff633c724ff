"""The reference with its activations rounded as llama.cpp rounds them: what is left between the two is a fault.

Before a product with a quantized matrix llama.cpp makes each 32 numbers of the input whole numbers of 8 bits with a
scale in float16 (q8_0), and where the matrix has minima keeps their sum in float16 besides (q8_1); with super-blocks
it makes each 256 whole numbers, with a scale in float32 (q8_K).
"""

import numpy as np
from numpy.typing import NDArray

from localmix.backends.reference import Reference
from localmix.engine.batch import Batch
from localmix.engine.engine import Engine
from localmix.engine.weights import Weight
from localmix.model import Model
from quant.format import Floats

BLOCK, SUPER = 32, 256


class Rounding(Reference):
    def _matmul(self, x: Floats, weight: Weight) -> Floats:
        if weight.format.block == 1:
            return super()._matmul(x, weight)
        if weight.format.block == SUPER:
            return super()._matmul(_rounded_256(x), weight)
        assert weight.format.block == BLOCK, weight.format.name
        blocks = x.reshape(len(x), -1, BLOCK)
        most = np.abs(blocks).max(axis=2, keepdims=True)
        scale = most / np.float32(127)
        whole = np.round(blocks * np.divide(np.float32(127), most, out=np.zeros_like(most), where=most > 0))
        rounded = whole * _half(scale)
        y = super()._matmul(rounded.reshape(x.shape), weight)
        if weight.format.name in ("q4_1", "q5_1"):
            sums = _half(scale * whole.sum(axis=2, keepdims=True)) - rounded.sum(axis=2, keepdims=True)  # (T, n, 1)
            y += sums[..., 0] @ weight.data["m"].astype(np.float32).T
        return y


def _rounded_256(x: Floats) -> Floats:
    """Each block's number of the largest size becomes -127."""
    blocks = x.reshape(len(x), -1, SUPER)
    most = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[..., None], axis=2)
    inverse = np.divide(np.float32(-127), most, out=np.zeros_like(most), where=most != 0)
    whole = np.minimum(np.round(inverse * blocks), np.float32(127))
    return (whole * np.divide(np.float32(1), inverse, out=np.zeros_like(most), where=most != 0)).reshape(x.shape)


def _half(x: Floats) -> Floats:
    return x.astype(np.float16).astype(np.float32)


def run(engine: Engine, ids: list[int]) -> tuple[NDArray, NDArray]:
    """Log-probabilities (T, V) after each token, and the experts (L, T, A) chosen, in the order of their numbers."""
    chosen: list[NDArray] = []
    cache = engine.cache(len(ids), "f32")
    logits = engine.forward(Batch.of([(cache.new(), 0, ids)], every=True), cache, watch=chosen.append)
    return log_probabilities(logits), np.sort(chosen[0], axis=2)


def as_llama_cpp(model: Model) -> Engine:
    return Engine(model.network, Rounding(), "f32")


def log_probabilities(logits: NDArray) -> NDArray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def divergence(p: NDArray, q: NDArray) -> NDArray:
    """Of q from p, both log-probabilities (T, V): nats at each position (T,)."""
    return (np.exp(p) * (p - q)).sum(axis=1)
