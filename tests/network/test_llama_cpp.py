"""Quantized files give the distribution that llama.cpp gives, in every weight format, on every backend."""

from pathlib import Path

import numpy as np
import pytest
from quantized_models import IDS, to_gguf
from small_models import DATA

import localmix
from quant import FORMATS

STORED = np.load(DATA / "llama_cpp.npz")
NAMES = [key.removesuffix(" logits") for key in STORED if key.endswith(" logits")]


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("name", NAMES)
def test_distribution(folder: Path, backend: str, name: str) -> None:
    blocks = STORED[f"{name} blocks"] if f"{name} blocks" in STORED else matrix(name)
    path = to_gguf(FORMATS[name], blocks, folder / f"{name}-{backend}.gguf")
    ours = log_probabilities(localmix.load(path, backend).logits(IDS))
    theirs = log_probabilities(STORED[f"{name} logits"])
    divergence = (np.exp(theirs) * (theirs - ours)).sum(axis=1)
    assert divergence.mean() < 1e-3
    # Activations are rounded to 8 bits, by them and by some of our backends: only near-ties may change places.
    chosen = np.take_along_axis(theirs, ours.argmax(axis=1)[:, None], axis=1)[:, 0]
    assert (theirs.max(axis=1) - chosen).max() < 0.1


def matrix(name: str) -> np.ndarray:
    """The random matrix itself, for formats that are numbers."""
    values = np.random.RandomState(0).standard_normal((256, 256)).astype(np.float32) * np.float32(0.5 / 16)
    quantize = FORMATS[name].quantize
    assert quantize is not None
    return quantize(values, None)
