"""Imports go to lower layers only, and each library has one address (wherever in a module the import stands)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for folder in ("quant", "localmix") for path in (ROOT / folder).rglob("*.py"))

# What may be imported where: a library, and the beginnings of the paths that may.
ADDRESSES = {
    "numba": ("quant/jit.py", "localmix/backends/numba/"),
    "llvmlite": ("quant/jit.py", "localmix/backends/numba/"),
    "mlx": ("localmix/backends/mlx/",),
    "sentencepiece": ("localmix/tokenizer/",),
    "tokenizers": ("localmix/tokenizer/",),
    "jinja2": ("localmix/template/",),
    "typer": ("localmix/cli/",),
    "rich": ("localmix/cli/",),
    "markdown_it": ("localmix/cli/",),
    "prompt_toolkit": ("localmix/cli/",),
    "huggingface_hub": ("localmix/store/hub.py",),
    "llguidance": ("localmix/answer/constrain.py",),
    "uvicorn": ("localmix/server/",),
    "starlette": ("localmix/server/",),
    "msgspec": ("localmix/server/",),
    "prometheus_client": ("localmix/server/",),
    "gguf": (),  # an oracle of tests
}
# Lowest first: a module imports its own row and those above.
LAYERS = (
    ("quant",),
    ("localmix.errors", "localmix.notices", "localmix.answer.options", "localmix.gguf", "localmix.tokenizer",
     "localmix.template", "localmix.engine.batch", "localmix.answer.stops", "localmix.answer.text",
     "localmix.answer.stats", "localmix.answer.pace", "localmix.answer.gbnf", "localmix.answer.schema",
     "localmix.store.bundled", "localmix.amounts"),
    ("localmix.engine.weights", "localmix.engine.cache", "localmix.answer.sampling", "localmix.answer.constrain",
     "localmix.answer.scores", "localmix.backends", "localmix.network"),
    ("localmix.engine.engine",),
    ("localmix.engine.context", "localmix.answer.speaker"),
    ("localmix.answer",),
    ("localmix.conversation",),
    ("localmix.model",),
    ("localmix.measure.forecast",),
    ("localmix.server",),
    ("localmix.cli",),
)  # fmt: skip


def imports(path: Path) -> Iterator[str]:
    """The names of all modules that a file imports; `from a import b` gives a.b, those for types alone left out."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(module: str) -> int | None:
    """The row that a module is in, by its own name or else its folder's; None where it is in no row."""
    found = [
        (len(name), index)
        for index, row in enumerate(LAYERS)
        for name in row
        if module == name or module.startswith(name + ".")
    ]
    return max(found)[1] if found else None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    own = layer(place.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    for name in imports(path):
        allowed = ADDRESSES.get(name.partition(".")[0])
        assert allowed is None or place.startswith(allowed or "nowhere"), f"{place} imports {name}"
        other = layer(name)
        assert own is None or other is None or other <= own, f"{place} imports {name}, of a higher layer"


def test_answers_come_from_below() -> None:
    """No circle among engine, answers, conversations and the model, through names for types neither."""
    names = {path.relative_to(ROOT).as_posix().removesuffix(".py").replace("/", "."): path for path in MODULES}
    family = ("localmix.engine.", "localmix.answer.", "localmix.conversation.", "localmix.model")
    arrows: dict[str, set[str]] = {}
    for name, path in names.items():
        if name.startswith(family):
            nodes = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom))
            arrows[name] = {to for node in nodes for to in _modules(node) if to.startswith(family) and to in names}
    while free := [name for name, to in arrows.items() if not to & arrows.keys()]:
        for name in free:
            del arrows[name]
    assert not arrows


def _modules(node: ast.ImportFrom) -> set[str]:
    return {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}


def test_networks_see_no_backend() -> None:
    for path in (ROOT / "localmix" / "network").rglob("*.py"):
        for name in imports(path):
            assert not name.startswith("localmix.backends"), f"{path} imports {name}"


def test_quant_knows_nothing_of_localmix() -> None:
    assert not [
        name for path in (ROOT / "quant").rglob("*.py") for name in imports(path) if name.startswith("localmix")
    ]
