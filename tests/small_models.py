"""Small models for tests: the trained stories260K, and what is made from it or from random numbers.

Random weights come from NumPy's RandomState, whose numbers never change: `tests/data/make_*.py` gives the same
weights to other implementations and stores only what those answer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vocabularies import STORIES_TEMPLATE

from localmix import gguf
from quant import FORMATS, Format

DATA = Path(__file__).parent / "data"
STORIES = DATA / "stories260K" / "stories260K.F32.gguf"
F32 = FORMATS["f32"]


def write(path: Path, metadata: Mapping[str, Any], tensors: Mapping[str, tuple[Format, NDArray[Any]]]) -> Path:
    """A GGUF file of tensors given as (format, blocks)."""
    infos = [
        gguf.TensorInfo(name, (*blocks.shape[:-1], blocks.shape[-1] * format.block), format)
        for name, (format, blocks) in tensors.items()
    ]
    with gguf.Writer(path, metadata, infos) as writer:
        for name, (_, blocks) in tensors.items():
            writer.write(name, blocks)
    return path


def chatty_stories(path: Path, template: str = STORIES_TEMPLATE, **metadata: Any) -> Path:
    """stories260K with a chat template and other metadata; what it answers is nonsense."""
    file = gguf.open(STORIES)
    merged = file.typed_metadata | {"tokenizer.chat_template": template} | metadata
    return write(path, merged, {name: (t.format, t.data) for name, t in file.tensors.items()})


def escaping_stories(path: Path) -> Path:
    """stories260K that writes nothing but the control characters 27 and 28."""
    file = gguf.open(STORIES)
    tensors = {name: (t.format, t.data) for name, t in file.tensors.items()}
    output = np.zeros((512, 64), np.float32)
    output[3 + 27], output[3 + 28] = 1, -1  # whatever the sum is, one of them is the larger
    return write(path, file.typed_metadata, tensors | {"output.weight": (F32, output)})


def upcycled_stories(path: Path, experts: int = 8, active: int = 2, merged: bool = True) -> Path:
    """stories260K as a sparse model: each expert is the dense layer with its hidden units in another order.

    Whatever the random router chooses, the text is that of the dense model.
    """
    file, random = gguf.open(STORIES), np.random.RandomState(0)
    metadata = file.typed_metadata | {
        "llama.expert_count": np.uint32(experts),
        "llama.expert_used_count": np.uint32(active),
    }
    tensors: dict[str, tuple[Format, NDArray[Any]]] = {}
    order = [random.permutation(172) for _ in range(experts)]
    for name, t in file.tensors.items():
        if ".ffn_norm" in name or ".ffn_" not in name:
            tensors[name] = (F32, t.data)
            continue
        stem = name.removesuffix(".weight")
        each = [t.data[:, o] if stem.endswith("ffn_down") else t.data[o] for o in order]
        if merged:
            tensors[f"{stem}_exps.weight"] = (F32, np.stack(each))
        else:
            tensors |= {f"{stem}.{e}.weight": (F32, one) for e, one in enumerate(each)}
        if stem.endswith("ffn_gate"):
            tensors[f"{stem}_inp.weight"] = (F32, random.randn(experts, 64).astype(np.float32))
    return write(path, metadata, tensors)


def llama_metadata(
    *,
    vocabulary: int,
    width: int,
    hidden: int,
    layers: int,
    heads: int,
    kv_heads: int,
    context: int,
    experts: int = 0,
    active: int = 0,
    **more: Any,
) -> dict[str, Any]:
    """Metadata of a small file of the llama family; `more` are keys below `llama.`, dots as double underscores."""
    sizes = {
        "block_count": layers,
        "context_length": context,
        "embedding_length": width,
        "feed_forward_length": hidden,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
    }
    sizes |= {"expert_count": experts, "expert_used_count": active} if experts else {}
    return {
        "general.architecture": "llama",
        **{f"llama.{key}": np.uint32(value) for key, value in sizes.items()},
        "llama.attention.layer_norm_rms_epsilon": np.float32(1e-5),
        **{f"llama.{key.replace('__', '.')}": value for key, value in more.items()},
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", *(f"▁{i}" for i in range(3, vocabulary))],
        "tokenizer.ggml.scores": -np.arange(vocabulary, dtype=np.float32),
        "tokenizer.ggml.token_type": np.array([2, 3, 3] + [1] * (vocabulary - 3), np.int32),
        "tokenizer.ggml.bos_token_id": np.uint32(1),
        "tokenizer.ggml.eos_token_id": np.uint32(2),
        "tokenizer.ggml.unknown_token_id": np.uint32(0),
    }
