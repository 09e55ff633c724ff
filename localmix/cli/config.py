"""`localmix config`: the settings in force, and where each came from."""

import os
from typing import Any

import typer

from localmix.answer.options import Options
from localmix.cli import settings
from localmix.cli.parameters import Json, Output
from localmix.cli.streams import json_text, note, write


def config(context: typer.Context, output: Output, as_json: Json = False) -> None:
    """Show the settings in force, and where each came from.

    That is the environment, the settings file, or the default. Every option can be set: in the file, as
    top-p = 0.9, or in a variable, as LOCALMIX_TOP_P=0.9.
    """
    assert context.parent is not None
    rows = [
        row
        for title, command in context.parent.command.commands.items()  # type: ignore[attr-defined]
        for row in _rows(title, command, (context.parent.default_map or {}).get(title, {}))
    ]
    if as_json:
        write(json_text({"file": str(settings.path()), "settings": rows}, indent=2))
        return
    if not output.quiet:
        there = "" if settings.path().exists() else ", which does not exist"
        note(f"localmix: the settings file is {settings.path()}{there}")
    for row in rows:
        write("\t".join((row["command"], row["name"], json_text(row["value"]).strip(), row["from"])) + "\n")


def _rows(title: str, command: Any, from_file: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for option in settings.options(command):
        variable = settings.variable(option)
        if variable in os.environ:
            value, source = os.environ[variable], variable
        elif option.name in from_file:
            value, source = from_file[option.name], str(settings.path())
        else:
            value, source = option.default() if callable(option.default) else option.default, "default"
        if value is None:  # a model's file may have another
            value = getattr(Options, str(option.name), None)
        value = value if isinstance(value, str | int | float | bool | list) else None
        rows.append({"command": title, "name": settings.name(option), "value": value, "from": source})
    return rows
