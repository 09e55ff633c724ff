"""What happens to a text before the merges of a BPE vocabulary, in the words of a tokenizer.json.

A GGUF file names a row of `cuts`. What no row says (other normalizers, prefixes, habits of single tokens) a converted
file carries under KEY, as the parts of its tokenizer.json; the vocabulary and the merges are where they always are.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from localmix.errors import FileFormatError
from localmix.tokenizer.cuts import Cut
from localmix.tokenizer.keys import Metadata, read_string

KEY = "localmix.tokenizer.rules"
OWN = "localmix"  # tokenizer.ggml.pre of a file that others would read wrongly: an unknown name is refused everywhere

Part = dict[str, Any]  # an object of tokenizer.json


@dataclass(frozen=True)
class Rules:
    """From a text to the pieces that merge."""

    normalizer: Part | None = None
    pre_tokenizer: Part | None = None
    raw: bool = False  # pieces are text, "▁" for a space, and what they lack is spelled in bytes; else bytes as letters
    ignore_merges: bool = False  # a word that is a token is taken whole
    unknown: str | None = None  # the token for what cannot be spelled
    fuse_unknown: bool = False  # one for all in a row
    strips_space: bool = False  # a decoded text loses its first space
    first_space_only: bool = False  # SentencePiece's space goes before the text, not before each stretch of it
    begin: tuple[int, ...] = ()  # ids around a text, where bos and eos do not say it
    end: tuple[int, ...] = ()
    habits: Mapping[str, str] = field(default_factory=dict)  # id -> letters of `HABITS`

    def to_text(self) -> str:
        """The value of KEY: what differs from the defaults."""
        changed = {name: value for name, value in asdict(self).items() if value != getattr(Rules(), name)}
        return json.dumps(changed, ensure_ascii=False, separators=(",", ":"))


HABITS = {"lstrip": "l", "rstrip": "r", "single_word": "w"}  # of added tokens: eat spaces, match whole words only


def read_rules(metadata: Metadata) -> Rules | None:
    """The rules that a converted file carries; None where there are none. FileFormatError: they are damaged."""
    if KEY not in metadata:
        return None
    text = read_string(metadata, KEY)
    try:
        values = json.loads(text)
        values |= {name: tuple(values[name]) for name in ("begin", "end") if name in values}
        return Rules(**values)
    except (ValueError, TypeError) as error:
        raise FileFormatError(f"{KEY} is {text[:40]!r}, expected an object of known names: {error}") from None


def rules_of_cut(cut: Cut) -> Rules:
    """The row of a known pre-tokenizer in the same words."""
    splits = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in cut.patterns
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return Rules(
        normalizer={"type": "NFC"} if cut.nfc else None,
        pre_tokenizer={"type": "Sequence", "pretokenizers": [*splits, level]},
        ignore_merges=cut.ignore_merges,
    )


# Gemma 4: spaces are spelled "▁", then everything merges; llama.cpp cuts at newlines, which no merge crosses.
GEMMA4 = Rules(
    normalizer={"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    raw=True,
    unknown="<unk>",
    fuse_unknown=True,
)
