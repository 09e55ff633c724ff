"""Texts and chats on which tokenizers differ: scripts, marks, spaces, signs, numbers and what looks like a token."""

import random
from collections.abc import Iterator, Sequence

WORDS = (
    *("'s", "'LL", "'Re", " don't", "\r\n", "\n\n", "\n", "   ", "\t", " ", "  ", "abc", "ABC", "Abc", "HelloWorld"),
    *(" the", " cat", "123", "1234567", " 12", "/", "//", "\\", "...", "!?", "(a)", "_x_", "é", "e\u0301", "ﬁ", "Ａ"),
    *("ǅ", "ß", "İ", "日本", "語", "こんにちは", "한국", "привет", "Ελ", "مرحبا", "שלום", "हिन्दी", "ไทย", "🙂"),
    *(
        "👨\u200d👩\u200d👧",
        "🇩🇪",
        "\u200d",
        "\u00a0",
        "\u3000",
        "\u2028",
        "\ufeff",
        "\x00",
        "\x07",
        "▁",
        "▁▁",
        "<0x0A>",
    ),
    *(
        "<0x0A>",
        "[INST]",
        "<|im_start|>",
        "<|im_end|>",
        "<|eot_id|>",
        "<think>",
        "</think>",
        "<tool_call>",
        "<h1>",
        "€",
        "½",
    ),
    *("²", "𝒜", "٣", "Ⅷ", "—", "“", "”", "ª", "º", "ʰ", "ⓐ"),
)
BLOCKS = (
    *((0x20, 0x7F), (0xA0, 0x250), (0x250, 0x370), (0x370, 0x600), (0x600, 0x780), (0x900, 0xE80), (0x1E00, 0x2500)),
    *((0x2500, 0x2C00), (0x3000, 0x3200), (0x4E00, 0x4F00), (0xAC00, 0xAD00), (0xFF00, 0xFFEF), (0x1D400, 0x1D500)),
    (0x1F300, 0x1F700),
)


def texts(count: int, special: Sequence[str] = (), seed: int = 0) -> Iterator[str]:
    """`count` texts; `special` are tokens of the vocabulary that shall occur in them."""
    rng = random.Random(seed)
    words = [*WORDS, *special]

    def part() -> str:
        if rng.random() < 0.6:
            return rng.choice(words)
        return " " if rng.random() < 0.4 else chr(rng.randrange(*rng.choice(BLOCKS)))

    for _ in range(count):
        yield "".join(part() for _ in range(rng.randrange(1, 30)))


def chats() -> list[list[dict[str, str]]]:
    """Ten conversations, each a list of messages."""

    def talk(*contents: str, system: str = "") -> list[dict[str, str]]:
        roles = ("user", "assistant")
        first = [{"role": "system", "content": system}] if system else []
        return first + [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]

    return [
        talk("Hi"),
        talk(" spaces around \n"),
        talk("Hello!", "Hi there.", "What is 12 + 345?"),
        talk("One", "Two", "Three", "Four", "Five", system="Be brief."),
        talk("日本語で答えて", "はい。", "ありがとう 🙂"),
        talk("e\u0301 and é", "ﬁne", "don't"),
        talk("def f(x):\n    return x\n\n\n", "```python\nprint(1)\n```", "why?"),
        talk("", "", "again"),
        talk("tabs\tand\r\nlines", " leading", "trailing "),
        talk("Grüße", "Привет", "שלום", system="  Answer in the language of the question.\n"),
    ]
