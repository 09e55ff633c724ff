"""Our quantizers beside llama.cpp's, on the same rows: error and throughput of every format.

usage: python tests/peers/quantizers.py [path/to/libggml-base.so] [--checkpoint FOLDER] [--format NAME] [--markdown]

The library is the one that llama-cpp-python carries; without an argument it is looked up in that package. All
figures are ratios of ours to theirs: errors are mean squares, weighted by the importance where one is given (below 1
is better); speeds are medians of runs made in turn, both on `--threads` threads, each with its share of the rows
(above 1 is better). The last columns are our speeds, in million weights a second.
"""

import argparse
import ctypes
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from quant import FORMATS, Format

COMPARED = [row.name for row in FORMATS.values() if row.quantize and row.name != "f32"]
WIDTH = 4096

Rows = np.ndarray
Quantizer = Callable[[Rows, np.ndarray | None], np.ndarray]
"""Rows (R, K) and an importance (K,) or None to blocks (R, n)."""


def main() -> None:
    arguments = parse()
    library = load_llama(arguments.library)
    sources = dict(rows_to_try(arguments))
    titles = [f"{source}{kind}" for source in sources for kind in ("", "+i")]
    titles += ["speed", "speed+i", "M/s", "M/s+i"]
    if arguments.markdown:
        print("| format | " + " | ".join(titles) + " |\n|---|" + "--:|" * len(titles))
    else:
        print(f"{'format':8}" + "".join(f"{title:>11}" for title in titles))
    for name in arguments.format or COMPARED:
        figures = compare(FORMATS[name], library, sources, arguments)
        cells = [f"{figure:.3f}" for figure in figures[:-2]] + [f"{figure:.0f}" for figure in figures[-2:]]
        line = f"| {name.upper()} | " + " | ".join(cells) + " |"
        print(line if arguments.markdown else f"{name:8}" + "".join(f"{cell:>11}" for cell in cells), flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("library", nargs="?", type=Path)
    parser.add_argument("--rows", type=int, default=512, help=f"rows of {WIDTH} weights (default 512)")
    parser.add_argument("--checkpoint", type=Path, help="a folder of bfloat16 safetensors to take rows from too")
    parser.add_argument("--format", choices=COMPARED, action="append", help="only this one (may be repeated)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=7, help="of each quantizer, in turn (default 7)")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    return parser.parse_args()


def load_llama(path: Path | None) -> ctypes.CDLL:
    """llama.cpp's quantizers. Calls through ctypes hold no GIL, so threads share the work."""
    if path is None:
        package = importlib.util.find_spec("llama_cpp")
        if package is None or package.origin is None:
            sys.exit("pip install llama-cpp-python, or give the path of libggml-base")
        path = next((Path(package.origin).parent / "lib").glob("libggml-base.*"))
    library = ctypes.CDLL(str(path))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, count, count, count, pointer]
    library.ggml_quantize_init.argtypes = [ctypes.c_int]
    return library


def llama_quantizer(library: ctypes.CDLL, row: Format) -> Quantizer:
    library.ggml_quantize_init(row.ggml)

    def quantize(rows: Rows, importance: np.ndarray | None) -> np.ndarray:
        out = np.empty((rows.shape[0], rows.shape[1] // row.block), row.dtype)
        weight = None if importance is None else importance.ctypes.data
        written = library.ggml_quantize_chunk(row.ggml, rows.ctypes.data, out.ctypes.data, 0, *rows.shape, weight)
        assert written == out.nbytes
        return out

    return quantize


def rows_to_try(arguments: argparse.Namespace) -> Iterator[tuple[str, Rows]]:
    yield "normal", np.random.default_rng(0).standard_normal((arguments.rows, WIDTH), np.float32)
    if arguments.checkpoint:
        yield "model", checkpoint_rows(arguments.checkpoint)


def checkpoint_rows(folder: Path) -> Rows:
    """2 ** 20 weights, rows (R, 256) from every matrix in a folder of bfloat16 safetensors."""
    parts = []
    for path in sorted(folder.glob("*.safetensors")):
        raw = path.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        for name, entry in json.loads(raw[8 : 8 + size]).items():
            if name != "__metadata__" and len(entry["shape"]) == 2:
                start, end = (8 + size + at for at in entry["data_offsets"])
                halves = np.frombuffer(raw[start:end], np.uint16)
                parts.append(FORMATS["bf16"].dequantize(halves).reshape(-1, 256))
    return np.random.default_rng(1).permutation(np.concatenate(parts))[: 1 << 12]


def compare(row: Format, library: ctypes.CDLL, sources: dict[str, Rows], arguments: argparse.Namespace) -> list[float]:
    """The figures of a line of the table."""
    assert row.quantize
    ours, theirs = row.quantize, llama_quantizer(library, row)
    errors, ratios, speeds = [], [], []
    for rows in sources.values():
        for weight in (None, importance(rows.shape[1])):
            one, other = (error(row, quantize(rows, weight), rows, weight) for quantize in (ours, theirs))
            errors.append(one / other if other else 1 + one)  # a bfloat16 model is exact in its own format
    rows = sources["normal"]
    for weight in (None, importance(WIDTH)):
        our_time, their_time = race(ours, theirs, rows, weight, arguments)
        ratios.append(their_time / our_time)
        speeds.append(rows.size / our_time / 1e6)
    return errors + ratios + speeds


def importance(width: int) -> np.ndarray:
    return np.random.default_rng(2).gamma(0.5, 1.0, width).astype(np.float32) + np.float32(1e-3)


def error(row: Format, blocks: np.ndarray, rows: Rows, weight: np.ndarray | None) -> float:
    squares = (row.dequantize(blocks) - rows) ** 2
    return float((squares if weight is None else weight * squares).mean(dtype=np.float64))


def race(
    ours: Quantizer, theirs: Quantizer, rows: Rows, weight: np.ndarray | None, arguments: argparse.Namespace
) -> tuple[float, float]:
    """Median seconds of ours and theirs, run in turn."""
    shares = np.array_split(rows, arguments.threads)
    times: tuple[list[float], list[float]] = ([], [])
    with ThreadPoolExecutor(arguments.threads) as pool:
        for _ in range(arguments.runs):
            for quantize, seconds in zip((ours, theirs), times, strict=True):
                start = time.perf_counter()
                list(pool.map(quantize, shares, [weight] * arguments.threads))
                seconds.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


if __name__ == "__main__":
    main()
