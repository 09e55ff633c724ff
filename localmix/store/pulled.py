"""Models that were pulled: which there are, under what names, and where. Knows no network.

A file of the hub lies at OWNER/REPOSITORY/FILE under one folder. Its name is `owner/repository:FORMAT`; the
repository may be one of the short names below, and the format may be left out where only one is here.
"""

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from localmix.errors import LocalmixError
from localmix.store import bundled

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
_FORMAT = re.compile(r"(?i)(?<![a-z0-9])(i?q\d_(?:k_[sml]|k|[01]|nl|x?xs|[sm])|bf16|f16|f32|mxfp4)(?![a-z0-9])")
_PART = re.compile(r"-\d{5}-of-\d{5}(?=\.gguf$)")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Name:
    """A repository of the hub, and a weight format or None for whichever there is."""

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
    """A name as a user types it; None if it cannot be one."""
    repository, _, after = text.partition(":")
    repository = REPOSITORIES.get(repository, repository)
    if not _REPOSITORY.fullmatch(repository) or set(repository.split("/")) & {".", ".."}:
        return None
    if format and after and format.upper() != after.upper():
        raise LocalmixError(f"two formats, {after} in the name and --format {format}: give one")
    return Name(repository, (format or after).upper() or None)


def format_of(file: str) -> str | None:
    """The weight format that a file's name tells, as in "x.Q4_K_M.gguf"."""
    found = _FORMAT.findall(file.rpartition("/")[2])
    return found[-1].upper() if found else None


def whole(files: list[str]) -> list[list[str]]:
    """GGUF files as models: the parts of a split one together, in order."""
    groups: dict[str, list[str]] = defaultdict(list)
    for file in sorted(files):
        if file.endswith(".gguf"):
            groups[_PART.sub("", file)].append(file)
    return list(groups.values())


def pulled() -> list[Pulled]:
    """All models here, by name."""
    models = []
    for owner in _folders(folder()):
        for repository in _folders(owner):
            files = [str(path.relative_to(repository)) for path in repository.rglob("*.gguf") if path.is_file()]
            for group in whole(files):
                name = Name(f"{owner.name}/{repository.name}", format_of(group[0]))
                models.append(Pulled(name, tuple(repository / file for file in group)))
    return sorted(models, key=lambda model: str(model.name))


def find(name: Name) -> Pulled | None:
    """The model of that name, if it is here. LocalmixError: there are several."""
    fitting = [
        model
        for model in pulled()
        if model.name.repository.lower() == name.repository.lower() and name.format in (None, model.name.format)
    ]
    if len(fitting) > 1:
        formats = ", ".join(str(model.name.format) for model in fitting)
        raise LocalmixError(f"{name}: there are {len(fitting)}, {formats}: name one, as in {fitting[0].name}")
    return fitting[0] if fitting else None


def resolve(given: Path) -> Path:
    """The file that -m means: a file as it is, the bundled model by its name, else the pulled model of that name."""
    if str(given) == bundled.SHORT and not os.path.exists(given):
        return bundled.model_path()
    name = None if os.path.exists(given) else parse(str(given))
    if name is None:
        return given
    if (model := find(name)) is None:
        raise LocalmixError(f"{given}: no such file, and not pulled; {here()}: get it with localmix pull {given}")
    return model.path


def here() -> str:
    """What is here, in a clause."""
    names = ", ".join(str(model.name) for model in pulled())
    return f"pulled are {names}" if names else "nothing is pulled yet"


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
