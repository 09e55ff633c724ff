"""A tokenizer.json of the `tokenizers` library as the `tokenizer.ggml.*` metadata of a GGUF.

Two kinds are read: byte-level BPE, whose cut of the text must be one that `bpe` knows, and SentencePiece models
in this clothing, told by their byte fallback.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from localmix.errors import FileFormatError, UnsupportedError
from localmix.tokenizer.vocabulary import TokenType


def read(path: Path) -> dict[str, Any]:
    """Tokens, types and merges (byte-level) or scores (SentencePiece). FileFormatError, UnsupportedError."""
    try:
        content = json.loads(path.read_bytes())
        model = content["model"]
        vocabulary: dict[str, int] = model["vocab"]
        added: list[dict[str, Any]] = content.get("added_tokens") or []
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
        ids = {**vocabulary, **{token["content"]: token["id"] for token in added}}
        special = {token["content"] for token in added if token["special"]}
    except (ValueError, KeyError, TypeError) as error:
        raise FileFormatError(f"{path}: is no BPE tokenizer of the tokenizers library: {error!r}") from None
    tokens = sorted(ids, key=ids.__getitem__)
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        raise FileFormatError(f"{path}: token ids have gaps or doubles, expected 0 to {len(tokens) - 1}")
    plain = {token["content"] for token in added} - special
    types = np.full(len(tokens), TokenType.NORMAL, np.int32)
    for id, token in enumerate(tokens):
        if token in special:
            types[id] = TokenType.CONTROL
        elif token in plain:
            types[id] = TokenType.USER_DEFINED
    found = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types}
    if model.get("byte_fallback"):
        return found | sentencepiece_keys(tokens, types, content, model.get("unk_token"))
    return found | {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre_tokenizer_name(path, content.get("pre_tokenizer")),
        "tokenizer.ggml.merges": merges,
    }


def sentencepiece_keys(tokens: list[str], types: Any, content: dict[str, Any], unknown: Any) -> dict[str, Any]:
    """What SentencePiece needs beside the tokens. Its BPE ranks pieces by id, so ids give the scores."""
    for id, token in enumerate(tokens):
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            types[id] = TokenType.BYTE
    scores = -np.arange(len(tokens), dtype=np.float32)
    scores[types != TokenType.NORMAL] = 0
    keys: dict[str, Any] = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.add_space_prefix": adds_space(content),
    }
    if unknown in tokens:
        types[tokens.index(unknown)] = TokenType.UNKNOWN
        keys["tokenizer.ggml.unknown_token_id"] = tokens.index(unknown)
    return keys


def adds_space(content: dict[str, Any]) -> bool:
    """Whether a text is given a space in front: a Prepend normalizer, or a Metaspace that does it."""
    text = json.dumps([content.get("normalizer"), content.get("pre_tokenizer")])
    return '"Prepend"' in text or ('"Metaspace"' in text and '"prepend_scheme": "never"' not in text)


def pre_tokenizer_name(path: Path, pre_tokenizer: Any) -> str:
    """Our name of the way in which the file cuts text into words."""
    from localmix.tokenizer.bpe import PRE_TOKENIZERS

    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer]) if isinstance(pre_tokenizer, dict) else []
    cuts: list[str] = []
    for step in steps:
        if step.get("type") == "Split":
            cuts.append(step["pattern"].get("Regex", ""))
        elif step.get("type") == "Digits" and step.get("individual_digits"):
            cuts.append(r"\p{N}")
        elif step.get("type") == "ByteLevel" and step.get("use_regex", True):
            cuts += PRE_TOKENIZERS["gpt-2"].cuts
    for name, known in PRE_TOKENIZERS.items():
        if known.cuts == tuple(cuts):
            return name
    raise UnsupportedError(f"{path}: cuts text by {cuts}, which this version does not know")
