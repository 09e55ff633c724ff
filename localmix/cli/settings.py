"""Settings: every option of the command line from the environment or from one TOML file.

A flag goes over LOCALMIX_<OPTION>, that over the file, that over the default. In the file a name at the top counts
for every command that has the option, one in a table `[run]` for that command: `temp = 0.2`, `top-p = 0.9`.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from localmix.errors import LocalmixError

PATH_VARIABLE = "LOCALMIX_CONFIG"
_NOT_SETTINGS = ("help", "debug", "yes")
Command = Any  # a click.Command; click is Typer's business


def path() -> Path:
    """The settings file: $LOCALMIX_CONFIG, or the platform's place. It need not exist."""
    if given := os.environ.get(PATH_VARIABLE):
        return Path(os.path.expanduser(given))
    import platformdirs

    try:
        return platformdirs.user_config_path("localmix") / "settings.toml"
    except RuntimeError:  # no home folder is known
        return Path(os.devnull) / "settings.toml"


def given() -> bool:
    """Whether there is a settings file that may have something in it."""
    return path() != Path(os.devnull) and os.path.exists(path())


def apply(group: Command) -> dict[str, dict[str, Any]]:
    """Give every option its variable; the file's values, by command and by the name of the parameter."""
    for command in group.commands.values():
        for option in options(command):
            option.envvar, option.show_envvar = variable(option), False
    return defaults(group, read(path()))


def options(command: Command) -> Iterator[Any]:
    """The options of a command that are settings."""
    for parameter in command.params:
        if parameter.param_type_name == "option" and name(parameter) not in _NOT_SETTINGS:
            yield parameter


def name(option: Any) -> str:
    """An option as the file names it: top-p for --top-p."""
    return str(max(option.opts, key=len)).lstrip("-")


def variable(option: Any) -> str:
    """An option's variable: LOCALMIX_TOP_P for --top-p."""
    return "LOCALMIX_" + name(option).upper().replace("-", "_")


def read(file: Path) -> dict[str, Any]:
    """What the file says; nothing where there is none, or where nobody may look for one."""
    if not os.path.exists(file):
        return {}
    import tomllib

    try:
        return tomllib.loads(file.read_bytes().decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LocalmixError(f"{file}: cannot be read as TOML: {error}") from None


def defaults(group: Command, found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The file's values, checked. LocalmixError: a name that no command has, or a value of another kind."""
    tables = {key: value for key, value in found.items() if isinstance(value, dict)}
    every = {key: value for key, value in found.items() if key not in tables}
    known = {name(option) for command in group.commands.values() for option in options(command)}
    for key in every:
        if key not in known:
            raise _unknown(key, known)
    for table in tables:
        if table not in group.commands:
            raise _unknown(f"[{table}]", group.commands)
    result = {}
    for title, command in group.commands.items():
        own = {name(option): option for option in options(command)}
        for key in tables.get(title, ()):
            if key not in own:
                raise _unknown(f"[{title}] {key}", own)
        merged = {key: value for key, value in every.items() if key in own} | tables.get(title, {})
        if merged:  # a key "help", of a command without settings, would be taken for --help
            result[title] = {own[key].name: _checked(own[key], value) for key, value in merged.items()}
    return result


def _checked(option: Any, value: Any) -> Any:
    """The value as Typer takes it, which checks numbers itself."""
    if option.is_flag and not isinstance(value, bool):
        raise LocalmixError(f"{path()}: {name(option)} = {value!r}: expected true or false")
    return [value] if option.multiple and isinstance(value, str) else value


def _unknown(key: str, known: Any) -> LocalmixError:
    return LocalmixError(f"{path()}: unknown setting {key}: expected one of {', '.join(sorted(known))}")
