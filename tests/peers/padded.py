"""Makes a model several times as deep as another one, that writes the same: its further layers add nothing.

A large model and a small one that always agrees with it, to measure what `--draft MODEL` gives at most. By hand:
    python tests/peers/padded.py SMALL.gguf LARGE.gguf [--times 6]
    python tests/peers/drafts.py LARGE.gguf --draft SMALL.gguf
Dense models of one file: each layer is followed by copies of itself whose last matrices are zero.
"""

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np

from localmix import gguf

LAST = ("attn_output.weight", "ffn_down.weight")  # of a layer: what it adds is a product with these


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("small", type=Path)
    parser.add_argument("large", type=Path)
    parser.add_argument("--times", type=int, default=6)
    a = parser.parse_args()
    file = gguf.open(a.small)
    architecture = file.metadata["general.architecture"]
    key = f"{architecture}.block_count"
    metadata = file.typed_metadata | {key: np.uint32(a.times * int(file.metadata[key]))}
    infos, sources = list[gguf.TensorInfo](), dict[str, Any]()
    for name, tensor in file.tensors.items():
        layer = re.fullmatch(r"blk\.(\d+)\.(.*)", name)
        for copy in range(a.times if layer else 1):
            other = f"blk.{int(layer[1]) * a.times + copy}.{layer[2]}" if layer else name
            infos.append(gguf.TensorInfo(other, tensor.shape, tensor.format))
            nothing = layer is not None and copy > 0 and layer[2] in LAST
            sources[other] = np.zeros_like(tensor.data) if nothing else tensor.data
    with gguf.Writer(a.large, metadata, infos) as writer:
        for name, blocks in sources.items():
            writer.write(name, blocks)


if __name__ == "__main__":
    main()
