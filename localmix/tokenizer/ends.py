"""Tokens that end an answer, known by their text: files name one or two of them, chats use others.

Which these are: llama.cpp's src/llama-vocab.cpp, and the chat templates of the models.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from localmix.tokenizer.types import TokenType

# Nobody means these as text, so they end a turn even where a file calls them ordinary tokens, unless those are learned.
_MARKUP = frozenset(
    "<|eot_id|> <|eom_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <|endoftext|> <|end_of_text|> "  # noqa: SIM905
    "<|end_of_turn|> <end_of_turn> <turn|> <|tool_response> <end_of_utterance> <|eos|> <|end_of_sentence|> <|fin|> "
    "<｜end▁of▁sentence｜> <|fim_pad|> <|repo_name|> <|file_sep|>".split()
)
# These a text may hold, of a program for one: they count if the file says that they are more than that.
_TEXTS = frozenset(("</s>", "<eos>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|EOT|>"))


def end_tokens(tokens: list[str], types: NDArray[np.uint8], merges: Sequence[str]) -> set[int]:
    """Every id whose text ends a turn. `types` (V,) are those that the file gives."""
    texts = _TEXTS
    if "</h1>" in tokens:
        texts = texts - {"</s>"}  # a vocabulary of HTML's tags, as Gemma's: there it is the end of struck text
    found = {id: text for id, text in enumerate(tokens) if text in _MARKUP or text in texts}
    plain = {id for id in found if types[id] not in (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)}
    if plain:
        typed = learned({found[id] for id in plain}, set(tokens), merges)
        found = {id: text for id, text in found.items() if id not in plain or text in _MARKUP - typed}
    if {"<|return|>", "<|call|>"} <= set(found.values()):  # harmony: there it ends a message, and the next one follows
        found = {id: text for id, text in found.items() if text != "<|end|>"}
    return set(found)


def learned(texts: set[str], tokens: set[str], merges: Sequence[str]) -> set[str]:
    """Those of `texts` that come of letters as any word does, so that whoever types them gets them."""
    if merges:
        return texts & {left + right for left, _, right in (merge.partition(" ") for merge in merges)}
    return {text for text in texts if any({text[:cut], text[cut:]} <= tokens for cut in range(1, len(text)))}


def is_ordinary(text: str) -> bool:
    """Whether a token that the file calls control is text that people type: a line break, a word."""
    return bool(text) and all(char.isalnum() or char.isspace() for char in text)


def is_markup(text: str) -> bool:
    """Whether a token that the file calls user-defined is chat markup all the same.

    Early conversions of fine-tuned models marked `<|im_start|>` and the like so. Taken at its word, such a
    file would let a user type the end of a turn.
    """
    return (
        (text.startswith("<|") and text.endswith("|>"))
        or (text.startswith("<｜") and text.endswith("｜>"))
        or text in ("[INST]", "[/INST]")
    )
