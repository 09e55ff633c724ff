"""Mistral's tekken.json as the `tokenizer.ggml.*` metadata of a GGUF.

The file ranks byte strings, as OpenAI's tiktoken does: of all pairs that make a token the one with the lowest rank
merges first. Control tokens come before them. Source: https://github.com/mistralai/mistral-common, tekken.py.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from localmix.errors import FileFormatError, UnsupportedError
from localmix.tokenizer.bpe import byte_alphabet
from localmix.tokenizer.cuts import CUTS
from localmix.tokenizer.types import TokenType

# Of files that do not list them.
_NAMES = "INST /INST AVAILABLE_TOOLS /AVAILABLE_TOOLS TOOL_RESULTS /TOOL_RESULTS TOOL_CALLS IMG"
_MORE = "IMG_BREAK IMG_END PREFIX MIDDLE SUFFIX SYSTEM_PROMPT /SYSTEM_PROMPT TOOL_CONTENT"
_CONTROL = (
    *("<unk>", "<s>", "</s>"),
    *(f"[{name}]" for name in _NAMES.split()),
    "<pad>",
    *(f"[{name}]" for name in _MORE.split()),
)


def read(path: Path) -> dict[str, Any]:
    """Tokens, types, merges and the ids of special tokens. FileFormatError, UnsupportedError."""
    try:
        content = json.loads(path.read_bytes())
        config = content["config"]
        specials, size = int(config["default_num_special_tokens"]), int(config["default_vocab_size"])
        listed = {int(token["rank"]): token["token_str"] for token in content.get("special_tokens") or []}
        entries = sorted(content["vocab"], key=lambda entry: entry["rank"])[: size - specials]
        ranked = [base64.b64decode(entry["token_bytes"]) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileFormatError(f"{path}: not a tokenizer of Mistral's: {error!r}") from None
    if config.get("pattern") != CUTS["tekken"].patterns[0]:
        raise UnsupportedError(f"{path}: cuts text by {config.get('pattern')!r}, expected the pattern of tekken")
    if len(set(ranked)) != len(ranked) or not {bytes((byte,)) for byte in range(256)} <= set(ranked):
        raise FileFormatError(f"{path}: expected {size - specials} byte strings that differ, all single bytes included")
    named = listed or dict(enumerate(_CONTROL))
    control = [named.get(id, f"<SPECIAL_{id}>") for id in range(specials)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "tekken",
        "tokenizer.ggml.tokens": [*control, *spelled(ranked)],
        "tokenizer.ggml.token_type": np.array(
            [TokenType.CONTROL] * specials + [TokenType.NORMAL] * len(ranked), np.int32
        ),
        "tokenizer.ggml.merges": merges(ranked),
        **{f"tokenizer.ggml.{name}_token_id": id for name, id in _ids(control).items()},
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
    }


def _ids(control: Sequence[str]) -> Mapping[str, int]:
    names = {"bos": "<s>", "eos": "</s>", "unknown": "<unk>", "padding": "<pad>"}
    return {name: control.index(text) for name, text in names.items() if text in control}


def spelled(ranked: Sequence[bytes]) -> list[str]:
    """Byte strings in the printable characters of byte-level vocabularies."""
    letters = byte_alphabet()
    return ["".join(map(letters.__getitem__, each)) for each in ranked]


def merges(ranked: Sequence[bytes]) -> list[str]:
    """Every pair of byte strings that makes a third, in the order of the ranks of what they make."""
    texts = spelled(ranked)
    ranks = {text: rank for rank, text in enumerate(texts)}
    found = []
    for text in texts:
        cuts = [(text[:at], text[at:]) for at in range(1, len(text))]
        pairs = [(ranks[left], ranks[right]) for left, right in cuts if left in ranks and right in ranks]
        found += [f"{texts[left]} {texts[right]}" for left, right in sorted(pairs)]
    return found
