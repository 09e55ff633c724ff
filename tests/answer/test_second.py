"""Drafts of a second model: answers are those without, one that agrees is heard, one that does not is not for long."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
from drafted_answers import SAMPLINGS, read

import localmix
from localmix import gguf
from localmix.answer import second as seconds
from localmix.answer.draft import Drafting
from localmix.answer.gate import Gate
from localmix.answer.options import Options
from localmix.answer.sampling import Sampler
from localmix.answer.second import Guesses, Second, difference
from localmix.errors import LocalmixError
from localmix.model import Model
from localmix.store.bundled import model_path
from quant import FORMATS

TEXT = "Once upon a time, there was a cat named Tom. Tom loved to play outside in the park. "
SCHEMA = '{"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}'


class Eager(Gate):
    """Checks four ids, whatever they cost."""

    def length(self, same: int, most: int) -> int:
        return min(4, most)


@pytest.fixture(scope="module")
def plain() -> Model:
    return localmix.load(backend="numba", draft="off")


@pytest.fixture(scope="module")
def itself() -> Model:
    """The bundled model, drafted by itself."""
    return eager(localmix.load(backend="numba", draft=str(model_path())))


@pytest.fixture(scope="module")
def stranger_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random network with the bundled model's vocabulary."""
    own, random = gguf.open(model_path()).typed_metadata, np.random.default_rng(0)
    shape = small_models.llama_metadata(vocabulary=4096, width=32, hidden=32, layers=1, heads=2, kv_heads=1, context=96)
    metadata = shape | {key: value for key, value in own.items() if key.startswith("tokenizer.ggml.")}
    q8_0, sizes = FORMATS["q8_0"], {"attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32)}
    sizes |= {"attn_output": (32, 32), "ffn_gate": (32, 32), "ffn_up": (32, 32), "ffn_down": (32, 32)}
    matrices = {f"blk.0.{name}.weight": size for name, size in sizes.items()} | {"token_embd.weight": (4096, 32)}
    tensors: dict[str, Any] = {
        name: (q8_0, q8_0.quantize(random.standard_normal(size).astype(np.float32), None))
        for name, size in matrices.items()
        if q8_0.quantize is not None
    }
    norms = ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight")
    tensors |= {name: (FORMATS["f32"], np.ones(32, np.float32)) for name in norms}
    return small_models.write(tmp_path_factory.mktemp("stranger") / "stranger.gguf", metadata, tensors)


def eager(model: Model) -> Model:
    assert model.drafting is not None
    gate = Eager(seconds.HOPE)
    gate.learn(0, 0, 0, 0.01)
    model.drafting = Drafting(second_of(model), gate)
    return model


def second_of(model: Model) -> Second:
    assert model.drafting is not None
    assert model.drafting.second is not None
    return model.drafting.second


@pytest.mark.parametrize(
    "options",
    [*SAMPLINGS, {"temp": 0.8, "json_schema": SCHEMA}],
    ids=str,
)
def test_a_model_that_agrees_is_heard(plain: Model, itself: Model, options: dict[str, Any]) -> None:
    """At any temperature: it has the sampler's random numbers, what it counts and what the text may be."""
    found, expected = (read(one, TEXT, max_tokens=60, **options) for one in (itself, plain))
    assert (found.ids, found.text, found.reason) == (expected.ids, expected.text, expected.reason)
    assert found.stats.decode_tokens == expected.stats.decode_tokens
    assert found.stats.taken > 30 or "json_schema" in options
    assert found.stats.taken >= found.stats.drafted - 4  # after the end there is nothing to take


@pytest.mark.parametrize("options", [*SAMPLINGS, {"temp": 0.8, "json_schema": SCHEMA}], ids=str)
def test_before_any_id_is_checked_it_says_how_often_it_agrees(
    plain: Model, itself: Model, stranger_path: Path, options: dict[str, Any]
) -> None:
    """With the random numbers, counts and constraint that each id was chosen with."""
    other = localmix.load(backend="numba", draft=str(stranger_path))
    answer = read(plain, TEXT, max_tokens=30, **options)
    prompt = plain.tokenizer.encode(TEXT)
    for model, agrees in ((itself, True), (other, False)):
        source = Guesses(second_of(model), prompt, plain.sampler(Options(**{"seed": 7, "max_tokens": 30, **options})))
        for id in answer.ids:
            source.push(id)
            if len(source._ids) - len(prompt) < seconds.LEAST:
                assert source.agree(100.0) == (0, 0, 0.0)
        assert source.agree(1.1 * second_of(model).share) == (0, 0, 0.0)
        hits, count, passes = source.agree(100.0)
        assert count == min(len(answer.ids), seconds.HEARD)
        assert hits == count if agrees else hits < 0.3 * count
        assert second_of(model).share < passes < 100 * second_of(model).share
        before = source.guess(4)
        source.push(5)
        assert source.agree(100.0)[1] == min(len(answer.ids) + 1, seconds.HEARD)
        fresh = Guesses(second_of(model), [*prompt, *answer.ids], Sampler(Options(temp=0)))
        assert len(fresh.guess(4)) == len(before) == 4


def test_a_model_that_knows_nothing_is_hardly_asked(
    plain: Model, stranger_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[tuple[int, int, float]]()
    agree = Guesses.agree
    monkeypatch.setattr(Guesses, "agree", lambda *args: asked.append(agree(*args)) or asked[-1])
    model = localmix.load(backend="numba", draft=str(stranger_path))
    found, expected = (read(one, TEXT, temp=0.8, max_tokens=200) for one in (model, plain))
    assert found.ids == expected.ids
    assert 1 <= len([count for _, count, _ in asked if count]) <= 2  # tiny as it is, it may be asked again soon
    assert found.stats.drafted == 0


def test_a_model_that_is_always_wrong_changes_nothing(plain: Model, stranger_path: Path) -> None:
    """Through its whole context, which is shorter than the answer."""
    model = eager(localmix.load(backend="numba", draft=str(stranger_path)))
    found, expected = (read(one, TEXT, temp=0.8, max_tokens=200) for one in (model, plain))
    assert found.ids == expected.ids
    assert found.stats.taken < 10 < 300 < found.stats.drafted


def test_of_a_long_text_the_end_is_read(plain: Model, itself: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    read_ids = list[int]()
    advance = seconds.Context.advance_told
    monkeypatch.setattr(
        seconds.Context, "advance_told", lambda self, ids, rows: read_ids.append(len(ids)) or advance(self, ids, rows)
    )
    second_of(itself)._end = 128
    found, expected = (read(one, TEXT * 12, temp=0, max_tokens=60) for one in (itself, plain))
    second_of(itself)._end = seconds.END
    assert found.ids == expected.ids
    assert max(read_ids) == 128
    assert found.stats.taken > 0.5 * found.stats.drafted


def test_answers_in_turn(plain: Model, itself: Model) -> None:
    """The one second model follows now this text, now that."""
    prompts = ("Once upon a time", "The dog and the bird")
    answers = [itself.generate(prompt, temp=0.8, seed=1, max_tokens=40) for prompt in prompts]
    while sum(next(answer, None) is not None for answer in answers):
        pass
    assert [answer.text for answer in answers] == [
        read(plain, prompt, seed=1, max_tokens=40).text for prompt in prompts
    ]


def test_one_answer_at_a_time_has_it(itself: Model) -> None:
    second = second_of(itself)
    with second._lock:
        assert second.guess([1, 2, 3], 2, Sampler(Options(temp=0))) == ([], 0.0)
    assert len(second.guess([1, 2, 3], 2, Sampler(Options(temp=0)))[0]) == 2


def test_a_sampler_that_is_forked_goes_on_alike() -> None:
    sampler, random = Sampler(Options(temp=1.5, seed=1, frequency_penalty=0.5)), np.random.default_rng(0)
    rows = random.standard_normal((8, 100)).astype(np.float32)
    sampler(rows[0], [])
    other = sampler.fork()
    expected = [sampler(row, []) for row in rows]
    assert [other(row, []) for row in rows] == expected


def test_its_memory_counts(plain: Model, itself: Model) -> None:
    more = itself.place.needs - plain.place.needs
    assert model_path().stat().st_size < more < 1.5 * model_path().stat().st_size + second_of(itself).nbytes


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        LocalmixError, match=r"--draft .*stories260K.*: expected the vocabulary of .*: 512 tokens, not 4"
    ):
        localmix.load(backend="numba", draft=str(small_models.STORIES))
    own = gguf.open(model_path()).metadata
    tokens = list(own["tokenizer.ggml.tokens"])
    assert difference(own, dict(own)) == ""
    assert difference(own | {"tokenizer.ggml.eos_token_id": 7}, own) == "eos_token_id is 7, not 2"
    tokens[300] = "x"
    assert difference(own | {"tokenizer.ggml.tokens": tokens}, own).startswith("token 300 is 'x', not ")


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(LocalmixError, match=r"--draft .*stories.*: the reference backend .* use --draft off"):
        localmix.load(backend="reference", draft=str(model_path()))
