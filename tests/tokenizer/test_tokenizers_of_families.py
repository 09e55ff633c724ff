"""Checkpoints with the tokenizers of many families, and odd ones: texts and chats become the ids of AutoTokenizer."""

import json
from pathlib import Path
from typing import Any

import awkward_texts
import pytest
from vocabularies import families

from localmix import tokenizer
from localmix.convert.settings import Settings
from localmix.convert.vocabulary import read_vocabulary
from localmix.errors import FileFormatError, UnsupportedError
from localmix.template import ChatTemplate, Message


@pytest.mark.parametrize("name", families())
def test_ids_are_those_of_auto_tokenizer(name: str, tmp_path: Path) -> None:
    family = families()[name]
    for file, content in family["files"].items():
        (tmp_path / file).write_text(json.dumps(content))
    config = Settings(tmp_path / "config.json", {"model_type": "llama"})
    metadata = read_vocabulary(tmp_path, family["rows"], config, [])
    tok = tokenizer.from_metadata(metadata)
    texts = awkward_texts.texts(len(family["ids"]), family["special"])
    wrong = [
        (text, ids, found)
        for text, ids in zip(texts, family["ids"], strict=True)
        if (found := tok.encode(text, control=True)) != ids
    ]
    assert not wrong
    template = ChatTemplate.from_metadata(metadata, tok)
    assert (template is None) == (family["chats"] is None)
    for chat, ids in zip(awkward_texts.chats(), family["chats"] or [None] * 10, strict=True):
        if template is not None:
            assert template.encode([Message(m["role"], m["content"]) for m in chat]) == ids, chat


def folder_of(path: Path, added: list[dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
    """The metadata of a small byte-level tokenizer with more tokens, for a model of 500; its own are 0 to 400."""
    files = families()["gpt-2"]["files"]
    content = {**files["tokenizer.json"]}
    content["added_tokens"] = [*content["added_tokens"], *added]
    (path / "tokenizer.json").write_text(json.dumps(content))
    (path / "tokenizer_config.json").write_text(json.dumps(files["tokenizer_config.json"] | settings))
    notes: list[str] = []
    metadata = read_vocabulary(path, 500, Settings(path / "config.json", {}), notes)
    return metadata | {"notes": notes}


def token(id: int, text: str, *, special: bool = True) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": id, "content": text, "special": special, **flags}


def test_ids_with_gaps_are_kept_and_the_gaps_listed(tmp_path: Path) -> None:
    """The library would number them 401 and 402, rows of the embedding that were trained for nothing."""
    later = {"added_tokens_decoder": {"420": {"content": "<|y|>", "special": True}}}
    metadata = folder_of(tmp_path, [token(410, "<|x|>")], later)
    tok = tokenizer.from_metadata(metadata)
    assert tok.encode("<|x|><|y|>", control=True) == [410, 420]
    assert metadata["tokenizer.ggml.token_type"][401:410].tolist() == [5] * 9
    assert "401, 402, 403, 404, 405 and 13 more" in metadata["notes"][0]


@pytest.mark.parametrize("where", ["tokenizer.json", "tokenizer_config.json"])
def test_a_new_name_of_an_old_id(tmp_path: Path, where: str) -> None:
    """Fine-tunes rename pieces that nobody needs; what was there before is no token any more."""
    old = {id: text for text, id in families()["gpt-2"]["files"]["tokenizer.json"]["model"]["vocab"].items()}[300]
    if where == "tokenizer.json":
        metadata = folder_of(tmp_path, [token(300, "<|turn|>")], {})
    else:
        metadata = folder_of(tmp_path, [], {"added_tokens_decoder": {"300": {"content": "<|turn|>", "special": True}}})
    tok = tokenizer.from_metadata(metadata)
    assert old not in metadata["tokenizer.ggml.tokens"]
    assert tok.encode("the<|turn|>", control=True)[-1] == 300
    assert 300 not in tok.encode("don't the<|turn|>")


def test_every_id_that_ends_an_answer(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [400, 410, 7000]}))
    metadata = folder_of(tmp_path, [token(410, "<x>")], {})
    assert tokenizer.from_metadata(metadata).end_ids == {400, 410}
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": 411}))
    metadata = folder_of(tmp_path, [token(410, "<x>"), token(411, "<y>")], {})
    assert tokenizer.from_metadata(metadata).end_ids == {400, 411}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"type": "Unigram", "vocab": [["a", 0.0]]}, "the vocabulary is Unigram, expected BPE"),
        ({"type": "WordPiece", "vocab": {"a": 0}}, "the vocabulary is WordPiece, expected BPE"),
        ({"end_of_word_suffix": "</w>"}, "model.end_of_word_suffix is '</w>', which is not supported"),
        ({"dropout": 0.1}, "model.dropout is 0.1"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(tmp_path: Path, model: dict[str, Any], message: str) -> None:
    content = families()["gpt-2"]["files"]["tokenizer.json"]
    whole = model if "type" in model else content["model"] | model
    (tmp_path / "tokenizer.json").write_text(json.dumps(content | {"model": whole}))
    with pytest.raises(UnsupportedError, match=message):
        read_vocabulary(tmp_path, 500, Settings(tmp_path / "config.json", {}), [])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": 3}', '{"model": {"type": "BPE", "vocab": {}}}'])
def test_files_that_are_no_tokenizer(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises((FileFormatError, UnsupportedError), match=r"tokenizer\.json: "):
        read_vocabulary(tmp_path, 500, Settings(tmp_path / "config.json", {}), [])
