"""A loaded model: file, network, tokenizer, template and backend, and the one call that runs a batch.

Any number of caches may be used with one model: a forward pass holds the model's lock, nothing else is shared.
"""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from localmix import arch, backends, gguf, tokenizer
from localmix.batch import Batch
from localmix.template import ChatTemplate
from quant.format import Floats

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK = 512  # tokens of a prompt computed at once


class Model:
    """One model on one backend. Use `localmix.load`."""

    def __init__(self, path: str | Path, backend: str | None = None, threads: int | None = None) -> None:
        self.file = gguf.open(path)
        self.network = arch.load(self.file)
        self.config = self.network.config
        self.tokenizer = tokenizer.from_metadata(self.file.metadata)
        self.template = ChatTemplate.from_metadata(self.file.metadata, self.tokenizer)
        self.backend = backends.pick(backend, threads)
        self._step = self.backend.decoder(self.network)
        self._lock = threading.Lock()

    def cache(self, context: int | None = None, kv: str = "f16") -> Any:
        """An empty cache for sequences of up to `context` tokens (None: what the model was trained for)."""
        return self.backend.cache(self.network, context or self.config.context, kv)

    def forward(self, batch: Batch, cache: Any) -> Floats:
        """Run a batch and commit it to the cache: logits (W, V). A batch that is interrupted leaves no trace."""
        with self._lock:
            cache.reserve(batch)
            logits = self._step(batch, cache)
            cache.commit(batch)
        return logits

    def logits(self, ids: "Sequence[int]", kv: str = "f16") -> Floats:
        """Logits (T, V) float32 after each of T tokens, from an empty cache."""
        cache = self.cache(max(len(ids), 1), kv)
        sequence = cache.new()
        parts = [
            self.forward(Batch.of([(sequence, at, ids[at : at + CHUNK])], every=True), cache)
            for at in range(0, len(ids), CHUNK)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.config.vocabulary), np.float32)
