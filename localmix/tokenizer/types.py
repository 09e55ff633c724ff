"""Kinds of tokens."""

import re
from enum import IntEnum


class TokenType(IntEnum):
    """The numbers are those of GGUF and of SentencePiece's model file."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


_BYTE = re.compile("<0x[0-9A-F]{2}>")


def is_byte(text: str) -> bool:
    """Whether a token spells one byte, as SentencePiece writes them."""
    return _BYTE.fullmatch(text) is not None
