import json
from pathlib import Path

import pytest
from command_line import localmix
from small_models import STORIES


def test_flag_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('max-tokens = 3\nquiet = true\n[run]\nbackend = "reference"\ntop-k = 7\n')
    place = {"LOCALMIX_CONFIG": str(file)}
    arguments = ("run", "-m", STORIES, "--raw", "hi", "--json")

    def tokens(*more: object, **changes: str) -> int:
        done = localmix(*arguments, *more, **place | changes)
        assert (done.returncode, done.stderr) == (0, "")
        return int(json.loads(done.stdout)["tokens"])

    assert tokens() == 3
    assert tokens(LOCALMIX_MAX_TOKENS="2") == 2
    assert tokens("-n", 1, LOCALMIX_MAX_TOKENS="2") == 1
    shown = json.loads(localmix("config", "--json", **place, LOCALMIX_TOP_K="9", LOCALMIX_STOP="x").stdout)
    found = {(row["command"], row["name"]): (row["value"], row["from"]) for row in shown["settings"]}
    assert found["run", "max-tokens"] == found["chat", "max-tokens"] == (3, str(file))
    assert found["run", "top-k"] == ("9", "LOCALMIX_TOP_K")
    assert found["run", "backend"] == ("reference", str(file))
    assert found["chat", "backend"] == (None, "default")
    assert found["run", "temp"] == (0.8, "default")


def test_a_model_on_the_command_line_goes_over_a_setting(tmp_path: Path) -> None:
    place = {"LOCALMIX_STATE": str(tmp_path), "LOCALMIX_MODEL": str(tmp_path / "nowhere.gguf")}
    assert "nowhere.gguf: no such file" in localmix("info", **place).stderr
    assert localmix("info", STORIES, **place).returncode == 0
    assert localmix("info", "-m", STORIES, **place).returncode == 0
    assert "two models" in localmix("info", STORIES, "-m", STORIES, **place).stderr
    assert "no conversation to continue" in localmix("chat", "--resume", stdin=b"", **place).stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("temperature = 1\n", "unknown setting temperature"),
        ("[runn]\n", "unknown setting [runn]"),
        ("[run]\nsynthetic = 'x'\n", "unknown setting [run] synthetic"),
        ("quiet = 'yes'\n", "expected true or false"),
        ("temp = \n", "cannot be read as TOML"),
    ],
)
def test_errors_name_the_file(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    done = localmix("list", LOCALMIX_CONFIG=str(file), LOCALMIX_MODELS=str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"localmix: {file}: ")
    assert message in done.stderr


def test_a_value_of_another_kind(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("temp = 'hot'\n")
    done = localmix("run", "hi", LOCALMIX_CONFIG=str(file))
    assert done.returncode == 2
    assert "--temp" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(shell: str) -> None:
    done = localmix("--show-completion", shell)
    assert done.returncode == 0
    assert "complete" in done.stdout or "compdef" in done.stdout
