"""Our quantizers beside llama.cpp's, on the same rows: error and throughput of every format.

usage: python tests/peers/quantizers.py [path/to/libggml-base.so] [--rows N] [--checkpoint FOLDER] [--format NAME]

The library is the one that llama-cpp-python carries; without an argument it is looked up in that package. Errors
are mean squares relative to the mean square of the weights, weighted by the importance where one is given.
Throughput is of one thread each, the two measured in turn, the best of three.
"""

import argparse
import ctypes
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from quant import FORMATS, Format

PLAIN = ("f32", "f16", "bf16", "mxfp4")  # nothing to search, or read only


def main() -> None:
    arguments = parse()
    llama = load_llama(arguments.library)
    print(f"{'format':8} {'rows':10} {'importance':10} {'llama.cpp':>10} {'localmix':>10} {'ratio':>7} {'speed':>15}")
    for source, rows, importance in rows_to_try(arguments):
        for row in FORMATS.values():
            if row.name in PLAIN or arguments.format not in (None, row.name):
                continue
            for weight in (None, importance):
                compare(row, source, rows, weight, llama)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("library", nargs="?", type=Path)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--checkpoint", type=Path, help="a folder of safetensors to take rows from too")
    parser.add_argument("--format", choices=[name for name in FORMATS if name not in PLAIN])
    return parser.parse_args()


def load_llama(path: Path | None) -> Callable[[Format, np.ndarray, np.ndarray | None], np.ndarray]:
    """llama.cpp's quantizer as a function (format, rows (R, K), importance (K,) or None) -> blocks (R, n)."""
    if path is None:
        package = importlib.util.find_spec("llama_cpp")
        if package is None or package.origin is None:
            sys.exit("pip install llama-cpp-python, or give the path of libggml-base")
        path = next((Path(package.origin).parent / "lib").glob("libggml-base.*"))
    quantize_chunk = ctypes.CDLL(str(path)).ggml_quantize_chunk
    quantize_chunk.restype = ctypes.c_size_t
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, count, count, count, pointer]

    def quantize(row: Format, rows: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
        out = np.empty((rows.shape[0], rows.shape[1] // row.block), row.dtype)
        weight = None if importance is None else importance.ctypes.data
        written = quantize_chunk(row.ggml, rows.ctypes.data, out.ctypes.data, 0, *rows.shape, weight)
        assert written == out.nbytes
        return out

    return quantize


def rows_to_try(arguments: argparse.Namespace) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    importance = rng.gamma(0.5, 1.0, 4096).astype(np.float32) + np.float32(1e-3)
    yield "normal", rng.standard_normal((arguments.rows, 4096), np.float32), importance
    heavy = rng.standard_t(5, (arguments.rows, 4096)).astype(np.float32)
    yield "student t", heavy, importance
    if arguments.checkpoint:
        rows = checkpoint_rows(arguments.checkpoint)[: arguments.rows * 16]
        yield "checkpoint", rows, importance[: rows.shape[1]]


def checkpoint_rows(folder: Path) -> np.ndarray:
    """Rows (R, 256) of every matrix in a folder of bfloat16 safetensors, shuffled."""
    import json

    parts = []
    for path in sorted(folder.glob("*.safetensors")):
        raw = path.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        for name, entry in json.loads(raw[8 : 8 + size]).items():
            if name != "__metadata__" and len(entry["shape"]) == 2:
                start, end = (8 + size + at for at in entry["data_offsets"])
                halves = np.frombuffer(raw[start:end], np.uint16)
                parts.append(FORMATS["bf16"].dequantize(halves).reshape(-1, 256))
    rows = np.concatenate(parts)
    return np.random.default_rng(1).permutation(rows)


def compare(
    row: Format, source: str, rows: np.ndarray, importance: np.ndarray | None, llama: Callable[..., np.ndarray]
) -> None:
    weight = np.ones(rows.shape[1], np.float32) if importance is None else importance

    def error(blocks: np.ndarray) -> float:
        difference = row.dequantize(blocks) - rows
        return float((weight * difference**2).mean(dtype=np.float64) / (weight * rows**2).mean(dtype=np.float64))

    theirs, their_time = timed(lambda: llama(row, rows, importance))
    line = f"{row.name:8} {source:10} {'none' if importance is None else 'given':10} {error(theirs):10.3e}"
    if row.quantize is not None:
        quantize = row.quantize
        quantize(rows[:2], importance)  # compile
        ours, our_time = timed(lambda: quantize(rows, importance))
        speeds = f"{rows.size / their_time / 1e6:6.0f} {rows.size / our_time / 1e6:6.0f} M/s"
        line += f" {error(ours):10.3e} {error(ours) / error(theirs):7.4f} {speeds:>15}"
    else:
        line += f" {'':18} {rows.size / their_time / 1e6:8.0f}      M/s"
    print(line, flush=True)


def timed(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return result, best


if __name__ == "__main__":
    main()
