"""`localmix serve`: a model for programs and browsers, on this machine or for others."""

from pathlib import Path
from typing import Annotated

import typer

from localmix.amounts import amount
from localmix.answer.options import PARALLEL
from localmix.cli.parameters import Draft, Engine, ModelArgument, Output, all_if_zero, read_text
from localmix.cli.streams import note
from localmix.cli.targets import size
from localmix.errors import LocalmixError

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    engine: Engine,
    output: Output,
    path: ModelArgument = None,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0: any that is free.")] = 8080,
    api_key: Annotated[
        list[str] | None,
        typer.Option("--api-key", metavar="KEY", help="A key that is accepted. May be repeated.", show_default="none"),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option("--api-key-file", metavar="FILE", help="A file of keys, one per line; ps does not show them."),
    ] = None,
    draft: Draft = "auto",
    parallel: Annotated[int, typer.Option("--parallel", min=1, help="Answers computed at once.")] = PARALLEL,
    context: Annotated[
        int | None,
        typer.Option(
            "-c",
            "--ctx",
            callback=all_if_zero,
            help="Tokens of context for each answer; 0: all.",
            show_default="all the model has",
        ),
    ] = None,
    max_gap: Annotated[
        float, typer.Option("--max-gap", min=0.01, help="The longest wait between two tokens, in seconds.")
    ] = 0.5,
    kv_memory: Annotated[
        str | None,
        typer.Option(
            "--kv-memory",
            metavar="SIZE",
            help="For keys and values; 0: no bound, and no prompts remembered.",
            show_default="half of what is free",
        ),
    ] = None,
    queue: Annotated[int, typer.Option("--queue", min=0, help="Requests that may wait for a place.")] = 128,
    alias: Annotated[
        str | None, typer.Option("--alias", metavar="NAME", help="The model's name.", show_default="the file's")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option("--allow-origin", metavar="URL", help="A site whose pages may send requests.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="A host name that clients may use."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Accept everyone without a key, even from other machines.")
    ] = False,
) -> None:
    """Serve a model: OpenAI's interface at http://127.0.0.1:8080/v1.

    Ctrl-C answers what was asked and ends; a second one ends at once.
    """
    keys = [*(api_key or ()), *(line for line in _lines(api_key_file) if line)]
    if host not in _LOOPBACK and not keys and not insecure:
        raise LocalmixError(f"--host {host} accepts other machines: add --api-key-file FILE, or --insecure")
    from localmix.server import start

    settings = start.Settings(
        host=host,
        port=port,
        keys=keys,
        origins=allow_origin or (),
        hosts=allow_host or (),
        name=alias,
        parallel=parallel,
        context=context,
        gap=max_gap,
        memory=None if kv_memory is None else 0 if kv_memory == "0" else size("--kv-memory", kv_memory),
        queue=queue,
    )
    listening = start.listen(settings)
    model = engine.load(path, draft)
    found = start.service(model, settings)
    place = f"[{host}]" if ":" in host else host
    url = f"http://{place}:{listening.getsockname()[1]}"

    said = model.defaults.said({})
    recommended = f"localmix: unless a request says otherwise: {said}\n" if said else ""

    def ready() -> None:
        if not output.quiet:
            note(
                f"localmix: {found.name}: a chat for the browser at {url}, OpenAI's interface at {url}/v1\n"
                f"localmix: {parallel} answers at once, contexts of {found.context:,} tokens, gaps of at most "
                f"{max_gap:g} s, "
                f"{amount(found.budget, 'B') if found.budget else 'any amount'} for keys and values\n"
                f"{recommended}localmix: try  curl {url}/v1/chat/completions -d "
                """'{"messages": [{"role": "user", "content": "Hello"}]}'"""
            )

    if not start.serve(found, settings, listening, ready):
        raise LocalmixError("the engine failed, see above: start the server again")


def _lines(path: Path | None) -> list[str]:
    return [] if path is None else [line.strip() for line in read_text(path).splitlines()]
