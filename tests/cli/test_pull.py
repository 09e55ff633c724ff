import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import checkpoint_folders
import pytest
from command_line import Terminal, localmix
from loopback_hub import Hub, serve
from random_checkpoints import SPECS
from small_models import STORIES

from localmix.cli.parameters import Output
from localmix.cli.pull import converted
from localmix.errors import LocalmixError
from localmix.store.hub import Remote
from localmix.store.pulled import REPOSITORIES, Name

REPOSITORY = "some/Stories-GGUF"
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve() as hub:
        model = STORIES.read_bytes()
        hub.repositories[REPOSITORY] = {
            "README.md": b"stories",
            "stories.F32.gguf": model,
            "stories.Q8_0.gguf": model[:-1],
            "deep/stories.Q2_K-00001-of-00002.gguf": b"one",
            "deep/stories.Q2_K-00002-of-00002.gguf": b"two",
        }
        yield hub


@pytest.fixture
def command(hub: Hub, tmp_path: Path) -> Command:
    def run(*arguments: object, **changes: str) -> "subprocess.CompletedProcess[str]":
        place = {"LOCALMIX_MODELS": str(tmp_path / "models"), "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url}
        return localmix(*arguments, **place | {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"} | changes)

    return run


def test_pull_list_run_rm(command: Command, hub: Hub, tmp_path: Path) -> None:
    done = command("pull", REPOSITORY, "--format", "f32")
    file = tmp_path / "models" / REPOSITORY / "stories.F32.gguf"
    assert (done.returncode, done.stdout) == (0, f"{file}\n"), done.stderr
    assert file.read_bytes() == STORIES.read_bytes()
    assert command("pull", f"{REPOSITORY}:F32").stdout == f"{file}\n"
    assert len(hub.ranges) == 1  # the second time nothing was asked for
    (row,) = json.loads(command("list", "--json").stdout)
    assert row == {"name": f"{REPOSITORY}:F32", "bytes": STORIES.stat().st_size, "path": str(file)}
    for name in (REPOSITORY, f"{REPOSITORY}:f32"):
        assert "architecture\tllama" in command("info", "-m", name).stdout
    assert command("rm", REPOSITORY).returncode == 0
    assert list((tmp_path / "models").iterdir()) == []
    assert "no model has been pulled yet" in command("rm", REPOSITORY).stderr


def test_a_model_is_found_as_people_write_it(command: Command, hub: Hub, tmp_path: Path) -> None:
    files = ("a/gpt-UD-Q4_K_XL.gguf", "gpt-it-fp16.gguf", "old-q8_0.gguf", "new-Q8_0.gguf", "mmproj-F32.gguf")
    hub.repositories["some/thing"] = {file: file.encode() for file in files}
    for wanted, file in (("q4_k_xl", files[0]), ("F16", files[1]), ("fp16", files[1]), ("NEW-q8_0", files[3])):
        done = command("pull", f"some/thing:{wanted}")
        assert done.stdout == f"{tmp_path / 'models' / 'some' / 'thing' / file}\n", done.stderr
        name = done.stderr.rstrip().rpartition("localmix chat ")[2]
        assert done.stdout.strip() in command("info", name).stderr  # which is found, and holds no model
    several = command("pull", "some/thing", "--format", "q8")
    assert (several.returncode, several.stderr.count("\n")) == (1, 1)
    assert "some/thing:q8: 2 models fit: new-Q8_0.gguf, old-q8_0.gguf: name one, as in" in several.stderr
    assert command("pull", f"{hub.url}/some/thing/resolve/main/{files[2]}?download=true").returncode == 0
    assert "Q8_0" not in command("rm", "some/thing:q4_k_xl").stderr
    assert command("pull", "some/thing:mmproj-F32").returncode == 0


def test_a_terminal_asks_which_of_several(hub: Hub, tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    hub.repositories["some/thing"] = {"one-Q8_0.gguf": b"1", "two-Q8_0.gguf": b"2"}
    place = {"LOCALMIX_MODELS": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url}
    screen = terminal("pull", "some/thing:Q8_0", **place, HF_HUB_DISABLE_XET="1")
    screen.until("Name or file: ")
    assert "one-Q8_0.gguf" in screen.seen
    screen.type("two-Q8_0.gguf\n")
    assert screen.end() == 0, screen.seen
    assert (tmp_path / "some" / "thing" / "two-Q8_0.gguf").read_bytes() == b"2"


def test_all_parts_of_a_split_model(command: Command, tmp_path: Path) -> None:
    assert command("pull", f"{REPOSITORY}:Q2_K").returncode == 0
    parts = sorted((tmp_path / "models" / REPOSITORY / "deep").iterdir())
    assert [part.read_bytes() for part in parts] == [b"one", b"two"]
    assert len(command("list").stdout.splitlines()) == 1


def test_a_checkpoint_is_converted(command: Command, hub: Hub, tmp_path: Path) -> None:
    folder = checkpoint_folders.hugging_face(tmp_path / "Tiny", SPECS[0], shards=2)
    hub.repositories["some/Tiny"] = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.repositories["some/Tiny"] |= {"consolidated.safetensors": b"twice", "images/a.json": b"{}", "x.bin": b"x"}
    hub.repositories["some/Tiny"] |= {"Tiny.F16.gguf": b"what is not asked for"}
    file = tmp_path / "models" / "some" / "Tiny" / "Tiny.Q8_0.gguf"
    shard = "model-00001-of-00002.safetensors"
    partial = file.parent / "Tiny" / f"{shard}.part"
    partial.parent.mkdir(parents=True)
    partial.write_bytes((folder / shard).read_bytes()[:1000])  # as a kill leaves it
    done = command("pull", "some/Tiny", "--format", "q8_0")
    assert (done.returncode, done.stdout) == (0, f"{file}\n"), done.stderr
    assert "converted from the checkpoint some/Tiny" in done.stderr
    assert "bytes=1000-" in hub.ranges
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    by_hand = tmp_path / "by-hand.gguf"
    assert command("quantize", folder, by_hand, "-f", "Q8_0").returncode == 0
    assert file.read_bytes() == by_hand.read_bytes()
    asked = len(hub.ranges)
    assert command("pull", "some/Tiny:Q8_0").stdout == f"{file}\n"
    assert len(hub.ranges) == asked
    assert "expected one of" in command("pull", "some/Tiny:Q5_1X").stderr


@pytest.mark.parametrize(
    ("format", "needed"), [("Q8_0", r"15\.3 MB.*, 5\.31 MB or more"), ("F32", "30 MB.*, 20 MB or more")]
)
def test_the_converted_file_must_fit_beside_the_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, format: str, needed: str
) -> None:
    monkeypatch.setenv("LOCALMIX_MODELS", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=15_000_000))
    remote = Remote("some/Tiny", "0", "model.safetensors", 10_000_000, None)
    with pytest.raises(LocalmixError, match=rf"15 MB free, expected {needed} of them for the converted file"):
        converted(Name("some/Tiny", format), [remote], lambda *_: pytest.fail("something came"), Output(quiet=True))


def test_a_format_that_nobody_made_is_converted_from_the_original(command: Command, hub: Hub, tmp_path: Path) -> None:
    folder = checkpoint_folders.mistral(tmp_path / "Tiny", SPECS[0])
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.repositories |= {"mistralai/Mixtral-8x7B-v0.1": files, REPOSITORIES["mixtral-base"]: {"x.Q2_K.gguf": b""}}
    done = command("pull", "mixtral-base:Q8_0")
    assert done.stdout.endswith("/TheBloke/Mixtral-8x7B-v0.1-GGUF/Mixtral-8x7B-v0.1.Q8_0.gguf\n"), done.stderr
    assert "context length" in command("info", "-m", "mixtral-base:q8_0").stdout.replace("_", " ")


def test_a_download_goes_on_where_it_stopped(command: Command, hub: Hub, tmp_path: Path) -> None:
    name = f"{REPOSITORY}:F32"
    partial = tmp_path / "models" / REPOSITORY / "stories.F32.gguf.part"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(STORIES.read_bytes()[:1000])  # as a kill leaves it
    done = command("pull", name)
    assert done.returncode == 0, done.stderr
    assert hub.ranges == ["bytes=1000-"]
    assert not partial.exists()
    assert Path(done.stdout.strip()).read_bytes() == STORIES.read_bytes()


def test_other_bytes_than_the_hub_promised_are_refused(command: Command, hub: Hub, tmp_path: Path) -> None:
    hub.damages = True
    done = command("pull", f"{REPOSITORY}:F32")
    assert (done.returncode, done.stdout) == (1, "")
    assert "arrived damaged" in done.stderr
    assert not [path for path in (tmp_path / "models").rglob("*") if path.is_file()]


def test_offline_says_what_is_here(command: Command) -> None:
    assert command("pull", f"{REPOSITORY}:F32").returncode == 0
    for changes in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}):
        done = command("pull", "other/model", **changes)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert f"pulled models: {REPOSITORY}:F32" in done.stderr
    assert command("pull", f"{REPOSITORY}:F32", HF_HUB_OFFLINE="1").returncode == 0
    done = command("info", "-m", "mixtral")
    assert "localmix pull mixtral" in done.stderr


def test_a_folder_that_cannot_be_had(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = command("pull", f"{REPOSITORY}:F32", LOCALMIX_MODELS=str(tmp_path / "file" / "models"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "cannot be created: Not a directory: set another folder in LOCALMIX_MODELS" in done.stderr


def test_a_link_to_a_file_that_is_gone_is_no_model(command: Command, tmp_path: Path) -> None:
    link = tmp_path / "models" / "some" / "thing" / "x.Q8_0.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "gone")
    done = command("list")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody/nothing", "no such repository"),
        (REPOSITORY, f"no model of format Q4_K_M, but there are: Q2_K, F32, Q8_0: name one, as in {REPOSITORY}:Q2_K"),
        (f"{REPOSITORY}:Q3_K", "no model of format Q3_K"),
        ("checkpoint/only", "holds no model"),
        ("../..", "expected owner/repository"),
        ("mixtrall", "one of mixtral, "),
    ],
)
def test_errors(command: Command, hub: Hub, name: str, message: str) -> None:
    hub.repositories["checkpoint/only"] = {"model.safetensors": b""}
    done = command("pull", name)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert message in done.stderr
