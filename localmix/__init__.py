"""Run sparse mixture-of-experts language models on the machine you have.

    import localmix

    model = localmix.load()  # the bundled model, or load("path/to/model.gguf")
    for piece in model.generate("Once upon a time", max_tokens=50):
        print(piece, end="", flush=True)

Importing this costs nothing: libraries are loaded with the first model.
"""

import os
from typing import TYPE_CHECKING

from localmix.errors import ContextFullError, FileFormatError, LocalmixError, UnsupportedError

if TYPE_CHECKING:
    from localmix.model import Model

__version__ = "0.1.0"
__all__ = ["ContextFullError", "FileFormatError", "LocalmixError", "UnsupportedError", "load"]


def load(
    path: str | os.PathLike[str] | None = None,
    backend: str | None = None,
    threads: int | None = None,
    kv: str = "f16",
    ram: int | None = None,
    draft: str = "auto",
) -> "Model":
    """Open a GGUF file; without a path the bundled model.

    `backend` is "numba", "mlx" or "reference"; None takes the fastest that runs here. `threads`: None is one a
    physical core. `kv`: keys and values of contexts as "f16", "f32", "q8_0" in half the memory, or "q4_0" in a
    quarter or a little more. `ram`: bytes that the program may take, None for what is free: experts that do not fit
    are streamed from the disk. `draft`: "off", "lookup", which guesses ids from the text so far and checks several at
    once, for the same answers in less time, or "auto", the same where the backend can. LocalmixError: what is wrong
    with the file, in one line.
    """
    from localmix.model import Model
    from localmix.store.bundled import model_path

    return Model(model_path() if path is None else path, backend, threads, kv, ram, draft)
