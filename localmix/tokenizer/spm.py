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
from localmix.tokenizer.keys import Metadata, read_flag, read_id, read_numbers
from localmix.tokenizer.vocabulary import TokenType, Vocabulary, token_bytes

UNKNOWN, BOS, EOS = 0, 1, 2  # what SentencePiece itself uses where a file does not say

_SPACE = "▁"  # how pieces spell a space
_UNKNOWN_TEXT = " ⁇ "  # how SentencePiece writes a token for what it could not spell

_VARINT, _BYTES, _FLOAT = 0, 2, 5  # protobuf's wire types


class SentencePieceEngine:
    """Plain text to ids with the reference implementation; ids to bytes by looking up the pieces."""

    def __init__(self, vocabulary: Vocabulary, processor: Any, *, adds_space: bool) -> None:
        self.adds_space = adds_space
        self._tokens = vocabulary.tokens
        self._types = vocabulary.types.tobytes()  # indexing bytes gives an int without a NumPy scalar between
        self._processor = processor

    def encode(self, text: str) -> list[int]:
        """The ids of plain text; user-defined pieces match, control pieces do not."""
        return self._processor.encode(text)

    def piece(self, id: int) -> bytes:
        """The bytes of a piece: `▁` is a space, `<0x0A>` one byte."""
        kind, token = self._types[id], self._tokens[id]
        if kind == TokenType.BYTE:
            return bytes.fromhex(token[3:5])
        if kind == TokenType.UNKNOWN:
            return _UNKNOWN_TEXT.encode()
        return token_bytes(token.replace(_SPACE, " "))


def from_vocabulary(vocabulary: Vocabulary, metadata: Metadata) -> SentencePieceEngine:
    """The engine for `vocabulary`, with the scores and the settings in `metadata`."""
    scores = read_numbers(metadata, "tokenizer.ggml.scores", len(vocabulary.tokens))
    if not np.isfinite(scores).all():
        raise FileFormatError("tokenizer.ggml.scores holds values that are not finite: the file is damaged")
    if np.size(metadata.get("tokenizer.ggml.precompiled_charsmap", ())):
        raise UnsupportedError(
            "the file has a tokenizer.ggml.precompiled_charsmap: its tokenizer rewrites text by a table, "
            "which this version does not do"
        )
    adds_space = read_flag(metadata, "tokenizer.ggml.add_space_prefix", default=True)
    types = vocabulary.types.copy()
    _keep_one_unknown(types, metadata)
    model = _pieces(vocabulary.tokens, scores, types) + _settings(
        byte_fallback=bool((vocabulary.types == TokenType.BYTE).any()),
        adds_space=adds_space,
        squeezes_spaces=read_flag(metadata, "tokenizer.ggml.remove_extra_whitespaces", default=False),
    )
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise FileFormatError(f"sentencepiece refuses the vocabulary of the file: {error}") from error
    return SentencePieceEngine(vocabulary, processor, adds_space=adds_space)


def _keep_one_unknown(types: NDArray[np.uint8], metadata: Metadata) -> None:
    """SentencePiece wants exactly one unknown token; some files mark the padding of a vocabulary so too."""
    kept = read_id(metadata, "unknown", len(types))
    marked = np.flatnonzero(types == TokenType.UNKNOWN)
    if kept is None:
        kept = int(marked[0]) if marked.size else UNKNOWN
    types[marked] = TokenType.UNUSED
    types[kept] = TokenType.UNKNOWN


def _pieces(tokens: list[str], scores: NDArray[np.float32], types: NDArray[np.uint8]) -> bytes:
    """ModelProto.pieces: a message of text, score and type for each token."""
    text_key, score_key, type_key = _key(1, _BYTES), _key(2, _FLOAT), _key(3, _VARINT)
    score_bytes = scores.astype("<f4").tobytes()
    type_bytes = types.tobytes()
    messages = []
    for id, token in enumerate(tokens):
        text = token_bytes(token)
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
