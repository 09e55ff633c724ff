"""Makes backends forget each field of each block, one place at a time, and looks whether the generated test notices.

By hand (minutes for each backend):

    python tests/peers/forgotten.py [BACKEND,BACKEND...]

Wherever a backend's code, or an equation, reads a field of a block that has a neutral value, the neutral value is put
in its place, in a copy of the tree; the field's own cases in tests/network/test_fields.py must then fail, or those of
many fields at once. The reference is held to the other backends there, and in tests/network/test_family_logits.py to
what llama.cpp computes. What survives is printed: a place that reads a field of the same name of something else, or a
hole in the test.
"""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path

from localmix.network import blocks, decoder

ROOT = Path(__file__).parents[2]
KINDS = (*(one for one in vars(blocks).values() if getattr(one, "__module__", "") == blocks.__name__), decoder.Network)
# Where a backend reads blocks. Numba's kernels read records, which are filled from blocks in one place.
PLACES = {
    "reference": ("network/blocks.py", "network/decoder.py", "network/rope.py", "backends/reference.py"),
    "mlx": ("network/blocks.py", "network/decoder.py", "backends/mlx/backend.py", "backends/mlx/step.py"),
    "numba": ("backends/numba/passes/program.py", "backends/numba/passes/engine.py", "backends/numba/backend.py"),
}


def main() -> None:
    neutral = neutral_values()
    for backend in sys.argv[1].split(",") if len(sys.argv) > 1 else PLACES:
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder) / "tree"
            shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".git", ".venv", "models", "__pycache__"))
            assert passes(tree, backend, ""), f"{backend}: the tests fail as they are"
            found = survived = 0
            for place in PLACES[backend]:
                path = tree / "localmix" / place
                text = path.read_text()
                for line, name, mutant in (*mutants(text, neutral), *unfilled(text, neutral)):
                    path.write_text(mutant)
                    found += 1
                    if passes(tree, backend, name):
                        survived += 1
                        print(
                            f"{backend}: survived: {place}:{line}: {mutant.splitlines()[line - 1].strip()}", flush=True
                        )
                path.write_text(text)
            print(f"{backend}: {found} places, {survived} survived", flush=True)


def neutral_values() -> dict[str, str]:
    """Of each field with a default the expression for it; of numbers without one, for a number that is not meant."""
    found = {"inverse": "inverse[:1]", "eps": "0.0", "active": "2"}
    for kind in KINDS:
        for field in fields(kind) if hasattr(kind, "__dataclass_fields__") else ():
            if field.default is not MISSING and field.name != "activation":
                found[field.name] = repr(field.default)
    return found


def mutants(text: str, neutral: dict[str, str]) -> Iterator[tuple[int, str, str]]:
    """The line of each reading of a field, the field, and the text with the neutral value in its place."""
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in neutral):
            continue
        assert node.end_col_offset is not None
        if node.lineno != node.end_lineno:
            continue
        line = lines[node.lineno - 1].encode()
        own = line[node.col_offset : node.end_col_offset].decode()
        value = neutral[node.attr]
        new = own.removesuffix(node.attr) + value if value.startswith(node.attr) else f"({value})"
        changed = line[: node.col_offset] + new.encode() + line[node.end_col_offset :]
        yield node.lineno, node.attr, "".join([*lines[: node.lineno - 1], changed.decode(), *lines[node.lineno :]])


def unfilled(text: str, neutral: dict[str, str]) -> Iterator[tuple[int, str, str]]:
    """The same of numba's records, where the numbers of a block are filled in by their names."""
    own = "if field.name in elsewhere"
    if own in text:
        line = text[: text.index(own)].count("\n") + 1
        for name in neutral:
            yield line, name, text.replace(own, f"if field.name in (*elsewhere, {name!r})")


def passes(tree: Path, backend: str, field: str) -> bool:
    """Whether the tests do, for one backend: those of a field, or all. The reference's are everybody's."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", "-k"]
    cases = f"({field} or together)" if field else "test"
    who = "" if backend == "reference" else f"{backend} and "
    runs = [[*command, who + cases, "tests/network/test_fields.py"]]
    if backend == "reference":
        runs.append([*command, backend, "tests/network/test_family_logits.py"])
    own = os.environ | {"PYTEST_XDIST_WORKER": "forgotten", "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    codes = (subprocess.run(run, cwd=tree, env=own, capture_output=True, check=False).returncode for run in runs)
    return all(code in (0, 5) for code in codes)  # 5: no test has this name


if __name__ == "__main__":
    main()
