"""Folders with a SentencePiece model, and what else they say about tokens, ends of answers and templates."""

import json
from pathlib import Path
from typing import Any

import checkpoint_folders
import pytest

from localmix import tokenizer
from localmix.convert.settings import Settings
from localmix.convert.vocabulary import read_vocabulary
from localmix.errors import FileFormatError
from localmix.template import ChatTemplate
from localmix.tokenizer import Tokenizer

ROWS = 12  # <unk> <s> </s> and six pieces, of 3 to 8; 9 is the first that is free
A, B, SPACE_A, SPACE_AB = 4, 5, 6, 8


def read(folder: Path, settings: dict[str, Any], kind: str = "mixtral", rows: int = ROWS) -> dict[str, Any]:
    """The metadata, with the notes under "notes"."""
    checkpoint_folders.tokenizer(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"} | settings))
    notes: list[str] = []
    config = Settings(folder / "config.json", {"model_type": kind})
    return read_vocabulary(folder, rows, config, notes) | {"notes": notes}


def tokens_of(folder: Path, settings: dict[str, Any], kind: str = "mixtral") -> Tokenizer:
    return tokenizer.from_metadata(read(folder, settings, kind))


def decoder(**tokens: dict[str, Any]) -> dict[str, Any]:
    return {"added_tokens_decoder": {name.removeprefix("_"): token for name, token in tokens.items()}}


def special(text: str, **flags: bool) -> dict[str, Any]:
    return {"content": text, "special": True} | flags


def test_pieces_that_were_renamed_or_declared_special_later(tmp_path: Path) -> None:
    tok = tokens_of(tmp_path, decoder(_5=special("<turn>"), _7=special("ab|")))
    assert tok.encode("<turn>ab|", control=True, bos=False) == [5, 7]
    assert not {5, 7} & set(tok.encode("<turn>ab|", bos=False))
    assert tok.control_tokens["<turn>"] == 5


def test_tokens_that_are_only_named_as_special(tmp_path: Path) -> None:
    """Pieces become control tokens; what is no piece follows the last one, if the model has a row for it."""
    named = {"additional_special_tokens": ["<x>", {"content": "ab"}], "pad_token": "<pad>", "unk_token": "<unk>"}
    checkpoint_folders.PIECES.append("<x>")
    try:
        metadata = read(tmp_path, named, rows=11)
    finally:
        checkpoint_folders.PIECES.pop()
    assert metadata["tokenizer.ggml.tokens"][9:] == ["<x>", "<pad>"]
    assert metadata["tokenizer.ggml.token_type"].tolist() == [2, 3, 3, 1, 1, 1, 1, 3, 1, 3, 3]
    assert metadata["tokenizer.ggml.padding_token_id"] == 10
    assert tokenizer.from_metadata(metadata).encode("<x>", control=True, bos=False) == [9]


def test_gaps_between_added_ids_are_filled_and_listed(tmp_path: Path) -> None:
    metadata = read(tmp_path, decoder(_11=special("<|x|>")))
    assert metadata["tokenizer.ggml.tokens"][9:] == ["[UNUSED9]", "[UNUSED10]", "<|x|>"]
    assert metadata["notes"] == ["no file names the tokens 9, 10: they are kept as unused tokens"]


def test_added_tokens_without_a_row_are_left_out_and_said(tmp_path: Path) -> None:
    metadata = read(tmp_path, decoder(_9=special("<pad>"), _10=special("<x>")), rows=9)
    assert len(metadata["tokenizer.ggml.tokens"]) == 9
    assert metadata["notes"] == ["the model has no rows for the added tokens <pad>, <x>: they are left out"]
    with pytest.raises(FileFormatError, match=r"the tokenizer has 9 tokens, config\.json says vocab_size 8"):
        read(tmp_path, {}, rows=8)


@pytest.mark.parametrize(
    ("settings", "kind", "everywhere"),
    [
        ({}, "mixtral", True),
        ({}, "llama", True),
        ({"tokenizer_class": "LlamaTokenizer"}, "llama", False),
        ({"tokenizer_class": "LlamaTokenizer"}, "mixtral", True),
        ({"legacy": True, "tokenizer_class": "LlamaTokenizer"}, "llama", True),
        ({"legacy": False}, "mixtral", False),
    ],
)
def test_where_the_space_goes(tmp_path: Path, settings: dict[str, Any], kind: str, everywhere: bool) -> None:
    """Before each stretch of text, or before the whole only: `legacy` says it, and transformers 5 where it does not."""
    tok = tokens_of(tmp_path, settings, kind)
    assert tok.encode("ab</s>a", control=True, bos=False) == [SPACE_AB, 2, SPACE_A if everywhere else A]


def test_added_tokens_eat_spaces_if_they_say_so(tmp_path: Path) -> None:
    tok = tokens_of(tmp_path, decoder(_9=special("<m>", lstrip=True), _10=special("<n>", rstrip=True)))
    assert tok.encode("a  <m>b", control=True, bos=False) == tok.encode("a<m>b", control=True, bos=False)
    assert tok.encode("a<n>  b", control=True, bos=False) == tok.encode("a<n>b", control=True, bos=False)
    assert tok.encode("a <n>b", control=True, bos=False) != tok.encode("a<n>b", control=True, bos=False)


def test_old_folders_have_files_for_special_and_added_tokens(tmp_path: Path) -> None:
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|im_end|>": 9, "tool": 10}))
    metadata = read(tmp_path, {})
    assert metadata["tokenizer.ggml.eos_token_id"] == 9
    assert metadata["tokenizer.ggml.token_type"][9:11].tolist() == [3, 4]


@pytest.mark.parametrize("ids", [2, [2], [2, 9], [9, 2], [2, 9, 10, 11], None, "2", [True, 9.5, -1, 99]])
def test_what_ends_an_answer(tmp_path: Path, ids: Any) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}))
    tok = tokens_of(tmp_path, decoder(_9=special("<x>"), _10=special("<y>"), _11=special("<z>")))
    named = {id for id in ids if type(id) is int and 0 <= id < ROWS} if isinstance(ids, list) else set()
    assert tok.end_ids == {2} | named
    assert tok.eos == 2


PLACES = {
    "chat_template.jinja": ({"chat_template.jinja": "T"}, {}, "T", False),
    "before all others": ({"chat_template.jinja": "T", "chat_template.json": {"chat_template": "x"}}, "y", "T", False),
    "chat_template.json": ({"chat_template.json": {"chat_template": "T"}}, None, "T", False),
    "tokenizer_config.json": ({"chat_template.json": {"chat_template": "x"}}, "T", "T", False),
    "a list": ({}, [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "T"}], "T", False),
    "a list without default": ({}, [{"name": "rag", "template": "x"}, {"name": "chat", "template": "T"}], "T", True),
    "an object": ({}, {"tool_use": "x", "chat": "T"}, "T", True),
    "only for tools": ({}, [{"name": "tool_use", "template": "T"}], "T", True),
    "a folder": ({"additional_chat_templates/chat.jinja": "T"}, None, "T", True),
    "none": ({}, None, None, False),
}


@pytest.mark.parametrize("place", PLACES)
def test_where_templates_are(tmp_path: Path, place: str) -> None:
    files, setting, template, said = PLACES[place]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    metadata = read(tmp_path, {"chat_template": setting} if setting else {})
    assert metadata.get("tokenizer.chat_template") == template
    assert any("names no default" in note for note in metadata["notes"]) is said


def test_a_gguf_file_with_named_templates_only(tmp_path: Path) -> None:
    metadata = read(tmp_path, {})
    named = {"tokenizer.chat_template.tool_use": "x", "tokenizer.chat_template.chat": "T"}
    template = ChatTemplate.from_metadata(metadata | named, tokenizer.from_metadata(metadata))
    assert template is not None
    assert template.source == "T"
