"""What the methods and filters of a template cost: an upper bound of their work, paid for before it is done.

Everything that transformers' sandbox allows is allowed here; what its arguments could make large is priced by them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from string import Formatter
from typing import Any

from localmix.template.budget import Budget, BudgetSpentError

_MAX_BITS = 4096  # of an integer
_MAX_WIDTH = 999  # of a field in a format string
_WORD = 8  # characters of a word of `lipsum`, with its share of the marks; the longest has twice as many

# Filters that hand on items or count them; all others make text of what they get.
_STRUCTURAL = frozenset(
    "abs attr batch count d default dictsort first float groupby int items last length list map max min random "  # noqa: SIM905
    "reject rejectattr reverse round select selectattr slice sort unique".split()
)
_MULTIPLYING = frozenset(("batch", "center", "indent", "join", "round", "slice", "tojson", "wordwrap"))  # by arguments
_BY_SQUARE = frozenset(("pprint", "striptags", "urlize", "wordwrap"))  # of the longest word, or of what is nested
_TEXT = (str, bytes)
PRICED = (str, bytes, int, float)  # whose methods `method` has prices for


class Prices:
    """What things cost, and the budget that they are paid from."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    def method(self, owner: Any, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Pay for a method of a text or a number; gives its arguments, an iterator among them as a list."""
        size = len(owner) if isinstance(owner, _TEXT) else 1
        self.budget.spend(size + sum(len(value) for value in args if isinstance(value, _TEXT)))
        if name == "join" and args:
            items = list(self.budget.bounded(args[0]))
            self.budget.spend_walk(items, text=True)
            self.budget.spend(len(items) * size)
            return (items, *args[1:])
        if name == "replace" and len(args) > 1:
            self.replace(owner, args[0], args[1])
        elif name == "translate" and args:
            table = args[0]
            longest = max(map(_length, table.values()), default=1) if isinstance(table, Mapping) else 1
            self.budget.spend(size * longest)
        elif name == "expandtabs":
            self.budget.spend(size * max(map(_factor, args), default=8))
        elif name == "from_bytes" and args and _length(args[0]) * 8 > _MAX_BITS:
            raise BudgetSpentError(f"it calculates a number of {_length(args[0]) * 8} bits")
        else:
            self.budget.spend(sum(abs(value) for value in args if isinstance(value, int)))
        return args

    def filter(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, paid for by the size of what goes in and by what its arguments multiply that with."""
        position = 1 if hasattr(function, "jinja_pass_arg") else 0  # Jinja's own argument comes first

        @wraps(function)
        def charged(*args: Any, **kwargs: Any) -> Any:
            value, rest = args[position], (*args[position + 1 :], *kwargs.values())
            if name not in _STRUCTURAL and isinstance(value, Iterator):
                value = list(self.budget.bounded(value))
            self._spend_filter(name, value, rest)
            return function(*args[:position], value, *args[position + 1 :], **kwargs)

        return charged

    def _spend_filter(self, name: str, value: Any, rest: tuple[Any, ...]) -> None:
        if name in _STRUCTURAL:
            self.budget.spend(len(value) if hasattr(value, "__len__") else 1)
            size = 1
        else:
            size = self.budget.spend_walk(value, text=True)
        if name in _MULTIPLYING:
            self.budget.spend(size * sum(map(_factor, rest)))
        if name in _BY_SQUARE:
            longest = max(map(len, value.split()), default=0) if isinstance(value, str) else size
            self.budget.spend(longest**2 // 16)
        if name == "replace" and len(rest) > 1:
            self.replace(str(value), str(rest[0]), str(rest[1]))
        elif name == "format":
            self.format(str(value), fields_of_percent(str(value)), rest)
        elif name == "sum" and any(not isinstance(each, int | float) for each in (value if _walks(value) else ())):
            self.budget.spend(size * len(value))  # lists, say: each sum is a new one
        elif name == "int" and isinstance(value, _TEXT):
            self.budget.spend(len(value) ** 2 // 1000)  # to a base of 16 there is no limit to its length

    def lipsum(self, function: Any) -> Callable[..., str]:
        """Jinja's text of `n` paragraphs of up to `max` words, paid for."""

        @wraps(function)
        def charged(n: int = 5, html: bool = True, min: int = 20, max: int = 100) -> str:
            self.budget.spend(abs(int(n)) * (abs(int(max)) + 1) * _WORD)
            return function(n=n, html=html, min=min, max=max)

        return charged

    def replace(self, text: Any, old: Any, new: Any) -> None:
        """Pay for as many replacements as there can be."""
        self.budget.spend(len(text) + text.count(old) * _length(new))

    def format(self, text: str, fields: list[str], values: tuple[Any, ...]) -> None:
        """Pay for a format string: any field may print any value, at the largest width."""
        for field in fields:
            if re.search(r"[*{]", field) or any(int(n) > _MAX_WIDTH for n in re.findall(r"[0-9]+", field)):
                raise BudgetSpentError(f"it formats with the width {field[:40]!r}")
        size = self.budget.spend_walk(values, text=True)
        self.budget.spend(len(text) + len(fields) * (size + _MAX_WIDTH))

    def operator(self, operator: str, left: Any, right: Any) -> None:
        """Pay for `left operator right`, the operators whose results can be large."""
        if isinstance(left, int) and isinstance(right, int):
            _check_bits(operator, left, right)
        elif operator == "%" and isinstance(left, _TEXT):
            text = left if isinstance(left, str) else left.decode("latin-1")
            self.format(text, fields_of_percent(text), right if isinstance(right, tuple) else (right,))
        else:
            size = sum(self.budget.spend_walk(side, text=isinstance(side, _TEXT)) for side in (left, right))
            if operator == "*":
                self.budget.spend(size * max(side if isinstance(side, int) else 0 for side in (left, right)))


def _check_bits(operator: str, left: int, right: int) -> None:
    bits = left.bit_length() * max(right, 0) if operator == "**" else left.bit_length() + right.bit_length()
    if operator in ("*", "**") and bits > _MAX_BITS:
        raise BudgetSpentError(f"it calculates a number of {bits} bits")


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (*_TEXT, list, tuple)) else 1


def _walks(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset)


def _factor(value: Any) -> int:
    """How often an argument may repeat what it is applied to: a number, or the characters of a separator."""
    if isinstance(value, int):
        return abs(value)
    return len(value) if isinstance(value, _TEXT) else 1


def fields_of_format(text: str) -> list[str]:
    """What stands in the braces of a `str.format` string."""
    return [f"{name}:{spec}" for _, name, spec, _ in Formatter().parse(text) if name is not None]


def fields_of_percent(text: str) -> list[str]:
    """The flags, widths and precisions of a `%` format string."""
    return re.findall(r"%(?:\([^)]*\))?([-+ #0-9.*]*)", text)
