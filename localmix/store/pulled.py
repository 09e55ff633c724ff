"""Models that were pulled: which there are, under what names, and where. Knows no network.

A file of the hub lies at OWNER/REPOSITORY/FILE under one folder. Its name is `owner/repository:FORMAT`; the
repository may be one of the short names below, and the format may be left out where only one is here.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from localmix.errors import LocalmixError
from localmix.store import bundled, variants

FOLDER_VARIABLE = "LOCALMIX_MODELS"
_MIXTRAL = "TheBloke/Mixtral-8x7B-Instruct-v0.1-GGUF"
_MIXTRAL_BASE = "TheBloke/Mixtral-8x7B-v0.1-GGUF"
_LARGE_BASE = "bartowski/Mixtral-8x22B-v0.1-GGUF"
# Short names, and repositories that hold no GGUF file themselves, by who has one.
REPOSITORIES = {
    "mixtral": _MIXTRAL,
    "mixtral-base": _MIXTRAL_BASE,
    "mixtral-8x22b-base": _LARGE_BASE,
    "mistralai/Mixtral-8x7B-Instruct-v0.1": _MIXTRAL,
    "mistralai/Mixtral-8x7B-v0.1": _MIXTRAL_BASE,
    "mistralai/Mixtral-8x22B-v0.1": _LARGE_BASE,
}
# A repository, or its address or that of a file, as a browser shows them or other programs write them.
_ADDRESS = re.compile(r"(?:https?:/+[\w.:-]+/|hf\.co/|hf:/+)(?P<repository>[\w.-]+/[\w.-]+)"
                      r"(?:/(?:blob|resolve|raw|tree)/main)?(?:[/:](?P<file>[^?#]+))?[?#]?.*")  # fmt: skip
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Name:
    """A repository of the hub, and a weight format or file, or None for whichever there is."""

    repository: str
    format: str | None

    def __str__(self) -> str:
        return f"{self.repository}:{self.format}" if self.format else self.repository


@dataclass(frozen=True)
class Pulled:
    """A model on this machine, in one file or several."""

    name: Name
    files: tuple[Path, ...]  # in order; opening the first opens all

    @property
    def path(self) -> Path:
        return self.files[0]

    @property
    def size(self) -> int:
        return sum(file.stat().st_size for file in self.files)


def folder() -> Path:
    """Where pulled models lie: $LOCALMIX_MODELS, or the platform's place for data."""
    from quant import folders  # and numpy

    return folders.folder(FOLDER_VARIABLE, "data", "models")


def parse(text: str, format: str | None = None) -> Name | None:
    """A name as a user types it; None if it cannot be one. LocalmixError: two formats."""
    if address := _ADDRESS.fullmatch(text):
        text = f"{address['repository']}:{address['file'] or ''}"
    repository, _, after = text.partition(":")
    repository = REPOSITORIES.get(repository, repository)
    if not _REPOSITORY.fullmatch(repository) or set(repository.split("/")) & {".", ".."}:
        return None
    if format and after and format.upper() != after.upper():
        raise LocalmixError(f"two formats, {after} in the name and --format {format}: give one")
    return Name(repository, format or after or None)


def pulled() -> list[Pulled]:
    """All models here, by name."""
    models = []
    for owner in _folders(folder()):
        for repository in _folders(owner):
            known = _variants(repository)
            for one, format in zip(known, variants.names(known), strict=True):
                name = Name(f"{owner.name}/{repository.name}", format)
                models.append(Pulled(name, tuple(repository / file for file in one.files)))
    return sorted(models, key=lambda model: str(model.name))


def find(name: Name, exactly: bool = False) -> Pulled | None:
    """The model that a name means, if it is here; `exactly`: of this format. LocalmixError: there are several."""
    models = [model for model in pulled() if model.name.repository.lower() == name.repository.lower()]
    if not models:
        return None
    repository = folder() / models[0].name.repository
    known = _variants(repository)
    if name.format is None:
        fitting = [one for one in known if not one.beside]
    else:
        fitting = (variants.exactly if exactly else variants.fitting)(known, name.format)
    found = [model for model in models if any(model.path == repository / one.files[0] for one in fitting)]
    if len(found) > 1:
        each = ", ".join(str(model.name.format) for model in found)
        raise LocalmixError(f"{name}: {len(found)} models fit, {each}: name one, as in {found[0].name}")
    return found[0] if found else None


def _variants(repository: Path) -> list[variants.Variant]:
    files = (path for path in repository.rglob("*") if path.suffix.lower() == ".gguf" and path.is_file())
    return variants.variants([str(path.relative_to(repository)) for path in files])


def resolve(given: Path) -> Path:
    """The file that -m means: a file as it is, the bundled model by its name, else the pulled model of that name."""
    if str(given) == bundled.SHORT and not os.path.exists(given):
        return bundled.model_path()
    name = None if os.path.exists(given) else parse(str(given))
    if name is None:
        return given
    if (model := find(name)) is None:
        raise LocalmixError(f"{given}: no such file, nor a pulled model; {here()}: get it with localmix pull {given}")
    return model.path


def here() -> str:
    """What is here, in a clause."""
    names = ", ".join(str(model.name) for model in pulled())
    return f"pulled models: {names}" if names else "no model has been pulled yet"


def remove(model: Pulled) -> None:
    """Delete a model's files, and folders that are then empty."""
    try:
        for file in model.files:
            file.unlink()
    except OSError as error:
        raise LocalmixError(f"{error.filename}: cannot be deleted: {error.strerror}") from None
    above = model.path.parent
    while above != folder() and not any(above.iterdir()):
        above.rmdir()
        above = above.parent


def _folders(path: Path) -> list[Path]:
    """Those in a folder. LocalmixError: it cannot be read."""
    if not os.path.isdir(path):
        return []
    try:
        return sorted(inner for inner in path.iterdir() if os.path.isdir(inner))
    except OSError as error:
        raise LocalmixError(f"{path}: cannot be read: {error.strerror}") from None
