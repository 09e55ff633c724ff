"""Jinja for templates that come out of files: Hugging Face's dialect, in bounded time and memory.

Jinja's own sandbox keeps a template from Python's internals but lets it fill the memory (`'a' * 10**9`) or loop
for hours. Here every construct that multiplies pays into a Budget first: operators, calls, filters and loops.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import CodeType
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from localmix.errors import LocalmixError
from localmix.template import dialect
from localmix.template.budget import Budget, BudgetSpentError
from localmix.template.prices import PRICED, Prices, fields_of_format

MAX_SOURCE = 100_000  # characters; the longest template seen in the wild has 17,000
UNITS = 10_000_000  # of work, see Budget
SECONDS = 3.0


def render(source: str, variables: Mapping[str, Any], *, units: int = UNITS, seconds: float = SECONDS) -> str:
    """The text of the template `source` with `variables`.

    Raises LocalmixError, and nothing else, for a template that is no Jinja, fails, refuses its input, or does
    more than `units` of work or `seconds` allow.
    """
    if len(source) > MAX_SOURCE:
        raise LocalmixError(f"the chat template has {len(source)} characters, at most {MAX_SOURCE} are allowed")
    try:
        code = _compiled(source)
        environment = _Environment(Budget(units, seconds), len(source))
        template = environment.template_class.from_code(environment, code, environment.make_globals(None))
        parts = template.generate(variables)
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


@lru_cache(4)
def _compiled(source: str) -> CodeType:
    """A template as Python's code, which knows no environment: what it costs, each rendering pays into its own budget.

    Only its constants are computed here, within a budget of this one compilation.
    """
    environment = _Environment(Budget(UNITS, SECONDS), len(source))
    return environment.compile(_Charged(environment).visit(environment.parse(source)))


def _one_line(message: object) -> str:
    return " ".join(str(message).split())[:300]


class _Namespace(Namespace):
    """Jinja's namespace, which prints all it holds: nested ones without end."""

    def __repr__(self) -> str:
        return "<namespace>"


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox with a budget. It serves one compilation or rendering, so that renderings share no state."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, budget: Budget, source_size: int) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=self._printed,
            extensions=[dialect.GenerationTag, "jinja2.ext.loopcontrols"],
        )
        self.budget = budget
        self._prices = Prices(budget)
        self._source_size = source_size
        self.globals |= {**dialect.FUNCTIONS, "namespace": _Namespace}
        self.filters["tojson"] = dialect.tojson
        self.globals["lipsum"] = self._prices.lipsum(self.globals["lipsum"])
        self.filters = {name: self._prices.filter(name, function) for name, function in self.filters.items()}

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Jinja's safe `str.format`, with its widths checked."""
        function = super().wrap_str_format(value)
        if function is None:
            return None

        def checked(*args: Any, **kwargs: Any) -> str:
            self._prices.format(value.__self__, fields_of_format(value.__self__), (*args, *kwargs.values()))
            return function(*args, **kwargs)

        return checked

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Every call of a template: macros, methods, functions and recursive loops."""
        values = (*args, *kwargs.values())
        self.budget.spend_walk(values)
        owner = getattr(function, "__self__", None)
        if isinstance(owner, PRICED) or owner in PRICED:  # (3).from_bytes belongs to the class
            args = self._prices.method(owner, function.__name__, (*args, *kwargs.values()))[: len(args)]
        elif isinstance(function, LoopContext) and args:
            args = (self.budget.bounded(args[0], self._source_size), *args[1:])
        result = super().call(context, function, *args, **kwargs)
        self.budget.spend_walk(result, text=isinstance(result, str))
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """The operators whose results can be large."""
        self._prices.operator(operator, left, right)
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
