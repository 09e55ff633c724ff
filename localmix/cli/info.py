"""`localmix info`: what is in a model file, and what a token costs. Reads the header, no weights.

On a terminal tables, in a pipe lines of tab-separated fields, with --json one object.
"""

import math
import re
from typing import TYPE_CHECKING, Any

from localmix.amounts import amount
from localmix.cli.parameters import Json, ModelArgument, ModelOption, Output, chosen
from localmix.cli.streams import harmless, json_text, write
from localmix.cli.tables import Row, Tables, show

if TYPE_CHECKING:
    from localmix.gguf import File, Tensor
    from localmix.measure.inventory import Inventory, Part

_NUMBERS = frozenset({"count", "bytes", "tensors", "weights", "bits", "read per token"})  # columns flush right
_ITEMS = 6  # of a long array that are shown
_WIDTH = 100  # of a value in a table


def info(output: Output, path: ModelArgument = None, model: ModelOption = None, as_json: Json = False) -> None:
    """Show what is in a model file, and what a token costs."""
    from localmix import gguf
    from localmix.measure import inventory
    from localmix.store.bundled import model_path

    with gguf.open(chosen(path, model) or model_path()) as file:
        found = inventory.take(file)
        if as_json:
            write(json_text(described(file, found), indent=2))
            return
        tables: Tables = {
            "metadata": (("key", "type", "value"), metadata_rows(file)),
            "tensors": (("tensor", "shape", "format", "count", "bytes"), tensor_rows(file)),
            "sizes": (("role", "format", "tensors", "weights", "bytes", "bits", "read per token"), size_rows(found)),
            "on MLX": (("format", "on a GPU", "on a CPU"), form_rows(found)),
            "model": (("what", "value"), summary_rows(file, found)),
            "receipt": (("what", "value"), receipt_rows(file)),
        }
    show(tables, _NUMBERS)


def metadata_rows(file: "File") -> list[Row]:
    """Key, type and value, each on one line."""
    return [(cell(key), kind(value), cell(shown(value))) for key, value in file.typed_metadata.items()]


def tensor_rows(file: "File") -> list[Row]:
    """Tensors that differ only in the numbers in their names are one row, with N for the numbers."""
    groups: dict[tuple[str, tuple[int, ...], str], list[Tensor]] = {}
    for tensor in file.tensors.values():
        name = re.sub(r"\.\d+\.", ".N.", tensor.name)
        groups.setdefault((name, tensor.shape, tensor.format.name), []).append(tensor)
    return [
        (
            cell(name if len(tensors) > 1 else tensors[0].name),
            " × ".join(map(str, shape)),
            format,
            str(len(tensors)),
            amount(sum(tensor.nbytes for tensor in tensors), "B"),
        )
        for (name, shape, format), tensors in groups.items()
    ]


def size_rows(found: "Inventory") -> list[Row]:
    """A row for each role and format, and the sums."""

    def row(role: str, format: str, tensors: int, of: "Part | Inventory") -> Row:
        sizes = amount(of.weights), amount(of.bytes, "B"), f"{of.bits:.2f}", amount(of.read, "B")
        return (role, format, str(tensors), *sizes)

    rows = [row(part.role, part.format, part.tensors, part) for part in found.parts]
    return [*rows, row("all", "", sum(part.tensors for part in found.parts), found)]


def form_rows(found: "Inventory") -> list[Row]:
    """What the mlx backend makes of matrices: form, bits a weight, error. Norms and routers are floats everywhere."""
    from localmix.backends.mlx.forms import blocks_of, form_of
    from localmix.backends.mlx.metal.lanes import TABLE
    from quant import FORMATS

    def gpu(name: str) -> str:
        text = form_of(FORMATS[name], half=True).text
        return f"{text}; or {blocks_of(FORMATS[name]).text}, where that is faster" if name in TABLE else text

    names = dict.fromkeys(part.format for part in found.parts if part.role not in ("norms", "router"))
    return [(name, gpu(name), form_of(FORMATS[name], half=False).text) for name in names]


def summary_rows(file: "File", found: "Inventory") -> list[Row]:
    """The model in a few lines; what the file does not say is left out."""
    rows: list[Row] = [
        ("file", cell(str(file.path))),
        ("size", amount(file.size, "B")),
        ("architecture", cell(found.architecture or "not named")),
        ("weights", f"{amount(found.weights)}, {amount(found.active)} of them read per decoded token"),
        ("bits per weight", f"{found.bits:.2f}"),
        ("read per token", f"{amount(found.read, 'B')} of weights"),
    ]
    if found.layers is not None:
        rows.append(("layers", str(found.layers)))
    if found.experts:
        rows.append(("experts", f"{found.experts}, {found.experts_used} of them used per token"))
    if found.context is not None:
        rows.append(("context", f"{found.context} tokens"))
    if found.kept is not None:
        windows = sorted(set(found.kept.windows) - {0})
        rest = f"; {amount(found.kept.growing, 'B')} beyond the window of {windows[-1]}" if windows else ""
        rows.append(("cache", f"{amount(found.kept.position, 'B')} per token in 16 bits{rest}"))
    if found.kept is not None and found.context is not None:
        rows.append(("full cache", amount(found.cache(found.context), "B")))
    return rows


def receipt_rows(file: "File") -> list[Row]:
    """How the file came to be, where localmix made it; what was to be measured and was not is said."""
    from localmix.convert.receipt import read_receipt

    return [
        (cell(key.replace("_", " ")), cell("not measured" if value is None else shown(value)))
        for key, value in read_receipt(file.metadata).items()
    ]


def described(file: "File", found: "Inventory") -> dict[str, Any]:
    """The same for programs: exact numbers, every tensor, long arrays by length and first items."""
    from localmix.convert.receipt import read_receipt

    return {
        "path": str(file.path),
        "bytes": file.size,
        "architecture": found.architecture,
        "weights": found.weights,
        "weights_read_per_token": found.active,
        "bits_per_weight": found.bits,
        "bytes_read_per_token": found.read,
        "layers": found.layers,
        "experts": found.experts,
        "experts_used": found.experts_used,
        "context": found.context,
        "kv_bytes_per_token": found.kept and found.kept.position,
        "kv_bytes_full": found.cache(found.context) if found.kept and found.context else None,
        "sizes": [vars(part) | {"bits_per_weight": part.bits} for part in found.parts],
        "mlx": [dict(zip(("format", "gpu", "cpu"), row, strict=True)) for row in form_rows(found)],
        "receipt": {key: short(value) for key, value in read_receipt(file.metadata).items()},
        "metadata": {key: short(value) for key, value in file.metadata.items()},
        "tensors": [
            {"name": t.name, "shape": t.shape, "format": t.format.name, "bytes": t.nbytes}
            for t in file.tensors.values()
        ],
    }


def short(value: Any) -> Any:
    """A metadata value for JSON: what JSON cannot hold (NaN, bytes that are no text) as text, long arrays cut."""
    import numpy as np

    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if not isinstance(value, list | np.ndarray):
        return value
    items = [short(item) for item in (value[:_ITEMS].tolist() if isinstance(value, np.ndarray) else value[:_ITEMS])]
    return items if len(value) <= _ITEMS else {"length": len(value), "first": items}


def kind(value: Any) -> str:
    """The type of a metadata value, as in "uint32" or "str[49152]"."""
    import numpy as np

    if isinstance(value, np.ndarray):
        return f"{value.dtype}[{len(value)}]"
    if isinstance(value, list):
        return f"{kind(value[0]).split('[')[0] if value else 'str'}[{len(value)}]"
    return str(value.dtype) if isinstance(value, np.generic) else "str"


def shown(value: Any) -> str:
    """A metadata value as text; of a long array the first items."""
    import numpy as np

    if not isinstance(value, list | np.ndarray):
        return str(value)
    items = [repr(item) if isinstance(item, str) else shown(item) for item in value[:_ITEMS]]
    return "[" + ", ".join(items) + (", …]" if len(value) > _ITEMS else "]")


def cell(text: str) -> str:
    """Text from a file as one line without control characters, cut to a width that a table can hold."""
    line = harmless(" ".join(text[: 4 * _WIDTH].split())).encode("utf-8", "replace").decode()
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
