"""Vocabularies with merges (`tokenizer.ggml.model` = "gpt2", "gemma4"), through the `tokenizers` library.

Text is normalized and cut into words by `rules`, words become bytes spelled in printable characters (or stay as they
are), and pieces merge in the file's order.
"""

import json
from typing import Any

import numpy as np
from tokenizers import Tokenizer as BpeTokenizer
from tokenizers import models

from localmix.errors import FileFormatError, UnsupportedError
from localmix.tokenizer.cuts import CUTS, Cut
from localmix.tokenizer.keys import Metadata, read_string, read_strings
from localmix.tokenizer.rules import Part, Rules
from localmix.tokenizer.types import TokenType, is_byte
from localmix.tokenizer.vocabulary import Vocabulary, token_bytes

_SPACE = "▁"  # how raw pieces spell a space


class BpeEngine:
    """Plain text to ids with the `tokenizers` library; ids to bytes by looking up the tokens."""

    def __init__(self, vocabulary: Vocabulary, model: Any, rules: Rules) -> None:
        self.adds_space = rules.strips_space
        self._tokens = vocabulary.tokens
        types = vocabulary.types.copy()
        if rules.raw:  # some files call pieces of bytes ordinary ones
            types[[id for id, text in enumerate(vocabulary.tokens) if is_byte(text)]] = TokenType.BYTE
        self._types = types.tobytes()  # indexing bytes gives an int without a NumPy scalar between
        self._raw = rules.raw
        self._first = _tokenizer(model, rules.normalizer, rules.pre_tokenizer)
        later = _without_first_space(rules.pre_tokenizer)
        same = later == rules.pre_tokenizer
        self._later = self._first if same else _tokenizer(model, rules.normalizer, later)
        self._byte_of = {char: byte for byte, char in enumerate(byte_alphabet())}
        self._user_defined = vocabulary.user_defined
        # For at_least: bytes that no token spells vanish, and composing (NFC) leaves a third of them or more.
        own = max(map(len, vocabulary.user_defined.tokens), default=0)
        self._longest = max(4 * own, *map(len, vocabulary.tokens))
        known = set(vocabulary.tokens)
        self._missing = bytes(byte for char, byte in self._byte_of.items() if char not in known)
        plain = {None: 1, "NFC": 3}.get(rules.normalizer.get("type") if rules.normalizer else None, 0)
        self._shrinks = 0 if rules.raw or rules.habits else plain

    def encode(self, text: str, *, first: bool = True) -> list[int]:
        """The ids of plain text; user-defined tokens match before the text is cut, control tokens never.

        `first`: nothing stands before the text, which matters to vocabularies that put one space before the whole.
        """
        ids: list[int] = []
        for part in self._user_defined.split(text):
            if isinstance(part, int):
                ids.append(part)
            else:
                tokenizer = self._first if first else self._later
                ids += tokenizer.encode(part, add_special_tokens=False).ids
            first = False
        return ids

    def at_least(self, text: str) -> int:
        """As many as the longest tokens would be, if all bytes of a text are in some token."""
        if not self._shrinks:
            return 0
        return len(text.encode("utf-8", "replace").translate(None, self._missing)) // (self._shrinks * self._longest)

    def piece(self, id: int) -> bytes:
        """The bytes of a token: each character of a normal one is a byte, the others are literal."""
        kind, token = self._types[id], self._tokens[id]
        if kind == TokenType.BYTE:
            return bytes.fromhex(token[3:5])
        if self._raw:
            return token_bytes(token.replace(_SPACE, " ") if kind == TokenType.NORMAL else token)
        if kind == TokenType.NORMAL:
            try:
                return bytes(map(self._byte_of.__getitem__, token))
            except KeyError:  # a token that was added after training, spelled as it is
                pass
        return token_bytes(token)


def cut_of(metadata: Metadata) -> Cut:
    """The row that the file names; UnsupportedError if there is none, for a wrong cut would go unnoticed."""
    if "tokenizer.ggml.pre" not in metadata:
        raise UnsupportedError(
            "the file has no tokenizer.ggml.pre, so how its vocabulary cuts text is unknown: "
            "files from before May 2024 lack it, convert the model again"
        )
    name = read_string(metadata, "tokenizer.ggml.pre")
    if name == "default" and metadata.get("general.architecture") == "gptoss":  # as Ollama converts gpt-oss
        name = "gpt-4o"
    if name not in CUTS:
        raise UnsupportedError(f"tokenizer.ggml.pre is {name!r}; this version knows {', '.join(sorted(CUTS))}")
    return CUTS[name]


def from_vocabulary(vocabulary: Vocabulary, metadata: Metadata, rules: Rules) -> BpeEngine:
    """The engine for `vocabulary`, with the merges in `metadata`."""
    texts = _spellable(vocabulary, rules)
    merges = [_merge(line) for line in read_strings(metadata, "tokenizer.ggml.merges", empty=True)]
    others = set(vocabulary.tokens) - texts.keys()
    try:
        try:
            model = _model(texts, merges, rules)
        except Exception:
            # Merges may make a control token; those are of no use. The library raises nothing more precise.
            model = _model(texts, [m for m in merges if others.isdisjoint((*m, "".join(m)))], rules)
        return BpeEngine(vocabulary, model, rules)
    except Exception as error:
        raise FileFormatError(f"tokenizer.ggml.merges do not fit the tokens: {error}") from error


def _spellable(vocabulary: Vocabulary, rules: Rules) -> dict[str, int]:
    """The tokens that words may become, of equal texts the first.

    No control token: with ignore_merges a word that spells one would otherwise become it.
    """
    never = np.isin(vocabulary.types, (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.UNUSED))
    tokens = vocabulary.tokens
    texts = {tokens[id]: id for id in np.flatnonzero(~never)[::-1].tolist() if tokens[id]}
    if rules.unknown in tokens:
        texts[rules.unknown] = tokens.index(rules.unknown)
    return texts


def _model(texts: dict[str, int], merges: list[tuple[str, str]], rules: Rules) -> Any:
    return models.BPE(
        vocab=texts,
        merges=merges,
        ignore_merges=rules.ignore_merges,
        byte_fallback=rules.raw,
        fuse_unk=rules.fuse_unknown,
        **({"unk_token": rules.unknown} if rules.unknown in texts else {}),
    )


def _tokenizer(model: Any, normalizer: Part | None, pre_tokenizer: Part | None) -> BpeTokenizer:
    """A tokenizer around `model`, which several may share."""
    tokenizer = BpeTokenizer(model)
    empty = {"type": "BPE", "vocab": {}, "merges": []}
    parts = BpeTokenizer.from_str(
        json.dumps({"model": empty, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "added_tokens": []})
    )
    if parts.normalizer is not None:
        tokenizer.normalizer = parts.normalizer
    if parts.pre_tokenizer is not None:
        tokenizer.pre_tokenizer = parts.pre_tokenizer
    return tokenizer


def _without_first_space(part: Any) -> Any:
    """A pre-tokenizer for what does not begin a text: Metaspace may put its space before the first word only."""
    if isinstance(part, dict):
        changed = {key: _without_first_space(value) for key, value in part.items()}
        if part.get("type") == "Metaspace" and part.get("prepend_scheme") == "first":
            changed["prepend_scheme"] = "never"
        return changed
    return [_without_first_space(each) for each in part] if isinstance(part, list) else part


def _merge(line: str) -> tuple[str, str]:
    left, separator, right = line.partition(" ")
    if not separator:
        raise FileFormatError(f"tokenizer.ggml.merges holds {line[:40]!r}, expected two tokens separated by a space")
    return left, right


def byte_alphabet() -> list[str]:
    """The 256 characters that spell bytes in GPT-2's vocabulary and its heirs.

    Printable bytes of Latin-1 spell themselves, the others take the characters from U+0100 on, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    rest = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(rest)) for byte in range(256)]
