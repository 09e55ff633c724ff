"""What `localmix doctor` says of a model: where it is, whether it fits and how, how fast it will be, what to type."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localmix.amounts import amount
from localmix.cli.targets import size
from localmix.errors import LocalmixError
from localmix.stream import fit as fitting

if TYPE_CHECKING:
    from localmix.gguf import File

_FITS = {
    "resident": "whole in memory",
    "no": "no: every token reads more than the free memory holds",
}

# Of a model on MLX and on the processor: where the latter is to be asked for.
_BETTER_BESIDE = (("no", "streamed"), ("no", "resident"), ("streamed", "resident"))


def examine(
    path: Path | None,
    backend: str | None,
    threads: int | None,
    machine: Mapping[str, Any],
    *,
    quick: bool,
    ram: str | None = None,
) -> dict[str, Any]:
    """Names and values; `ram`: the memory that may be used, as it was typed, None for what is free.

    LocalmixError: the model is neither here nor on the hub, or `ram` is no size.
    """
    from localmix import backends
    from localmix.measure import forecast

    with _header(path) as (file, place, here):
        sizes, most = forecast.sizes(file), None if ram is None else size("--ram", ram)
        free = fitting.usable(most, machine["free_memory_bytes"])
        rows: dict[str, Any] = {
            "model": place,
            "size_bytes": sizes.weights,
            "token_reads_bytes": sizes.shared + sizes.experts_read,
        }
        how = _FITS
        if (backend or backends.best()) == "mlx":
            held, room = _on_mlx(file, threads, free)
            no = f"no: it needs {amount(held.weights, 'B')} there, {amount(room, 'B')} free"
            there, beside = fitting.fit(held, room), fitting.fit(sizes, free)
            if backend is None and (there, beside) in _BETTER_BESIDE:
                backend, why = "numba", no if there == "no" else _streamed(held, room)
                rows["mlx"] = f"{why}; the processor can run it{' from memory' if there == 'streamed' else ''}"
            else:
                sizes, free, how = held, room, how | {"no": no}
        elif backend == "reference":
            sizes = replace(sizes, experts=0)  # which cannot be streamed there
        else:
            rows |= _on_gpu(file, threads, free) if backend is None else {}
        fit = fitting.fit(sizes, free)
        how = how | {"streamed": _streamed(sizes, free)}
        rows |= {"fits": fit, "how": how[fit]}
        if fit != "no" and not quick:
            engine = backends.pick(backend, threads)
            seconds = (forecast.seconds if here else forecast.seconds_of_absent)(file, engine)
            if fit == "streamed":
                whole = forecast.seconds_of_experts(file, engine, machine["disk_speed_bytes_per_second"])
                seconds += fitting.missing(sizes, free) * whole
            rows["expected_tokens_per_second"] = round(1 / seconds, 2)
        asked = {"--backend": backend, "-t": threads, "--ram": ram}
        rows["command"] = _command(path, here, sizes, fit, free, asked)
    return rows


def _streamed(sizes: Any, free: int) -> str:
    """What of the experts stays in memory, and what would keep them all there."""
    room, needs = fitting.room(sizes, free), fitting.needs(sizes)
    return (
        f"experts are streamed from the disk: {amount(room, 'B')} of {amount(sizes.experts, 'B')} stay in memory; "
        f"with {amount(needs, 'B')} all would"
    )


def _on_gpu(file: "File", threads: int | None, free: int) -> dict[str, Any]:
    """Whether a model fits on a GPU that would have to be asked for; nothing where there is none."""
    from localmix import backends

    if threads is not None or backends.no_mlx() is not None:
        return {}
    engine: Any = backends.pick("mlx")
    if engine.device.room is None:
        return {}
    held, room = _on_mlx(file, None, free)
    fits = "does not fit" if fitting.fit(held, room) == "no" else "fits, ask for it with --backend mlx"
    needs = f"needs {amount(held.weights, 'B')}, {amount(room, 'B')} free"
    return {"gpu": f"{engine.device.name}: the model {fits} ({needs})"}


def _on_mlx(file: "File", threads: int | None, free: int) -> tuple[Any, int]:
    """The sizes of a model as MLX holds it, and the bytes of memory for that."""
    from localmix import backends
    from localmix.measure import forecast

    engine: Any = backends.pick("mlx", threads)
    room, own = engine.device.room, engine.device.own
    sizes = forecast.sizes(file, engine.held)
    if not engine.streams:
        sizes = replace(sizes, experts=0)
    return sizes, free if room is None else room if own else min(free, room)


def _command(
    path: Path | None, here: bool, sizes: Any, fit: str, free: int, asked: Mapping[str, str | int | None]
) -> str:
    """What to type."""
    if fit == "no":
        return "none: choose a smaller format or model"
    room = fitting.context(sizes, free)
    flags = f" -c {room}" if room < sizes.context else ""
    flags += "".join(f" {option} {value}" for option, value in asked.items() if value)
    name = "" if path is None else f" {path}"
    return f"{'' if here else f'localmix pull{name} && '}localmix chat{name}{flags}"


@contextmanager
def _header(path: Path | None) -> Iterator[tuple["File", str, bool]]:
    """A model's header, where the model is, and whether its weights are here."""
    from localmix import gguf
    from localmix.store import pulled as store
    from localmix.store.bundled import model_path

    name = None if path is None or os.path.exists(path) else store.parse(str(path))
    if name is None or store.find(name) is not None:
        found = model_path() if path is None else store.resolve(path)
        with gguf.open(found) as file:
            yield file, str(found), True
        return
    from localmix.store import hub

    remotes = hub.find(name)
    size, free = sum(remote.size for remote in remotes), _disk_free(store.folder())
    if size > free:
        raise LocalmixError(f"{name}: needs {amount(size, 'B')} of disk, {amount(free, 'B')} are free: make room first")
    with tempfile.TemporaryDirectory(prefix="localmix-") as folder, hub.headers(remotes, Path(folder)) as file:
        yield file, f"{remotes[0].repository}/{remotes[0].file} on the hub, not here yet", False


def _disk_free(folder: Path) -> int:
    while not os.path.isdir(folder):
        folder = folder.parent
    return shutil.disk_usage(folder).free
