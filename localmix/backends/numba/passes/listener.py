"""What the matrices of a network are multiplied with, read from the buffers after each block of a pass of many tokens.

Kernels know nothing of it: what they leave behind says it all.
"""

import numpy as np
from numpy.typing import NDArray

from localmix.backends.numba.passes.buffers import Buffers
from localmix.backends.numba.passes.program import Program
from localmix.backends.numba.passes.records import SECTIONS, padded
from localmix.backends.protocol import Inputs
from localmix.engine.weights import Weight
from quant.format import Floats


class Listener:
    """Tells `tell` the inputs of each block of one network."""

    def __init__(self, program: Program, buffers: Buffers, tell: Inputs) -> None:
        self._network = program.network
        self._wide, self._buffers, self._tell = program.wide, buffers, tell

    def attention(self, layer: int) -> None:
        """Of a layer's attention; to be called when it is computed."""
        a = self._network.layers[layer].attention
        self._tell((a.q.weight, a.k.weight, a.v.weight), self._floats("xf", self._network.width))
        self._tell((a.output.weight,), self._floats("mixed", a.output.weight.shape[1]))

    def mixture(self, layer: int) -> None:
        """Of a layer's experts; to be called when they are computed."""
        m = self._network.layers[layer].mixture
        x, rows = self._floats("xf", self._network.width), self._buffers.rows
        parts = [(m.experts, e) for e in range(len(m.experts))] + ([(m.shared, 0)] if m.shared else [])
        starts = rows("starts", (1, len(parts) + 1), np.int64)[0].tolist()
        order = rows("order", (1, starts[-1]), np.int32)[0]
        for (experts, e), start, end in zip(parts, starts, starts[1:], strict=False):
            if start < end:
                self._tell((experts.gate[e], experts.up[e]), x[order[start:end]])
                self._tell((experts.down[e],), self._hidden(experts.down[e], starts[-1])[start:end])

    def output(self) -> None:
        """Of the output matrix; to be called when it is computed."""
        wanted = int(self._buffers.step["wanted_count"])
        self._tell((self._network.output.weight,), self._floats("xf", self._network.width)[:wanted])

    def _floats(self, name: str, width: int) -> Floats:
        """Rows of a buffer of floats, one for each token of the pass."""
        s = self._buffers.step
        return self._buffers.rows(name, (int(s["tokens"]), width), np.float32, int(s[f"{name}_bytes"]))

    def _hidden(self, down: Weight, slots: int) -> "_Rows":
        """The hidden states (slots, F) in the form that an expert's down projection takes."""
        s, width = self._buffers.step, down.shape[1]
        if down.format.block == 1:
            stride = int(s["hidden_floats_bytes"])
            return self._buffers.rows("hidden_floats", (slots, width), np.float32, stride)
        stride = int(s["hidden_bytes"])
        return _Quantized(self._buffers.rows("hidden", (slots, stride), np.uint8), width, self._wide)


class _Quantized:
    """Rows of quantized activations, as floats where they are asked for."""

    def __init__(self, rows: NDArray[np.uint8], width: int, wide: bool) -> None:
        self._rows, self._width, self._wide = rows, width, wide

    def __getitem__(self, rows: slice) -> Floats:
        values = self._section("values", rows, np.int8).astype(np.float32)
        if self._wide:
            values = values * np.float32(256) + self._section("low", rows, np.int8)
        scales = self._section("scales", rows, np.float32)
        return (values.reshape(*scales.shape, 32) * scales[..., None]).reshape(len(values), -1)[:, : self._width]

    def _section(self, name: str, rows: slice, dtype: type[np.generic]) -> NDArray:
        """One section of the rows, see records.SECTIONS."""
        start, size = SECTIONS[name]
        room = padded(self._width)
        first = room // 8 * start
        return np.ascontiguousarray(self._rows[rows, first : first + room // 32 * size]).view(dtype)


_Rows = Floats | _Quantized
