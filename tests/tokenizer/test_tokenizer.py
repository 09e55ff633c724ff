"""What holds for every vocabulary: round trips, streams, and user text apart from control tokens."""

import random
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import vocabularies

from localmix import tokenizer
from localmix.errors import LocalmixError

ALL = ("stories", "v1", "v3", *vocabularies.REDUCED)
WHOLE = ("stories", "v1", "v3", "gpt-2", "llama-bpe", "llama-spm", "tekken")  # every byte, no composing of Unicode


def texts(seed: int, count: int) -> Iterator[str]:
    """Random text: all planes of Unicode, much white space, words, and the control tokens of many models."""
    rng = random.Random(seed)
    words = ["<s>", "</s>", "<unk>", "[INST]", "[/INST]", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|endoftext|>"]
    words += [
        "Hello",
        " world",
        "123",
        "'s",
        "\r\n",
        "\n\n",
        "   ",
        "\t",
        "👨‍👩‍👧",
        "e\u0301",
        "<0x0A>",
        "\ufeff",
        "\x00",
    ]
    ranges = [(0x20, 0x7F), (0xA0, 0x250), (0x370, 0x2580), (0x2582, 0xD800), (0xE000, 0x10000), (0x10000, 0x110000)]
    for _ in range(count):
        parts = [
            rng.choice(words) if rng.random() < 0.5 else chr(rng.randrange(*rng.choice(ranges)))
            for _ in range(rng.randrange(20))
        ]
        yield "".join(parts)


@pytest.mark.parametrize("name", WHOLE)
def test_decode_undoes_encode(name: str) -> None:
    tok = vocabularies.tokenizer_of(name)
    for text in texts(1, 300):
        assert tok.decode(tok.encode(text)) == text


@pytest.mark.parametrize("name", ALL)
def test_user_text_never_becomes_a_control_token(name: str) -> None:
    tok = vocabularies.tokenizer_of(name)
    for text in [*texts(2, 300), *tok.control_tokens, " ".join(tok.control_tokens)]:
        assert not any(map(tok.is_control, tok.encode(text, bos=False))), text


@pytest.mark.parametrize("name", ALL)
def test_a_stream_adds_up_to_decode_in_whole_characters(name: str) -> None:
    tok = vocabularies.tokenizer_of(name)
    rng = random.Random(3)
    for _ in range(200):
        ids = rng.choices(range(tok.vocab_size), k=rng.randrange(30))
        stream = tok.stream()
        shown = [stream.push(id) for id in ids] + [stream.flush()]
        whole = b"".join(tok.piece(id) for id in ids if not tok.is_control(id)).decode(errors="replace")
        assert "".join(shown) == tok.decode(ids)
        assert tok.decode(ids, keep_space=True) == whole


def test_a_character_of_several_tokens_comes_at_once() -> None:
    tok = vocabularies.tokenizer_of("v1")
    ids = tok.encode("🦙!", bos=False)
    assert len(ids) == 6  # a space, four bytes, "!"
    stream = tok.stream()
    assert [stream.push(id) for id in ids] == ["", "", "", "", "🦙", "!"]


def test_a_broken_character_becomes_one_replacement_at_the_end() -> None:
    tok = vocabularies.tokenizer_of("v1")
    stream = tok.stream()
    llama = tok.encode("🦙", bos=False)
    assert "".join(map(stream.push, llama[:-1])) == ""
    assert stream.flush() == "\ufffd"


def test_the_space_that_sentencepiece_adds_goes_once() -> None:
    tok = vocabularies.tokenizer_of("v1")
    hello = tok.encode("Hello", bos=False)
    assert tok.decode(hello + hello) == "Hello Hello"
    assert tok.decode([1, *hello]) == "Hello"
    assert tok.decode(hello, keep_space=True) == " Hello"
    assert tok.decode(tok.encode("  Hello")) == "  Hello"
    stream = tok.stream(keep_space=True)
    assert stream.push(hello[0]) == " Hello"


def test_bos_as_the_file_says_unless_told() -> None:
    metadata = vocabularies.mistral("v1")
    for key, default in ((None, True), (True, True), (False, False), (np.bool_(False), False)):
        told = metadata if key is None else metadata | {"tokenizer.ggml.add_bos_token": key}
        tok = tokenizer.from_metadata(told)
        assert tok.add_bos is default
        assert (tok.encode("a")[0] == tok.bos) is default
        assert tok.encode("a", bos=True)[0] == tok.bos
        assert tok.encode("a", bos=False)[0] != tok.bos


def test_defaults_of_a_file_that_names_no_special_ids() -> None:
    tok = vocabularies.tokenizer_of("stories")
    assert (tok.bos, tok.eos, tok.add_bos, tok.end_ids) == (1, 2, True, frozenset({2}))
    qwen = vocabularies.reduced("qwen2")
    for name in ("bos", "eos"):
        del qwen[f"tokenizer.ggml.{name}_token_id"]
    tok = tokenizer.from_metadata(qwen)
    assert (tok.bos, tok.eos, tok.add_bos) == (None, None, False)


def test_all_ids_that_end_an_answer_are_found() -> None:
    llama, qwen = vocabularies.tokenizer_of("llama-bpe"), vocabularies.tokenizer_of("qwen2")
    assert {llama.text(id) for id in llama.end_ids} == {"<|end_of_text|>", "<|eot_id|>"}
    assert {qwen.text(id) for id in qwen.end_ids} == {"<|endoftext|>", "<|im_end|>"}
    metadata = vocabularies.mistral("v1")
    named = {"tokenizer.ggml.eot_token_id": 300, "tokenizer.ggml.eom_token_id": 301}
    tok = tokenizer.from_metadata(metadata | named)
    assert tok.end_ids == {2, 300, 301}
    assert tok.is_control(300)
    gpt = vocabularies.tokenizer_of("gpt-2")
    assert gpt.bos == gpt.eos
    assert gpt.end_ids == {gpt.eos}


def test_control_tokens_where_they_are_asked_for() -> None:
    tok = vocabularies.tokenizer_of("v3")
    text = "<s>[INST]hi[/INST]there</s>"
    ids = tok.encode(text, bos=False, control=True)
    assert ids == [1, 3, *tok.encode("hi", bos=False), 4, *tok.encode("there", bos=False), 2]
    assert tok.decode(ids) == "hi there"
    assert list(tok.split_control("a</s>")) == ["a", 2]
    assert list(tok.split_control("")) == []


def test_the_longest_control_token_wins() -> None:
    metadata = vocabularies.stories()
    metadata["tokenizer.ggml.tokens"][900:902] = ["<a>", "<a>b"]
    metadata["tokenizer.ggml.token_type"][900:902] = vocabularies.CONTROL
    assert list(tokenizer.from_metadata(metadata).split_control("<a><a>b<a>")) == [900, 901, 900]


@pytest.mark.parametrize("name", ["stories", "gpt-2"])
def test_user_defined_tokens_match_in_plain_text_the_longest_first(name: str) -> None:
    metadata = vocabularies.stories() if name == "stories" else vocabularies.reduced(name)
    count = len(metadata["tokenizer.ggml.tokens"])
    metadata["tokenizer.ggml.tokens"] += ["@@", "@@@", "[INST]", "<|user|>"]
    metadata["tokenizer.ggml.token_type"] = np.append(
        metadata["tokenizer.ggml.token_type"], [vocabularies.USER_DEFINED] * 4
    )
    if name == "stories":
        metadata["tokenizer.ggml.scores"] = np.append(metadata["tokenizer.ggml.scores"], [np.float32(0)] * 4)
    tok = tokenizer.from_metadata(metadata)
    ids = tok.encode("a@@@@@b", bos=False)
    assert [id for id in ids if id >= count] == [count + 1, count]
    assert tok.decode(ids) == "a@@@@@b"
    # Chat markup is control whatever the file calls it, or a user could type it.
    assert all(id < count for id in tok.encode("[INST]<|user|>", bos=False))
    assert tok.encode("[INST]<|user|>", bos=False, control=True) == [count + 2, count + 3]


def test_lone_surrogates_are_read_as_replacement_characters() -> None:
    for name in ("v1", "gpt-2"):
        tok = vocabularies.tokenizer_of(name)
        assert tok.decode(tok.encode("a\udcffb")) == "a\ufffdb"


def test_a_token_of_broken_utf8_is_those_bytes() -> None:
    metadata = vocabularies.stories()
    metadata["tokenizer.ggml.tokens"][500] = b"\xff\xfe".decode("utf-8", "surrogateescape")
    assert tokenizer.from_metadata(metadata).piece(500) == b"\xff\xfe"


def test_an_id_outside_the_vocabulary_is_refused() -> None:
    tok = vocabularies.tokenizer_of("stories")
    for id in (-1, tok.vocab_size):
        with pytest.raises(LocalmixError, match=f"{id} .*{tok.vocab_size}"):
            tok.decode([id])


def test_without_end_drops_one_end_at_most() -> None:
    tok = vocabularies.tokenizer_of("stories")
    assert tok.without_end([]) == []
    assert tok.without_end((5, 2, 2)) == [5, 2]
    assert tok.without_end((5, 6)) == [5, 6]


def test_importing_the_packages_imports_no_library() -> None:
    code = "import sys, localmix.tokenizer, localmix.template; print([m for m in MODULES if m in sys.modules])"
    code = code.replace("MODULES", "('sentencepiece', 'tokenizers', 'jinja2')")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ALL)
def test_a_bound_from_below_holds_for_every_text(name: str) -> None:
    tok = vocabularies.tokenizer_of(name)
    runs = [unit * 500 for unit in (" ", "\n", "a", "e\u0301", "\u1112\u1161\u11ab", "\u2126", "\x05", "🦙", "<0x0A>")]
    for text in [*texts(4, 100), *runs]:
        assert tok.at_least(text) <= len(tok.encode(text, bos=False)), text


@pytest.mark.parametrize("name", ["v1", "gpt-2", "llama-bpe"])
def test_a_bound_from_below_grows_with_the_text(name: str) -> None:
    assert vocabularies.tokenizer_of(name).at_least("word " * 10000) > 100
