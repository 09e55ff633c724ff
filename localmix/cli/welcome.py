"""What `localmix` without a command says in a terminal: what it is, what is here, and what to type next."""

from collections.abc import Iterator

from localmix import __version__
from localmix.amounts import amount
from localmix.cli.paths import squeezed

_MOST = 4  # models that are named
_COMMANDS = 36  # columns


def lines(columns: int) -> Iterator[str]:
    """At most `columns` characters each, where the names of models allow it."""
    from localmix import backends
    from localmix.store import pulled as store
    from localmix.store.bundled import SHORT

    yield f"localmix {__version__} runs sparse mixture-of-experts language models on this machine:"
    yield "one GGUF file, mapped into memory and read by the vector units or the GPU."
    yield "Chat in the terminal, answer piped prompts, serve clients, quantize models."
    yield ""
    models = store.pulled()
    yield f"Backend here: {backends.best()}{_detail(backends.best())}"
    yield f"Models here: {'' if models else f'{SHORT}, which ships with it and tells stories'}".rstrip()
    for model in models[:_MOST]:
        yield f"  {squeezed(str(model.name), columns - 16)} ({amount(model.size, 'B')})"
    if len(models) > _MOST:
        yield f"  and {len(models) - _MOST} more: localmix list"
    yield ""
    name = str(models[0].name) if models else SHORT
    yield from _command(f"localmix chat {name}", "talk with it")
    yield from _command(f"localmix doctor {name}", "does it fit, and how fast will it be?")
    yield from _command("localmix pull mixtral", "get a model from the Hugging Face hub")
    yield from _command("localmix help", "pages on models, settings and more")
    yield from _command("localmix --help", "all commands; each has its own --help")


def _command(text: str, does: str) -> Iterator[str]:
    """What to type, and beside or below it what that does."""
    if len(text) > _COMMANDS:
        yield f"  {text}"
        text = ""
    yield f"  {text:<{_COMMANDS}}  {does}"


def _detail(backend: str) -> str:
    if backend != "numba":
        return ""
    from localmix.backends.numba.machine import isa
    from localmix.backends.numba.passes.team import processors

    return f", {isa.active().name}, {processors()} threads"
