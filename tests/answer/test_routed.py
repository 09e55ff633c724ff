"""Pieces of an answer with the experts that wrote them, against those of the same ids read as a prompt."""

import numpy as np
import pytest

from localmix.answer.routed import Routed
from localmix.engine.batch import Batch
from localmix.errors import LocalmixError
from localmix.model import Model


def test_experts_of_each_piece(upcycled: Model) -> None:
    plain = upcycled.generate("One day", temp=0, max_tokens=12).read()
    answer = upcycled.generate("One day", temp=0, max_tokens=12, routing=True)
    pieces = list(answer)
    assert "".join(pieces) == plain
    prompt = upcycled.tokenizer.encode("One day")
    seen: list[np.ndarray] = []
    cache = upcycled.engine.cache()
    upcycled.engine.forward(Batch.of([(cache.new(), 0, [*prompt, *answer.ids])]), cache, seen.append)
    found = np.concatenate([piece.experts for piece in pieces], axis=1)  # type: ignore[attr-defined]
    expected = seen[0][:, len(prompt) - 1 : -1]
    assert found.shape == expected.shape == (len(upcycled.network.layers), 12, 2)
    assert (found == expected).mean() > 0.99  # a tie may fall either way
    assert isinstance(answer, Routed)
    assert answer.routing.shape == (len(upcycled.network.layers), len(prompt) + 11, 2)


def test_a_character_of_several_tokens_is_one_piece(upcycled: Model) -> None:
    """Tokens whose bytes are no whole character yet are told with the piece that they end up in."""
    answer = upcycled.generate("One day", grammar='root ::= "猫" "猫"', temp=0, routing=True)
    sizes = {str(piece): piece.experts.shape[1] for piece in answer if piece}  # type: ignore[attr-defined]
    assert sizes["猫"] == 3


def test_a_dense_model_has_none(stories: Model) -> None:
    with pytest.raises(LocalmixError, match="dense: expected a mixture of experts"):
        stories.generate("One day", routing=True)
