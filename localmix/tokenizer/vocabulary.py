"""What a GGUF file says about its tokens: their texts and types, and which ids begin and end a text.

It decides which tokens are control tokens, the ones that text typed by a user must never become.
It knows neither SentencePiece nor BPE.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from localmix.errors import FileFormatError
from localmix.tokenizer.keys import Metadata, read_flag, read_id, read_numbers, read_strings


class TokenType(IntEnum):
    """Kinds of tokens; the numbers are those of GGUF and of SentencePiece's model file."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


# Control tokens that end a turn, in files whose metadata name only one of them (Llama 3, Qwen, Gemma, ...).
_END_TEXTS = frozenset(
    {
        "</s>",
        "<eos>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|im_end|>",
        "<|end|>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<end_of_turn>",
        "<EOT>",
        "[EOT]",
    }
)


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a file. V is their number."""

    tokens: list[str]  # (V,)
    types: NDArray[np.uint8]  # (V,) TokenType
    control: dict[str, int]  # text -> id of the control tokens
    bos: int | None
    eos: int | None
    end_ids: frozenset[int]  # every id that ends a generation
    add_bos: bool  # whether a text starts with bos

    def ids_of(self, kind: TokenType) -> list[int]:
        """The ids of all tokens of one type, ascending."""
        return _ids_of(self.types, kind)


def read_vocabulary(metadata: Metadata, *, bos: int | None = None, eos: int | None = None, add_bos: bool) -> Vocabulary:
    """The vocabulary in `metadata`; `bos`, `eos` and `add_bos` stand in for keys that the file leaves out."""
    tokens = read_strings(metadata, "tokenizer.ggml.tokens")
    count = len(tokens)
    types = _read_types(metadata, count)
    named = {name: read_id(metadata, name, count) for name in ("bos", "eos", "eot", "eom")}
    for name, default in (("bos", bos), ("eos", eos)):
        if named[name] is None and default is not None and default < count:
            named[name] = default

    special = [id for id in named.values() if id is not None]
    special += [id for id in _ids_of(types, TokenType.USER_DEFINED) if _is_markup(tokens[id])]
    types[special] = TokenType.CONTROL
    control = {tokens[id]: id for id in _ids_of(types, TokenType.CONTROL)}
    ends = {named["eos"], named["eot"], named["eom"]} | {control.get(text) for text in _END_TEXTS}
    return Vocabulary(
        tokens=tokens,
        types=types,
        control=control,
        bos=named["bos"],
        eos=named["eos"],
        end_ids=frozenset(id for id in ends if id is not None),
        add_bos=read_flag(metadata, "tokenizer.ggml.add_bos_token", default=add_bos),
    )


def _is_markup(text: str) -> bool:
    """Whether a token that the file calls user-defined is chat markup all the same.

    Early conversions of fine-tuned models marked `<|im_start|>` and the like so. Taken at its word, such a
    file would let a user type the end of a turn.
    """
    return (
        (text.startswith("<|") and text.endswith("|>"))
        or (text.startswith("<｜") and text.endswith("｜>"))
        or text in ("[INST]", "[/INST]")
    )


def token_bytes(token: str) -> bytes:
    """A token's own spelling; the GGUF reader keeps bytes that are no UTF-8 as lone surrogates (PEP 383)."""
    return token.encode("utf-8", "surrogateescape")


def _ids_of(types: NDArray[np.uint8], kind: TokenType) -> list[int]:
    return np.flatnonzero(types == kind).tolist()


def _read_types(metadata: Metadata, count: int) -> NDArray[np.uint8]:
    key = "tokenizer.ggml.token_type"
    types = read_numbers(metadata, key, count)
    wrong = np.flatnonzero(~np.isin(types, list(TokenType)))
    if wrong.size:
        first = int(wrong[0])
        raise FileFormatError(f"{key} of token {first} is {types[first]}, expected 1 to {max(TokenType)}")
    return types.astype(np.uint8)
