"""Makes the other model of a pair, to measure what `--draft MODEL` gives at most, and what a useless one costs.

By hand, of a dense model's file:
    python tests/peers/pairs.py deep SMALL.gguf LARGE.gguf [--times 6]
    python tests/peers/drafts.py LARGE.gguf --draft SMALL.gguf
    python tests/peers/pairs.py stranger MODEL.gguf STRANGER.gguf
    python tests/peers/drafts.py MODEL.gguf --draft STRANGER.gguf
deep: each layer is followed by copies of itself whose last matrices are zero, so that the model is several times as
large and writes the same. stranger: one layer whose blocks are in random order, so that it knows nothing.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmix import gguf
from localmix.gguf import File

LAST = ("attn_output.weight", "ffn_down.weight")  # of a layer: what it adds is a product with these
Made = Iterator[tuple[str, Any, NDArray[Any]]]  # names, tensors that they are like, and their blocks


def deep(file: File, times: int) -> Made:
    for name, tensor in file.tensors.items():
        layer = re.fullmatch(r"blk\.(\d+)\.(.*)", name)
        if layer is None:
            yield name, tensor, tensor.data
            continue
        for copy in range(times):
            nothing = copy > 0 and layer[2] in LAST
            other = f"blk.{int(layer[1]) * times + copy}.{layer[2]}"
            yield other, tensor, np.zeros_like(tensor.data) if nothing else tensor.data


def stranger(file: File) -> Made:
    random = np.random.default_rng(0)
    for name, tensor in file.tensors.items():
        if not name.startswith("blk.") or name.startswith("blk.0."):
            shuffled = random.permutation(tensor.data.reshape(-1)).reshape(tensor.data.shape)
            yield name, tensor, tensor.data if "norm" in name else shuffled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("deep", "stranger"))
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--times", type=int, default=6)
    a = parser.parse_args()
    file = gguf.open(a.model)
    key = f"{file.metadata['general.architecture']}.block_count"
    layers = a.times * int(file.metadata[key]) if a.kind == "deep" else 1
    made = list(deep(file, a.times) if a.kind == "deep" else stranger(file))
    infos = [gguf.TensorInfo(name, tensor.shape, tensor.format) for name, tensor, _ in made]
    with gguf.Writer(a.out, file.typed_metadata | {key: np.uint32(layers)}, infos) as writer:
        for name, _, blocks in made:
            writer.write(name, blocks)


if __name__ == "__main__":
    main()
