"""What a GGUF file says about its tokens: their texts and types, and which ids begin and end a text.

It decides which tokens are control tokens, the ones that text typed by a user must never become.
It knows neither SentencePiece nor BPE.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from localmix.errors import FileFormatError
from localmix.tokenizer.ends import end_tokens, is_markup, is_ordinary, learned
from localmix.tokenizer.keys import Metadata, read_flag, read_ids, read_numbers, read_strings
from localmix.tokenizer.matcher import Matcher
from localmix.tokenizer.rules import Rules
from localmix.tokenizer.types import TokenType, is_byte


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a file. V is their number."""

    tokens: list[str]  # (V,)
    types: NDArray[np.uint8]  # (V,) TokenType
    control: Matcher  # the control tokens in a text
    user_defined: Matcher  # those that are found in what a user typed, too
    bos: int | None
    eos: int | None
    end_ids: frozenset[int]  # every id that ends a generation
    begin: tuple[int, ...]  # what a text starts with
    end: tuple[int, ...]  # and what it ends with, where it is not to be continued

    def ids_of(self, kind: TokenType) -> list[int]:
        """The ids of all tokens of one type, ascending."""
        return _ids_of(self.types, kind)


def read_vocabulary(
    metadata: Metadata,
    *,
    bos: int | None = None,
    eos: int | None = None,
    add_bos: bool,
    rules: Rules | None = None,
) -> Vocabulary:
    """The vocabulary in `metadata`; `bos`, `eos` and `add_bos` stand in for keys that the file leaves out."""
    tokens = read_strings(metadata, "tokenizer.ggml.tokens")
    count = len(tokens)
    found = metadata.get("tokenizer.ggml.merges")
    merges = found if isinstance(found, list) else []
    types = _read_types(metadata, tokens, merges)
    rules = rules or Rules()
    named = {name: read_ids(metadata, name, count) for name in ("bos", "eos", "eot", "eom")}
    for name, default in (("bos", bos), ("eos", eos)):
        if not named[name] and default is not None and default < count:
            named[name] = [default]

    types[[id for id in _ids_of(types, TokenType.CONTROL) if is_ordinary(tokens[id])]] = TokenType.USER_DEFINED
    ends = end_tokens(tokens, types, merges)
    ends |= {*named["eos"], *named["eot"], *named["eom"]}
    types[[*named["bos"], *ends]] = TokenType.CONTROL
    types[[id for id in _ids_of(types, TokenType.USER_DEFINED) if is_markup(tokens[id])]] = TokenType.CONTROL
    ids = {name: found[0] if found else None for name, found in named.items()}
    return Vocabulary(
        tokens=tokens,
        types=types,
        control=_matcher(tokens, types, rules, TokenType.CONTROL, *(() if rules.raw else (TokenType.UNKNOWN,))),
        user_defined=_matcher(tokens, types, rules, TokenType.USER_DEFINED),
        bos=ids["bos"],
        eos=ids["eos"],
        end_ids=frozenset(ends),
        begin=rules.begin or _around(ids["bos"], read_flag(metadata, "tokenizer.ggml.add_bos_token", default=add_bos)),
        end=rules.end or _around(ids["eos"], read_flag(metadata, "tokenizer.ggml.add_eos_token", default=False)),
    )


def _around(id: int | None, wanted: bool) -> tuple[int, ...]:
    return (id,) if wanted and id is not None else ()


def _matcher(tokens: list[str], types: NDArray[np.uint8], rules: Rules, *kinds: TokenType) -> Matcher:
    """The tokens of some types, the first of equal texts."""
    found = {tokens[id]: id for kind in kinds for id in reversed(_ids_of(types, kind))}
    habits = {tokens[int(id)]: habit for id, habit in rules.habits.items() if int(id) < len(tokens)}
    return Matcher(found, habits)


def token_bytes(token: str) -> bytes:
    """A token's own spelling; the GGUF reader keeps bytes that are no UTF-8 as lone surrogates (PEP 383)."""
    return token.encode("utf-8", "surrogateescape")


def _ids_of(types: NDArray[np.uint8], kind: TokenType) -> list[int]:
    return np.flatnonzero(types == kind).tolist()


def _read_types(metadata: Metadata, tokens: list[str], merges: Sequence[str]) -> NDArray[np.uint8]:
    """Types (V,) of tokens. Where a file says none, of all or of one, they are found by the looks of the token."""
    key = "tokenizer.ggml.token_type"
    types = read_numbers(metadata, key, len(tokens)) if key in metadata else np.zeros(len(tokens), np.uint8)
    wrong = np.flatnonzero(~np.isin(types, [0, *TokenType]))
    if wrong.size:
        first = int(wrong[0])
        raise FileFormatError(f"{key} of token {first} is {types[first]}, expected 0 to {max(TokenType)}")
    types = types.astype(np.uint8)
    untold = np.flatnonzero(types == 0).tolist()
    types[untold] = TokenType.NORMAL
    if metadata.get("tokenizer.ggml.model") == "llama":
        types[[id for id in untold if is_byte(tokens[id])]] = TokenType.BYTE
    markup = {tokens[id] for id in untold if is_markup(tokens[id])}
    markup -= learned(markup, set(tokens), merges) if markup else set()
    types[[id for id in untold if tokens[id] in markup]] = TokenType.CONTROL
    return types
