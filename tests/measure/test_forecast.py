"""How fast a model is, a time of some of its layers scaled to all of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from small_models import STORIES

from localmix import backends, gguf
from localmix.measure import forecast


@pytest.mark.parametrize("absent", [False, True])
def test_two_layers_stand_for_all(upcycled_path: Path, monkeypatch: pytest.MonkeyPatch, absent: bool) -> None:
    """Where a layer takes 2 ms and the rest 3, five of them take 13."""
    seen: list[list[int]] = []

    def timed(network: Any, backend: Any, choices: Sequence[Sequence[int]]) -> list[float]:
        seen.extend(map(list, choices))
        return [0.003 + 0.002 * len(choice) for choice in choices]

    monkeypatch.setattr(forecast, "_time", timed)
    monkeypatch.setattr(forecast, "_sampling", lambda network: 0.0)
    monkeypatch.setattr(forecast, "_WHOLE", 0)
    measure = forecast.seconds_of_absent if absent else forecast.seconds
    with gguf.open(upcycled_path) as file:
        assert measure(file, backends.pick("reference")) == pytest.approx(0.013)
    assert seen == ([[0], [0, 1]] if absent else [[2], [2, 1]])


def test_the_layers_run_on_every_backend(backend: str, upcycled_path: Path) -> None:
    with gguf.open(upcycled_path) as file:
        engine = backends.pick(backend)
        assert 0 < forecast.seconds(file, engine) < 5
        assert 0 < forecast.seconds_of_absent(file, engine) < 5


def test_a_small_model_is_run_whole() -> None:
    with gguf.open(STORIES) as file:
        engine = backends.pick("reference")
        for found in (forecast.seconds(file, engine), forecast.seconds_of_absent(file, engine)):
            assert 0 < found < 1
