"""The sparse layer with weights that can be solved by hand, and a router that is told what to choose."""

from pathlib import Path

import numpy as np
import pytest
from small_models import F32, llama_metadata, write

import localmix

D = 32  # also the vocabulary: token t is the unit vector t
EPS = 1e-5


def solvable(path: Path, router: np.ndarray, active: int) -> Path:
    """One layer whose attention adds nothing and whose expert e adds SiLU(n) · n to component e.

    n is what the norm makes of a unit vector; token t reads the router's column t.
    """
    experts, eye = len(router), np.eye(D, dtype=np.float32)
    to_component = np.zeros((experts, D, D), np.float32)
    for e in range(experts):
        to_component[e, e] = 1
    zero, one = np.zeros((D, D), np.float32), np.ones(D, np.float32)
    tensors = {
        "token_embd.weight": eye,
        "output.weight": eye,
        "output_norm.weight": one,
        "blk.0.attn_norm.weight": one,
        "blk.0.ffn_norm.weight": one,
        **{f"blk.0.attn_{name}.weight": zero for name in ("q", "k", "v", "output")},
        "blk.0.ffn_gate_inp.weight": router.astype(np.float32),
        "blk.0.ffn_gate_exps.weight": np.stack([eye] * experts),
        "blk.0.ffn_up_exps.weight": np.stack([eye] * experts),
        "blk.0.ffn_down_exps.weight": to_component,
    }
    metadata = llama_metadata(
        vocabulary=D, width=D, hidden=D, layers=1, heads=2, kv_heads=2, context=64, experts=experts, active=active
    )
    return write(path, metadata, {name: (F32, blocks) for name, blocks in tensors.items()})


def added(path: Path, backend: str, token: int, experts: int) -> np.ndarray:
    """What each expert added to its component, in units of what one expert alone would add."""
    logits = localmix.load(path, backend).logits([token])[0].astype(np.float64)
    assert np.all(logits[experts:token] == 0)
    n = 1 / np.sqrt(1 / D + EPS)
    return logits[:experts] / logits[token] / (n * n / (1 + np.exp(-n)))


@pytest.mark.parametrize(("experts", "active"), [(8, 2), (8, 1), (3, 3), (5, 4), (16, 2)])
def test_choice_and_weights(folder: Path, backend: str, experts: int, active: int) -> None:
    router = np.random.RandomState(experts).uniform(-0.5, 0.5, (experts, D))
    path = solvable(folder / f"solvable-{experts}-{active}-{backend}.gguf", router, active)
    for token in range(20, 28):
        logits = router[:, token] / np.sqrt(1 / D + EPS)
        chosen = np.argsort(-logits)[:active]
        expected = np.zeros(experts)
        expected[chosen] = np.exp(logits[chosen]) / np.exp(logits[chosen]).sum()  # softmax over the chosen alone
        np.testing.assert_allclose(added(path, backend, token, experts), expected, rtol=1e-5, atol=1e-7)


def test_of_equal_experts_the_first_are_chosen(folder: Path, backend: str) -> None:
    path = solvable(folder / f"equal-{backend}.gguf", np.zeros((8, D)), 2)
    np.testing.assert_allclose(added(path, backend, 20, 8), [0.5, 0.5, 0, 0, 0, 0, 0, 0], rtol=1e-5)


def test_tokens_of_a_prompt_go_to_their_own_experts(folder: Path, backend: str) -> None:
    router = np.full((8, D), -1.0)
    for token in range(D):
        router[[token % 8, (token + 3) % 8], token] = 1  # two equal winners a token
    path = solvable(folder / f"own-{backend}.gguf", router, 2)
    tokens = list(range(8, 32))
    logits = localmix.load(path, backend).logits(tokens)
    for token, row in zip(tokens, logits, strict=True):
        assert set(np.flatnonzero(np.abs(row[:8]) > 1e-3)) == {token % 8, (token + 3) % 8}
