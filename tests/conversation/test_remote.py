"""A conversation with a server is one with its model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import localmix as run
from server.served import Served, served

import localmix
from localmix.conversation.remote import RemoteChat, RemoteModel
from localmix.conversation.remote_server import Server
from localmix.errors import LocalmixError


@pytest.fixture(scope="module")
def model(chatty_path: Path) -> Any:
    return localmix.load(chatty_path, "numba")


@pytest.fixture(scope="module")
def running(model: Any) -> Iterator[Served]:
    with served(model, keys=["secret"], gap=None) as running:
        yield running


def test_turns(running: Served, model: Any) -> None:
    chat = RemoteChat(RemoteModel(Server(f"127.0.0.1:{running.port}/v1", "secret")), "Be kind")
    here = model.chat("Be kind")
    for text in ("Hello", "And then?"):
        answer = chat.send(text, temp=0, max_tokens=10)
        assert answer.read() == here.send(text, temp=0, max_tokens=10).read()
        assert (answer.reason, answer.stats.tokens) == ("length", 10)
        here.messages = [type(m)(m.role, m.content) for m in here.messages]  # as a server reads them, by their text
    assert [m.role for m in chat.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert chat.undo() == "And then?"
    assert len(chat.context.ids) > 20


def test_what_the_server_says_against_it(running: Served) -> None:
    with pytest.raises(LocalmixError, match=r"API key is missing.*\(401\)"):
        RemoteModel(Server(f"127.0.0.1:{running.port}"))
    chat = RemoteChat(RemoteModel(Server(f"http://127.0.0.1:{running.port}", "secret")))
    with pytest.raises(LocalmixError, match="holds 512"):
        chat.send("word " * 600).read()
    assert chat.messages == []
    with pytest.raises(LocalmixError, match="is the server running"):
        Server("127.0.0.1:1").ask("/v1/models")
    with pytest.raises(LocalmixError, match="expected an address"):
        Server("ftp://x")


def test_from_the_command_line(running: Served) -> None:
    url = f"http://127.0.0.1:{running.port}"
    found = run("chat", "--server", url, "--api-key", "secret", "--temp", "0", "-n", "5", stdin=b"Hello\n")
    assert found.returncode == 0
    assert found.stdout.strip()
    assert f"{url}, a server, prompt" in found.stderr  # no threads: it does not tell
