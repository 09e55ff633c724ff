"""`localmix passkey MODEL`: whether a context holds: a number hidden in a long text, and perplexity against context."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from localmix.cli.calibrate import progress
from localmix.cli.memory import loaded
from localmix.cli.parameters import BackendOption, Html, Json, KeysValues, Output, Ram, Threads
from localmix.cli.streams import note, overwrite, write
from localmix.errors import LocalmixError
from localmix.store.pulled import resolve

if TYPE_CHECKING:
    from localmix.cli.tables import Tables
    from localmix.measure.passkey import Grid, Reach
    from localmix.model import Model


def passkey(
    output: Output,
    path: Annotated[Path, typer.Argument(metavar="MODEL", help="A GGUF file, or the name of a pulled model.")],
    lengths: Annotated[
        str | None,
        typer.Option("--lengths", metavar="TOKENS", help="Lengths, such as 1k,2k.", show_default="256 to the context"),
    ] = None,
    depths: Annotated[int, typer.Option("--depths", min=1, help="Places in the text, evenly spread.")] = 5,
    keys: Annotated[int, typer.Option("--keys", min=1, help="Numbers hidden at each length and depth.")] = 3,
    text: Annotated[
        Path | None,
        typer.Option("--text", metavar="FILE", help="Also measure perplexity by length of context, on this text."),
    ] = None,
    chunks: Annotated[int | None, typer.Option("--chunks", min=1, help="Most windows of --text to read.")] = None,
    html: Html = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    backend: BackendOption = None,
    threads: Threads = None,
    kv: KeysValues = "f16",
    ram: Ram = None,
    as_json: Json = False,
) -> None:
    """Hide numbers in long texts, and see whether the model finds them.

    A number at each depth of texts of each length.

    Example: localmix passkey mixtral --lengths 1k,4k,16k --text book.txt --html context.html
    """
    from localmix.cli.tables import show
    from localmix.measure import aside
    from localmix.measure import passkey as measuring

    if html is not None:
        aside.check_new(html, force)
    model = loaded(resolve(path), backend, threads, kv, ram=ram)
    wanted = lengths_of(lengths, model.network.context)
    places = [i / (depths - 1) for i in range(depths)] if depths > 1 else [0.5]
    asked = measuring.trials(model.tokenizer, wanted, places, keys)
    grid = measuring.measure(model, asked, None if output.quiet else progress())
    reach = _reach(model, text, chunks, max(wanted), output) if text is not None else []
    overwrite("")
    found = grid.as_dict() | {"reach": [one.as_dict() for one in reach]}
    if html is not None:
        from localmix.report import page
        from localmix.report.facts import of_model

        facts = of_model(model)
        page.write(html, "passkey", f"The context of {facts[0][1]}", found | {"facts": facts})
    if as_json:
        write(json.dumps({"model": str(path), "kv": kv} | found, indent=2) + "\n")
        return
    show(tables(grid, reach), {*map(str, wanted), "tokens", "perplexity"})
    if not output.quiet:
        note(f"{keys} keys in each cell; depth 0 % is the beginning of the text, right before the question is 100 %")


def lengths_of(option: str | None, context: int) -> list[int]:
    """The lengths that the option says, in tokens; else powers of two up to the context, and the context."""
    if option is None:
        return sorted({*(1 << n for n in range(8, 20) if 1 << n < context), context})
    found = set()
    for part in option.split(","):
        number = part.strip().lower()
        scale = 1024 if number.endswith("k") else 1
        if not number.removesuffix("k").isdecimal():
            raise LocalmixError(f"--lengths {option}: expected numbers of tokens separated by commas, such as 1k,2048")
        found.add(int(number.removesuffix("k")) * scale)
    if max(found) > context:
        raise LocalmixError(f"--lengths {option}: {max(found)} tokens: expected at most {context}, the model's context")
    return sorted(found)


def tables(grid: "Grid", reach: "list[Reach]") -> "Tables":
    """The heat map in numbers, and perplexity by context."""
    rows = [
        (f"{depth:.0%}", *(f"{share:.0%}" for share in row)) for depth, row in zip(grid.depths, grid.found, strict=True)
    ]
    likely = [
        (f"{depth:.0%}", *(f"{nats:.2f}" for nats in row)) for depth, row in zip(grid.depths, grid.nats, strict=True)
    ]
    context = [
        (f"{one.start} to {one.end - 1}", str(one.score.tokens), f"{one.score.perplexity:.3f} ± {one.score.error:.3f}")
        for one in reach
    ]
    head = ("depth", *map(str, grid.lengths))
    return {
        "keys found, by tokens of the text": (head, rows),
        "log-probability of a key in nats": (head, likely),
        "perplexity by tokens of context": (("context", "tokens", "perplexity"), context),
    }


def _reach(model: "Model", text: Path, chunks: int | None, longest: int, output: Output) -> "list[Reach]":
    from localmix.measure import passkey as measuring
    from localmix.measure import windows

    try:
        cut = windows.cut(model.tokenizer, windows.read_text(text), longest, chunks)
    except LocalmixError as error:
        raise LocalmixError(str(error).replace("lower -c", "lower --lengths")) from None
    return measuring.reach(model, cut, None if output.quiet else progress())
