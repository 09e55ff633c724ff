import random

import pytest
from rich.text import Text

from localmix.cli.terminal import markdown, themes

THEME = themes.Theme(dict.fromkeys(("heading", "strong", "em", "s", "code", "quiet", "quote", "error"), ""), True)


def shown(source: str, width: int = 60) -> list[str]:
    return [line.plain for line in markdown.lines(source, width, THEME)]


def test_code_is_copied_as_it_is() -> None:
    code = 'def f(x):\n    return "a line, **not bold**, `no code`, &amp; no entity" * 99  # wider than all\n\n\nf(1)'
    assert shown(f"```python\n{code}\n```", 20) == code.split("\n")
    assert shown(f"```\n{code}", 20) == code.split("\n")  # as it arrives
    assert shown("```\n\tx\n```") == ["    x"]


def test_blocks() -> None:
    source = (
        "# Title\n\nOne\ntwo **three** `four`\n- a\n- b\n  1. c\n\n> d\n\n| e | f |\n|---|---|\n| g | hi |\n\n---\n"
    )
    assert shown(source) == [
        "Title", "", "One", "two three four", "• a", "• b", "  1. c", "", "> d", "",
        "e  f", "─  ──", "g  hi", "", "─" * 20,
    ]  # fmt: skip


def test_prose_is_wrapped_at_words_and_addresses_are_whole() -> None:
    address = "https://example.org/a/long/path/to/something"
    expected = ["• one two", "  three four", "", "see", address, "there"]
    assert shown(f"- one two three four\n\nsee {address} there", 13) == expected
    assert shown("[text](http://x.y)") == ["text (http://x.y)"]
    assert shown("日本語のテキスト 日本", 18) == ["日本語のテキスト", "日本"]


def test_a_table_too_wide_has_its_cells_below_each_other() -> None:
    table = "| name | what it is |\n|---|---|\n| one | some long text |\n| two | more |"
    assert shown(table, 20)[:3] == ["name: one", "what it is: some", "long text"]


@pytest.mark.parametrize(
    "text",
    [
        "\x1b]52;c;aGk=\x07",
        "a\rb",
        "&#13;&#27;&#x9b;&#x202e;",
        "`\x1b[2J`",
        "[\x07](\x1b)",
        "\u202eabc",
        "\x00",
        "a\tb",
    ],
)
def test_control_characters_become_pictures(text: str) -> None:
    for source in (
        text,
        f"# {text}",
        f"- {text}",
        f"> {text}",
        f"```\n{text}\n```",
        f"    {text}",
        f"|{text}|\n|-|\n|{text}|",
    ):
        for line in shown(source):
            assert line.isprintable() or not line, (source, line)


def test_whatever_is_written_is_printable_and_split_loses_nothing() -> None:
    random.seed(0)
    alphabet = ["\x1b", "[", "\r", "\n", "\n\n", "`", "```", "**", "_", "- ", "1. ", "> ", "|", "|-|", "#", " ", "    ",
                "a", "word", "&#7;", "\t", "](", "<b>", "\\", "é", "👍", "\u2028", "\x85", "\x0b"]  # fmt: skip
    for _ in range(400):
        source = "".join(random.choices(alphabet, k=random.randint(1, 40)))
        finished, rest = markdown.split(source)
        assert finished + rest == source
        for line in markdown.lines(source, random.choice((1, 7, 80)), THEME):
            assert not set(line.plain) & set("\x1b\r\n\x0b\x07\x85\t"), source


def test_what_is_finished_no_longer_changes() -> None:
    source = "# A\n\npara\ngraph\n\n- b\n- c\n\n```\nd\n\ne\n```\nf\n"
    seen: list[str] = []
    rest = ""
    for sign in source:
        finished, rest = markdown.split(rest + sign)
        seen += [finished] * bool(finished)
    assert "".join(seen) + rest == source
    assert len(seen) == 4


def test_wrap_keeps_styles() -> None:
    text = Text.assemble("aa ", ("bb cc", "bold"), " dd")
    assert [[span.style for span in line.spans] for line in markdown.wrap(text, 5)] == [["bold"], ["bold"]]
