"""What the matrices of a network are multiplied with, read from the buffers of a prompt between two layers.

Kernels know nothing of it: what they leave behind after a layer says it all, but for the input of its attention,
which is computed once more from the residual stream before the layer.
"""

import numpy as np
from numpy.typing import NDArray

from localmix.arch.decoder import Network
from localmix.backends.numba.passes.buffers import Buffers
from localmix.backends.numba.passes.layout import SECTIONS, padded
from localmix.backends.numba.passes.program import FLOATS, Program, experts_of
from localmix.backends.reference import Reference
from localmix.backends.watch import Inputs
from localmix.engine.weights import Experts
from quant.format import Floats


class Listener:
    """Tells `tell` the inputs of each layer of one network."""

    def __init__(self, program: Program, buffers: Buffers, tell: Inputs) -> None:
        self._network: Network = program.network
        self._wide, self._buffers, self._tell = program.wide, buffers, tell
        self._norm = Reference().norm

    def before(self, layer: int, tokens: int) -> None:
        """The inputs of attention, of `tokens` rows; to be called before the layer is computed."""
        one = self._network.layers[layer]
        x = self._norm(self._residual(tokens), one.attn_norm, self._network.config.eps)
        self._tell((one.attn_q, one.attn_k, one.attn_v), x)

    def after(self, layer: int, tokens: int) -> None:
        """The inputs of everything else; to be called when the layer is computed."""
        c, s, rows = self._network.config, self._buffers.step, self._buffers.rows
        one = self._network.layers[layer]
        mixed = rows("mixed", (tokens, c.heads * c.head_dim), np.float32, int(s["mixed_bytes"]))
        self._tell((one.attn_output,), mixed)
        x = rows("xf", (tokens, c.width), np.float32, int(s["xf_bytes"]))
        experts = experts_of(one.ffn)
        starts = rows("starts", (1, len(experts) + 1), np.int64)[0].tolist()
        order = rows("order", (1, starts[-1]), np.int32)[0]
        for e in range(len(experts)):
            if starts[e] < starts[e + 1]:
                slots = slice(starts[e], starts[e + 1])
                self._tell((experts.gate[e], experts.up[e]), x[order[slots]])
                self._tell((experts.down[e],), self._hidden(experts, e, starts[-1])[slots])

    def end(self, wanted: NDArray[np.int32], tokens: int) -> None:
        """The input of the output matrix, after the last layer."""
        net = self._network
        self._tell((net.output,), self._norm(self._residual(tokens)[wanted], net.output_norm, net.config.eps))

    def _residual(self, tokens: int) -> Floats:
        return self._buffers.rows("x", (tokens, self._network.config.width), np.float32)

    def _hidden(self, experts: Experts, e: int, slots: int) -> "_Rows":
        """The hidden states (slots, F) in the form that the expert's down projection takes."""
        s, width = self._buffers.step, self._network.config.hidden
        if experts.down[e].format.name in FLOATS:
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
        """One section of the rows, see layout.SECTIONS."""
        start, size = SECTIONS[name]
        room = padded(self._width)
        first = room // 8 * start
        return np.ascontiguousarray(self._rows[rows, first : first + room // 32 * size]).view(dtype)


_Rows = Floats | _Quantized
