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
    assert sum(info.format.name in (blocks.name, "mxfp4") for info in infos) >= (8 if shape.tied else 9)


def test_rows_that_blocks_do_not_fit_get_others(tmp_path: Path) -> None:
    """Those that llama.cpp's quantizer takes; what is small stays as it is."""
    shape = synthetic.SHAPES["gpt-oss-20b"]
    infos = synthetic._tensors(tmp_path, shape, synthetic._metadata("gpt-oss-20b", shape, 1), FORMATS["q4_k"])
    formats = {info.name: info.format.name for info in infos}
    assert formats["blk.0.attn_q.weight"] == "q5_0"
    assert formats["blk.0.attn_output.weight"] == "q4_k"
    assert formats["blk.0.ffn_down_exps.weight"] == "mxfp4"
    small = ("ffn_gate_inp.weight", "ffn_gate_inp.bias", "attn_sinks.weight", "attn_q.bias", "ffn_up_exps.bias")
    assert {formats[f"blk.0.{name}"] for name in small} == {"f32"}


def test_the_beginning_of_a_name_is_enough(tmp_path: Path) -> None:
    with pytest.raises(LocalmixError, match=r"unknown shape 'mixtral': expected one of mixtral-8x7b, mixtral-8x22b"):
        synthetic.write(tmp_path / "m.gguf", "mixtral", 1, "q4_0")
    with pytest.raises(LocalmixError, match=r"unknown format 'q4'"):
        synthetic.write(tmp_path / "m.gguf", "olmoe", 1, "q4")
