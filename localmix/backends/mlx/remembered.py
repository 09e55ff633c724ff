"""What was measured on this machine, kept in a file, so that it is measured once and always decided the same way."""

import json
import os
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from localmix.backends.mlx import memory
from quant import folders

Known = dict[str, Any]  # name -> what was found, as JSON


def machine(*more: str) -> str:
    """What a measurement is of: this device, this MLX, and what else it depends on."""
    return ", ".join((memory.here().name, f"MLX {version('mlx')}", *more))


def recall(name: str, machine: str) -> Known:
    """What `name` holds of a machine; nothing of a file that is damaged."""
    known = _read(_file(name)).get(machine)
    return known if isinstance(known, dict) else {}


def keep(name: str, machine: str, found: Known) -> None:
    """Add to it. Written aside and moved into place; where nothing can be written it is measured again next time."""
    file = _file(name)
    known = _read(file)
    known[machine] = recall(name, machine) | found
    aside = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(known))
        aside.replace(file)
    except OSError:
        with suppress(OSError):
            aside.unlink()


def _file(name: str) -> Path:
    return folders.cached() / f"{name}.json"


def _read(file: Path) -> dict[str, Any]:
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
