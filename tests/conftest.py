"""What all tests share: models, backends, and a kernel cache that is theirs alone."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import small_models
from command_line import Terminal

import localmix
from localmix.model import Model

BACKENDS = ("reference", "numba", "mlx")  # another one joins every test of backends here


def own_folder() -> str:
    """A folder for as long as this process runs."""
    folder = tempfile.mkdtemp(prefix="localmix-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


# Nothing of the user's is touched. What one worker compiled is there for the others.
os.environ["LOCALMIX_CONFIG"] = os.devnull
os.environ["LOCALMIX_STATE"] = own_folder()
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["LOCALMIX_CACHE_DIR"] = own_folder()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of each backend in turn."""
    if request.param == "mlx":
        pytest.importorskip("mlx.core", reason="the mlx backend is not installed")
    return str(request.param)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for model files that are made once."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def chatty_path(folder: Path) -> Path:
    """A file with a chat template."""
    return small_models.chatty_stories(folder / "chatty.gguf")


@pytest.fixture(scope="session")
def upcycled_path(folder: Path) -> Path:
    """A sparse model with 8 experts that are one function."""
    return small_models.upcycled_stories(folder / "upcycled.gguf")


@pytest.fixture
def stories(backend: str) -> Model:
    return localmix.load(small_models.STORIES, backend)


@pytest.fixture
def chatty(chatty_path: Path, backend: str) -> Model:
    return localmix.load(chatty_path, backend)


@pytest.fixture
def upcycled(upcycled_path: Path, backend: str) -> Model:
    return localmix.load(upcycled_path, backend)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Starts commands in terminals, and ends them."""
    opened: list[Terminal] = []

    def start(*arguments: object, **changes: str) -> Terminal:
        opened.append(Terminal(*arguments, **changes))
        return opened[-1]

    yield start
    for one in opened:
        one.close()
