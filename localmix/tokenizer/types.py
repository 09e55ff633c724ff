"""Kinds of tokens."""

from enum import IntEnum


class TokenType(IntEnum):
    """The numbers are those of GGUF and of SentencePiece's model file."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6
