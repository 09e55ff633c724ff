"""Groups of options: a command takes whole dataclasses whose fields are options, and Typer sees the fields.

What was given is read as people mean it, whichever option it is of.
"""

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from localmix.cli.streams import argument


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """`command` as Typer wants it: a parameter for each option."""
    signature = inspect.signature(command)
    plain: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for parameter in signature.parameters.values():
        group = parameter.annotation
        if isinstance(group, type) and is_dataclass(group):
            groups[parameter.name] = group
            plain += [
                inspect.Parameter(field.name, parameter.kind, default=field.default, annotation=field.type)
                for field in fields(group)
            ]
        else:
            plain.append(parameter)
    plain.sort(key=lambda parameter: parameter.default is not inspect.Parameter.empty)

    @functools.wraps(command)
    def expanded(**values: Any) -> None:
        values = {name: _meant(value) for name, value in values.items()}
        filled = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**values, **filled)

    expanded.__signature__ = signature.replace(parameters=plain)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in plain}
    return expanded


def _meant(value: Any) -> Any:
    """A path with the home folder in the place of ~, and text as UTF-8, from wherever either was given."""
    if isinstance(value, list):
        return [_meant(one) for one in value]
    if isinstance(value, Path):
        return Path(os.path.expanduser(value))
    return argument(value) if isinstance(value, str) else value
