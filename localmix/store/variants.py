"""The models in a repository of GGUF files, and which of them a user means. Knows neither the network nor the disk.

People write a format in many ways: Q4_K_M, q4-k-m, UD-Q4_K_XL or Q4_K_XL, fp16, q8, or the name of the file.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

USUAL = "Q4_K_M"
_LABEL = r"""(?ix) (?<![a-z0-9]) (?: ud[-_] )?
    (?: (?: FORMATS ) (?! [-_] )
      | i?q\d (?: [-_] (?: k (?: [-_] (?: x*s | m | x*l ) )? | [01] (?: [-_] (?: \d[-_]\d | x*l ) )?
                            | nl (?: [-_] x*l )? | x*s | m | x*l ) )?
      | tq\d[-_]\d | bf16 | fp?16 | fp?32 | mxfp4 (?: [-_]moe )? | nvfp4 ) (?![a-z0-9])"""
_PART = re.compile(r"-\d{5}-of-\d{5}(?=\.gguf$)", re.IGNORECASE)
_GGUF = re.compile(r"\.gguf$", re.IGNORECASE)
# What lies beside a model: the part that sees pictures, a tokenizer alone, and what calibration wrote, unless a format
# says that a model was quantized with that.
_BESIDE = re.compile(r"(?i)(?<![a-z0-9])(mmproj|ggml-vocab)(?![a-z0-9])")
_CALIBRATION = re.compile(r"(?i)(?<![a-z0-9])imatrix(?![a-z0-9])")


@dataclass(frozen=True)
class Variant:
    """One model: its files in order, by their paths in the repository, and the format that their names tell."""

    files: tuple[str, ...]
    label: str | None
    beside: bool  # not a model, but something that belongs to one

    @property
    def file(self) -> str:
        """The name of the whole, without the number of a part."""
        return _PART.sub("", self.files[0])


def variants(files: list[str]) -> list[Variant]:
    """The GGUF files among `files` as models, the parts of a split one together."""
    groups: dict[str, list[str]] = defaultdict(list)
    for file in sorted(files):
        if _GGUF.search(file):
            groups[_PART.sub("", file)].append(file)
    return [Variant(tuple(parts), label(whole), _is_beside(_last(whole))) for whole, parts in groups.items()]


def label(file: str) -> str | None:
    """The format that a file's name tells, as in "x.Q4_K_M.gguf", or the name of a folder that it is in."""
    for part in reversed(file.split("/")):
        if found := _labels(part):
            text = found[-1].upper().replace("-", "_").replace("FP16", "F16").replace("FP32", "F32")
            return re.sub("^UD_", "UD-", text)
    return None


def fitting(known: list[Variant], wanted: str | None) -> list[Variant]:
    """The models that `wanted` may mean, all as well; without it the usual format, or the only one there is."""
    models = [one for one in known if not one.beside]
    if wanted is None:
        return models if len(models) == 1 else exactly(models, USUAL)
    if found := exactly(known, wanted):
        return found
    key = _plain(wanted)
    steps: list[Callable[[Variant], bool]] = [
        lambda one: _plain(one.label or "").startswith(key),
        lambda one: _undecorated(one).startswith(key),
        lambda one: key in _plain(_GGUF.sub("", one.file)),
    ]
    for step in steps:
        if found := [one for one in models if step(one)]:
            return found
    return []


def exactly(known: list[Variant], wanted: str) -> list[Variant]:
    """The models of exactly this format, however it is written, or in this file; UD- may be left out."""
    key = _plain(wanted)
    return (
        [one for one in known if _is_file(one, wanted)]
        or [one for one in known if not one.beside and _plain(one.label or "") == key]
        or [one for one in known if not one.beside and _undecorated(one) == key]
    )


def names(known: list[Variant]) -> list[str | None]:
    """What tells each model from the others: its format, or its file where several have that one or none is told."""
    count = Counter(one.label for one in known)
    alone = len(known) == 1
    return [one.label if alone or (one.label and count[one.label] == 1) else one.file for one in known]


def recipe(wanted: str, known: list[str]) -> str:
    """The one of the `known` formats that is meant, else `wanted` as it is."""
    found = [one for one in known if _plain(one) == _plain(wanted)]
    found = found or [one for one in known if _plain(one).startswith(_plain(wanted))]
    return found[0] if len(found) == 1 else wanted


def _labels(text: str) -> list[str]:
    """What in a text looks like the name of a format: as files are called everywhere, or as localmix calls one."""
    from quant import FORMATS  # brings NumPy, which --help does without

    own = "|".join(re.sub("_", "[-_]", re.escape(name)) for name in sorted(FORMATS, key=len, reverse=True))
    return re.findall(_LABEL.replace("FORMATS", own), text)


def _is_beside(file: str) -> bool:
    return bool(_BESIDE.search(file)) or bool(_CALIBRATION.search(file) and not _labels(file))


def _is_file(one: Variant, wanted: str) -> bool:
    """Whether `wanted` is the name of its file, with or without the folder and the ending."""
    key = _GGUF.sub("", wanted.lower())
    names = {_GGUF.sub("", name.lower()) for name in (one.file, *one.files)}
    return key in names | {_last(name) for name in names}


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _plain(text: str) -> str:
    """Without capitals and separators."""
    return re.sub(r"[-_. ]", "", re.sub(r"fp(?=16|32)", "f", text.lower()))


def _undecorated(one: Variant) -> str:
    return _plain(one.label or "").removeprefix("ud")
