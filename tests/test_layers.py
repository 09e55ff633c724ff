"""The plan of the house: every module is on one floor and imports from its own floor and those below, in no circle;
each library has one address. Names imported for types alone count too, wherever in a module they stand.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATHS = sorted(path for folder in ("quant", "localmix") for path in (ROOT / folder).rglob("*.py"))

# What may be imported where: a library, and the beginnings of the paths that may.
ADDRESSES: dict[str, tuple[str, ...]] = {
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
    "gguf": (),  # an oracle of tests
}
# Lowest first. A name stands for a module, or for a folder less what is named by itself.
FLOORS = (
    ("quant",),
    ("localmix.errors", "localmix.notices", "localmix.amounts"),
    ("localmix.help",),
    ("localmix.gguf", "localmix.tokenizer"),
    ("localmix.stream",),
    ("localmix.template",),
    ("localmix.store",),
    ("localmix.engine.batch", "localmix.engine.weights", "localmix.engine.cache", "localmix.engine.kept",
     "localmix.engine.pages", "localmix.engine.storage", "localmix.engine.fourbits", "localmix.answer.options",
     "localmix.answer.sampling", "localmix.answer.constrain", "localmix.answer.gbnf", "localmix.answer.schema"),
    ("localmix.network",),
    ("localmix.backends.protocol", "localmix.backends.eager"),
    ("localmix.backends.reference",),
    ("localmix.backends.numba", "localmix.backends.mlx"),
    ("localmix.backends",),
    ("localmix.engine",),
    ("localmix.answer",),
    ("localmix.markup",),
    ("localmix.conversation",),
    ("localmix.model", "localmix"),
    ("localmix.measure",),
    ("localmix.convert", "localmix.report", "localmix.harness"),
    ("localmix.server", "localmix.cli"),
)  # fmt: skip


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix().removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {name_of(path): path for path in PATHS}


def imports(path: Path) -> Iterator[str]:
    """The names of all modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else str(node.module) for name in names)


def floor(module: str) -> int:
    """The floor whose name for a module is the longest."""
    found = [
        (len(name), index)
        for index, names in enumerate(FLOORS)
        for name in names
        if module == name or (module.startswith(name + ".") and name != "localmix")
    ]
    assert found, f"{module} is on no floor"
    return max(found)[1]


@pytest.mark.parametrize("module", MODULES)
def test_imports(module: str) -> None:
    place = MODULES[module].relative_to(ROOT).as_posix()
    for name in imports(MODULES[module]):
        allowed = ADDRESSES.get(name.partition(".")[0])
        assert allowed is None or place.startswith(allowed or "nowhere"), f"{place} imports {name}"
        if name in MODULES:
            assert floor(name) <= floor(module), f"{place} imports {name}, of a higher floor"


def test_no_circles() -> None:
    arrows = {module: {name for name in imports(path) if name in MODULES} for module, path in MODULES.items()}
    while free := [module for module, to in arrows.items() if not (to - {module}) & arrows.keys()]:
        for module in free:
            del arrows[module]
    assert not arrows


def test_few_modules_are_loose() -> None:
    for folder, most in (("localmix", 8), ("localmix/backends/numba", 12)):
        assert len(list((ROOT / folder).glob("*.py"))) <= most, folder


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 300
