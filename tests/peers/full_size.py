"""A Mixtral of full size but few layers, in shards, converted: memory, throughput, and what comes of it.

usage: python tests/peers/full_size.py FOLDER [--layers N] [--formats Q4_K_M ...] [--keep] [--measure TEXT]

Writes the checkpoint in FOLDER (6.3 GB for 2 layers; random weights, the tokenizer of the tests), converts it in a
process of its own for each format, and prints the largest RssAnon of that process and the throughput. `--keep`
leaves the files there, for llama.cpp. `--measure` compares each with the source on a window of TEXT, which takes
another 6.3 GB of disk.
"""

import argparse
import json
import re
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoint_folders import config, tokenizer
from random_checkpoints import Spec, shapes

from quant import FORMATS

SPEC = Spec("full", 32000, 4096, 14336, 2, 32, 8, 128, 8, 2, 1e6)
SHARD = 2 << 30  # bytes
NOISE = 1 << 23  # random weights, repeated from another place each time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--formats", nargs="+", default=["Q8_0", "Q4_0", "Q4_K_M", "Q2_K", "IQ4_XS"])
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--measure", type=Path, metavar="TEXT")
    arguments = parser.parse_args()
    source = arguments.folder / "full"
    if not source.exists():
        write(source, arguments.layers)
    for name in arguments.formats:
        out = arguments.folder / f"full.{name}.gguf"
        out.unlink(missing_ok=True)
        convert(source, out, name, ["--measure", str(arguments.measure), "--chunks", "1"] if arguments.measure else [])
        if not arguments.keep:
            out.unlink()
    if not arguments.keep:
        shutil.rmtree(source)


def write(folder: Path, layers: int) -> None:
    """The checkpoint, in shards with an index."""
    folder.mkdir(parents=True)
    spec = Spec(**vars(SPEC) | {"layers": layers})
    values = config(spec, 4)
    (folder / "config.json").write_text(json.dumps(values))
    tokenizer(folder)
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards(spec)):
        file = f"model-{number + 1:05}.safetensors"
        write_shard(folder / file, shard)
        weight_map |= dict.fromkeys(shard, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def shards(spec: Spec) -> Iterator[dict[str, tuple[int, ...]]]:
    """The tensors of each file: names as in the checkpoint, and shapes."""
    found: dict[str, tuple[int, ...]] = {}
    size = 0
    for name, shape in shapes(spec).items():
        found[name] = shape
        size += 2 * int(np.prod(shape))
        if size > SHARD:
            yield found
            found, size = {}, 0
    yield found


def write_shard(path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    noise = np.random.default_rng(0).standard_normal(2 * NOISE, np.float32) * np.float32(0.02)
    row = FORMATS["bf16"]
    assert row.quantize
    blocks = row.quantize(noise[None], None)[0]
    entries, at = {}, 0
    for name, shape in tensors.items():
        size = 2 * int(np.prod(shape))
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for index, shape in enumerate(tensors.values()):
            left, start = int(np.prod(shape)), 977 * index % NOISE
            while left:
                count = min(left, NOISE)
                file.write(blocks[start : start + count].data)
                left -= count


def convert(source: Path, out: Path, name: str, options: list[str]) -> None:
    """Run the command and watch it."""
    begun = time.monotonic()
    main = "from localmix.cli import main; main()"
    command = [sys.executable, "-c", main, "quantize", str(source), str(out), "--format", name, "-q", *options]
    process = subprocess.Popen(command)
    largest = 0
    while process.poll() is None:
        largest = max(largest, anonymous(process.pid))
        time.sleep(0.05)
    seconds = time.monotonic() - begun
    assert process.returncode == 0
    weights = sum(path.stat().st_size for path in source.glob("*.safetensors")) // 2
    print(
        f"{name:8} {out.stat().st_size / 1e9:6.2f} GB  RssAnon {largest / 1e6:6.0f} MB  "
        f"{seconds:6.1f} s  {weights / seconds / 1e6:5.0f} M weights/s"
    )


def anonymous(pid: int) -> int:
    """Bytes of the process's own memory."""
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return 1024 * int(found[1]) if found else 0


if __name__ == "__main__":
    main()
