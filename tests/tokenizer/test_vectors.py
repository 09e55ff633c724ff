"""Ids equal to those of the original tokenizers, vector by vector."""

import base64
import json
import random
from pathlib import Path
from typing import Any

import awkward_texts
import numpy as np
import pytest
import vocabularies

from localmix import tokenizer
from localmix.convert.settings import Settings
from localmix.convert.vocabulary import read_vocabulary
from localmix.errors import UnsupportedError
from localmix.tokenizer.bpe import byte_alphabet
from localmix.tokenizer.cuts import CUTS


def test_mixtral_vectors_encode_and_decode_as_the_original() -> None:
    mixtral = vocabularies.tokenizer_of("v1")
    vectors = vocabularies.read("mixtral.vectors")
    assert len(vectors) == 69
    for vector in vectors:
        assert mixtral.encode(vector["text"], bos=False) == vector["ids"], vector["text"]
        assert mixtral.decode(vector["ids"]) == vector["decoded"], vector["text"]


@pytest.mark.parametrize("name", vocabularies.REDUCED)
def test_vectors_of_each_pre_tokenizer(name: str) -> None:
    encode = vocabularies.tokenizer_of(name).encode
    vectors = vocabularies.read(name)["vectors"]
    assert len(vectors) == 47
    wrong = [(text, ids, encode(text, bos=False)) for text, ids in vectors if encode(text, bos=False) != ids]
    assert not wrong


@pytest.mark.parametrize(
    ("pre", "vocabulary"), [("gpt-2", "smollm"), ("gpt-2", "llama-bpe"), ("qwen2", "llama-bpe"), ("gpt-2", "tekken")]
)
def test_the_vectors_tell_pre_tokenizers_apart(pre: str, vocabulary: str) -> None:
    metadata = vocabularies.reduced(vocabulary) | {"tokenizer.ggml.pre": pre}
    encode = tokenizer.from_metadata(metadata).encode
    assert any(encode(text, bos=False) != ids for text, ids in vocabularies.read(vocabulary)["vectors"])


def test_bundled_vocabulary_encodes_as_its_sentencepiece_model() -> None:
    original, rebuilt = vocabularies.stories_original(), vocabularies.tokenizer_of("stories")
    rng = random.Random(0)
    alphabet = [*"abcdefgh   \n\t.,!", "é", "日", "🦙", "\x00", "\u200d", "▁", "<s>", "</s>", "[INST]", "<0x0A>"]
    texts = ["", " ", "Once upon a time, there was a cat.", "[INST] Tell me a story [/INST]"]
    texts += ["".join(rng.choices(alphabet, k=rng.randrange(40))) for _ in range(300)]
    for text in texts:
        assert rebuilt.encode(text, bos=False) == original.encode(text), text


def abc(pre: str, last: int = vocabularies.NORMAL) -> tokenizer.Tokenizer:
    """A vocabulary of a, b, c, ab and abc, where no merge makes abc; `last` is the type of abc."""
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": ["a", "b", "c", "ab", "abc"],
        "tokenizer.ggml.token_type": np.array([1, 1, 1, 1, last], np.int32),
        "tokenizer.ggml.merges": ["a b"],
    }
    if last == vocabularies.CONTROL:
        metadata["tokenizer.ggml.eos_token_id"] = 4  # by its name, for as a text it is a word
    return tokenizer.from_metadata(metadata)


@pytest.mark.parametrize(
    ("pre", "ids"), [("gpt-2", [3, 2]), ("smollm", [3, 2]), ("qwen2", [3, 2]), ("llama-bpe", [4]), ("tekken", [4])]
)
def test_a_word_that_is_a_token_is_taken_whole_where_merges_are_ignored(pre: str, ids: list[int]) -> None:
    assert abc(pre).encode("abc", bos=False) == ids
    assert abc(pre, vocabularies.CONTROL).encode("abc", bos=False) == [3, 2]


def test_qwen_composes_text_as_its_makers_do() -> None:
    qwen = vocabularies.tokenizer_of("qwen2")
    assert qwen.encode("Äpfel") == qwen.encode("A\u0308pfel")


def test_an_unknown_pre_tokenizer_is_refused_by_name() -> None:
    metadata = vocabularies.reduced("gpt-2")
    with pytest.raises(UnsupportedError, match=r"'brand-new'.*gpt-2.*tekken"):
        tokenizer.from_metadata(metadata | {"tokenizer.ggml.pre": "brand-new"})
    del metadata["tokenizer.ggml.pre"]
    with pytest.raises(UnsupportedError, match=r"no tokenizer\.ggml\.pre"):
        tokenizer.from_metadata(metadata)


@pytest.mark.parametrize("model", ["t5", "bert", "rwkv"])
def test_another_kind_of_vocabulary_is_refused_by_name(model: str) -> None:
    with pytest.raises(UnsupportedError, match=f"'{model}'.*'llama'"):
        tokenizer.from_metadata(vocabularies.stories() | {"tokenizer.ggml.model": model})


def tekken_json(path: Path) -> dict[str, Any]:
    """The reduced Tekken vocabulary as the file that Mistral publishes; gives the metadata it was made of."""
    metadata = vocabularies.reduced("tekken")
    letters = {char: byte for byte, char in enumerate(byte_alphabet())}
    kinds = metadata["tokenizer.ggml.token_type"].tolist()
    first = kinds.count(vocabularies.CONTROL)
    tokens = metadata["tokenizer.ggml.tokens"]
    spelled = [base64.b64encode(bytes(map(letters.__getitem__, text))).decode() for text in tokens[first:]]
    content = {
        "config": {
            "pattern": CUTS["tekken"].patterns[0],
            "default_num_special_tokens": first,
            "default_vocab_size": len(tokens),
        },
        "vocab": [{"rank": rank, "token_bytes": text} for rank, text in enumerate(spelled)],
    }
    path.write_text(json.dumps(content))
    return metadata


def test_mistrals_own_file_of_ranks(tmp_path: Path) -> None:
    metadata = tekken_json(tmp_path / "tekken.json")
    found = read_vocabulary(tmp_path, len(metadata["tokenizer.ggml.tokens"]), Settings(tmp_path, {}), [])
    assert found["tokenizer.ggml.tokens"] == metadata["tokenizer.ggml.tokens"]
    tok = tokenizer.from_metadata(found)
    assert (tok.bos, tok.eos) == (1, 2)
    for text, ids in vocabularies.read("tekken")["vectors"]:
        assert tok.encode(text, bos=False) == ids, text
        assert tok.encode(text) == [1, *ids]


def test_gemma_4s_own_name(tmp_path: Path) -> None:
    """Files of llama.cpp say "gemma4" and give merges; pieces are text, and those of bytes may be called ordinary."""
    family = vocabularies.families()["gemma"]
    for file, content in family["files"].items():
        (tmp_path / file).write_text(json.dumps(content))
    metadata: dict[str, Any] = dict(read_vocabulary(tmp_path, family["rows"], Settings(tmp_path, {}), []))
    types = metadata["tokenizer.ggml.token_type"]
    types[types == vocabularies.BYTE] = vocabularies.NORMAL
    del metadata["localmix.tokenizer.rules"]
    for names in ({"model": "gemma4", "pre": "gemma4"}, {"model": "llama", "pre": "gemma4"}):  # Ollama's is the second
        tok = tokenizer.from_metadata(metadata | {f"tokenizer.ggml.{key}": value for key, value in names.items()})
        for text, ids in zip(awkward_texts.texts(len(family["ids"]), family["special"]), family["ids"], strict=True):
            assert tok.encode(text, control=True) == ids
        assert tok.decode(tok.encode("a cat 🦙\n")) == "a cat 🦙\n"


def test_ollamas_gpt_oss() -> None:
    metadata = vocabularies.reduced("llama-bpe") | {"tokenizer.ggml.pre": "default", "general.architecture": "gptoss"}
    assert tokenizer.from_metadata(metadata).encode("ABCdef")
    with pytest.raises(UnsupportedError, match=r"tokenizer\.ggml\.pre is 'default'"):
        tokenizer.from_metadata(metadata | {"general.architecture": "llama"})
