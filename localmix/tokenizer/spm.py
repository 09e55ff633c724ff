"""SentencePiece vocabularies (`tokenizer.ggml.model` = "llama"), through the `sentencepiece` library.

GGUF keeps the pieces, scores and types but not the model file they came from, so that file is written again
here, in protobuf's wire format: the few fields that matter take less time than importing a protobuf library.
Field numbers: https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
"""

from typing import Any

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from localmix.errors import FileFormatError, UnsupportedError
from localmix.tokenizer.keys import Metadata, read_flag, read_ids, read_numbers
from localmix.tokenizer.types import TokenType
from localmix.tokenizer.vocabulary import Vocabulary, token_bytes

UNKNOWN, BOS, EOS = 0, 1, 2  # what SentencePiece itself uses where a file does not say

_SPACE = "▁"  # how pieces spell a space
_UNKNOWN_TEXT = " ⁇ "  # how SentencePiece writes a token for what it could not spell

_VARINT, _BYTES, _FLOAT = 0, 2, 5  # protobuf's wire types


class SentencePieceEngine:
    """Plain text to ids with the reference implementation; ids to bytes by looking up the pieces."""

    def __init__(self, vocabulary: Vocabulary, processor: Any, *, adds_space: bool, first_only: bool) -> None:
        """`first_only`: the processor adds no space, it goes before what begins a text and nothing else."""
        self.adds_space = adds_space
        self._first_only = first_only
        self._tokens = vocabulary.tokens
        self._types = vocabulary.types.tobytes()  # indexing bytes gives an int without a NumPy scalar between
        self._longest = max(map(len, vocabulary.tokens))
        self._processor = processor

    def encode(self, text: str, *, first: bool = True) -> list[int]:
        """The ids of plain text; user-defined pieces match, control pieces do not."""
        if self._first_only and first and self.adds_space and text and text[0] not in " ▁":
            text = " " + text
        return self._processor.encode(text)

    def at_least(self, text: str) -> int:
        """Of a vocabulary that spells everything, in bytes if need be, as many as the longest pieces would be."""
        return len(text) // self._longest if TokenType.BYTE in self._types else 0

    def piece(self, id: int) -> bytes:
        """The bytes of a piece: `▁` is a space, `<0x0A>` one byte."""
        kind, token = self._types[id], self._tokens[id]
        if kind == TokenType.BYTE:
            return bytes.fromhex(token[3:5])
        if kind == TokenType.UNKNOWN:
            return _UNKNOWN_TEXT.encode()
        return token_bytes(token.replace(_SPACE, " "))


def from_vocabulary(vocabulary: Vocabulary, metadata: Metadata, *, first_only: bool = False) -> SentencePieceEngine:
    """The engine for `vocabulary`, with the scores and the settings in `metadata`.

    `first_only`: a text has one space added before it, not one after each control token.
    """
    scores = _read_scores(metadata, len(vocabulary.tokens))
    if np.size(metadata.get("tokenizer.ggml.precompiled_charsmap", ())):
        raise UnsupportedError(
            "the file has a tokenizer.ggml.precompiled_charsmap: its tokenizer rewrites text by a table, "
            "which this version does not do"
        )
    adds_space = read_flag(metadata, "tokenizer.ggml.add_space_prefix", default=True)
    types = vocabulary.types.copy()
    _keep_one_unknown(types, metadata)
    texts = _distinct(vocabulary.tokens, types)
    model = _pieces(texts, scores, types) + _settings(
        byte_fallback=bool((vocabulary.types == TokenType.BYTE).any()),
        adds_space=adds_space and not first_only,
        squeezes_spaces=read_flag(metadata, "tokenizer.ggml.remove_extra_whitespaces", default=False),
    )
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise FileFormatError(f"sentencepiece refuses the vocabulary of the file: {error}") from error
    return SentencePieceEngine(vocabulary, processor, adds_space=adds_space, first_only=first_only)


def _read_scores(metadata: Metadata, count: int) -> NDArray[np.float32]:
    """Scores of pieces; where a file has none they are equal, and what is further left merges first."""
    key = "tokenizer.ggml.scores"
    if key not in metadata:
        return np.zeros(count, np.float32)
    scores = read_numbers(metadata, key, count)
    if not np.isfinite(scores).all():
        raise FileFormatError(f"{key} holds values that are not finite: the file is damaged")
    return scores


def _distinct(tokens: list[str], types: NDArray[np.uint8]) -> list[bytes]:
    """The spelling of each piece for SentencePiece, which wants all to differ and none to be empty.

    The first of equal texts keeps it. The others, as rows of an embedding that nobody uses, only have to decode:
    they get a spelling that no text has, and `types` make them control pieces.
    """
    texts = [token_bytes(token) for token in tokens]
    if len(set(texts)) == len(texts) and not any(not text or b"\0" in text for text in texts):
        return texts
    order = np.argsort(types == TokenType.UNUSED, kind="stable").tolist()  # what is unused gives way to what is not
    seen: set[bytes] = set()
    for id in order:
        text = texts[id]
        if not text or b"\0" in text or text in seen:
            texts[id] = f"\U0010fffd{id}".encode()
            types[id] = TokenType.CONTROL
        seen.add(texts[id])
    return texts


def _keep_one_unknown(types: NDArray[np.uint8], metadata: Metadata) -> None:
    """SentencePiece wants exactly one unknown token; some files mark the padding of a vocabulary so too."""
    named = read_ids(metadata, "unknown", len(types))
    marked = np.flatnonzero(types == TokenType.UNKNOWN)
    kept = named[0] if named else int(marked[0]) if marked.size else UNKNOWN
    types[marked] = TokenType.UNUSED
    types[kept] = TokenType.UNKNOWN


def _pieces(texts: list[bytes], scores: NDArray[np.float32], types: NDArray[np.uint8]) -> bytes:
    """ModelProto.pieces: a message of text, score and type for each token."""
    text_key, score_key, type_key = _key(1, _BYTES), _key(2, _FLOAT), _key(3, _VARINT)
    score_bytes = scores.astype("<f4").tobytes()
    type_bytes = types.tobytes()
    messages = []
    for id, text in enumerate(texts):
        score = score_bytes[4 * id : 4 * id + 4]
        body = text_key + _varint(len(text)) + text + score_key + score + type_key + type_bytes[id : id + 1]
        messages.append(_varint(len(body)) + body)
    key = _key(1, _BYTES)
    return b"".join(key + message for message in messages)


def _settings(*, byte_fallback: bool, adds_space: bool, squeezes_spaces: bool) -> bytes:
    """ModelProto.trainer_spec and .normalizer_spec.

    Every field counts: the defaults (unigram, no byte fallback, spaces squeezed) are wrong for these models.
    """
    bpe = 2
    trainer = _key(3, _VARINT) + _varint(bpe) + _key(35, _VARINT) + _varint(byte_fallback)
    normalizer = _key(3, _VARINT) + _varint(adds_space) + _key(4, _VARINT) + _varint(squeezes_spaces)
    return b"".join(
        _key(field, _BYTES) + _varint(len(message)) + message for field, message in ((2, trainer), (3, normalizer))
    )


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    return bytes((value & 0x7F | 0x80,)) + _varint(value >> 7)
