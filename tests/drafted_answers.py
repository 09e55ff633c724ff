"""Answers that are compared with and without drafts: how they are chosen and read."""

from typing import Any

from localmix.answer.generate import Generation
from localmix.model import Model

SAMPLINGS: list[dict[str, Any]] = [
    {"temp": 0},
    {"temp": 0.8},
    {"temp": 1.5, "top_k": 0, "repeat_penalty": 1.1, "repeat_last_n": -1},
    {"temp": 0.8, "presence_penalty": 0.2, "frequency_penalty": 0.1},
]


def read(model: Model, prompt: str, **options: Any) -> Generation:
    """A whole answer; of 80 tokens and always the same, if not asked for otherwise."""
    answer = model.generate(prompt, **({"max_tokens": 80, "seed": 7} | options))
    answer.read()
    return answer
