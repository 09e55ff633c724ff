"""What a choice of formats will cost, estimated before any weight is read: KL divergence from the source.

Each tensor adds its format's error times how much its role minds. Both were measured: the errors on normal rows, the
roles on the bundled model, one at a time, where the divergence grows in proportion to the error (Q4_K, Q3_K and Q2_K
within 25 % of one line). The sum, times LARGE, gives the published perplexities of six recipes of Mixtral 8x7B
within 30 %. It is there to compare recipes, not to promise a figure.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from localmix.gguf import TensorInfo
from quant.format import Format

# Nats of divergence a unit of error in all tensors of a role together.
SENSITIVITY: tuple[tuple[str, float], ...] = (
    (r"^token_embd\.", 0.11),
    (r"^output\.", 0.78),
    (r"attn_q\.", 0.09),
    (r"attn_k\.", 0.12),
    (r"attn_v\.", 0.46),
    (r"attn_output\.", 0.38),
    (r"ffn_gate(_exps|_shexp)?\.", 0.18),
    (r"ffn_up(_exps|_shexp)?\.", 0.17),
    (r"ffn_down(_exps|_shexp)?\.", 0.42),
)
ENDS, MIDDLE = 2.0, 0.7  # times the mean of ffn_down's layers: the first and last eighth, and those between
LARGE, LARGE_WEIGHTS = 3.1, 10**9  # a model of so many weights minds so much more than the bundled one


@dataclass(frozen=True)
class Sensitivity:
    """How much a model minds errors in each of its tensors."""

    layers: int
    weights: int  # of the whole model

    def of(self, name: str) -> float:
        """Nats of divergence a unit of error in the tensor called `name`."""
        scale = LARGE if self.weights >= LARGE_WEIGHTS else 1.0
        value = scale * next((value for pattern, value in SENSITIVITY if re.search(pattern, name)), 0.0)
        layer = re.match(r"blk\.(\d+)\.", name)
        if layer is None:
            return value
        if "ffn_down" in name:
            edge = max(1, self.layers // 8)
            value *= ENDS if min(int(layer[1]), self.layers - 1 - int(layer[1])) < edge else MIDDLE
        return value / self.layers

    def loss(self, name: str, format: Format) -> float:
        """The estimated divergence in nats per token that this tensor in this format adds."""
        return self.of(name) * format.error

    def total(self, tensors: Iterable[TensorInfo]) -> float:
        """That of a whole model."""
        return sum(self.loss(info.name, info.format) for info in tensors if len(info.shape) > 1)
