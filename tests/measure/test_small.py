"""Every family has a small network, and a file of it is what the family asks for."""

from pathlib import Path

import numpy as np
import pytest

from localmix import backends, network
from localmix.engine.batch import Batch
from localmix.errors import LocalmixError
from localmix.measure import small, synthetic
from quant import FORMATS


def test_every_family_is_here() -> None:
    """A family that is added fails until it says what a small network of it is."""
    own = {(shape.architecture, bool(shape.keys.get("expert_count"))) for shape, _ in small.SHAPES.values()}
    modules = {network.FAMILIES[key] for key in own}
    assert modules == set(network.FAMILIES.values())


@pytest.mark.parametrize("name", small.SHAPES)
def test_it_computes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "SHAPES", {name: small.SHAPES[name]})
    ((title, one),) = small.networks(tmp_path)
    assert title.startswith(name)
    reference = backends.pick("reference")
    cache = reference.cache(one, 16, "f32")
    batch = Batch.of([(cache.new(), 0, [5, 6, 7])], every=True)
    cache.reserve(batch)
    logits = reference.decoder(one)(batch, cache)
    assert np.isfinite(logits).all()
    assert len(np.unique(logits.argmax(axis=1))) > 1


@pytest.mark.parametrize("name", synthetic.SHAPES)
def test_shapes_of_large_models(name: str, tmp_path: Path) -> None:
    """What a file of one layer must hold."""
    blocks = FORMATS["q8_0"]
    shape = synthetic.SHAPES[name]
    infos = list(synthetic._tensors(tmp_path, shape, synthetic._metadata(name, shape, 1), blocks))
    assert infos[0].name == "token_embd.weight"
    assert infos[0].shape == (shape.vocabulary, shape.keys["embedding_length"])
    assert sum(info.format is blocks for info in infos) >= 9


def test_blocks_that_do_not_fit_rows(tmp_path: Path) -> None:
    shape, _ = small.SHAPES["qwen3moe"]
    with pytest.raises(LocalmixError, match=r"rows of 96, q4_k blocks of 256: choose one of f32, f16, .*q8_0"):
        synthetic.write_shape(tmp_path / "m.gguf", "some", shape, None, FORMATS["q4_k"])
    assert not (tmp_path / "m.gguf").exists()
