"""Small random networks of every family: for checking what computes them, on a machine that has no models."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from localmix import gguf, network
from localmix.measure.synthetic import GPT_OSS, Shape, shape, write_shape
from localmix.network.decoder import Network
from quant import FORMATS

_VOCABULARY, _HEADS, _HIDDEN, _LAYERS, _CONTEXT = 320, (4, 2, 64), 512, 2, 128
_OWN = {"expert_feed_forward_length": 96}  # no multiple of what GPUs' kernels want
_SHARED = {"expert_shared_feed_forward_length": 256}
_GRANITE = {"attention.scale": 0.1, "residual_scale": 0.3, "embedding_scale": 4.0, "logit_scale": 3.0}


def _shape(
    architecture: str,
    experts: tuple[int, int] = (0, 0),
    *more: Mapping[str, int | float | str],
    width: int = 256,
    biased: str = "^$",
) -> Shape:
    keys = {key: value for some in more for key, value in some.items()}
    return shape(architecture, _VOCABULARY, width, _HEADS, _HIDDEN, _LAYERS, _CONTEXT, experts, keys, biased=biased)


# A family: a shape, and the format of its matrices.
SHAPES: dict[str, tuple[Shape, str]] = {
    "llama": (_shape("llama"), "q4_0"),
    "mixtral": (_shape("llama", (8, 2)), "q6_k"),
    "qwen2": (_shape("qwen2", biased="attn_[qkv]"), "q4_k"),
    "qwen2moe": (_shape("qwen2moe", (8, 4), _OWN, _SHARED, biased="attn_[qkv]"), "q8_0"),
    "qwen3": (_shape("qwen3"), "q5_k"),
    "qwen3moe": (_shape("qwen3moe", (16, 4), _OWN), "q8_0"),
    "olmoe": (_shape("olmoe", (16, 4)), "q4_1"),
    "granite": (_shape("granite", (0, 0), _GRANITE), "q3_k"),
    "granitemoe": (_shape("granitemoe", (16, 4), _GRANITE, _SHARED), "q5_0"),
    "gpt-oss": (
        _shape("gpt-oss", (16, 4), GPT_OSS, _OWN, {"attention.sliding_window": 7}, width=288, biased="."),
        "mxfp4",
    ),
}


def networks(folder: Path) -> Iterator[tuple[str, Network]]:
    """Each, by name; its file is made in `folder`."""
    for name, (own, format) in SHAPES.items():
        path = folder / f"{name}.gguf"
        write_shape(path, name, own, None, FORMATS[format])
        yield f"{name} in {format}", network.load(gguf.open(path))
