"""The page: whole in one answer, under a policy that knows its scripts and nothing else."""

import base64
import gzip
import hashlib
import re

from server.served import Served


def test_the_page_is_whole_and_nothing_else_may_run(server: Served) -> None:
    status, headers, raw = server.ask("GET", "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    text, policy = raw.decode(), headers["content-security-policy"]
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 10
    for part in [*scripts, *re.findall(r"<style>(.*?)</style>", text, re.DOTALL)]:
        assert base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=.?https?:", text)
    packed = server.ask("GET", "/", headers={"Accept-Encoding": "gzip"})[2]
    assert gzip.decompress(packed) == raw
    assert len(packed) < 120_000
