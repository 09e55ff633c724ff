"""Small random files of every family, as llama.cpp names keys and tensors."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from small_models import F32, llama_metadata, write

from localmix import network
from localmix.gguf.metadata import Writable
from quant.format import Floats, Format

VOCABULARY, WIDTH, HEADS, KV_HEADS, SIZE, HIDDEN, LAYERS, CONTEXT = 300, 96, 4, 2, 32, 160, 3, 256
IDS = np.random.RandomState(1).randint(3, VOCABULARY, 48).tolist()
KEPT = 8  # of the last tokens llama.cpp's logits are stored
EXPERTS = {"expert_count": 6, "expert_used_count": 3}
YARN = {
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 8.0,
    "rope.scaling.original_context_length": 32,
}
GRANITE = {"attention.scale": 0.05, "residual_scale": 0.3, "embedding_scale": 4.0, "logit_scale": 3.0}

# Of each family: its architecture, and the keys that it has beside those of all.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama_yarn": ("llama", YARN),
    "mixtral": ("llama", EXPERTS),
    "qwen2": ("qwen2", {}),
    "qwen2moe": (
        "qwen2moe",
        EXPERTS | {"expert_feed_forward_length": 64, "expert_shared_feed_forward_length": 96},
    ),
    "qwen3": ("qwen3", {}),
    "qwen3moe": ("qwen3moe", EXPERTS | {"expert_feed_forward_length": 64}),
    "olmoe": ("olmoe", EXPERTS),
    "granite": ("granite", GRANITE),
    "granitemoe": ("granitemoe", GRANITE | EXPERTS),
    "granitemoe_shared": ("granitemoe", GRANITE | EXPERTS | {"expert_shared_feed_forward_length": 96}),
    "gpt-oss": (
        "gpt-oss",
        EXPERTS | YARN | {"expert_feed_forward_length": 96, "attention.sliding_window": 7},
    ),
}
NARROW = ("qwen2", "qwen2moe", "olmoe")  # for which llama.cpp takes no other head size than the width's share
# Tensors that a family does not ask for, but has: the biases of these.
BIASED = {
    "qwen2": ("attn_q", "attn_k", "attn_v"),
    "qwen2moe": ("attn_q", "attn_k", "attn_v"),
    "gpt-oss": ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps",
                "ffn_down_exps"),
}  # fmt: skip


def make(path: Path, name: str, format: Format = F32) -> Path:
    """A file of a family, matrices but for routers in `format`."""
    architecture, more = FAMILIES[name]
    kv_heads = HEADS if name == "olmoe" else KV_HEADS
    size = WIDTH // HEADS if architecture in NARROW else SIZE
    metadata: dict[str, Writable] = {
        key: value
        for key, value in llama_metadata(
            vocabulary=VOCABULARY, width=WIDTH, hidden=HIDDEN, layers=LAYERS, heads=HEADS, kv_heads=kv_heads,
            context=CONTEXT,
        ).items()
        if not key.startswith("llama.")
    }  # fmt: skip
    keys = {
        "context_length": CONTEXT, "embedding_length": WIDTH, "block_count": LAYERS, "feed_forward_length": HIDDEN,
        "attention.head_count": HEADS, "attention.head_count_kv": kv_heads, "attention.key_length": size,
        "attention.value_length": size, "attention.layer_norm_rms_epsilon": 1e-5, "rope.dimension_count": size,
        "rope.freq_base": 1e4, "vocab_size": VOCABULARY,
    } | more  # fmt: skip
    for key, value in keys.items():
        number = (
            np.uint32(value) if isinstance(value, int) else np.float32(value) if isinstance(value, float) else value
        )
        metadata[f"{architecture}.{key}"] = number
    metadata["general.architecture"] = architecture
    biased = BIASED.get(name, ())

    def has(tensor: str) -> bool:
        return tensor == "output.weight" or (tensor.endswith(".bias") and tensor.split(".")[-2] in biased)

    random = np.random.default_rng(len(name))
    tensors = {}
    for tensor, shape in network.shapes(name, metadata, VOCABULARY, has).items():
        numbers = random.standard_normal(shape).astype(np.float32)
        if tensor.endswith("norm.weight"):
            numbers = 1 + numbers / 4
        elif len(shape) > 1 and "ffn_gate_inp" not in tensor:
            numbers /= np.float32(shape[-1] ** 0.5)
        matrix = len(shape) > 1 and "ffn_gate_inp" not in tensor and ".bias" not in tensor
        tensors[tensor] = (format, stored(numbers, format)) if matrix else (F32, numbers)
    return write(path, metadata, tensors)


def stored(numbers: Floats, format: Format) -> NDArray[Any]:
    """A tensor's numbers (..., n) as blocks (..., n // block)."""
    assert format.quantize is not None
    return format.quantize(numbers.reshape(-1, numbers.shape[-1]), None).reshape(*numbers.shape[:-1], -1)
