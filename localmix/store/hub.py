"""Models from the Hugging Face hub: found by name and format, resumed, and verified by their hash.

The library finds files and speaks HTTP. Files are kept by us: the library's own cache starts a file over after
an interruption, and one of these has 26 GB. HF_ENDPOINT and HF_TOKEN mean what they mean to the library.
"""

import hashlib
import io
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localmix import gguf
from localmix.amounts import amount
from localmix.errors import LocalmixError
from localmix.gguf.reader import map_header
from localmix.store import pulled as store
from localmix.store import variants
from localmix.store.pulled import Name, Pulled

# Of a checkpoint, by who laid it out: the file that tells which it is, and the weights. Then what both may have.
_LAYOUTS = (
    ("config.json", re.compile(r"model[\w.-]*\.safetensors(\.index\.json)?")),
    ("params.json", re.compile(r"consolidated[\w.-]*\.(safetensors(\.index\.json)?|pt)")),
)
_BESIDE = re.compile(
    r"tokenizer(_config\.json|\.json|\.model(\.v\d+)?)|(added_tokens|special_tokens_map|generation_config)\.json"
    r"|chat_template\.(jinja|json)|additional_chat_templates/[\w.-]+\.jinja"
)
Progress = Callable[[str, int, int], None]  # what is done ("download", "verify"), bytes so far, bytes in all
_BEGINNINGS = (1 << 23, 1 << 25, 1 << 27)  # bytes in which a header may end
_STEP = 1 << 24  # bytes hashed at a time


@dataclass(frozen=True)
class Remote:
    """A file of a repository at one commit."""

    repository: str
    commit: str
    file: str
    size: int
    sha256: str | None  # the hub knows none for small files


class SeveralError(LocalmixError):
    """A name fits several models of a repository, or none; `names` tell those that there are."""

    def __init__(self, name: Name, what: str, names: list[str]) -> None:
        super().__init__(f"{name}: {what}: {', '.join(names)}: name one, as in {name.repository}:{names[0]}")
        self.names = names


def find(name: Name) -> list[Remote]:
    """The GGUF files that are the model. LocalmixError: it is not to be had."""
    return choose(name, listed(name))


def pull(name: Name, remotes: list[Remote], progress: Progress) -> Pulled:
    """Download a model's files as far as they are not here. LocalmixError: see `fetch`."""
    files = tuple(fetch(remotes, store.folder() / name.repository, progress))
    return next(model for model in store.pulled() if model.files == files)


def fetch(remotes: list[Remote], folder: Path, progress: Progress, converted: int = 0) -> list[Path]:
    """Download files into a folder, if there is room for them and for so many bytes that will be made of them.

    LocalmixError: one is not to be had; what was got is kept.
    """
    _check_space(folder, remotes, converted)
    paths = [folder / remote.file for remote in remotes]
    for number, (remote, path) in enumerate(zip(remotes, paths, strict=True), 1):
        which = f" {number} of {len(remotes)}" if len(remotes) > 1 else ""
        if not path.exists():
            _download(remote, path, lambda what, *sizes, which=which: progress(what + which, *sizes))
    return paths


def checkpoint(name: Name, remotes: list[Remote]) -> list[Remote]:
    """Of a repository's files those to convert a model of that name from; none where a GGUF file is as wanted.

    A repository of GGUF files that has another's short name or place stands for that one. LocalmixError: the network.
    """
    if variants.fitting(variants.variants([remote.file for remote in remotes]), name.format):
        return []
    if found := _of_checkpoint(remotes):
        return found
    source = next((key for key, value in store.REPOSITORIES.items() if value == name.repository and "/" in key), None)
    return _of_checkpoint(listed(Name(source, None))) if source and name.format else []


def _of_checkpoint(remotes: list[Remote]) -> list[Remote]:
    names = [remote.file for remote in remotes]
    for about, weights in _LAYOUTS:
        if about in names and any(map(weights.fullmatch, names)):
            return [r for r in remotes if r.file == about or weights.fullmatch(r.file) or _BESIDE.fullmatch(r.file)]
    return []


def headers(remotes: list[Remote], folder: Path) -> gguf.File:
    """A model's header without its weights: the beginnings of its files, in `folder`, the rest of them empty."""
    for remote in remotes:
        path = folder / Path(remote.file).name
        for size in _BEGINNINGS:
            _fetch_beginning(remote, path, size)
            with path.open("r+b") as file:
                file.truncate(remote.size)
            try:
                header, _ = map_header(path)
                if not header.tensors or header.tensors[0].start <= size:
                    break
            except LocalmixError as error:
                if size == _BEGINNINGS[-1] or size >= remote.size:
                    raise LocalmixError(f"{remote.file}: {error}") from error
    return gguf.open(folder / Path(remotes[0].file).name)


def _fetch_beginning(remote: Remote, path: Path, size: int) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers, disable_progress_bars

    disable_progress_bars()

    def say(done: int) -> None:
        if done >= size:
            raise _EnoughError

    path.unlink(missing_ok=True)
    with _Counted(path, say) as out:
        url = hf_hub_url(remote.repository, remote.file, revision=remote.commit)
        try:
            http_get(url, out, headers=build_hf_headers(), expected_size=remote.size)
        except _EnoughError:
            return
        except Exception as error:  # see `listed`
            raise _unreachable(remote.file, error) from error


class _EnoughError(Exception):
    """As many bytes as were wanted have come."""


def choose(name: Name, remotes: list[Remote]) -> list[Remote]:
    """The files of the model that a name means; without a format the usual one, or the only one there is."""
    by_file = {remote.file: remote for remote in remotes}
    known = variants.variants(list(by_file))
    models = [one for one in known if not one.beside]
    fitting = variants.fitting(known, name.format)
    if len(fitting) == 1:
        return [by_file[file] for file in fitting[0].files]
    if not models:
        found = "a checkpoint, which localmix pull converts" if _of_checkpoint(remotes) else "no model"
        raise LocalmixError(f"{name}: holds {found}, expected GGUF files: name a repository that has them")
    some = fitting or models
    names = [text or one.file for one, text in zip(some, variants.names(some), strict=True)]
    wanted = name.format or variants.USUAL
    what = f"{len(fitting)} models fit" if fitting else f"no model of format {wanted}, but there are"
    raise SeveralError(name, what, names)


def listed(name: Name) -> list[Remote]:
    """All files of a repository."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        info = HfApi().model_info(name.repository, files_metadata=True)
    except GatedRepoError:
        raise LocalmixError(f"{name}: its owner asks you to accept terms: do so on the hub, and set HF_TOKEN") from None
    except RepositoryNotFoundError:
        known = ", ".join(store.REPOSITORIES)
        raise LocalmixError(f"{name}: no such repository, or a private one; known short names: {known}") from None
    except Exception as error:  # the library has changed its HTTP client twice: whatever it raises is the network
        raise _unreachable(name.repository, error) from error
    return [
        Remote(name.repository, info.sha or "main", s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else None)
        for s in info.siblings or ()
        if not {"..", ""} & set(s.rfilename.split("/"))
    ]


def _unreachable(what: str, error: Exception) -> LocalmixError:
    from huggingface_hub import constants

    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return LocalmixError(f"{what}: could not be fetched from {constants.ENDPOINT} ({reason}); {store.here()}")


def _check_space(base: Path, remotes: list[Remote], converted: int) -> None:
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LocalmixError(
            f"{base}: cannot be created: {error.strerror}: set another folder in {store.FOLDER_VARIABLE}"
        ) from None
    missing = sum(r.size - _size(_partial(base / r.file)) for r in remotes if not (base / r.file).exists())
    free = shutil.disk_usage(base).free
    if missing + converted > free:
        purpose = f", {amount(converted, 'B')} or more of them for the converted file" if converted else ""
        raise LocalmixError(
            f"{base}: {amount(free, 'B')} free, expected {amount(missing + converted, 'B')}{purpose}: make room "
            f"with localmix rm, or set another folder in {store.FOLDER_VARIABLE}"
        )


def _download(remote: Remote, target: Path, progress: Progress) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers, disable_progress_bars

    disable_progress_bars()
    partial = _partial(target)
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.touch()  # of an empty file nothing will come
    start = _size(partial)
    if start < remote.size:
        with _Counted(partial, lambda done: progress("download", done, remote.size)) as out:
            url = hf_hub_url(remote.repository, remote.file, revision=remote.commit)
            try:
                http_get(url, out, resume_size=start, headers=build_hf_headers(), expected_size=remote.size)
            except Exception as error:  # see `listed`
                raise _unreachable(remote.file, error) from error
    _verify(remote, partial, progress)
    os.replace(partial, target)


def _verify(remote: Remote, path: Path, progress: Progress) -> None:
    """Size and hash as the hub states them; a file that has others is deleted."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_STEP):
            digest.update(block)
            done += len(block)
            progress("verify", done, remote.size)
    if done != remote.size or digest.hexdigest() != (remote.sha256 or digest.hexdigest()):
        path.unlink()
        raise LocalmixError(
            f"{remote.file}: arrived damaged, {done} bytes with SHA-256 {digest.hexdigest()}, expected {remote.size} "
            f"with {remote.sha256}: it was deleted, pull it again"
        )


def _partial(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


class _Counted(io.FileIO):
    """A file that says how far it is, each time it grows."""

    def __init__(self, path: Path, say: Callable[[int], None]) -> None:
        super().__init__(path, "ab")
        self._say = say

    def write(self, data: Any) -> int:
        written = super().write(data)
        self._say(self.tell())
        return written
