import json
import random
from typing import Any

import jsonschema
import numpy as np
import pytest
import random_schemas
import vocabularies

from localmix.answer.constrain import Grammars
from localmix.answer.options import Options
from localmix.answer.sampling import Sampler
from localmix.answer.text import Text
from localmix.errors import LocalmixError
from localmix.model import Model
from localmix.tokenizer import Tokenizer

VOCABULARIES = ("stories", "v1", "v3", "gpt-2", "llama-bpe", "tekken")
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 9}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def answer(tokenizer: Tokenizer, options: Options, rng: np.random.Generator) -> tuple[str, str]:
    """What a model that knows nothing writes, every logit being random, and why it ended."""
    size = tokenizer.vocab_size + 7  # as where a file's matrix is padded
    sampler = Sampler(options, Grammars(tokenizer, size).constraint(options))
    text = Text(tokenizer, options, keep_space=True)
    pieces = []
    while not text.ended:
        pieces.append(text.push(sampler(rng.standard_normal(size).astype(np.float32) * 3, text.ids)))
    return "".join(pieces), text.reason


@pytest.mark.parametrize("name", VOCABULARIES)
def test_random_schemas_are_kept_in_every_vocabulary(name: str) -> None:
    tokenizer, rng = vocabularies.tokenizer_of(name), np.random.default_rng(0)
    for seed in range(8):
        schema = random_schemas.schema(random.Random(f"{name} {seed}"))
        options = Options(json_schema=schema, max_tokens=3000, seed=seed, temp=1.0, repeat_penalty=1.1)
        found, reason = answer(tokenizer, options, rng)
        assert reason == "end", (schema, found)
        jsonschema.validate(json.loads(found), schema)


@pytest.mark.parametrize("name", VOCABULARIES)
@pytest.mark.parametrize(
    ("grammar", "texts"),
    [
        ('start: " yes" | "no"', {" yes", "no"}),
        ('root ::= ("ä" | "b"){2} "</s>"', {"ää</s>", "äb</s>", "bä</s>", "bb</s>"}),
    ],
)
def test_a_grammar_is_kept_to_the_space(name: str, grammar: str, texts: set[str]) -> None:
    tokenizer, rng = vocabularies.tokenizer_of(name), np.random.default_rng(0)
    for temp in (0.0, 1.0):
        found, reason = answer(tokenizer, Options(grammar=grammar, temp=temp, max_tokens=60), rng)
        assert reason == "end"
        assert found in texts


def test_an_answer_of_a_model(chatty: Model) -> None:
    for seed in range(3):
        found = chatty.chat().send("Who?", json_schema=json.dumps(PERSON), seed=seed, temp=1.2)
        jsonschema.validate(json.loads(found.read()), PERSON)
        assert found.reason == "end"


def test_one_cut_by_the_limit_says_so(stories: Model) -> None:
    found = stories.generate("Once", json_schema=PERSON, max_tokens=4, seed=0)
    assert found.read().startswith("{")
    assert (found.reason, len(found.ids)) == ("length", 4)


def test_in_a_batch_each_has_its_own(stories: Model) -> None:
    from localmix.answer.batching import Batching, Request

    options = [Options(json_schema=PERSON, seed=1), Options(grammar='start: "yes"'), Options(temp=0, max_tokens=3)]
    found = {a.id: a for a in Batching(stories, [Request(i, [5, 6], o, True) for i, o in enumerate(options)])}
    jsonschema.validate(json.loads(found[0].text), PERSON)
    assert (found[1].text, found[2].reason) == ("yes", "length")


@pytest.mark.parametrize(
    "idle",
    [
        {"uniqueItems": False},
        {"uniqueItems": True, "maxItems": 1},
        {"minContains": 2, "maxContains": 3},
        {"contains": {"type": "null"}, "minContains": 0},
        {"if": {"minItems": 1}},
        {"then": {"minItems": 1}, "else": False},
        {"not": False, "propertyNames": True, "unevaluatedItems": True, "dependentRequired": {}},
    ],
)
def test_keys_that_ask_for_nothing_are_no_obstacle(idle: dict[str, Any]) -> None:
    schema = {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"const": 7}, "minItems": 1} | idle}}
    tokenizer = vocabularies.tokenizer_of("stories")
    found, reason = answer(tokenizer, Options(json_schema=schema, max_tokens=300), np.random.default_rng(0))
    assert reason == "end"
    jsonschema.validate(json.loads(found), schema)


def test_a_property_may_be_called_as_a_key() -> None:
    named: dict[str, Any] = {"not": {"const": 1}, "if": {"const": 2}, "uniqueItems": {"const": False}}
    schema = {"type": "object", "properties": named, "required": list(named), "additionalProperties": False}
    tokenizer = vocabularies.tokenizer_of("stories")
    found, _ = answer(tokenizer, Options(json_schema=schema, max_tokens=300), np.random.default_rng(0))
    assert json.loads(found) == {"not": 1, "if": 2, "uniqueItems": False}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"json_schema": "{"}, "json_schema: line 1 column 2: .*, expected JSON"),
        ({"json_schema": "[]"}, "json_schema: found \\[\\], expected an object"),
        ({"json_schema": {"type": "text"}}, "json_schema: type at #: Invalid type: text"),
        ({"json_schema": {"not": {}}}, "json_schema: not at #: cannot be enforced: leave it out"),
        ({"json_schema": PERSON | {"properties": {"age": False}}}, "required at #: Unsatisfiable"),
        (
            {"json_schema": {"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"pattern": "a(?=b)"}}}},
            "pattern at #/\\$defs/a: look-around.*not supported",
        ),
        (
            {
                "json_schema": {
                    "properties": {"a/b": {"anyOf": [{}, {"uniqueItems": True, "items": {"$ref": "#/$defs/x"}}]}},
                    "$defs": {"x": {"type": "integer"}},
                }
            },
            "uniqueItems at #/properties/a~1b/anyOf/1: cannot be enforced",
        ),
        (
            {"json_schema": {"properties": {"a": {"contains": {}, "minContains": 2}}}},
            "contains, minContains at #/properties/a: cannot",
        ),
        ({"json_schema": {"oneOf": [{"type": "integer"}, {"minimum": 3}]}}, "oneOf at #: overlapping choices"),
        ({"json_schema": {"items": {"type": "string", "format": "hex"}}}, "format at #/items: unknown format: hex"),
        ({"json_schema": {"x-guidance": {"lenient": True}, "uniqueItems": True}}, "uniqueItems at #: cannot"),
        ({"grammar": "start: x"}, 'grammar: line 1 column 8: unknown name: "x"'),
        ({"grammar": "root ::= ("}, "grammar: line 1: found the end: expected \\)"),
        ({"grammar": "root ::= x", "json_schema": {}}, "can follow only one of them"),
    ],
)
def test_errors_come_before_anything_is_computed(stories: Model, options: dict[str, Any], message: str) -> None:
    with pytest.raises(LocalmixError, match=message) as caught:
        stories.generate("Once", **options)
    assert "\n" not in str(caught.value)


def test_a_vocabulary_without_an_end(stories: Model) -> None:
    stories.tokenizer.end_ids = frozenset()
    with pytest.raises(LocalmixError, match="no end-of-text token"):
        stories.generate("Once", json_schema=PERSON)


def test_any_token_that_ends_a_text_may_end_this(stories: Model) -> None:
    stories.tokenizer.end_ids = frozenset({2, 300})
    constraint = Grammars(stories.tokenizer, 512).constraint(Options(grammar='start: "a"'))
    assert constraint is not None
    (a,) = np.flatnonzero(np.isfinite(constraint.mask(np.zeros(512, np.float32))))
    constraint.accept(int(a))
    assert list(np.flatnonzero(np.isfinite(constraint.mask(np.zeros(512, np.float32))))) == [2, 300]
    constraint.accept(300)
