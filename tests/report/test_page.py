"""Reports are one file: everything is inside, nothing of a text becomes part of the page."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import localmix
from localmix.measure import pool, routing, windows
from localmix.measure.routes import Routes
from localmix.report import page
from localmix.report import routes as report

EVIL = 'He said </script><script>alert(1)</script> & "<!--" to the cat. '


@pytest.fixture(scope="module")
def shown(upcycled_path: Path) -> tuple[Routes, dict[str, Any]]:
    model = localmix.load(upcycled_path, "reference")
    traces = [
        routing.record(model, name, *windows.whole(model.tokenizer, text * 9, 40))
        for name, text in (("evil", EVIL), ("sums", "1 + 1 = 2. "))
    ]
    routes = Routes(traces)
    rates = [pool.simulate(routing.joined(traces), size, 1000) for size in (8000, 40000)]
    return routes, report.data(routes, rates, model.tokenizer, [("model", "x")])


def embedded(text: str) -> dict[str, Any]:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found)


def test_a_page_stands_alone(shown: tuple[Routes, dict[str, Any]], tmp_path: Path) -> None:
    page.write(tmp_path / "x.html", "routes", "Routes of <x>", shown[1])
    text = (tmp_path / "x.html").read_text()
    assert "<title>Routes of &lt;x&gt;</title>" in text
    assert embedded(text) == json.loads(json.dumps(shown[1]))
    assert text.count("</script>") == 1 + len(page.LIBRARIES) + 2
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)", text)
    assert "default-src 'none'" in text
    assert "Permission to use, copy, modify" in text
    assert [path.name for path in tmp_path.iterdir()] == ["x.html"]


def test_what_it_shows_of_routing(shown: tuple[Routes, dict[str, Any]]) -> None:
    routes, data = shown
    text, trace = data["texts"][0], routes.traces[0]
    assert "".join(text["pieces"]) == EVIL * 9
    chosen = np.frombuffer(base64.b64decode(text["chosen"]), np.uint8).reshape(trace.chosen.shape)
    assert (chosen == trace.chosen).all()
    assert text["share"][3] == pytest.approx((trace.counts()[3] / (2 * len(trace))).tolist(), abs=1e-4)
    assert text["keptAny"][2] == pytest.approx(trace.repeats().either[2] / trace.repeats().pairs, abs=1e-4)
    assert [one["slots"] for one in data["pools"]] == [8, 40]


def test_long_texts_are_quoted_in_part(
    shown: tuple[Routes, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, upcycled_path: Path
) -> None:
    tokenizer = localmix.load(upcycled_path, "reference").tokenizer
    monkeypatch.setattr(report, "CHOICES", 5 * 2 * 2 * 17)
    monkeypatch.setattr(report, "CELLS", 100)
    data = report.data(shown[0], [], tokenizer, [])
    assert [len(text["pieces"]) for text in data["texts"]] == [17, 17]
    assert [len(base64.b64decode(text["chosen"])) for text in data["texts"]] == [170, 170]
    assert [pair["layer"] for pair in data["pairs"]] == [0, 2, 4]
