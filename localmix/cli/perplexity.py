"""`localmix perplexity MODEL TEXT`: how well a model predicts a text; with --compare, how far it is from another."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localmix.cli.memory import loaded
from localmix.cli.parameters import BackendOption, Json, KeysValues, Output, Ram, Reading, TextFile, Threads
from localmix.cli.streams import json_text, overwrite, write
from localmix.store.pulled import resolve

if TYPE_CHECKING:
    from localmix.measure.perplexity import Comparison, Progress, Score

CONTEXT = 512  # as llama.cpp's
BASE = "f16"  # the kind of keys and values that others are compared with


def perplexity(
    output: Output,
    reading: Reading,
    path: Annotated[Path, typer.Argument(metavar="MODEL", help="A GGUF file, or the name of a pulled model.")],
    text: TextFile,
    compare: Annotated[
        Path | None, typer.Option("--compare", metavar="OTHER", help="Compare MODEL with this one, such as its F16.")
    ] = None,
    backend: BackendOption = None,
    threads: Threads = None,
    kv: KeysValues = "f16",
    ram: Ram = None,
    as_json: Json = False,
) -> None:
    """Measure how well a model predicts a text, as llama.cpp does.

    Windows of the context are read, and the second half of each is scored. With --kv also what that kind of keys and
    values costs: the divergence from the same model with f16.

    Example: localmix perplexity mixtral.Q4_K_M.gguf wiki.test.raw --compare mixtral.Q8_0.gguf
    """
    from localmix.measure import perplexity as measuring

    of = 1 if compare is None else 2
    model = loaded(resolve(path), backend, threads, kv, ram, of=of)
    windows = reading.windows(model, text)
    show = None if output.quiet else progress()
    found: Score | Comparison
    if compare is None and kv != BASE:
        found = measuring.compare_caches(model, kv, BASE, windows, show)
        report, rows = compared(found), comparison_table(found, f"with --kv {BASE}")
    elif compare is None:
        found = measuring.measure(model, windows, show)
        report, rows = scored(found), table(found)
    else:
        other = loaded(resolve(compare), backend, threads, ram=ram, of=of)
        found = measuring.compare(model, other, windows, show)
        report, rows = compared(found), comparison_table(found)
    overwrite("")
    context = reading.length(model)
    given = {"model": str(path), "compare": compare and str(compare), "text": str(text), "context": context, "kv": kv}
    if as_json:
        write(json_text(given | {"windows": len(windows)} | report, indent=2))
        return
    for name, value in rows:
        write(f"{name:<18} {value}\n")


def progress() -> "Progress":
    """A line that shows the estimate so far and the time left."""
    began = time.monotonic()

    def show(done: int, total: int, score: "Score") -> None:
        left = round((time.monotonic() - began) * (total - done) / done)
        estimate = f"perplexity {score.perplexity:.4f} ± {score.error:.4f}" if score.tokens else ""
        overwrite(f"{done} of {total} tokens, {left // 60}:{left % 60:02} left {estimate}" if left else "")

    return show


def scored(score: "Score") -> dict[str, Any]:
    """A score for programs."""
    return {"tokens": score.tokens, "perplexity": score.perplexity, "error": score.error}


def compared(found: "Comparison") -> dict[str, Any]:
    """A comparison for programs: KL divergence in nats per token, agreements as shares."""
    return scored(found.score) | {
        "base_perplexity": found.base.perplexity,
        "base_error": found.base.error,
        "kl_mean": found.kl_mean,
        "kl_median": found.kl_percentile(50),
        "kl_99": found.kl_percentile(99),
        "kl_max": found.kl_percentile(100),
        "top1_agreement": found.top1,
        "router_agreement": found.router,
    }


def table(score: "Score") -> list[tuple[str, str]]:
    """A score for people."""
    return [("perplexity", f"{score.perplexity:.4f} ± {score.error:.4f}, {score.tokens} tokens scored")]


def comparison_table(found: "Comparison", base: str = "of the other model") -> list[tuple[str, str]]:
    """A comparison for people; `base` names what the model is compared with."""
    median, most = found.kl_percentile(50), found.kl_percentile(99)
    rows = [
        *table(found.score),
        (base, f"{found.base.perplexity:.4f} ± {found.base.error:.4f}"),
        ("KL divergence", f"mean {found.kl_mean:.6f}, median {median:.6f}, 99th percentile {most:.6f} nats per token"),
        ("same top choice", f"{found.top1:.2%}"),
    ]
    for layer, share in enumerate(found.router):
        rows.append((f"router, layer {layer}", f"{share:.2%} choose the same experts"))
    return rows
