"""Every field of every block, on every backend: another value gives other logits, and the reference's.

A field that is added to a block joins by itself, and fails until it says here what another value is.
"""

from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import random_networks as rn
from numpy.typing import NDArray
from random_networks import EXPERTS, HEADS, HIDDEN, KV_HEADS, SIZE, WIDTH, Random, changed, distance, logits

from localmix import backends
from localmix.errors import UnsupportedError
from localmix.network import blocks, decoder
from localmix.network.blocks import Activation

BOUND = {"reference": 0.0, "numba": 1e-4, "mlx": 2e-3}
KINDS = (blocks.Norm, blocks.Linear, blocks.Rope, blocks.Attention, blocks.Router, blocks.Activation, blocks.Experts,
         blocks.Mixture, blocks.Layer, decoder.Network)  # fmt: skip
SHAPES = {"heads", "kv_heads", "size", "context"}  # other values would need other weights, or change no logits


def biased(count: int, hidden: int) -> blocks.Experts:
    r = Random(13)
    biases = {"gate_bias": r.floats(count, hidden), "up_bias": r.floats(count, hidden)}
    return replace(r.experts(count, hidden), **biases, down_bias=r.floats(count, WIDTH))


# Other values of each field, by its name, with a word where there are several: of those with a default, and of others
# that are no weights.
OTHERS: dict[tuple[type, str], dict[str, Callable[[Any], Any]]] = {
    (blocks.Norm, "eps"): {"": lambda _: 0.3},
    (blocks.Linear, "bias"): {"": lambda b: Random(2).floats(b.weight.shape[0])},
    (blocks.Rope, "inverse"): {"slower": lambda r: r.inverse / 7, "of a half": lambda r: r.inverse[::2]},
    (blocks.Rope, "pairs"): {"halves": lambda _: "halves"},
    (blocks.Rope, "scale"): {"": lambda _: 1.3},
    (blocks.Attention, "rope"): {
        "none": lambda _: None,
        "half of halves, scaled": lambda a: blocks.Rope(a.rope.inverse[::2], "halves", 1.3),
    },
    (blocks.Attention, "q_norm"): {
        "heads": lambda _: Random(3).norm(SIZE),
        "row": lambda _: Random(3).norm(HEADS * SIZE),
    },
    (blocks.Attention, "k_norm"): {
        "heads": lambda _: Random(4).norm(SIZE),
        "row": lambda _: Random(4).norm(KV_HEADS * SIZE),
    },
    (blocks.Attention, "window"): {"5": lambda _: 5, "1": lambda _: 1},
    (blocks.Attention, "sinks"): {"": lambda _: Random(5).floats(HEADS)},
    (blocks.Attention, "scale"): {"": lambda _: 0.4},
    (blocks.Router, "active"): {"3": lambda _: 3, "1": lambda _: 1},
    (blocks.Router, "scores"): {"sigmoid": lambda _: "sigmoid"},
    (blocks.Router, "normalized"): {"not": lambda _: False},
    (blocks.Router, "bias"): {"": lambda _: Random(6).floats(EXPERTS)},
    (blocks.Router, "logits_bias"): {"": lambda _: Random(7).floats(EXPERTS)},
    (blocks.Router, "scale"): {"": lambda _: 2.5},
    (blocks.Activation, "kind"): {"gelu": lambda _: "gelu", "clamped": lambda _: "clamped"},
    (blocks.Activation, "alpha"): {"": lambda _: 0.7},
    (blocks.Activation, "limit"): {"": lambda _: 0.3},
    (blocks.Experts, "activation"): {"": lambda _: Activation("gelu")},
    (blocks.Experts, "gate_bias"): {"": lambda b: Random(8).floats(len(b), HIDDEN)},
    (blocks.Experts, "up_bias"): {"": lambda b: Random(9).floats(len(b), HIDDEN)},
    (blocks.Experts, "down_bias"): {"": lambda b: Random(10).floats(len(b), WIDTH)},
    (blocks.Mixture, "router"): {"": lambda b: b.router},  # neutral is a dense network, the other base
    (blocks.Mixture, "shared"): {"": lambda _: Random(11).experts(1, 160), "biased": lambda _: biased(1, 160)},
    (blocks.Mixture, "shared_gate"): {"": lambda _: Random(12).floats(WIDTH)},
    (blocks.Layer, "scale"): {"": lambda _: 0.4},
    (decoder.Network, "embedding_scale"): {"": lambda _: 3.0},
    (decoder.Network, "logit_scale"): {"": lambda _: 0.3},
}
# What else must be so for a field to count.
BEFORE: dict[tuple[type, str], list[tuple[type, str, Callable[[Any], Any]]]] = {
    (blocks.Activation, "alpha"): [(blocks.Activation, "kind", lambda _: "clamped")],
    (blocks.Activation, "limit"): [(blocks.Activation, "kind", lambda _: "clamped")],
    (blocks.Mixture, "shared_gate"): [(blocks.Mixture, "shared", lambda _: Random(11).experts(1, 160))],
}
ALL = [
    (kind, field.name)
    for kind in KINDS
    for field in fields(kind)
    if field.default is not MISSING or (kind, field.name) in OTHERS
]
CASES = [(*place, word) for place in ALL for word in OTHERS.get(place, {"": None})]


def name(case: tuple[type, str, str]) -> str:
    return f"{case[0].__name__}.{case[1]}" + (f"={case[2]}" if case[2] else "")


def test_all_kinds_of_blocks_are_here() -> None:
    own = {one for one in vars(blocks).values() if isinstance(one, type) and one.__module__ == blocks.__name__}
    assert own - {blocks.Place, blocks.Operations} == set(KINDS) - {decoder.Network}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_all_numbers_without_a_default_are_here(kind: type) -> None:
    """A field that has no neutral value is a weight, a block, a shape, or has another value in OTHERS."""
    found = {field.name for field in fields(kind) if field.type in (int, float)}
    assert {name for name in found if (kind, name) not in OTHERS} <= SHAPES


@lru_cache
def of(backend: str, experts: int, case: tuple[type, str, str] | None, before: bool = True) -> NDArray:
    """Logits of the neutral network, or of one with another value, and of what must be so for it to count."""
    network = rn.network(experts)
    if case is not None:
        for other in BEFORE.get(case[:2], []):
            network = changed(network, *other)
        if before:
            network = changed(network, case[0], case[1], OTHERS[case[:2]][case[2]])
    return logits(network, backends.pick(backend, 2 if backend == "numba" else None))


@pytest.mark.parametrize("case", CASES, ids=name)
def test_fields(case: tuple[type, str, str], backend: str) -> None:
    assert case[:2] in OTHERS, f"{name(case)}: say in OTHERS what another value is"
    experts, neutral = EXPERTS, of(backend, EXPERTS, case, False)
    if case[:2] == (blocks.Mixture, "router"):
        neutral = of(backend, 0, None)
    found = of(backend, experts, case)
    assert distance(found, neutral) > 1e-3, "the field changes nothing"
    assert distance(found, of("reference", experts, case)) <= BOUND[backend]


def test_dense(backend: str) -> None:
    assert distance(of(backend, 0, None), of("reference", 0, None)) <= BOUND[backend]


@pytest.mark.parametrize("window", [70, 3])
def test_windows_over_several_pages_and_chunks(window: int, backend: str) -> None:
    """Texts longer than a page of the cache; in chunks as in one pass."""
    network = changed(rn.network(), blocks.Attention, "window", lambda _: window)
    network = changed(network, decoder.Network, "context", lambda _: 256)
    expected = logits(network, backends.pick("reference"), (150, 90), 256)
    one = backends.pick(backend, 2 if backend == "numba" else None)
    for chunk in (150, 41):
        assert distance(logits(network, one, (150, 90), chunk), expected) <= BOUND[backend] + 1e-5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("router", lambda _: None),  # of several experts
        ("shared", lambda _: Random(11).experts(2)),
        ("shared", lambda _: replace(Random(11).experts(1), activation=Activation("gelu"))),
    ],
    ids=["several for all", "two shared", "another activation"],
)
def test_what_numba_does_not_compute_is_refused(field: str, value: Callable[[Any], Any]) -> None:
    network = changed(rn.network(), blocks.Mixture, field, value)
    assert np.isfinite(logits(network, backends.pick("reference"))).all()
    with pytest.raises(UnsupportedError, match=r"numba does not compute .*: use --backend reference"):
        logits(network, backends.pick("numba", 2))


@pytest.mark.parametrize("seed", range(40))
def test_fields_together(seed: int, backend: str) -> None:
    """Blocks with a third of their fields changed at once: code that joins blocks, or has a case for one of them, is
    right for the others, too.
    """
    network = together(seed)
    expected, one = (
        logits(network, backends.pick("reference")),
        backends.pick(backend, 2 if backend == "numba" else None),
    )
    assert distance(logits(network, one), expected) <= BOUND[backend]


def together(seed: int) -> decoder.Network:
    random, network = np.random.default_rng(seed), rn.network()
    for kind, field in ALL:
        words = [*OTHERS[kind, field], *[None] * (2 * len(OTHERS[kind, field]))]
        word = words[random.integers(len(words))]
        if word is not None and (kind, field) != (blocks.Mixture, "router"):
            network = changed(network, kind, field, OTHERS[kind, field][word])
    layers = [replace(layer, mixture=_possible(layer.mixture)) for layer in network.layers]
    return replace(network, layers=tuple(layers))


def _possible(m: blocks.Mixture) -> blocks.Mixture:
    """Shared experts have the others' activation, and there is a gate for them where they are."""
    if m.shared is None:
        return replace(m, shared_gate=None)
    return replace(m, shared=replace(m.shared, activation=m.experts.activation))
