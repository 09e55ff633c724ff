import math
import random
from dataclasses import fields

import numpy as np
import pytest

from localmix.answer.options import Options
from localmix.answer.sampling import ELSEWHERE, ON_DEVICE, Sampler, draw, min_p, penalize, top_k, top_p
from localmix.errors import LocalmixError


def logits_of(seed: int, size: int = 4096) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size).astype(np.float32) * 3


def slow_sample(logits: np.ndarray, o: Options, u: float) -> int:
    """The definition: sort all, cut by each rule in llama.cpp's order, invert the distribution."""
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    order = order[: o.top_k or len(order)]

    def probabilities(temp: float = 1.0) -> list[float]:
        p = [math.exp((float(logits[i]) - float(logits[order[0]])) / temp) for i in order]
        return [x / sum(p) for x in p]

    p, reached = probabilities(), 0.0
    for n, x in enumerate(p):
        reached += x
        if reached >= o.top_p:
            order = order[: n + 1]
            break
    p = probabilities()
    order = [i for i, x in zip(order, p, strict=True) if x >= o.min_p * p[0]]
    reached = 0.0
    for i, x in zip(order, probabilities(o.temp), strict=True):
        reached += x
        if u < reached:
            return i
    return order[-1]


@pytest.mark.parametrize(
    "o",
    [
        Options(seed=7),
        Options(seed=7, top_k=0),
        Options(seed=7, top_k=5, top_p=0.7, min_p=0),
        Options(seed=7, top_k=0, top_p=1, min_p=0, temp=2),
        Options(seed=7, top_k=1000, top_p=1, min_p=0.2, temp=0.1),
    ],
)
def test_equals_the_slow_definition(o: Options) -> None:
    sampler, uniform = Sampler(o), random.Random(7)
    for seed in range(40):
        logits = logits_of(seed, 600 + seed)
        assert sampler(logits, []) == slow_sample(logits, o, uniform.random())


@pytest.mark.parametrize("size", [3, 319, 320, 4096, 4099])
def test_top_k_is_a_sort(size: int) -> None:
    logits = np.round(logits_of(size, size))  # rounded: with ties
    assert top_k(logits, 40).tolist() == np.argsort(-logits, kind="stable")[:40].tolist()


def test_cuts() -> None:
    scores = np.log(np.array([0.5, 0.3, 0.15, 0.05]) / 0.5)
    assert top_p(scores, 0.79).size == 2
    assert top_p(scores, 0.0).size == 1
    assert min_p(scores, 0.59).size == 2
    assert min_p(scores, 1.0).size == 1
    assert [draw(scores, u) for u in (0.0, 0.49, 0.51, 0.79, 0.81, 0.96, 1 - 1e-16)] == [0, 0, 1, 1, 2, 3, 3]


def test_greedy_takes_the_lower_of_equals() -> None:
    assert Sampler(Options(temp=0))(np.array([0, 2, 2, 1], np.float32), []) == 1


def test_penalty_counts_each_recent_id_once() -> None:
    out = penalize(np.array([2, 2, -2, 1], np.float32), [0, 0, 2], 2.0)
    assert out.tolist() == [1, 2, -4, 1]
    options = Options(temp=0, repeat_penalty=10, repeat_last_n=2)
    logits = np.array([5, 4, 1], np.float32)
    assert Sampler(options)(logits, [0, 1, 2]) == 0  # id 0 is no longer recent
    assert Sampler(options)(logits, [1, 0]) == 2


def test_seed() -> None:
    logits = logits_of(0)

    def run(seed: int | None) -> list[int]:
        sampler = Sampler(Options(temp=2, top_k=0, top_p=1, min_p=0, seed=seed))
        return [sampler(logits, []) for _ in range(20)]

    assert run(3) == run(3) != run(4)
    assert run(None) != run(None)
    assert Sampler(Options(seed=5)).seed == 5


@pytest.mark.parametrize("temp", [0, 0.8])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_no_number_is_an_error(temp: float, bad: float) -> None:
    logits = logits_of(0)
    logits[9] = bad
    with pytest.raises(LocalmixError, match=r"expected a number"):
        Sampler(Options(temp=temp))(logits, [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temp", -1), ("temp", 1e-9), ("temp", math.nan), ("temp", "1"), ("temp", True), ("top_k", -2),
        ("top_k", 1.5), ("top_p", 1.1), ("min_p", -0.1), ("repeat_penalty", 0), ("repeat_last_n", -2),
        ("seed", 1.0), ("top_k", None), ("max_tokens", -3), ("seed", -2), ("stop", "x"), ("stop", [""]),
    ],
)  # fmt: skip
def test_bad_options(name: str, value: object) -> None:
    with pytest.raises(LocalmixError, match=rf"{name} = .*expected"):
        Options(**{name: value})  # type: ignore[arg-type]


# What counts for each option that a device may know nothing of. A new one belongs here, or, once devices carry it out,
# to ON_DEVICE: it must not be overlooked there in silence.
SET = {"presence_penalty": 0.5, "frequency_penalty": 0.5, "logit_bias": {3: 1.0}}


@pytest.mark.parametrize("name", [f.name for f in fields(Options) if f.name not in ON_DEVICE | ELSEWHERE])
def test_a_device_chooses_only_what_it_knows(name: str) -> None:
    assert Sampler(Options(temp=0.5, top_k=3, repeat_penalty=1.5, seed=1, max_tokens=3, stop=["x"])).plain
    assert not Sampler(Options(**{name: SET[name]})).plain
