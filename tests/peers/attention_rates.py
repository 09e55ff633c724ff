"""How fast the kernels that attend are: products a second of one thread, a kv head's queries over a depth.

By hand, from the checkout:
    python tests/peers/attention_rates.py [f16 f16_rounded ...] [--tokens 64] [--group 8] [--size 128] [--depth 4096]
The queries of `tokens` tokens, `group` for each, are the last of `depth` positions. LOCALMIX_ISA=avx2 chooses other
instructions; kernels that end in _rounded are for AVX-512. A product is one of a query and a key, or of a weight and a
value. The rate is the best of `--rounds`: that which nobody disturbed.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "backends" / "numba"))
import kernel_calls

from localmix.backends.numba.machine import isa, native
from localmix.backends.numba.passes.records import ATTEND, attention_scratch, fours, room
from localmix.engine.cache import PAGE
from localmix.engine.storage import STORAGES


def seconds(kernel: str, a: argparse.Namespace) -> float:
    """Of one run, the fastest of all rounds."""
    rng, kv = np.random.default_rng(0), kernel.removesuffix("_rounded")
    width, n = room(a.size), fours(a.tokens * a.group)
    pages = [rng.standard_normal((2, 1, PAGE, width), np.float32) for _ in range(-(-a.depth // PAGE))]
    stored = [STORAGES[kv].encode(page) for page in pages]
    table = np.array([page.ctypes.data for page in stored], np.int64)
    limits = np.repeat(np.arange(a.depth - a.tokens, a.depth), a.group)
    limits = np.concatenate([limits, np.full(n - len(limits), a.depth - 1)])
    scratch = np.zeros(attention_scratch(width) + 64, np.uint8)
    o, m, l = (np.zeros((n, k), np.float32) for k in (width, 1, 1))  # noqa: E741
    job, run = np.zeros((), ATTEND), native.function(f"attend.kernel.{kernel}", 1)
    job["queries"], job["p1"], job["room"] = a.tokens * a.group, a.depth, width
    job["row"], job["values"] = stored[0].strides[2], stored[0].strides[0]
    for name, array in {"limits": limits, "pages": table, "o": o, "m": m, "l": l, "scratch": scratch}.items():
        job[name] = array.ctypes.data
    found = []
    for _ in range(a.rounds):
        q = kernel_calls.aligned((rng.standard_normal((n, width)) / np.sqrt(a.size)).astype(np.float32))
        job["q"] = q.ctypes.data  # some kernels round queries in place
        began = time.perf_counter()
        run(job.ctypes.data)
        found.append(time.perf_counter() - began)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernels", nargs="*", default=["f16", "f16_rounded"])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--group", type=int, default=8, help="query heads of a kv head")
    parser.add_argument("--size", type=int, default=128, help="of a head")
    parser.add_argument("--depth", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=9)
    a = parser.parse_args()
    seen = sum(range(a.depth - a.tokens + 1, a.depth + 1))  # positions, by all tokens together
    for kernel in a.kernels:
        took = seconds(kernel, a)
        rate = 2 * seen * a.group * a.size / took / 1e9
        print(f"{isa.active().name} {kernel:>14} {1e3 * took:8.2f} ms {rate:6.1f} G products a second", flush=True)


if __name__ == "__main__":
    main()
