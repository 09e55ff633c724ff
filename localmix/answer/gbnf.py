"""llama.cpp's grammars (GBNF) in the words of Lark, which the library reads: the same texts, sign by sign.

Every sign becomes a terminal of its own. One that takes as many signs as it can, as Lark's do, would leave nothing
of "ab" for the "b" of `word "b"`, where a word is [a-z]+. More than llama.cpp's parser this one takes a byte-order
mark, the escape \\- and a rule that goes on in the next line.
https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md
"""

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"""(?P<rule>[\w-]+)[ \t\r\n]*::= | (?P<name>[\w-]+) | (?P<times>[*+?]|\{\s*\d+\s*(?:,\s*\d*\s*)?\})
    | "(?P<literal>(?:[^"\\]|\\.)*)" | \[(?P<set>(?:[^\]\\]|\\.)*)\] | (?P<sign>[|().])""",
    re.VERBOSE | re.DOTALL,
)
_SPACE = re.compile(r"(?:\s|#[^\n]*)*")
_SIGN = re.compile(r'\\x([\dA-Fa-f]{2})|\\u([\dA-Fa-f]{4})|\\U([\dA-Fa-f]{8})|\\([nrt"\\\[\]-])|([^\\])', re.DOTALL)
_NAMED = {"n": "\n", "r": "\r", "t": "\t"}
_ESCAPES = r"\n \r \t \" \\ \[ \] \- \x41 \u00e9 \U0001f642"
_FIRST = re.compile(r"^\ufeff?[ \t]*[\w-]+\s*::=", re.MULTILINE)
_NOTHING = '""'


def recognized(text: str) -> bool:
    """Whether a grammar is one of llama.cpp's: a name and ::= begin a line."""
    return _FIRST.search(text) is not None


def to_lark(text: str) -> str:
    """The same grammar for the library. ValueError: what is wrong with it, and in which line."""
    return _Reader(text.removeprefix("\ufeff")).lark()


class _Reader:
    """Reads token by token; `_kind` and `_token` are the next one, `_begin` is where it begins."""

    def __init__(self, text: str) -> None:
        self._text, self._begin, self._end = text, 0, 0
        self._kind, self._token = "", ""
        self._names = {"root": "start"}  # of rules that were met, and what they are called in Lark
        self._next()

    def lark(self) -> str:
        rules: dict[str, str] = {}
        while self._kind:
            if self._kind != "rule":
                raise self._wrong("expected a rule, as in root ::=")
            name = self._token
            if name in rules:
                raise self._wrong("this rule is defined twice")
            self._next()
            self._names.setdefault(name, f"r{len(self._names)}")
            rules[name] = self._alternatives()
            if self._kind == "sign":
                raise self._wrong("expected the end of a rule: is a ( missing?")
        if missing := [name for name in self._names if name not in rules]:
            raise ValueError(f"no rule named {missing[0]}: expected {missing[0]} ::= and its definition")
        return "\n".join(f"{self._names[name]}: {rule}" for name, rule in rules.items())

    def _alternatives(self) -> str:
        found = [self._sequence()]
        while (self._kind, self._token) == ("sign", "|"):
            self._next()
            found.append(self._sequence())
        return " | ".join(found)

    def _sequence(self) -> str:
        parts = []
        while (part := self._part()) is not None:
            while self._kind == "times":
                part = self._repeated(part)
                self._next()
            parts.append(part)
        return " ".join(parts) or _NOTHING

    def _part(self) -> str | None:
        """What a quantifier may follow; None where a sequence ends."""
        kind, token = self._kind, self._token
        if kind in ("", "rule") or (kind == "sign" and token in "|)"):
            return None
        if kind == "times":
            raise self._wrong("nothing stands before it to repeat")
        if kind == "literal":
            found = [f'"{_shown(sign, extra=False)}"' for sign, _ in self._signs()]
            part = f"({' '.join(found)})" if len(found) > 1 else "".join(found) or _NOTHING
        elif kind == "set":
            part = self._set()
        elif kind == "name":
            part = self._names.setdefault(token, f"r{len(self._names)}")
        elif token == ".":
            part = "/(?s:.)/"
        else:
            self._next()
            part = f"({self._alternatives()})"
            if self._token != ")":
                raise self._wrong("expected ) to close a group")
        self._next()
        return part

    def _repeated(self, part: str) -> str:
        if part == _NOTHING:
            return part
        if part[-1] in "*+?}":
            part = f"({part})"
        if self._token in "*+?":
            return part + self._token
        low, comma, high = (text.strip() for text in self._token[1:-1].partition(","))
        high = high if comma else low
        if high and int(high) < int(low):
            raise self._wrong("expected the smaller number first")
        return _NOTHING if high and not int(high) else f"{part}{{{low},{high}}}"

    def _set(self) -> str:
        """A set of signs as a regular expression."""
        signs = list(self._signs())
        negated = signs[:1] == [("^", False)]
        out, rest = "", signs[negated:]
        while rest:
            (first, _), *rest = rest
            last = first
            if len(rest) > 1 and rest[0] == ("-", False):
                (last, _), *rest = rest[1:]
            if last < first:
                raise self._wrong(f"the range {first}-{last} is reversed, expected the lower character first")
            out += _shown(first, extra=True) + (f"-{_shown(last, extra=True)}" if last != first else "")
        if not out:
            raise self._wrong("expected characters between [ and ]")
        return f"/[{'^' * negated}{out}]/"

    def _signs(self) -> Iterator[tuple[str, bool]]:
        """The signs of a literal or a set, and whether each was written as an escape."""
        at = 0
        while at < len(self._token):
            found = _SIGN.match(self._token, at)
            if found is None:
                raise self._wrong(f"unknown escape {self._token[at : at + 2]}, expected one of {_ESCAPES}")
            at = found.end()
            code = found[1] or found[2] or found[3]
            if code and (int(code, 16) > 0x10FFFF or 0xD800 <= int(code, 16) < 0xE000):
                raise self._wrong(f"{found[0]} is not a character, expected one such as \\U0001f642")
            yield chr(int(code, 16)) if code else _NAMED.get(found[4], found[4]) or found[5], not found[5]

    def _next(self) -> None:
        space = _SPACE.match(self._text, self._end)
        self._begin = space.end() if space else self._end
        found = _TOKEN.match(self._text, self._begin)
        if found is None and self._begin < len(self._text):
            self._end = self._begin + 1
            raise self._wrong("expected a rule, a name, a text in quotes or a set in brackets")
        self._end = found.end() if found else self._begin
        self._kind = (found.lastgroup or "") if found else ""
        self._token = found[self._kind] if found else ""

    def _line(self) -> int:
        return self._text.count("\n", 0, self._begin) + 1

    def _wrong(self, what: str) -> ValueError:
        line = self._text[self._begin :].partition("\n")[0].strip()
        return ValueError(f"line {self._line()}: found {line[:40] or 'the end'}: {what}")


def _shown(sign: str, *, extra: bool) -> str:
    """A sign as Lark and its regular expressions have it: all that could mean something there as its number.

    `extra`: in a set, where more does.
    """
    plain = sign.isalnum() if extra else sign not in '"\\' and sign >= " "
    return sign if sign > "\x7f" or (plain and sign != "\x7f") else f"\\x{ord(sign):02x}"
