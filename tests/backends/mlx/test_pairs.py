"""Every layout of pairs of a token and an expert gives what the definition gives."""

import numpy as np
import pytest

from localmix.engine.weights import Weight
from localmix.network.blocks import Experts
from quant import FORMATS

mx = pytest.importorskip("mlx.core", reason="the mlx backend is not installed")
from localmix.backends.mlx import backend, layouts, pairs, remembered  # noqa: E402
from localmix.backends.mlx.layouts import Layouts  # noqa: E402
from localmix.backends.mlx.pairs import Pairs  # noqa: E402
from localmix.backends.reference import Reference  # noqa: E402

E = 5


def choices(tokens: int, active: int, experts: int = E) -> np.ndarray:
    rng = np.random.default_rng(tokens)
    return rng.permuted(np.tile(np.arange(experts), (tokens, 1)), axis=1)[:, :active]


def layouts_of(chosen: "mx.array") -> dict[str, Pairs]:
    tiles = {f"tiles of {m}": pairs.in_tiles(chosen, E, m) for m in (1, 3, 16)}
    return {"single": pairs.single(chosen), "in order": pairs.in_order(chosen)} | tiles


@pytest.mark.parametrize(("tokens", "active"), [(1, 1), (1, 4), (7, 2), (40, 3), (9, 5)])
def test_every_pair_meets_its_expert(tokens: int, active: int) -> None:
    chosen = choices(tokens, active)
    x = np.arange(1, tokens + 1, dtype=np.float32)[:, None]
    for name, p in layouts_of(mx.array(chosen)).items():
        spread, expert = p.spread(mx.array(x)), p.experts.astype(mx.float32)[:, None, None]
        first = spread * 100 if p.rows is None else spread[p.rows] * 100
        y = first + expert  # the token's number and the expert's
        y = y if p.own is None else y[p.own]
        got = np.array(p.collect(y))[..., 0]
        assert np.array_equal(got, x * 100 + chosen), name


def test_all_tokens_on_one_expert() -> None:
    chosen = mx.full((33, 1), E - 1)
    p = pairs.in_tiles(chosen, E, 16)
    assert p.experts.tolist()[:3] == [E - 1] * 3
    assert len(p.experts) == (33 + E * 15) // 16


@pytest.mark.parametrize("layout", [Layouts(), Layouts(True, True)], ids=["usual", "tiles"])
@pytest.mark.parametrize("tokens", [1, 6, 16, 90])
def test_experts(layout: Layouts, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "layouts", lambda: layout)
    format, rng = FORMATS["q8_0"], np.random.default_rng(0)
    assert format.quantize is not None

    def stack(out: int, width: int) -> tuple[Weight, ...]:
        numbers = [rng.standard_normal((out, width)).astype(np.float32) / 8 for _ in range(E)]
        return tuple(Weight(f"w{e}", format, (out, width), format.quantize(w, None)) for e, w in enumerate(numbers))

    experts = Experts(stack(96, 64), stack(96, 64), stack(64, 96))
    x, chosen = rng.standard_normal((tokens, 64)).astype(np.float32), choices(tokens, 2)
    mix = rng.random((tokens, 2)).astype(np.float32)
    expected = Reference().experts(x, chosen, mix, experts)
    got = backend.MlxBackend(half=False).experts(mx.array(x), mx.array(chosen), mx.array(mix), experts)
    assert np.abs(np.array(got) - expected).max() < 1e-4 * np.abs(expected).max()


def test_tiles_are_as_large_as_kernels_like() -> None:
    assert [layouts._tile(count, 8) for count in (32, 1024, 400, 9)] == [16, 64, 64, 16]
    assert layouts._tile(4096, 128) == 32


def test_the_choice_is_measured_once(monkeypatch: pytest.MonkeyPatch, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    """As on a GPU whose tiles are fast for prompts alone."""
    monkeypatch.setenv("LOCALMIX_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    monkeypatch.setattr(layouts, "_times", lambda count, size: (1e-3, 2e-3 if count < 64 else 5e-4))
    first, second = layouts.layouts(), layouts.layouts()
    assert first == second == Layouts(False, True, "batch of 32 pairs: 1.00 ms, in tiles 2.00 ms; "
                                      "prompt of 1024 pairs: 1.00 ms, in tiles 0.50 ms")  # fmt: skip
    assert capsys.readouterr().err == "localmix: measuring products with experts on this GPU, once\n"
    (tmp_path / "layouts.json").write_text('{"this": {"prompt": true}}')
    assert layouts.layouts() == first
    assert remembered.recall("layouts", "this") == {"prompt": True}
    assert layouts.layouts().of(mx.zeros((64, 1)), 2).tile == 32
    assert layouts.layouts().of(mx.zeros((32, 1)), 2).tile == 1


def test_a_measurement() -> None:
    assert "in tiles" in layouts.measure(size=64).why
