"""Choosing on the device against the sampler that defines it."""

import numpy as np
import pytest

from localmix.answer.options import Options
from localmix.answer.sampling import Sampler
from localmix.errors import LocalmixError

mx = pytest.importorskip("mlx.core", reason="the mlx backend is not installed")
from localmix.backends.mlx.choose import Chooser, top_k  # noqa: E402

OPTIONS = [
    {"temp": 0},
    {},
    {"temp": 2.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
    {"top_k": 1},
    {"top_p": 0.3, "min_p": 0.0},
    {"temp": 5.0, "top_p": 1.0, "min_p": 0.4},
    {"temp": 0, "repeat_penalty": 1.5, "repeat_last_n": 3},
    {"temp": 1.5, "repeat_penalty": 3.0, "repeat_last_n": -1},
    {"repeat_penalty": 1.3, "repeat_last_n": 0},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_same_ids_as_the_sampler(options: dict) -> None:
    rng = np.random.default_rng(0)
    context = [3, 5, 5]
    host, device = Sampler(Options(seed=7, **options)), Sampler(Options(seed=7, **options))
    chooser = Chooser(device, list(context))
    for _ in range(60):
        logits = (4 * rng.standard_normal(50)).astype(np.float32)
        id = host(logits, context)
        assert chooser(mx.array(logits)).read() == id
        context.append(id)


def test_ties_go_to_the_lower_id() -> None:
    logits = mx.array([1.0, 3, 2, 3, 2, 2])
    assert top_k(logits, 4).tolist() == [1, 3, 2, 4]
    assert top_k(logits, 6).tolist() == [1, 3, 2, 4, 5, 0]
    assert Chooser(Sampler(Options(temp=0)), [])(logits).read() == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_no_numbers(bad: float) -> None:
    for temp in (0, 1):
        with pytest.raises(LocalmixError, match="the model file is damaged"):
            Chooser(Sampler(Options(temp=temp)), [])(mx.array([0.0, bad, 1.0])).read()
