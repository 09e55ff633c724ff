"""The commands: `localmix x` is the function `x` of cli/x.py. To add a command: a module and a line in `app`.

Modules here import what is heavy inside their functions, so that `--help` is instant.
"""

import shutil
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, NoReturn

import typer
from typer.main import get_command

from localmix import __version__
from localmix.cli import settings, streams
from localmix.cli.groups import grouped
from localmix.errors import LocalmixError

COMMANDS = (
    *("run", "chat", "serve", "info", "bench", "quantize", "calibrate", "perplexity", "routes", "passkey", "quality"),
    *("eval", "pull", "list", "rm", "config", "doctor", "help"),
)


def program(names: Sequence[str] = COMMANDS) -> typer.Typer:
    """The program, with these commands."""
    app = typer.Typer(
        invoke_without_command=True,
        add_completion=True,
        rich_markup_mode=None,  # plain help: rich's takes as long as all the rest of --help
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(describe)
    for name in names:
        app.command()(grouped(getattr(import_module(f"localmix.cli.{name}"), name)))
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        print("localmix", __version__)
        raise typer.Exit


def describe(
    context: typer.Context,
    wanted: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run sparse mixture-of-experts language models on the machine you have.

    Exit codes: 0 done; 1 a problem, which one line on stderr names; 2 a command line that cannot be read;
    130 Ctrl-C; 141 the reader of stdout has closed it.
    """
    if context.invoked_subcommand is not None:
        return
    if not sys.stdout.isatty():
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)
    from localmix.cli.welcome import lines

    for line in lines(shutil.get_terminal_size().columns):
        streams.write(line + "\n")


def execute() -> None:
    """Read the command line and do what it says; see `localmix.cli.main`."""
    try:
        streams.opened()
        tell = streams.tolerant()
        command = get_command(program(_typed()))
        try:
            command.main(default_map=settings.apply(command))
        finally:
            tell()
    except LocalmixError as error:
        if "--debug" in sys.argv:  # also where the options could not be read
            raise
        _end(str(error))
    except OSError as error:  # of the machine: a disk, a permission
        if "--debug" in sys.argv:
            raise
        _end(": ".join(str(part) for part in (error.filename, error.strerror or error) if part))
    except (MemoryError, RecursionError) as error:
        if "--debug" in sys.argv:
            raise
        deep = "a file or line is nested too deeply to be read: is it the right one?"
        memory = "out of memory: close other programs, or use a smaller model or context (--ctx)"
        _end(memory if isinstance(error, MemoryError) else deep)


def _typed() -> Sequence[str]:
    """The command that is typed, without the others, which take 30 ms to load; all where all are needed: for help, for
    `config`, which lists every setting, and where a settings file is checked.
    """
    first = sys.argv[1:2]
    alone = first and first[0] in COMMANDS and first[0] != "config" and not settings.given()
    return first if alone else COMMANDS


def _end(problem: str) -> NoReturn:
    """One line, and exit code 1."""
    sys.exit("localmix: " + streams.harmless(problem.replace("\n", " ")))
