"""An answer whose pieces tell which experts wrote them.

The text is that of an answer that is not watched. L layers · A active experts, the one of most weight first.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmix.answer.generate import Generation


class Piece(str):
    """Text, and the experts (L, n, A) of its n tokens: in each layer, those of the pass that a token was drawn from."""

    experts: NDArray[np.int32]


class Routed(Generation):
    """A generation of `Piece`s. Several tokens are one piece where only together they are whole characters."""

    def __init__(self, *given: Any, **how: Any) -> None:
        """As a Generation, in a context of its own."""
        super().__init__(*given, **how)
        self._passes: list[NDArray[np.int32]] = []
        self._told = 0  # tokens of the answer
        self._context.watch = lambda chosen: self._passes.append(chosen.copy())

    @property
    def routing(self) -> NDArray[np.int32]:
        """The experts (L, T, A) of all tokens computed so far, prompt first; the last of an answer is not computed."""
        every = np.concatenate(self._passes, axis=1) if self._passes else np.zeros((0, 0, 0), np.int32)
        self._passes = [every] if self._passes else []
        return every

    def __next__(self) -> Piece:
        piece = Piece(super().__next__())
        first = self.stats.cached_tokens + self.stats.prompt_tokens - 1 + self._told
        count = len(self.ids) - self._told
        piece.experts = self.routing[:, first : first + count]
        self._told += count
        return piece
