"""Counts and times for Prometheus, by the names that vLLM gave them."""

import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from localmix.answer.ticket import Piece, Ticket

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FIRST = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 640)
_GAP = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10)
_WHOLE = (0.3, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 240, 480, 1920)


class Metrics:
    """Of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.running = Gauge("vllm:num_requests_running", "Answers under way.", registry=r)
        self.waiting = Gauge("vllm:num_requests_waiting", "Requests without a place.", registry=r)
        self.used = Gauge("vllm:kv_cache_usage_perc", "Share of the bytes for keys and values in use.", registry=r)
        self.kept = Gauge("localmix:prefix_cache_tokens", "Tokens of prompts that are remembered.", registry=r)
        self.prompt = Counter("vllm:prompt_tokens", "Tokens of prompts computed.", registry=r)
        self.generated = Counter("vllm:generation_tokens", "Tokens of answers.", registry=r)
        self.queries = Counter("vllm:prefix_cache_queries", "Tokens of prompts looked up.", registry=r)
        self.hits = Counter("vllm:prefix_cache_hits", "Tokens of prompts found in the cache.", registry=r)
        self.ended = Counter("vllm:request_success", "Answers by how they ended.", ["finished_reason"], registry=r)
        self.first = Histogram("vllm:time_to_first_token_seconds", "To the first token.", buckets=_FIRST, registry=r)
        self.gap = Histogram("vllm:inter_token_latency_seconds", "Between tokens.", buckets=_GAP, registry=r)
        self.whole = Histogram("vllm:e2e_request_latency_seconds", "Whole requests.", buckets=_WHOLE, registry=r)

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def watch(self, ticket: Ticket) -> "Watch":
        """Follows one answer from now on."""
        return Watch(self, ticket)


class Watch:
    """Times of one answer. Called in the worker's thread."""

    def __init__(self, metrics: Metrics, ticket: Ticket) -> None:
        self._metrics, self._ticket = metrics, ticket
        self._began = time.perf_counter()
        self._last: float | None = None

    def __call__(self, pieces: Sequence[Piece], ended: bool) -> None:
        m, t, now = self._metrics, self._ticket, time.perf_counter()
        for _ in pieces:
            if self._last is None:
                m.first.observe(now - self._began)
            else:
                m.gap.observe(now - self._last)
            self._last = now
        if ended:
            m.whole.observe(now - self._began)
            m.generated.inc(len(t.ids))
            m.prompt.inc(t.stats.prompt_tokens)
            if t.stats.prompt_tokens:
                m.queries.inc(t.stats.prompt_tokens + t.stats.cached_tokens)
                m.hits.inc(t.stats.cached_tokens)
            m.ended.labels("abort" if t.reason == "interrupted" else t.reason).inc()
