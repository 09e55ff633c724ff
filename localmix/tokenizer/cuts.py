"""How the byte-level vocabularies of the field cut a text into words: one row for each name in `tokenizer.ggml.pre`.

The expressions are those of the makers' tokenizer.json files, not llama.cpp's approximations of them.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cut:
    """How a text becomes words, as its makers published it, and the habits that go with it."""

    patterns: tuple[str, ...]  # regular expressions, applied in turn; matches and what lies between are words
    ignore_merges: bool = False  # a word that is a token is taken whole, whatever the merges say
    nfc: bool = False  # text is composed (Unicode NFC) first
    adds_bos: bool = False  # a file that does not say starts its texts with bos


_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_REST = rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def _words(letters: str, numbers: str) -> str:
    """The pattern that Llama 3 and Qwen share: contractions, words with a sign before them, numbers, the rest."""
    return rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?{letters}+|{numbers}|{_REST}"


def _cased_words(numbers: str, after: str = "") -> str:
    """OpenAI's o200k and its heirs: a word ends where an upper-case letter follows a lower-case one."""
    before = r"[^\r\n\p{L}\p{N}]?"
    return (
        rf"{before}{_UPPER}*{_LOWER}+{after}|{before}{_UPPER}+{_LOWER}*{after}|{numbers}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
    )


_LLAMA3 = _words(r"\p{L}", r"\p{N}{1,3}")
_QWEN2 = _words(r"\p{L}", r"\p{N}")
_O200K = Cut((_cased_words(r"\p{N}{1,3}", _CONTRACTION + "?"),), ignore_merges=True)
_CHINESE = "[一-龥ࠀ-一가-퟿]+"  # DeepSeek's own ranges: Chinese, and all between U+0800 and it, and Korean
_CASED = (  # letters that have a case, as of the Unicode version that DeepSeek LLM was made with
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7d"
    "ᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇ"
    "Ꞌ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
_DEEPSEEK3 = Cut(
    (
        r"\p{N}{1,3}",
        "[一-龥぀-ゟ゠-ヿ]+",
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
        rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}",
    )
)
_DIGITS_GPT2 = Cut((r"\p{N}", _GPT2))


def _rows() -> dict[str, Cut]:
    llama3 = Cut((_LLAMA3,), ignore_merges=True, adds_bos=True)
    plain_llama3 = Cut((_LLAMA3,))
    return {
        **dict.fromkeys(("llama-bpe", "llama-v3", "llama3", "falcon3", "pixtral", "lfm2"), llama3),
        **dict.fromkeys(("glm4", "chatglm-bpe", "dbrx", "smaug-bpe"), plain_llama3),
        "qwen2": Cut((_QWEN2,), nfc=True),
        **dict.fromkeys(("deepseek-r1-qwen", "stablelm2", "megrez"), Cut((_QWEN2,))),
        "qwen35": Cut(
            (
                rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
                rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}",
            ),
            nfc=True,
        ),
        "laguna": Cut((r"[^\n]+|[\n]+", _QWEN2)),
        **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "minimax-m2"), _O200K),
        "tekken": Cut((_cased_words(r"\p{N}"),), ignore_merges=True, adds_bos=True),
        **dict.fromkeys(("gpt-2", "olmo", "mpt", "phi-2", "gigachat"), Cut((_GPT2,))),
        **dict.fromkeys(("smollm", "refact", "starcoder", "command-r", "exaone", "codeshell"), _DIGITS_GPT2),
        **dict.fromkeys(("deepseek-v3", "hunyuan-dense", "joyai-llm"), _DEEPSEEK3),
        "deepseek-llm": Cut(
            (r"[\r\n]", rf"\s?[{_CASED}]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", _CHINESE, r"\p{N}+")
        ),
        "deepseek-coder": Cut((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CHINESE, r"\p{N}")),
    }


CUTS = _rows()
