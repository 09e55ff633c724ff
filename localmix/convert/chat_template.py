"""The chat template of a checkpoint folder, from the four places where it may be."""

from pathlib import Path
from typing import Any

from localmix.convert.safetensors import read_json
from localmix.convert.settings import Settings
from localmix.errors import FileFormatError


def chat_template(folder: Path, settings: Settings, notes: list[str]) -> str | None:
    """chat_template.jinja (transformers 5), chat_template.json (processors), or what `settings` say; else None.

    `settings` are tokenizer_config.json; `notes` gets what was chosen where there are several.
    """
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise FileFormatError(f"{path}: cannot be read as UTF-8: {error}") from None
    named = _named(settings.values.get("chat_template"))
    place = settings.path.name
    path = folder / "chat_template.json"
    if not named and path.is_file():
        place = path.name
        named = _named(read_json(path).get("chat_template"))
    path = folder / "additional_chat_templates"
    if not named and path.is_dir():
        place = path.name
        named = {each.stem: each.read_text("utf-8") for each in sorted(path.glob("*.jinja"))}
    return _chosen(named, place, notes)


def _named(value: Any) -> dict[str, str]:
    """Templates and their names: one alone is the default, several are a list of objects or one object."""
    if isinstance(value, str):
        return {"default": value} if value else {}
    if isinstance(value, list):
        value = {entry.get("name"): entry.get("template") for entry in value if isinstance(entry, dict)}
    if not isinstance(value, dict):
        return {}
    return {str(name): template for name, template in value.items() if isinstance(template, str)}


def _chosen(named: dict[str, str], place: str, notes: list[str]) -> str | None:
    """The template named default, else the only one, else the first that is not for tools; a note names a choice."""
    if "default" in named or not named:
        return named.get("default")
    name = next((name for name in named if "tool" not in name and "rag" not in name), next(iter(named)))
    others = [other for other in named if other != name]
    notes.append(
        f"the chat template is {name!r}: {place} names no default"
        + (f"; left out: {', '.join(map(repr, others))}" if others else "")
    )
    return named[name]
