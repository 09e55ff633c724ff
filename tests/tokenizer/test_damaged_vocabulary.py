"""Metadata that are missing, of the wrong kind or at odds with each other: one line that names the key."""

from typing import Any

import numpy as np
import pytest
import vocabularies

from localmix import tokenizer
from localmix.errors import FileFormatError, LocalmixError, UnsupportedError

TOKENS, TYPES, SCORES = (f"tokenizer.ggml.{name}" for name in ("tokens", "token_type", "scores"))
WRONG = [None, 7, 1.5, "text", [], ["a"], np.zeros(3, np.int32), np.full(4096, np.nan), np.full(4096, 99)]


def refusal(metadata: dict[str, Any]) -> str:
    with pytest.raises(LocalmixError) as caught:
        tokenizer.from_metadata(metadata)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    return message


@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize("key", ["tokenizer.ggml.model", TOKENS, TYPES, SCORES])
def test_sentencepiece_keys(key: str, value: object) -> None:
    metadata = vocabularies.stories() | {key: value}
    if key == SCORES and isinstance(value, np.ndarray) and value.shape == (4096,) and not np.isnan(value[0]):
        tokenizer.from_metadata(metadata)  # equal scores are odd, but scores
    elif key == "tokenizer.ggml.model" or not isinstance(value, list) or value != ["a"] or key != TOKENS:
        assert key in refusal(metadata)
    else:
        refusal(metadata)  # the tokens are sound, what belongs to them has another length


@pytest.mark.parametrize("key", [TOKENS, "tokenizer.ggml.model"])
def test_a_missing_key(key: str) -> None:
    metadata = vocabularies.stories()
    del metadata[key]
    assert f"{key} is missing" in refusal(metadata)


@pytest.mark.parametrize("value", [-1, 4096, 2**31, 2**63, True, "1", 1.0])
@pytest.mark.parametrize("name", ["bos", "eos", "eot", "eom", "unknown"])
def test_special_ids(name: str, value: object) -> None:
    key = f"tokenizer.ggml.{name}_token_id"
    assert key in refusal(vocabularies.stories() | {key: value})


@pytest.mark.parametrize("name", ["add_bos_token", "add_space_prefix", "remove_extra_whitespaces"])
def test_flags(name: str) -> None:
    key = f"tokenizer.ggml.{name}"
    assert key in refusal(vocabularies.stories() | {key: 1})


@pytest.mark.parametrize("token", ["", "a\0b", "▁the", "[PAD]", "</s>"])
@pytest.mark.parametrize("kind", [1, 3, 5])
def test_rows_that_nothing_encodes_to(token: str, kind: int) -> None:
    """Empty and doubled pieces, as fine-tunes leave them: the first of equal ones encodes, all decode."""
    metadata = vocabularies.stories()
    ids = tokenizer.from_metadata(metadata).encode("Once upon the time")
    metadata[TOKENS] += [token, token]
    metadata[TYPES] = np.append(metadata[TYPES], [kind, kind])
    metadata[SCORES] = np.append(metadata[SCORES], np.zeros(2, np.float32))
    tok = tokenizer.from_metadata(metadata)
    assert tok.encode("Once upon the time") == ids
    assert tok.piece(tok.vocab_size - 1) == token.replace("▁", " ").encode()


def test_pieces_without_types_or_scores() -> None:
    metadata = vocabularies.stories()
    ids = tokenizer.from_metadata(metadata).encode("Once upon a time")
    metadata[TYPES][300:] = 0  # GGUF's "undefined"
    assert tokenizer.from_metadata(metadata).encode("Once upon a time") == ids
    for key in (TYPES, SCORES):
        del metadata[key]
        tok = tokenizer.from_metadata(metadata)
        assert tok.decode(tok.encode("Once upon a time")) == "Once upon a time"


def test_a_table_of_replacements_is_refused() -> None:
    metadata = vocabularies.stories() | {"tokenizer.ggml.precompiled_charsmap": np.ones(9, np.uint8)}
    with pytest.raises(UnsupportedError, match="precompiled_charsmap"):
        tokenizer.from_metadata(metadata)


def test_several_unknown_tokens_are_one_and_padding() -> None:
    metadata = vocabularies.stories()
    metadata[TYPES][[4090, 4091]] = vocabularies.UNKNOWN
    tok = tokenizer.from_metadata(metadata)
    assert tok.decode(tok.encode("Hello")) == "Hello"


@pytest.mark.parametrize(
    ("merges", "message"),
    [
        (["ab"], "merges holds 'ab'"),
        (["never seen"], "merges do not fit"),
        (None, "merges is missing"),
    ],
)
def test_merges(merges: list[str] | None, message: str) -> None:
    metadata = vocabularies.reduced("gpt-2") | {"tokenizer.ggml.merges": merges}
    with pytest.raises(FileFormatError, match=message):
        tokenizer.from_metadata(metadata)


@pytest.mark.parametrize("kind", [1, 3, 4, 5])
@pytest.mark.parametrize("text", ["Hello", "ing", ""])
def test_a_text_twice_or_none(text: str, kind: int) -> None:
    """The first of equal tokens encodes, and a row of the embedding without a text is one that nothing uses."""
    metadata = vocabularies.reduced("gpt-2")
    ids = tokenizer.from_metadata(metadata).encode("Hello, I am counting")
    metadata[TOKENS] += [text, "never", "never"]
    metadata[TYPES] = np.append(metadata[TYPES], [1, kind, kind])
    tok = tokenizer.from_metadata(metadata)
    assert tok.encode("Hello, I am counting") == ids
    assert tok.piece(tok.vocab_size - 1) == b"never"


def test_merges_without_types() -> None:
    """What looks like chat markup and does not come of letters steers the model all the same."""
    metadata = vocabularies.reduced("gpt-2")
    ids = tokenizer.from_metadata(metadata).encode("Hello")
    del metadata[TYPES]
    metadata[TOKENS] += ["<|im_start|>", "<|im_end|>"]
    tok = tokenizer.from_metadata(metadata)
    assert tok.encode("Hello") == ids
    last = tok.vocab_size - 1
    assert tok.encode("<|im_start|><|im_end|>", control=True) == [last - 1, last]
    assert last in tok.end_ids
    assert not {last - 1, last} & set(tok.encode("<|im_start|><|im_end|>"))


def test_bytes_without_types() -> None:
    metadata = vocabularies.mistral("v1")
    ids = tokenizer.from_metadata(metadata).encode("lines\nand 🦙")
    del metadata[TYPES]
    tok = tokenizer.from_metadata(metadata)
    assert tok.encode("lines\nand 🦙") == ids
    assert tok.decode(ids) == "lines\nand 🦙"
