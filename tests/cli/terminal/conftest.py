"""Models and terminals for whole conversations."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import small_models
from screens import Screen

from localmix import gguf


@pytest.fixture(scope="session")
def sparse_path(folder: Path, upcycled_path: Path) -> Path:
    """A sparse model in F32, so that it says the same everywhere, with a template and room for 30,000 tokens."""
    file = gguf.open(upcycled_path)
    metadata = file.typed_metadata | {
        "tokenizer.chat_template": small_models.STORIES_TEMPLATE,
        "llama.context_length": np.uint32(30_000),
    }
    tensors = {name: (t.format, t.data) for name, t in file.tensors.items()}
    return small_models.write(folder / "sparse.gguf", metadata, tensors)


@pytest.fixture
def screen(sparse_path: Path, tmp_path: Path) -> Iterator[Callable[..., Screen]]:
    """Starts a conversation with that model, greedy and short; what it keeps is the test's own."""
    opened: list[Screen] = []

    def start(*arguments: object, model: Path | None = sparse_path, **changes: object) -> Screen:
        settings = {"LOCALMIX_STATE": str(tmp_path / "state")} | changes
        named = () if model is None else ("-m", model)
        opened.append(Screen("chat", *named, "--temp", 0, "-n", 12, *arguments, **settings))
        return opened[-1]

    yield start
    for one in opened:
        one.close()
