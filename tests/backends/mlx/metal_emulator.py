"""Runs generated Metal source on the CPU: a C++ compiler, and a few definitions that make it understand Metal.

The 32 lanes of a group run one after another, twice: the first time `simd_sum` notes what each lane brings, the
second time it gives the sum. Address spaces and attributes are macros and globals.
"""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localmix.backends.mlx.metal import source
from localmix.backends.mlx.metal.lanes import TABLE, WEIGHTS

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")

_METAL = """
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>
#define device
#define constant
typedef unsigned int uint; typedef unsigned char uchar; typedef unsigned short ushort;
struct uint3 { uint x, y, z; };
struct half {  // read only
    ushort bits;
    operator float() const {
        uint exponent = bits >> 10 & 31, fraction = bits & 1023, word;
        float value;
        if (exponent == 0) { value = fraction * 0x1p-24f; }
        else { word = (exponent + 112) << 23 | fraction << 13; std::memcpy(&value, &word, 4); }
        return bits >> 15 ? -value : value;
    }
};
static uint thread_index_in_simdgroup, simdgroup_index_in_threadgroup, simd_call;
static uint3 threadgroup_position_in_grid;
static bool noting;
static std::vector<float> sums;
static float simd_sum(float value) {
    if (simd_call == sums.size()) sums.push_back(0);
    if (noting) sums[simd_call] += value;
    return sums[simd_call++];
}
"""

_RUN = """
extern "C" void run(ARGUMENTS, uint groups_x, uint groups_y) {
    for (uint gy = 0; gy < groups_y; ++gy) for (uint gx = 0; gx < groups_x; ++gx) for (uint s = 0; s < GROUPS; ++s) {
        threadgroup_position_in_grid = {gx, gy, 0};
        simdgroup_index_in_threadgroup = s;
        sums.clear();
        for (int pass = 0; pass < 2; ++pass) for (uint lane = 0; lane < 32; ++lane) {
            noting = pass == 0; simd_call = 0; thread_index_in_simdgroup = lane;
            body(NAMES);
        }
    }
}
"""


class Emulated:
    """The two kernels of one format in float32, compiled into `folder`."""

    def __init__(self, name: str, folder: Path) -> None:
        self._lanes, self._folder = TABLE[name], folder
        self._name = name

    def product(
        self, blocks: NDArray[np.uint8], x: NDArray[np.float32], rows: NDArray[np.uint32], matrices: NDArray[np.uint32]
    ) -> NDArray[np.float32]:
        """blocks (E, out, bytes), x (T, in), rows and matrices (N,): (N, out)."""
        _, out, size = blocks.shape
        y = np.full((len(rows), out), np.nan, np.float32)
        arguments = "const uchar* weights, const float* x, const uint* tokens, const uint* matrices, float* y"
        defines = f"#define T float\n#define OUT {out}\n#define BLOCKS {size // self._lanes.size}\n"
        run = self._compile(f"product{out}", defines, arguments, "weights, x, tokens, matrices, y", source.product())
        groups = -(-out // (source.ROWS * source.GROUPS))
        run(*(a.ctypes.data_as(ctypes.c_void_p) for a in (blocks, x, rows, matrices, y)), groups, len(rows))
        return y

    def expand(self, blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        """blocks (n, bytes of a block): (n, 256)."""
        y = np.full((len(blocks), WEIGHTS), np.nan, np.float32)
        shape = np.array(blocks.shape, np.int32)
        arguments = "const uchar* weights, const int* weights_shape, float* y"
        run = self._compile("expand", "#define T float\n", arguments, "weights, weights_shape, y", source.expand())
        groups = -(-len(blocks) // source.GROUPS)
        run(*(a.ctypes.data_as(ctypes.c_void_p) for a in (blocks, shape, y)), groups, 1)
        return y

    def _compile(self, what: str, defines: str, arguments: str, names: str, body: str) -> "ctypes._NamedFuncPointer":
        function = f"static void body({arguments}) {{\n{body}}}\n"
        run = _RUN.replace("ARGUMENTS", arguments).replace("NAMES", names)
        file = self._folder / f"{self._name}-{what}.cpp"
        file.write_text(_METAL + defines + source.header(self._lanes) + function + run)
        library = file.with_suffix(".so")
        assert COMPILER is not None
        subprocess.run([COMPILER, "-O1", "-shared", "-fPIC", "-w", "-o", library, file], check=True)
        return ctypes.CDLL(str(library)).run
