"""Checkpoints with the tokenizers of many families, and odd ones: texts and chats become the ids of AutoTokenizer."""

import json
import lzma
from functools import cache
from pathlib import Path
from typing import Any

import awkward_texts
import pytest

from localmix import tokenizer
from localmix.convert.settings import Settings
from localmix.convert.vocabulary import read_vocabulary
from localmix.template import ChatTemplate, Message

DATA = Path(__file__).parents[1] / "data" / "tokenizers" / "families.json.xz"


@cache
def families() -> dict[str, Any]:
    return json.loads(lzma.decompress(DATA.read_bytes()))


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
