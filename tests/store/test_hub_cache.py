"""Names of models in folders of the hub's own cache."""

from pathlib import Path

import checkpoint_folders
import pytest
from random_checkpoints import SPECS

from localmix import convert
from localmix.convert.receipt import read_receipt
from localmix.store.hub_cache import snapshot, title

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"hub/models--some-one--Tiny.Stories-v0.1/snapshots/{COMMIT}", "Tiny.Stories-v0.1"),
        (f"hub/models--gpt2/snapshots/{COMMIT}/", "gpt2"),
        ("hub/models--someone--tiny", "tiny"),
        (f"mine/snapshots/{COMMIT}", COMMIT),
        ("mine/Mixtral-8x7B-v0.1", "Mixtral-8x7B-v0.1"),
    ],
)
def test_what_a_folder_is_called(path: str, name: str) -> None:
    assert title(Path(path)) == name


def test_a_checkpoint_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the cache lays it out: files are links to blobs that are called by their hashes."""
    repository = tmp_path / "models--someone--tiny-stories"
    folder, blobs = repository / "snapshots" / COMMIT, repository / "blobs"
    real = checkpoint_folders.hugging_face(tmp_path / "real", SPECS[0])
    folder.mkdir(parents=True)
    real.rename(blobs)
    for number, file in enumerate(sorted(blobs.iterdir())):
        blob = file.rename(blobs / f"{number:040x}")
        (folder / file.name).symlink_to(blob)
    monkeypatch.chdir(folder)
    for path in (folder, Path("."), repository):
        checkpoint = convert.open_checkpoint(path)
        assert checkpoint.metadata["general.name"] == "tiny-stories"
        assert read_receipt(convert.receipt(checkpoint, "Q4_0"))["source"] == "tiny-stories"


def test_the_commit_is_the_one_of_main_or_the_only_one(tmp_path: Path) -> None:
    repository = tmp_path / "models--someone--tiny"
    (repository / "snapshots" / "a").mkdir(parents=True)
    assert snapshot(repository) == repository / "snapshots" / "a"
    (repository / "snapshots" / "b").mkdir()
    assert snapshot(repository) == repository
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("b\n")
    assert snapshot(repository) == repository / "snapshots" / "b"
    assert snapshot(tmp_path) == tmp_path
