"""Writes the tokenizer and chat oracles beside this file. Run once, by hand; the tests only read what it wrote.

usage: python tests/data/tokenizers/make.py VOCABULARIES SMOLLM2.gguf MIXTRAL_VECTORS.json
needs: mistral-common 1.13, llama-cpp-python 0.3.36

VOCABULARIES is the folder vendor/llama.cpp/models in the source distribution of llama-cpp-python: vocabularies as
ggml-vocab-*.gguf, texts as .inp, expected ids as .out. Whole vocabularies are megabytes, so each is reduced to the
tokens that its test texts can touch, and numbered anew; what remains merges exactly as the whole one does.
"""

import base64
import ctypes
import json
import lzma
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from localmix import gguf
from localmix.tokenizer.bpe import byte_alphabet

HERE = Path(__file__).parent
SEPARATOR = "\n__ggml_vocab_test__\n"
NORMAL, CONTROL, BYTE = 1, 3, 6
ALPHABET = byte_alphabet()

TALKS = [
    [("user", "Hello")],
    [("user", "")],
    [("system", "Be brief."), ("user", "Hello")],
    [("user", "Hi"), ("assistant", "Hello! How can I help?"), ("user", "Tell me a story about a cat.")],
    [("system", "Du bist höflich."), ("user", "Hi"), ("assistant", "Guten Tag!"), ("user", "Wie geht es?")],
    [
        ("system", "Answer in one word.\nNo more."),
        ("user", "Capital of France?"),
        ("assistant", "Paris"),
        ("user", "Of Japan?"),
        ("assistant", "Tokyo  "),
        ("user", " and of Peru? "),
    ],
    [("user", "  spaces  "), ("assistant", "  kept or not   "), ("user", "\n\nlines\n")],
    [("user", "one"), ("user", "two"), ("assistant", "three"), ("assistant", "four"), ("user", "five")],
    [("system", "a"), ("system", "b"), ("user", "c")],
    [("user", "</s> [INST] is [/INST] typed <s> by a user"), ("assistant", "<unk> </s>"), ("user", "🦙 日本 é")],
    [("user", "def f(x):\n    return x + 1"), ("assistant", "```python\nprint(1)\n```"), ("user", "1234567 + 89")],
]


def main() -> None:
    folder, smollm, mixtral = map(Path, sys.argv[1:])
    write_mistral_pieces()
    write_json("mixtral.vectors", json.loads(mixtral.read_text()))
    texts = (folder / "ggml-vocab-gpt-2.gguf.inp").read_text().split(SEPARATOR)
    for name in ("llama-spm", "gpt-2", "llama-bpe", "qwen2"):
        path = folder / f"ggml-vocab-{name}.gguf"
        lines = path.with_name(path.name + ".out").read_text().split("\n")
        ids = [[int(id) for id in line.split()] for line in lines[: len(texts)]]
        write_reduced(name, dict(gguf.open(path).metadata), texts, ids)
    write_reduced("smollm", dict(gguf.open(smollm).metadata), texts, llama_cpp_ids(smollm, texts))
    write_tekken(texts)


def write_mistral_pieces() -> None:
    """The normal pieces, which are the same in v1, v2 and v3; tests/vocabularies.py builds the rest around them."""
    model = MistralTokenizer.v1().instruct_tokenizer.tokenizer._model
    pieces = [model.id_to_piece(id) for id in range(259, 32000)]
    (HERE / "mistral.pieces.txt.xz").write_bytes(lzma.compress("\n".join(pieces).encode(), preset=9))
    chats = {
        version: [[talk, mistral_ids(tokenizer, talk)] for talk in TALKS]
        for version, tokenizer in (
            ("v1", MistralTokenizer.v1()),
            ("v2", MistralTokenizer.v2()),
            ("v3", MistralTokenizer.v3()),
        )
    }
    write_json("mistral.chats", chats)


def mistral_ids(tokenizer: MistralTokenizer, talk: list[tuple[str, str]]) -> list[int]:
    kinds = {"system": SystemMessage, "user": UserMessage, "assistant": AssistantMessage}
    request = ChatCompletionRequest(messages=[kinds[role](content=content) for role, content in talk])
    return tokenizer.encode_chat_completion(request).tokens


def write_tekken(texts: list[str]) -> None:
    """Tekken ranks its tokens and has no merges: all splits of a token into two tokens, in the order of its rank."""
    tokenizer = MistralTokenizer.v3(is_tekken=True)
    tekken = tokenizer.instruct_tokenizer.tokenizer
    assert isinstance(tekken, Tekkenizer)
    specials = tekken.num_special_tokens
    names = [tekken.id_to_piece(id) for id in range(specials)]
    entries = json.loads(tekken.file_path.read_text())["vocab"][: tekken.n_words - specials]
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in entries}
    merges = []
    for token in sorted(ranks, key=ranks.__getitem__):
        splits = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        known = [pair for pair in splits if pair[0] in ranks and pair[1] in ranks]
        merges += sorted(known, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "tekken",
        "tokenizer.ggml.tokens": names + [spell(token) for token in sorted(ranks, key=ranks.__getitem__)],
        "tokenizer.ggml.token_type": np.array([CONTROL] * specials + [NORMAL] * len(ranks)),
        "tokenizer.ggml.merges": [f"{spell(left)} {spell(right)}" for left, right in merges],
        "tokenizer.ggml.bos_token_id": tekken.bos_id,
        "tokenizer.ggml.eos_token_id": tekken.eos_id,
    }
    ids = [tekken.encode(text, bos=False, eos=False) for text in texts]
    chats = [[talk, mistral_ids(tokenizer, talk)] for talk in TALKS]
    write_reduced("tekken", metadata, texts, ids, chats)


def write_reduced(name: str, metadata: dict, texts: list[str], ids: list[list[int]], chats: Iterable = ()) -> None:
    """The part of a vocabulary that `texts` and the texts of `chats` can touch, and the expected ids in it."""
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    bpe = metadata["tokenizer.ggml.model"] == "gpt2"
    read = [*texts, *("\n\n".join(content for _, content in talk) for talk, _ in chats)]
    possible = substrings([spell(text.encode()) if bpe else "▁" + text.replace(" ", "▁") for text in read])
    keep = [
        id
        for id, token in enumerate(tokens)
        if types[id] == BYTE
        or (types[id] == NORMAL and (token in possible or token in ALPHABET))
        or (types[id] not in (NORMAL, BYTE) and not set("0123456789") & set(token.replace("im_", "")))
    ]
    new = {id: position for position, id in enumerate(keep)}
    small: dict = {key: value for key, value in metadata.items() if key.startswith("tokenizer.ggml.add_")}
    small |= {key: metadata[key] for key in ("tokenizer.ggml.model", "tokenizer.ggml.pre")}
    for key in ("tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.unknown_token_id"):
        if key in metadata:
            small[key] = new[int(metadata[key])]
    small["tokenizer.ggml.tokens"] = [tokens[id] for id in keep]
    small["tokenizer.ggml.token_type"] = [int(types[id]) for id in keep]
    if bpe:
        pairs = (line.split(" ") for line in metadata["tokenizer.ggml.merges"])
        small["tokenizer.ggml.merges"] = [f"{left} {right}" for left, right in pairs if left + right in possible]
    else:
        small["tokenizer.ggml.scores"] = [float(metadata["tokenizer.ggml.scores"][id]) for id in keep]
    vectors = [[text, [new[id] for id in line]] for text, line in zip(texts, ids, strict=True)]
    talks = [[talk, [new[id] for id in line]] for talk, line in chats]
    write_json(name, {"metadata": small, "vectors": vectors, "chats": talks})


def substrings(texts: list[str], longest: int = 64) -> set[str]:
    return {text[i : i + size] for text in texts for i in range(len(text)) for size in range(1, longest)}


def spell(raw: bytes) -> str:
    return "".join(ALPHABET[byte] for byte in raw)


def llama_cpp_ids(path: Path, texts: list[str]) -> list[list[int]]:
    from llama_cpp import llama_cpp as library

    library.llama_backend_init()
    options = library.llama_model_default_params()
    options.vocab_only = True
    vocabulary = library.llama_model_get_vocab(library.llama_model_load_from_file(str(path).encode(), options))
    ids = []
    for text in texts:
        raw = text.encode()
        buffer = (ctypes.c_int32 * (len(raw) + 8))()
        count = library.llama_tokenize(vocabulary, raw, len(raw), buffer, len(buffer), False, False)
        ids.append(list(buffer[:count]))
    return ids


def write_json(name: str, content: object) -> None:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    (HERE / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
