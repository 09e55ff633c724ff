"""llama.cpp's grammars: the texts that are allowed are those of the grammar, neither more nor fewer."""

import random
import re

import pytest
from llguidance import LLMatcher, LLTokenizer

from localmix.answer import gbnf

BYTES = LLTokenizer("byte")  # a token a byte
SIGNS = ["a", "b", "-", "^", "&", "]", "[", "\\", '"', "/", "\n", "é", "日", "🙂", ".", "<", "|", "0"]


def allows(grammar: str, text: str) -> bool:
    matcher = LLMatcher(BYTES, gbnf.to_lark(grammar), log_level=0)
    assert not matcher.is_error(), (grammar, matcher.get_error())
    return all(matcher.consume_token(byte) for byte in text.encode()) and matcher.is_accepting()


@pytest.mark.parametrize(
    ("grammar", "right", "wrong"),
    [
        ('\ufeffroot ::= "yes" | "no"', ["yes", "no"], ["ye", "\ufeffyes"]),
        (r'root ::= "caf\u00e9" "\U0001F642\x21\t"', ["café🙂!\t"], ["cafe🙂!\t"]),
        (r'root ::= [^\-<]+ "-"', ["ab\n-"], ["a--", "<-"]),
        (r"root ::= [\x41-\x43]{3} [\u3041-\u3096]{1,2}", ["ABCむ"], ["ABむ", "ABCAむ"]),
        ("root ::= [+--]", ["+", ",", "-"], ["."]),
        ("root ::= [a^-]", ["a", "^", "-"], ["b"]),
        ("root ::= [a&&b]", ["a", "&", "b"], ["c"]),
        ('root ::= word "b"\nword ::= [a-z]+', ["ab", "bb", "abb"], ["b", "a"]),
        ('root ::= ("a" | "ab") "bc"', ["abc", "abbc"], ["ab"]),
        ('root ::= "a" .{0,2} "z"', ["a\nz", "az"], ["abbbz"]),
        ('root::="yes"|"no"', ["no"], ["n"]),
        ('root ::= a-B | A_b\r\na-B ::= "1" # "one"\r\nA_b ::=\r\n ( "2" |\r\n "3" )', ["1", "2", "3"], ["#"]),
        ('root ::= start\nstart ::= "x" start | ', ["", "xx"], ["xy"]),
        ('root ::= "a"* ("b"? )+ ""{3} "c"{0} "d"{2,}', ["dd", "abddd"], ["d", "acdd"]),
        ('root ::= "(" root ")" | ""', ["", "(())"], ["(()", "("]),
    ],
)
def test_texts(grammar: str, right: list[str], wrong: list[str]) -> None:
    assert gbnf.recognized(grammar)
    assert [text for text in right if not allows(grammar, text)] == []
    assert [text for text in wrong if allows(grammar, text)] == []


def written(sign: str, rng: random.Random) -> str:
    """A sign in one of the ways that a grammar has for it."""
    code = ord(sign)
    ways = [f"\\U{code:08x}"] + [f"\\u{code:04X}"] * (code < 1 << 16) + [f"\\x{code:02x}"] * (code < 256)
    plain = {"\n": "\\n", "\\": "\\\\", '"': '\\"', "]": "\\]", "[": "\\[", "-": "\\-"}.get(sign, sign)
    return rng.choice([*ways, plain, plain])


def pair(rng: random.Random, depth: int) -> tuple[str, str]:
    """A part of a grammar and the regular expression for the same texts."""
    kind = rng.choice(("literal", "set", "any") if not depth else ("literal", "set", "or", "and", "times"))
    if kind == "literal":
        text = rng.choices(SIGNS, k=rng.randrange(4))
        return '"' + "".join(written(sign, rng) for sign in text) + '"', re.escape("".join(text))
    if kind == "set":
        signs, no = rng.sample(SIGNS, 3), rng.choice(["", "^"])
        inside = "".join(written(sign, rng) if sign != "^" else "\\x5e" for sign in signs)
        return f"[{no}{inside}]", f"[{no}{''.join(map(re.escape, signs))}]"
    if kind == "any":
        return ".", "(?s:.)"
    parts = [pair(rng, depth - 1) for _ in range(1 if kind == "times" else 2)]
    sign = {"or": " | ", "and": " ", "times": ""}[kind]
    times = rng.choice(["*", "+", "?", "{2}", "{1,2}", "{0}", "{1,}"]) if kind == "times" else ""
    regex = {"or": "|", "and": "", "times": ""}[kind].join(f"(?:{regex})" for _, regex in parts)
    return f"({sign.join(text for text, _ in parts)}){times}", f"(?:{regex}){times}"


def test_random_grammars_allow_what_the_same_regular_expression_does() -> None:
    rng, allowed = random.Random(0), 0
    for _ in range(150):
        grammar, regex = pair(rng, 3)
        for _ in range(12):
            text = "".join(rng.choices(SIGNS, k=rng.randrange(5)))
            expected = re.fullmatch(regex, text) is not None
            assert allows(f"root ::= {grammar}", text) == expected, (grammar, text)
            allowed += expected
    assert allowed > 100


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        ("root ::= x", "no rule named x"),
        ('rot ::= "x"', "no rule named root"),
        ('root ::= "a"\nroot ::= "b"', "line 2: found root ::= .*: this rule is defined twice"),
        ('root ::= ("a"\n', "line 2: found the end: expected \\)"),
        ('root ::= "a")', "line 1: found \\): expected the end of a rule"),
        ('root ::= "a', 'line 1: found "a: expected a rule'),
        ('\nroot ::= "\\q"', "line 2: .*unknown escape \\\\q"),
        ("root ::= [z-a]", "the range z-a is reversed"),
        ("root ::= []", "expected characters between"),
        ("root ::= *", "nothing stands before it"),
        ('root ::= "a"{3,1}', "the smaller number first"),
        ('root ::= "\\ud83d"', "ud83d is not a character"),
        ('x root ::= "a"', "line 1: found x root.*: expected a rule"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(grammar: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gbnf.to_lark(grammar)


def test_lark_is_not_taken_for_it() -> None:
    assert not gbnf.recognized('start: "a ::= b"')
