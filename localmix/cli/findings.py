"""What `localmix doctor` found, as sentences for a terminal. Programs get the same names and values, see `doctor`."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from localmix.amounts import amount
from localmix.cli.paths import shortened

_KNOWN = ("localmix", "processor", "numba", "default", "memory_bytes", "free_memory_bytes",
          "memory_speed_bytes_per_second", "disk_speed_bytes_per_second", "model", "size_bytes", "token_reads_bytes",
          "fits", "how", "expected_tokens_per_second", "command")  # fmt: skip


def report(found: Mapping[str, Mapping[str, Any]], columns: int) -> Iterator[str]:
    """Lines of at most `columns` characters: a paragraph on the machine, one on the model, and what to type."""
    yield from _wrapped(" ".join(_of_machine(found["machine"])), columns)
    yield from _others(found["machine"], columns)
    if model := found.get("model"):
        yield ""
        yield from _wrapped(" ".join(_of_model(model, columns)), columns)
        yield from _others(model, columns)
        yield ""
        yield f"Run it with: {model['command']}" if model["fits"] != "no" else "Choose a smaller format or model."


def _of_machine(rows: Mapping[str, Any]) -> Iterator[str]:
    memory, free = (amount(rows[key], "B") for key in ("memory_bytes", "free_memory_bytes"))
    yield f"This machine has {memory} of memory, {free} of it free; its processor is {rows['processor']}."
    if "memory_speed_bytes_per_second" in rows:
        speeds = (amount(rows[f"{what}_speed_bytes_per_second"], "B") for what in ("memory", "disk"))
        yield "Memory is read at {}/s, the disk at {}/s.".format(*speeds)
    how = f" ({rows['numba']})" if rows["default"] == "numba" else ""
    yield f"Models run on the {rows['default']} backend{how}."
    yield f"This is localmix {rows['localmix']}."


def _of_model(rows: Mapping[str, Any], columns: int) -> Iterator[str]:
    size, reads = (amount(rows[key], "B") for key in ("size_bytes", "token_reads_bytes"))
    yield f"{shortened(rows['model'], columns)}: {size}, of which each token reads {reads}."
    how = str(rows["how"]).removeprefix("no: ")
    yield {
        "resident": "It fits in memory as a whole.",
        "streamed": f"It does not fit in memory as a whole: {how}.",
    }.get(rows["fits"], f"It does not fit: {how}.")
    if "expected_tokens_per_second" in rows:
        yield f"Expect about {rows['expected_tokens_per_second']:.3g} tokens per second."


def _others(rows: Mapping[str, Any], columns: int) -> Iterator[str]:
    """What only some machines have, a line each."""
    for name, value in rows.items():
        if name not in _KNOWN:
            yield from _wrapped(f"{name.replace('_', ' ')}: {value}", columns)


def _wrapped(text: str, columns: int) -> list[str]:
    return textwrap.wrap(text, max(columns, 20), break_long_words=False, break_on_hyphens=False)
