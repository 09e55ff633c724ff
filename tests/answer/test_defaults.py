"""What a file recommends for sampling: over the built-in defaults, under whatever is asked for."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from checkpoint_folders import hugging_face
from command_line import localmix as command
from random_checkpoints import SPECS
from small_models import chatty_stories

import localmix
from localmix import convert
from localmix.answer import defaults
from localmix.answer.options import Options
from localmix.server import choices
from localmix.server.bodies import ChatCompletion

FILE = {
    "general.sampling.temp": np.float32(0.6),
    "general.sampling.top_p": np.float32(0.9),
    "general.sampling.top_k": np.int32(1),
    "general.sampling.penalty_last_n": np.int32(32),
    "general.sampling.mirostat": np.int32(0),
    "general.sampling.mirostat_tau": np.float32(5),
}
SAID = "temperature 0.6, top-p 0.9, top-k 1, repeat last n 32 from the file"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chatty_stories(tmp_path_factory.mktemp("defaults") / "recommending.gguf", **FILE)


def test_file_over_built_in_and_asked_for_over_file(path: Path) -> None:
    found = localmix.load(path, "reference").defaults
    assert found.options({}) == Options(temp=0.6, top_p=0.9, top_k=1, repeat_last_n=32)
    assert found.options({"temp": 0, "top_k": 0, "min_p": None}) == Options(
        top_p=0.9, temp=0, top_k=0, repeat_last_n=32
    )
    assert found.said({}) == SAID
    assert found.said({"temp": 0, "top_k": 40, "repeat_last_n": 64}) == "top-p 0.9 from the file"
    assert found.said({"temp": 0, "top_k": 40, "repeat_last_n": 64, "top_p": 1.0}) == ""
    assert found.left == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mirostat", 2),
        ("xtc_probability", 0.5),
        ("sequence", "top_k;temperature"),
        ("temp", -1.0),
        ("temp", "warm"),
        ("top_p", float("nan")),
        ("top_k", 1.5),
        ("novelty", 1),
    ],
)
def test_what_cannot_be_carried_out_is_left_aside_by_name(key: str, value: object) -> None:
    found = defaults.of_file({f"general.sampling.{key}": value, "general.sampling.min_p": 0.1})
    assert found.options({}) == Options(min_p=0.1)
    assert found.said({}) == f"min-p 0.1 from the file, its general.sampling.{key} = {value} ignored: not supported"


def test_the_library_and_conversations(path: Path) -> None:
    model = localmix.load(path, "reference")
    assert model.generate("One day", max_tokens=6).options.temp == 0.6
    assert model.chat().send("One day", max_tokens=6, temp=0.3).options == Options(
        max_tokens=6, temp=0.3, top_p=0.9, top_k=1, repeat_last_n=32
    )
    assert (
        model.generate("One day", max_tokens=6, seed=1).read() == model.generate("One day", max_tokens=6, temp=0).read()
    )


def test_commands_say_what_the_file_decided(path: Path) -> None:
    common = ("run", "-m", path, "--raw", "One day", "-n", 8, "--backend", "reference")
    found, again = command(*common), command(*common, "--temp", 9, "--seed", 3)
    assert found.stderr.rstrip().endswith(SAID)
    assert found.stdout == again.stdout  # the most likely of one, at any temperature
    assert again.stderr.rstrip().endswith(f"seed 3, {SAID.removeprefix('temperature 0.6, ')}")
    other = command(*common, "--temp", 9, "--top-k", 0, "--top-p", 1, "--seed", 3, LOCALMIX_MIN_P="0")
    assert other.stdout != found.stdout
    assert other.stderr.rstrip().endswith("repeat last n 32 from the file")
    assert command(*common, "-q").stderr == ""


def test_requests_of_a_server(path: Path) -> None:
    model = localmix.load(path, "reference")
    service = SimpleNamespace(model=model)
    silent = choices.options(service, ChatCompletion(messages=[]), 5)  # type: ignore[arg-type]
    assert silent == Options(max_tokens=5, temp=0.6, top_p=0.9, top_k=1, repeat_last_n=32)
    body = ChatCompletion(messages=[], temperature=0.0, top_k=7)
    assert choices.options(service, body, None) == Options(temp=0, top_k=7, top_p=0.9, repeat_last_n=32)  # type: ignore[arg-type]


def test_checkpoints_hand_theirs_to_the_file(tmp_path: Path) -> None:
    folder = hugging_face(tmp_path / "one", SPECS[0])
    given = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "repetition_penalty": 1.05, "do_sample": True, "min_p": 2}
    (folder / "generation_config.json").write_text(json.dumps(given))
    checkpoint = convert.open_checkpoint(folder)
    written = {key: value for key, value in checkpoint.metadata.items() if key.startswith("general.sampling.")}
    assert {key: np.asarray(value).dtype.name for key, value in written.items()} == {
        "general.sampling.temp": "float32",
        "general.sampling.top_k": "int32",
        "general.sampling.top_p": "float32",
        "general.sampling.penalty_repeat": "float32",
    }
    assert defaults.of_file({key: value.item() for key, value in written.items()}).values == {  # type: ignore[union-attr]
        "temp": 0.6, "top_k": 20, "top_p": 0.95, "repeat_penalty": 1.05,
    }  # fmt: skip
    assert "generation_config.json: min_p = '2' is left out: not supported" in checkpoint.notes
