"""Byte-level BPE vocabularies (`tokenizer.ggml.model` = "gpt2"), through the `tokenizers` library.

Text is cut into words by regular expressions, words become bytes spelled in printable characters, and bytes
merge in the file's order. `tokenizer.ggml.pre` names the cut; a new one is a row in PRE_TOKENIZERS.
"""

import re
from dataclasses import dataclass

from tokenizers import Regex, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as BpeTokenizer

from localmix.errors import FileFormatError, UnsupportedError
from localmix.tokenizer.keys import Metadata, read_string, read_strings
from localmix.tokenizer.vocabulary import TokenType, Vocabulary, token_bytes


@dataclass(frozen=True)
class PreTokenizer:
    """How a text becomes words, as its makers published it, and two habits that go with it."""

    cuts: tuple[str, ...]  # regular expressions, applied in turn; matches and what lies between are words
    ignore_merges: bool = False  # a word that is a token is taken whole, whatever the merges say
    nfc: bool = False  # text is composed (Unicode NFC) first
    adds_bos: bool = False  # a file that does not say starts its texts with bos


_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"

_LLAMA3 = PreTokenizer(
    (rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_REST}",),
    ignore_merges=True,
    adds_bos=True,
)

PRE_TOKENIZERS = {
    "gpt-2": PreTokenizer((_GPT2,)),
    "smollm": PreTokenizer((r"\p{N}", _GPT2)),
    "llama-bpe": _LLAMA3,
    "llama-v3": _LLAMA3,
    "llama3": _LLAMA3,
    "qwen2": PreTokenizer((rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_REST}",), nfc=True),
    "tekken": PreTokenizer(
        (
            rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}"
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        ignore_merges=True,
        adds_bos=True,
    ),
}


class ByteLevelEngine:
    """Plain text to ids with the `tokenizers` library; ids to bytes by looking up the tokens."""

    adds_space = False

    def __init__(self, vocabulary: Vocabulary, tokenizer: BpeTokenizer) -> None:
        self._tokens = vocabulary.tokens
        self._types = vocabulary.types.tobytes()  # indexing bytes gives an int without a NumPy scalar between
        self._tokenizer = tokenizer
        self._byte_of = {char: byte for byte, char in enumerate(byte_alphabet())}
        own = {vocabulary.tokens[id]: id for id in vocabulary.ids_of(TokenType.USER_DEFINED)}
        texts = sorted(filter(None, own), key=len, reverse=True)  # the longest match wins
        self._user_defined = own
        self._user_defined_pattern = re.compile(f"({'|'.join(map(re.escape, texts))})") if texts else None

    def encode(self, text: str) -> list[int]:
        """The ids of plain text; user-defined tokens match before the text is cut, control tokens never."""
        if self._user_defined_pattern is None:
            return self._words(text)
        ids: list[int] = []
        for position, part in enumerate(self._user_defined_pattern.split(text)):
            ids += [self._user_defined[part]] if position % 2 else self._words(part)
        return ids

    def _words(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def piece(self, id: int) -> bytes:
        """The bytes of a token: each character of a normal one is a byte, the others are literal."""
        token = self._tokens[id]
        if self._types[id] == TokenType.NORMAL:
            try:
                return bytes(map(self._byte_of.__getitem__, token))
            except KeyError:  # a token that was added after training, spelled as it is
                pass
        return token_bytes(token)


def pre_tokenizer(metadata: Metadata) -> PreTokenizer:
    """The row that the file names; UnsupportedError if there is none, for a wrong cut would go unnoticed."""
    if "tokenizer.ggml.pre" not in metadata:
        raise UnsupportedError(
            "the file has no tokenizer.ggml.pre, so how its vocabulary cuts text is unknown: "
            "files from before May 2024 lack it, convert the model again"
        )
    name = read_string(metadata, "tokenizer.ggml.pre")
    if name not in PRE_TOKENIZERS:
        raise UnsupportedError(
            f"tokenizer.ggml.pre is {name!r}; this version knows {', '.join(sorted(PRE_TOKENIZERS))}"
        )
    return PRE_TOKENIZERS[name]


def from_vocabulary(vocabulary: Vocabulary, metadata: Metadata, cut: PreTokenizer) -> ByteLevelEngine:
    """The engine for `vocabulary`, with the merges in `metadata`."""
    # Only normal tokens: with ignore_merges a word that spells a control token would otherwise become one.
    normal = vocabulary.ids_of(TokenType.NORMAL)
    by_text = {vocabulary.tokens[id]: id for id in normal}
    if len(by_text) < len(normal):
        raise FileFormatError("tokenizer.ggml.tokens holds a text twice: the file is damaged, convert the model again")
    merges = [_merge(line) for line in read_strings(metadata, "tokenizer.ggml.merges")]
    try:
        model = models.BPE(vocab=by_text, merges=merges, ignore_merges=cut.ignore_merges)
    except Exception as error:  # the library raises nothing more precise
        raise FileFormatError(f"tokenizer.ggml.merges do not fit the tokens: {error}") from error
    tokenizer = BpeTokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in cut.cuts),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    if cut.nfc:
        tokenizer.normalizer = normalizers.NFC()
    return ByteLevelEngine(vocabulary, tokenizer)


def _merge(line: str) -> tuple[str, str]:
    left, separator, right = line.partition(" ")
    if not separator:
        raise FileFormatError(f"tokenizer.ggml.merges holds {line[:40]!r}, expected two tokens and a space between")
    return left, right


def byte_alphabet() -> list[str]:
    """The 256 characters that spell bytes in GPT-2's vocabulary and its heirs.

    Printable bytes of Latin-1 spell themselves, the others take the characters from U+0100 on, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    rest = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(rest)) for byte in range(256)]
