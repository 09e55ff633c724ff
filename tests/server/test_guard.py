"""Who may ask, and who may not."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from server.served import Served, served

KEY = {"Authorization": "Bearer secret"}


@pytest.fixture(scope="module")
def locked(chatty_model: Any) -> Iterator[Served]:
    with served(chatty_model, keys=["secret", "other"], origins=["https://mine.example"], parallel=2) as running:
        yield running


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("10.1.2.3", 200), ("x.localhost", 200),
     ("evil.com", 403), ("localhost.evil.com", 403), ("", 403)],
)  # fmt: skip
def test_hosts(server: Served, host: str, status: int) -> None:
    assert server.ask("GET", "/v1/models", headers={"Host": host})[0] == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost:3000", 200), ("http://127.0.0.1:3000", 200), ("https://mine.example", 200),
     ("https://evil.com", 403), ("http://localhost.evil.com", 403), ("null", 403)],
)  # fmt: skip
def test_origins(locked: Served, origin: str, status: int) -> None:
    found, headers, _ = locked.ask("GET", "/v1/models", headers={**KEY, "Origin": origin})
    assert found == status
    assert (headers.get("access-control-allow-origin") == origin) == (status == 200)
    asked, headers, _ = locked.ask("OPTIONS", "/v1/models", headers={"Origin": origin})
    assert asked == status


def test_a_page_must_send_json(server: Served) -> None:
    headers = {"Origin": "http://localhost:3000", "Content-Type": "text/plain"}
    assert server.ask("POST", "/tokenize", {"content": "a"}, headers)[0] == 415
    assert server.ask("POST", "/tokenize", {"content": "a"}, headers | {"Content-Type": "application/json"})[0] == 200
    assert server.ask("GET", "/v1/models", headers={"Sec-Fetch-Site": "cross-site"})[0] == 403


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer no"}, {"x-api-key": "secre"}, {"Authorization": "secret"}]
)
def test_keys(locked: Served, headers: dict[str, str]) -> None:
    status, _, raw = locked.ask("GET", "/v1/models", headers=headers)
    assert (status, json.loads(raw)["error"]["type"]) == (401, "authentication_error")
    for good in (KEY, {"x-api-key": "other"}):
        assert locked.ask("GET", "/v1/models", headers=good)[0] == 200
    assert locked.ask("GET", "/health")[0] == 200


def test_bodies_have_a_bound(server: Served) -> None:
    assert server.ask("POST", "/tokenize", b"", {"Content-Length": str(1 << 30)})[0] == 413
