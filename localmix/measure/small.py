"""Small random networks of every family: for checking what computes them, on a machine that has no models."""

from collections.abc import Iterator
from pathlib import Path

from localmix import gguf, network
from localmix.measure.synthetic import Shape, shape, write_shape
from localmix.network.decoder import Network
from quant import FORMATS

_VOCABULARY, _WIDTH, _HEADS, _HIDDEN, _LAYERS, _CONTEXT = 320, 256, (4, 2, 64), 512, 2, 128
_OWN = {"expert_feed_forward_length": 96}  # no multiple of what GPUs' kernels want


def _shape(architecture: str, experts: tuple[int, int] = (0, 0), **more: int | float) -> Shape:
    return shape(architecture, _VOCABULARY, _WIDTH, _HEADS, _HIDDEN, _LAYERS, _CONTEXT, experts, more)


# A family: a shape, and the format of its matrices.
SHAPES: dict[str, tuple[Shape, str]] = {
    "llama": (_shape("llama"), "q4_0"),
    "mixtral": (_shape("llama", (8, 2)), "q6_k"),
    "qwen3moe": (_shape("qwen3moe", (16, 4), **_OWN), "q8_0"),
}


def networks(folder: Path) -> Iterator[tuple[str, Network]]:
    """Each, by name; its file is made in `folder`."""
    for name, (own, format) in SHAPES.items():
        path = folder / f"{name}.gguf"
        write_shape(path, name, own, None, FORMATS[format])
        yield f"{name} in {format}", network.load(gguf.open(path))
