"""A small sparse network in any weight format, each matrix the same stored blocks with rows in another order.

`tests/data/make_llama_cpp.py` stores the blocks of each format and the logits that llama.cpp gives for the network.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from small_models import F32, llama_metadata, write

from quant import Format

SIZE = 256  # of every matrix, so that one serves all: the largest block
EXPERTS = 4
LAYERS = 2
IDS = np.random.RandomState(1).randint(3, SIZE, 24).tolist()


def to_gguf(format: Format, blocks: NDArray[Any], path: Path) -> Path:
    """The network with `blocks` (SIZE, SIZE // block) in all matrices."""
    random = np.random.RandomState(2)

    def matrix(rows: int = SIZE) -> tuple[Format, NDArray[Any]]:
        return format, np.ascontiguousarray(blocks[random.permutation(SIZE)[:rows]])

    one = (F32, np.ones(SIZE, np.float32))
    tensors = {"token_embd.weight": matrix(), "output.weight": matrix(), "output_norm.weight": one}
    for layer in range(LAYERS):
        blk = f"blk.{layer}."
        tensors |= {blk + "attn_norm.weight": one, blk + "ffn_norm.weight": one}
        tensors |= {f"{blk}attn_{name}.weight": matrix() for name in ("q", "output")}
        tensors |= {f"{blk}attn_{name}.weight": matrix(SIZE // 2) for name in ("k", "v")}
        tensors[blk + "ffn_gate_inp.weight"] = (F32, random.standard_normal((EXPERTS, SIZE)).astype(np.float32))
        for name in ("gate", "up", "down"):
            tensors[f"{blk}ffn_{name}_exps.weight"] = (format, np.stack([matrix()[1] for _ in range(EXPERTS)]))
    metadata = llama_metadata(
        vocabulary=SIZE, width=SIZE, hidden=SIZE, layers=LAYERS, heads=4, kv_heads=2, context=64,
        experts=EXPERTS, active=2, rope__dimension_count=np.uint32(64),
    )  # fmt: skip
    return write(path, metadata, tensors)
