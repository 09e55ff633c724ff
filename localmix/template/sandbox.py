"""Jinja for templates that come out of files: Hugging Face's dialect, in bounded time and memory.

Jinja's own sandbox keeps a template from Python's internals but lets it fill the memory (`'a' * 10**9`) or loop
for hours. Here every construct that multiplies pays into a Budget first: operators, calls, filters and loops.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from string import Formatter
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from localmix.errors import LocalmixError
from localmix.template import dialect
from localmix.template.budget import Budget, BudgetSpentError

MAX_SOURCE = 100_000  # characters; the longest template seen in the wild has 17,000
UNITS = 10_000_000  # of work, see Budget
SECONDS = 3.0

_MAX_BITS = 4096  # of an integer
_MAX_WIDTH = 999  # of a field in a format string

_NO_FILTERS = ("pprint", "striptags", "sum", "urlize", "wordwrap", "xmlattr")  # costly, and in no chat template
_NO_FUNCTIONS = ("cycler", "lipsum")
# Filters that hand on items or count them; all others make text of what they get.
_STRUCTURAL = frozenset(
    "abs attr batch count d default dictsort first float groupby int items last length list map max min random "  # noqa: SIM905
    "reject rejectattr reverse round select selectattr slice sort unique".split()
)
_MULTIPLYING = frozenset(("batch", "center", "indent", "join", "round", "slice", "tojson"))  # by what arguments say
_STRING_METHODS = frozenset(
    "capitalize casefold center count endswith find index isalnum isalpha isascii isdecimal isdigit islower "  # noqa: SIM905
    "isnumeric isspace istitle isupper join ljust lower lstrip partition removeprefix removesuffix replace rfind "
    "rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title upper zfill".split()
)


def render(source: str, variables: Mapping[str, Any], *, units: int = UNITS, seconds: float = SECONDS) -> str:
    """The text of the template `source` with `variables`.

    Raises LocalmixError, and nothing else, for a template that is no Jinja, fails, refuses its input, or does
    more than `units` of work or `seconds` allow.
    """
    if len(source) > MAX_SOURCE:
        raise LocalmixError(f"the chat template has {len(source)} characters, at most {MAX_SOURCE} are allowed")
    try:
        environment = _Environment(Budget(units, seconds), len(source))
        tree = _Charged(environment).visit(environment.parse(source))
        parts = environment.from_string(tree).generate(variables)
        return "".join(environment.budget.bounded_text(parts))
    except dialect.RefusedError as error:
        raise LocalmixError(f"the chat template refuses this conversation: {_one_line(error)}") from error
    except BudgetSpentError as error:
        raise LocalmixError(f"the chat template was stopped: {error}") from error
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f" in line {line}" if line else ""
        raise LocalmixError(f"the chat template fails{where}: {_one_line(error.message)}") from error
    except Exception as error:  # a template is a foreign program: whatever it raises is its failure, not ours
        raise LocalmixError(f"the chat template fails: {type(error).__name__}: {_one_line(error)}") from error


def _one_line(message: object) -> str:
    return " ".join(str(message).split())[:300]


class _Namespace(Namespace):
    """Jinja's namespace, which prints all it holds: nested ones without end."""

    def __repr__(self) -> str:
        return "<namespace>"


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox with a budget. It serves one rendering, so that renderings share no state."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, budget: Budget, source_size: int) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=self._printed,
            extensions=[dialect.GenerationTag, "jinja2.ext.loopcontrols"],
        )
        self.budget = budget
        self._source_size = source_size
        self.globals |= {**dialect.FUNCTIONS, "namespace": _Namespace}
        self.filters["tojson"] = dialect.tojson
        for name in _NO_FUNCTIONS:
            del self.globals[name]
        for name in _NO_FILTERS:
            del self.filters[name]
        self.filters = {name: self._charged_filter(name, function) for name, function in self.filters.items()}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Of text only the methods that `call` can price, of numbers and bytes none."""
        if isinstance(obj, str) and attr not in _STRING_METHODS:
            return False
        if isinstance(obj, int | float | bytes):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Jinja's safe `str.format`, with its widths checked."""
        function = super().wrap_str_format(value)
        if function is None:
            return None

        def checked(*args: Any, **kwargs: Any) -> str:
            self._spend_format(value.__self__, _fields_of_format(value.__self__), (*args, *kwargs.values()))
            return function(*args, **kwargs)

        return checked

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Every call of a template: macros, methods, functions and recursive loops."""
        values = (*args, *kwargs.values())
        self.budget.spend_walk(values)
        owner = getattr(function, "__self__", None)
        if isinstance(owner, str):
            args = self._charged_method(owner, function.__name__, args)
        elif isinstance(function, LoopContext) and args:
            args = (self.budget.bounded(args[0], self._source_size), *args[1:])
        result = super().call(context, function, *args, **kwargs)
        self.budget.spend_walk(result, text=isinstance(result, str))
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """The operators whose results can be large."""
        if isinstance(left, int) and isinstance(right, int):
            self._check_bits(operator, left, right)
        elif operator == "%" and isinstance(left, str):
            self._spend_format(left, _fields_of_percent(left), right if isinstance(right, tuple) else (right,))
        else:
            size = sum(self.budget.spend_walk(side, text=isinstance(side, str)) for side in (left, right))
            if operator == "*":
                self.budget.spend(size * max(side if isinstance(side, int) else 0 for side in (left, right)))
        return super().call_binop(context, operator, left, right)

    def bounded(self, items: Any, units: int) -> Iterator[Any]:
        """What a loop walks through; `units` is the cost of a turn. Called by charged templates."""
        return self.budget.bounded(items, units)

    def counted(self, items: Any) -> Any:
        """A list, tuple or dict that a template wrote down. Called by charged templates."""
        self.budget.spend_walk(items)
        return items

    def joined(self, *values: Any) -> str:
        """The operator `~`. Called by charged templates."""
        self.budget.spend_walk(values, text=True)
        return "".join(map(str, values))

    def _printed(self, value: Any) -> Any:
        self.budget.spend_walk(value, text=True)
        return value

    def _check_bits(self, operator: str, left: int, right: int) -> None:
        bits = left.bit_length() * max(right, 0) if operator == "**" else left.bit_length() + right.bit_length()
        if operator in ("*", "**") and bits > _MAX_BITS:
            raise BudgetSpentError(f"it calculates a number of {bits} bits")

    def _charged_method(self, owner: str, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Pay for a method of a string; gives its arguments, an iterator among them as a list."""
        self.budget.spend(len(owner))
        if name == "join" and args:
            items = list(self.budget.bounded(args[0]))
            self.budget.spend_walk(items, text=True)
            self.budget.spend(len(items) * len(owner))
            return (items, *args[1:])
        if name == "replace" and len(args) > 1:
            self._spend_replace(owner, args[0], args[1])
        else:
            self.budget.spend(sum(abs(value) for value in args if isinstance(value, int)))
        return args

    def _charged_filter(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, paid for by the size of what goes in and by what its arguments multiply that with."""
        position = 1 if hasattr(function, "jinja_pass_arg") else 0  # Jinja's own argument comes first

        @wraps(function)
        def charged(*args: Any, **kwargs: Any) -> Any:
            value, rest = args[position], (*args[position + 1 :], *kwargs.values())
            if name not in _STRUCTURAL and isinstance(value, Iterator):
                value = list(self.budget.bounded(value))
            if name in _STRUCTURAL:
                self.budget.spend(len(value) if hasattr(value, "__len__") else 1)
                size = 1
            else:
                size = self.budget.spend_walk(value, text=True)
            if name in _MULTIPLYING:
                self.budget.spend(size * sum(map(_factor, rest)))
            elif name == "replace" and len(rest) > 1:
                self._spend_replace(str(value), str(rest[0]), str(rest[1]))
            elif name == "format":
                self._spend_format(str(value), _fields_of_percent(str(value)), rest)
            return function(*args[:position], value, *args[position + 1 :], **kwargs)

        return charged

    def _spend_replace(self, text: str, old: str, new: str) -> None:
        self.budget.spend(len(text) + text.count(old) * len(new))

    def _spend_format(self, text: str, fields: list[str], values: tuple[Any, ...]) -> None:
        """Pay for a format string: any field may print any value, at the largest width."""
        for field in fields:
            if re.search(r"[*{]", field) or any(int(n) > _MAX_WIDTH for n in re.findall(r"[0-9]+", field)):
                raise BudgetSpentError(f"it formats with the width {field[:40]!r}")
        size = self.budget.spend_walk(values, text=True)
        self.budget.spend(len(text) + len(fields) * (size + _MAX_WIDTH))


class _Charged(NodeTransformer):
    """Puts the payments into a parsed template that no hook of the environment reaches."""

    def __init__(self, environment: _Environment) -> None:
        self._environment = environment

    def visit_For(self, node: nodes.For) -> nodes.Node:
        """Each turn of a loop costs 1 and the fixed text that it prints."""
        self.generic_visit(node)
        units = 1 + sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        node.iter = self._call("bounded", node.iter, nodes.Const(units))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        """`a ~ b`, which Jinja compiles to a plain join."""
        self.generic_visit(node)
        return self._call("joined", *node.nodes)

    def visit_List(self, node: nodes.Expr) -> nodes.Node:
        """Literals: without a price, lists of lists of lists double with every line."""
        self.generic_visit(node)
        if getattr(node, "ctx", "load") != "load" or node.find(nodes.Name) is None:
            return node
        return self._call("counted", node)

    visit_Tuple = visit_Dict = visit_List

    def _call(self, method: str, *args: nodes.Node) -> nodes.Node:
        call = nodes.Call(nodes.EnvironmentAttribute(method), list(args), [], None, None)
        return call.set_lineno(args[0].lineno).set_environment(self._environment)


def _factor(value: Any) -> int:
    """How often an argument may repeat what it is applied to: a number, or the characters of a separator."""
    if isinstance(value, int):
        return abs(value)
    return len(value) if isinstance(value, str) else 1


def _fields_of_format(text: str) -> list[str]:
    """What stands in the braces of a `str.format` string."""
    return [f"{name}:{spec}" for _, name, spec, _ in Formatter().parse(text) if name is not None]


def _fields_of_percent(text: str) -> list[str]:
    """The flags, widths and precisions of a `%` format string."""
    return re.findall(r"%(?:\([^)]*\))?([-+ #0-9.*]*)", text)
